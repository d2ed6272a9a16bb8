package procfs

import (
	"errors"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// ParseZoneinfo parses /proc/zoneinfo. The counters of a zone stay as printed,
// with these units: pages, but nr_kernel_stack in KiB, the hugepage and
// pmdmapped ones in huge pages (5.11 and later), and events as counts. Of the
// per-CPU page sets their pages are summed.
func ParseZoneinfo(b []byte, pageSize int64) ([]snapshot.Zone, error) {
	if err := positive(pageSize); err != nil {
		return nil, err
	}
	var zones []snapshot.Zone
	for line := range strings.Lines(string(b)) {
		line = strings.Trim(line, blank)
		if node, name, rest, ok := zoneHeader(line); ok && strings.Trim(rest, blank) == "" {
			zones = append(zones, snapshot.Zone{Node: node, Name: name})
			continue
		}
		if len(zones) == 0 {
			return nil, wanted(1, `"Node N, zone NAME"`)
		}
		zoneLine(&zones[len(zones)-1], line, pageSize)
	}
	if len(zones) == 0 {
		return nil, errors.New(`expected "Node N, zone NAME"`)
	}
	for i := range zones {
		zones[i].Counters.Unique()
	}
	return zones, nil
}

// zoneLine adds one line to a zone. What has a colon is no counter.
func zoneLine(z *snapshot.Zone, line string, pageSize int64) {
	key, value := column(strings.TrimPrefix(line, "pages "))
	if list, ok := strings.CutPrefix(line, "protection:"); ok {
		protection(z, list, pageSize)
		return
	}
	if digits, ok := strings.CutPrefix(line, "vm stats threshold:"); ok {
		key, value = "vm stats threshold:", digits
	}
	switch {
	case key == "start_pfn:", key == "count:", key == "vm stats threshold:":
	case line == "per-node stats", line == "pagesets", strings.Contains(line, ":"):
		return
	}
	n, ok := snapshot.Number(strings.Trim(value, blank))
	into := zoneField(z, key)
	if into != nil && key != "start_pfn:" && ok {
		n, ok = scale(n, pageSize)
	}
	switch {
	case !ok || key == "":
		z.Counters.Malformed++
	case key == "count:":
		if sum := z.OnLists + n; n >= 0 && sum >= 0 {
			z.OnLists = sum
		}
	case into != nil:
		*into = n
	default:
		z.Counters.Entries = append(z.Counters.Entries, snapshot.Entry{Key: key, Value: n})
	}
}

func zoneField(z *snapshot.Zone, key string) *int64 {
	switch key {
	case "free":
		return &z.Free
	case "min":
		return &z.Min
	case "low":
		return &z.Low
	case "high":
		return &z.High
	case "spanned":
		return &z.Spanned
	case "present":
		return &z.Present
	case "managed":
		return &z.Managed
	case "start_pfn:":
		return &z.StartPFN
	case "count:":
		return &z.OnLists
	case "vm stats threshold:":
		return &z.Threshold
	}
	return nil
}

// protection parses "(0, 3019, 16331)". What is no such list leaves none.
func protection(z *snapshot.Zone, list string, pageSize int64) {
	z.Protection = nil
	for part := range strings.SplitSeq(strings.Trim(list, " ()\n"), ",") {
		n, ok := snapshot.Number(strings.Trim(part, blank))
		if ok {
			n, ok = scale(n, pageSize)
		}
		if !ok || len(z.Protection) > 16 {
			z.Protection = nil
			z.Counters.Malformed++
			return
		}
		z.Protection = append(z.Protection, n)
	}
}

// zoneHeader parses "Node N, zone NAME" and returns what follows.
func zoneHeader(line string) (node int, name, rest string, ok bool) {
	id, rest, found := strings.Cut(line, ", zone ")
	id, isNode := strings.CutPrefix(id, "Node ")
	n, isNumber := snapshot.Number(strings.TrimLeft(id, " "))
	name, rest = column(rest)
	node, fits := small(n)
	return node, name, rest, found && isNode && isNumber && fits && n >= 0 && name != ""
}
