package procfs

import (
	"errors"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// ParseBuddyinfo parses /proc/buddyinfo.
func ParseBuddyinfo(b []byte) ([]snapshot.Buddy, error) {
	var zones []snapshot.Buddy
	for line := range strings.Lines(string(b)) {
		node, name, rest, ok := zoneHeader(line)
		z := snapshot.Buddy{Node: node, Zone: name}
		for rest = strings.Trim(rest, blank); ok && rest != ""; {
			var n int64
			rest, ok = numbers(rest, &n)
			z.Blocks = append(z.Blocks, n)
		}
		if !ok || len(z.Blocks) == 0 {
			return nil, wanted(len(zones)+1, `"Node N, zone NAME" and the numbers of its free blocks`)
		}
		zones = append(zones, z)
	}
	if len(zones) == 0 {
		return nil, errors.New("expected one zone at least")
	}
	return zones, nil
}
