package procfs

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// CountClones sorts the names in /sys/kernel/slab. A clone of a cgroup is called
// "CACHE(INDEX:NAME)", NAME being the last part of the cgroup's path and so
// anything but a slash: a directory, or on 3.10.0-514, where clones are merged, a
// link to the directory ":FLAGS-SIZE-INDEX", the index with eight digits.
//
// linux 3.10 mm/slab_common.c, mm/memcontrol.c memcg_create_cache_name; seen on
// 3.10.0-514 to 1160.
func CountClones(names []string) snapshot.SlabClones {
	var c snapshot.SlabClones
	type owner struct {
		index int
		name  string
	}
	counts := map[owner]int{}
	for _, name := range names {
		index, cgroup, ok := cloneOf(name)
		switch {
		case ok:
			c.Clones++
			counts[owner{index, cgroup}]++
		case mergedClone(name):
			c.Merged++
		default:
			c.Roots++
		}
	}
	c.Owners = make([]snapshot.CloneOwner, 0, len(counts))
	for o, n := range counts {
		c.Owners = append(c.Owners, snapshot.CloneOwner{Index: o.index, Name: o.name, Count: n})
	}
	slices.SortFunc(c.Owners, func(a, b snapshot.CloneOwner) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Name, b.Name))
	})
	return c
}

func cloneOf(name string) (index int, cgroup string, ok bool) {
	_, rest, ok := strings.Cut(name, "(")
	if !ok || !strings.HasSuffix(rest, ")") {
		return 0, "", false
	}
	digits, cgroup, ok := strings.Cut(rest[:len(rest)-1], ":")
	n, err := strconv.ParseUint(digits, 10, 31)
	return int(n), cgroup, ok && err == nil
}

func mergedClone(name string) bool {
	f := strings.Split(name, "-")
	if !strings.HasPrefix(name, ":") || len(f) != 3 || len(f[2]) != 8 {
		return false
	}
	_, err := strconv.ParseUint(f[2], 10, 31)
	return err == nil
}

// ParseMarks parses an answer about the marks of an executable: lines of
// "text TEXT", "go VERSION" and "settings".
func ParseMarks(b []byte) (snapshot.Marks, error) {
	var m snapshot.Marks
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch key {
		case "text":
			m.Texts = append(m.Texts, value)
		case "go":
			m.Go = value
		case "settings":
			m.Tags = true
		}
	}
	return m, nil
}
