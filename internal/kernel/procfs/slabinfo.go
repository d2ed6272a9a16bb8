package procfs

import (
	"bytes"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// ParseSlabinfo parses /proc/slabinfo and memory.kmem.slabinfo, version 2.1. An
// empty file is an empty table: so a cgroup answers since 5.10. A table of
// headings only is empty too.
func ParseSlabinfo(b []byte, pageSize int64) ([]snapshot.SlabCache, error) {
	if err := positive(pageSize); err != nil {
		return nil, err
	}
	var caches []snapshot.SlabCache
	if rows := bytes.Count(b, []byte(" : tunables ")); rows > 0 {
		caches = make([]snapshot.SlabCache, 0, rows)
	}
	no := 0
	for line := range strings.Lines(string(b)) {
		no++
		if strings.HasPrefix(line, "slabinfo - version: 2.") || strings.HasPrefix(line, "# name ") {
			continue
		}
		c, ok := slabRow(line, pageSize)
		if !ok {
			return nil, wanted(no, "a slab cache as in slabinfo version 2.1")
		}
		caches = append(caches, c)
	}
	return caches, nil
}

// slabRow parses "NAME active_objs num_objs objsize objperslab pagesperslab :
// tunables ... : slabdata active_slabs num_slabs ...". The name is what stands
// before the five numbers, whatever is in it.
func slabRow(line string, pageSize int64) (c snapshot.SlabCache, ok bool) {
	at := strings.LastIndex(line, " : tunables ")
	if at < 0 {
		return c, false
	}
	_, slabdata, ok := strings.Cut(line[at:], " : slabdata ")
	if !ok {
		return c, false
	}
	var perSlab, pages, activeSlabs int64
	rest := line[:at]
	for _, n := range []*int64{&pages, &perSlab, &c.ObjectBytes, &c.Objects, &c.ActiveObjects} {
		var digits string
		rest, digits = lastColumn(rest)
		if *n, ok = snapshot.Number(digits); !ok {
			return c, false
		}
	}
	if _, ok = numbers(slabdata, &activeSlabs, &c.Slabs); !ok {
		return c, false
	}
	c.Name = strings.TrimRight(rest, blank)
	c.BytesPerSlab, ok = scale(pages, pageSize)
	if !ok || c.Name == "" || c.BytesPerSlab < 0 {
		return c, false
	}
	if c.BytesPerSlab > 0 {
		c.Bytes, ok = scale(c.Slabs, c.BytesPerSlab)
	}
	return c, ok
}
