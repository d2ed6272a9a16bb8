package procfs

import (
	"bytes"
	"errors"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// ParseMeminfo parses /proc/meminfo. Lines in kB are bytes here; lines without
// a unit, the HugePages_ ones, are counts.
func ParseMeminfo(b []byte) (snapshot.Stat, error) {
	s := snapshot.Stat{Entries: make([]snapshot.Entry, 0, min(bytes.Count(b, []byte{'\n'}), len(b)/4)+1)}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		n, _, ok := amount(value)
		if !ok || key == "" {
			s.Malformed++
			continue
		}
		s.Entries = append(s.Entries, snapshot.Entry{Key: key, Value: n})
	}
	if len(s.Entries) == 0 {
		return snapshot.Stat{}, errors.New("expected lines of a name, a colon and a number")
	}
	s.Unique()
	return s, nil
}

// ParseVmstat parses /proc/vmstat: counts, as printed.
func ParseVmstat(b []byte) (snapshot.Stat, error) {
	var s snapshot.Stat
	if err := s.Parse(b); err != nil {
		return snapshot.Stat{}, err
	}
	if len(s.Entries) == 0 {
		return snapshot.Stat{}, errors.New("expected lines of a key and a number")
	}
	return s, nil
}
