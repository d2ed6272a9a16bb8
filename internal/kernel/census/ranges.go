package census

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
)

// frames is a range of page frame numbers, end excluded.
type frames struct{ start, end uint64 }

func total(ranges []frames) (n uint64) {
	for _, r := range ranges {
		n += r.end - r.start
	}
	return n
}

var errHidden = errors.New("addresses are hidden: /proc/iomem shows them to CAP_SYS_ADMIN only")

// parseIomem finds the frames of "System RAM" in /proc/iomem (linux
// kernel/resource.c): lines "00100000-3fffffff : System RAM", nested ones
// indented. Without CAP_SYS_ADMIN all numbers are zero.
func parseIomem(b []byte, pageSize uint64) ([]frames, error) {
	var ranges []frames
	hidden := false
	for line := range bytes.Lines(b) {
		where, what, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " : ")
		if what != "System RAM" || strings.HasPrefix(where, " ") {
			continue
		}
		from, to, _ := strings.Cut(where, "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		last, err2 := strconv.ParseUint(to, 16, 64)
		if err1 != nil || err2 != nil || last >= 1<<56 {
			continue
		}
		if last == 0 {
			hidden = true
			continue
		}
		// Parts of pages at either end belong to something else.
		if r := (frames{(start + pageSize - 1) / pageSize, (last + 1) / pageSize}); r.start < r.end {
			ranges = append(ranges, r)
		}
	}
	if len(ranges) == 0 && hidden {
		return nil, errHidden
	}
	return ranges, nil
}

// parseZoneinfo finds the frames that the zones of /proc/zoneinfo span (linux
// mm/vmstat.c): "spanned N" and "start_pfn: N" of each zone. Holes are included.
func parseZoneinfo(b []byte) []frames {
	var ranges []frames
	var spanned uint64
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) != 2 {
			continue
		}
		n, err := strconv.ParseUint(f[1], 10, 52)
		if err != nil {
			continue
		}
		switch f[0] {
		case "spanned":
			spanned = n
		case "start_pfn:":
			if spanned > 0 {
				ranges = append(ranges, frames{n, n + spanned})
			}
			spanned = 0
		}
	}
	return ranges
}

// parseCounters reads "name value" lines, of /proc/vmstat and, with colons and
// units in kB, of /proc/meminfo.
func parseCounters(b []byte) map[string]int64 {
	counters := map[string]int64{}
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) < 2 {
			continue
		}
		if n, err := strconv.ParseInt(f[1], 10, 64); err == nil {
			counters[strings.TrimSuffix(f[0], ":")] = n
		}
	}
	return counters
}
