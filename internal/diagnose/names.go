package diagnose

import (
	"cmp"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/mounts"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// fileName is a file as the container sees it that is charged for it; as the node
// does where no container does; else by its path within its file system.
func (f *facts) fileName(in *snapshot.CensusInode, cgroup string) string {
	if f.places == nil {
		f.places = mounts.New(f.s.Mounts)
	}
	p := f.places.Locate(in, cgroup)
	switch {
	case p.Kind == mounts.BlockDevice:
		return f.Say("block device %d:%d (metadata of a file system, or read past it)", uint32(in.Number)>>20, in.Number&(1<<20-1))
	case in.Path == "":
		return f.Say("%s inode %d", in.Type, in.Number)
	case p.Kind == mounts.SharedAnon:
		return f.Say("shared anonymous memory (%s)", "/dev/zero")
	case in.Pseudo:
		return in.Path
	}
	return cmp.Or(p.Path, p.Host, "/"+strings.TrimPrefix(in.Path, "/"))
}

// nameOf is what a share is called: names of files are found only when they are said.
func (f *facts) nameOf(s share) string {
	if s.inode == nil {
		return s.name
	}
	return f.fileName(s.inode, s.cgroup)
}

// order puts the largest first.
func order(list []share) {
	slices.SortFunc(list, func(a, b share) int {
		if d := cmp.Compare(b.bytes, a.bytes); d != 0 || a.inode == nil || b.inode == nil {
			return cmp.Or(d, cmp.Compare(a.name, b.name))
		}
		return cmp.Or(cmp.Compare(a.inode.Path, b.inode.Path), cmp.Compare(a.inode.Device, b.inode.Device), cmp.Compare(a.inode.Number, b.inode.Number))
	})
}

// where names the file that is most of an amount, or the directory whose files are.
func (f *facts) where(list []share, of int64) string {
	if len(list) > 0 && 2*list[0].bytes > of {
		return f.Say("; most of it is %s", f.nameOf(list[0]))
	}
	if dir, files := crowd(list, of); files > 1 {
		if name := strings.TrimSuffix(f.nameOf(dir), "/"); name != "" {
			return f.Say("; most of it is of %d files in %s", files, name)
		}
	}
	return ""
}

// crowd is the deepest directory whose files are more than half of an amount, and how
// many they are.
func crowd(list []share, of int64) (dir share, files int) {
	type key struct {
		device uint32
		path   string
	}
	type sum struct {
		bytes int64
		files int
		one   *share // of its files
	}
	sums := map[key]*sum{}
	add := func(k key, s sum) {
		if t := sums[k]; t != nil {
			t.bytes, t.files = t.bytes+s.bytes, t.files+s.files
			return
		}
		sums[k] = &s
	}
	for i := range list {
		if in := list[i].inode; in != nil && in.Path != "" && !in.Pseudo && in.Type != "bdev" {
			add(key{in.Device, above(in.Path)}, sum{list[i].bytes, 1, &list[i]})
		}
	}
	parents := map[key]sum{}
	for k, s := range sums {
		parents[k] = *s
	}
	for k, s := range parents { // and those above, which are few
		for k.path != "/" {
			k.path = above(k.path)
			add(k, s)
		}
	}
	var best key
	for k, s := range sums {
		if 2*s.bytes > of && len(k.path) > len(best.path) {
			best = k
		}
	}
	s := sums[best]
	if s == nil {
		return dir, 0
	}
	in := *s.one.inode
	in.Path = best.path
	return share{inode: &in, cgroup: s.one.cgroup}, s.files
}

// above is the directory of a path within a file system.
func above(p string) string {
	if i := strings.LastIndexByte(p, '/'); i > 0 {
		return p[:i]
	}
	return "/"
}
