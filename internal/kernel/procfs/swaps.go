package procfs

import (
	"errors"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// ParseSwaps parses /proc/swaps; a node without swap has the heading only. The
// columns count from the right, so that a name may hold anything.
func ParseSwaps(b []byte) ([]snapshot.Swap, error) {
	heading, table, _ := strings.Cut(string(b), "\n")
	if !strings.HasPrefix(heading, "Filename") {
		return nil, errors.New("expected a heading that begins with Filename")
	}
	var swaps []snapshot.Swap
	for line := range strings.Lines(table) {
		s, ok := swapRow(line)
		if !ok {
			return nil, wanted(len(swaps)+2, "a name, a type, a size, what is used and a priority")
		}
		swaps = append(swaps, s)
	}
	return swaps, nil
}

func swapRow(line string) (s snapshot.Swap, ok bool) {
	var priority int64
	for _, n := range []*int64{&priority, &s.Used, &s.Bytes} {
		var digits string
		line, digits = lastColumn(line)
		if *n, ok = snapshot.Number(digits); !ok {
			return s, false
		}
	}
	line, s.Kind = lastColumn(line)
	s.Name = snapshot.Unescape([]byte(strings.TrimRight(line, blank)))
	var fits [3]bool
	s.Priority, fits[0] = small(priority)
	s.Used, fits[1] = scale(s.Used, 1024)
	s.Bytes, fits[2] = scale(s.Bytes, 1024)
	return s, s.Name != "" && fits == [3]bool{true, true, true}
}
