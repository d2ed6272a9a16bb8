package cgroupfs

import (
	"bytes"
	"errors"
	"math"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// Membership is one line of /proc/PID/cgroup: the process's cgroup in one
// hierarchy.
type Membership struct {
	Hierarchy   int      // 0 is version 2
	Controllers []string // v1, or the name=... of a hierarchy without any
	Path        string   // as printed: may end in " (deleted)", may begin with "/.."
}

// ParseMembership parses /proc/PID/cgroup, lines of "HIERARCHY:CONTROLLERS:PATH"
// whose path may hold colons. Lines that are none are skipped.
func ParseMembership(b []byte) ([]Membership, error) {
	var all []Membership
	colon := []byte(":")
	for line := range bytes.Lines(b) {
		id, rest, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), colon)
		controllers, path, _ := bytes.Cut(rest, colon)
		n, ok := snapshot.Number(id)
		if !ok || n < 0 || n > math.MaxInt32 || !bytes.HasPrefix(path, []byte("/")) {
			continue
		}
		m := Membership{Hierarchy: int(n), Path: string(path)}
		if len(controllers) > 0 {
			m.Controllers = strings.Split(string(controllers), ",")
		}
		all = append(all, m)
	}
	if len(all) == 0 {
		return nil, errors.New("expected lines of hierarchy:controllers:path")
	}
	return all, nil
}
