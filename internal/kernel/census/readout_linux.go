package census

import (
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// reader turns the tables into a Census. It copies everything: the tables are the
// next scan's.
type reader struct {
	parts     []*part
	st        state // of the first part, with the sums of all
	page      int64
	mapcounts bool // folios of more than one page say whether they are mapped

	generations bool // the kernel has the multi-generation LRU
	c           *snapshot.Census
	stack       []uint32 // of dir
	text        []byte   // room for paths
	alike       [1024]alike
}

// part is the tables of one shard, and where in the census their records are.
type part struct {
	m      *tableSet
	used   [tables]uint64
	dirs   []string // by dentry record, as far as built
	groups []int32
	before int // what to add to the number of an inode
	caches []string
}

// readOut also gives the sums of all shards, and how many records the first has.
func (e *Engine) readOut() (*snapshot.Census, *state, error) {
	r := &reader{
		page: int64(os.Getpagesize()), c: &snapshot.Census{Engine: snapshot.EngineBPF, Complete: true},
		mapcounts: e.layout["pg_large_mapcount"] != 0, generations: e.layout["gen_shift"] != 0,
	}
	for _, s := range e.shards() {
		st, err := s.state()
		if err != nil {
			return nil, nil, err
		}
		if len(r.parts) == 0 {
			r.st = st
		} else {
			r.st.add(&st)
		}
		r.parts = append(r.parts, &part{m: &s.maps, used: st.Used, dirs: make([]string, st.Used[tableDentry])})
	}
	r.c.PageSize = r.page
	r.groups(e.layout["folio_has_objcg"] == 1, e.layout["mc_id_mask"] != 0)
	r.inodes()
	r.rows()
	r.node()
	return r.c, &r.st, nil
}

func (r *reader) bytes(sum int) int64 { return int64(r.st.Sum[sum]) * r.page }

func (r *reader) node() {
	r.c.Node.Free = r.bytes(sumFree) + r.bytes(sumIdle)
	r.c.Node.Reserved = r.bytes(sumReserved)
	r.c.Node.Offline = r.bytes(sumOffline)
	r.c.Node.Slab = r.bytes(sumSlabs) + r.bytes(sumKmallocs)
	r.c.Node.Unowned = r.bytes(sumUnowned)
	r.c.Dropped = snapshot.CensusDropped{
		Bytes:       r.bytes(sumLostPages),
		Groups:      int64(r.st.Lost[tableGroup]),
		Files:       int64(r.st.Lost[tableRow]),
		Inodes:      int64(r.st.Lost[tableInode] + r.st.Lost[tableSuper]),
		Names:       int64(r.st.Lost[tableDentry] + r.st.Lost[tableCache] + r.st.Sum[sumLostNames] + r.st.Sum[sumDeep]),
		BadMappings: int64(r.st.Sum[sumBadMapping]),
		BadCharges:  int64(r.st.Sum[sumBadObjcg] + r.st.Sum[sumBadGroup]),
		BadTail:     int64(r.st.Sum[sumTails]),
	}
}

// raw is a name where it lies. A name that was changed while it was read may have
// been cut short.
func (p *part) raw(at, length uint32) []byte {
	return p.m.names.pieces[at>>20][0][at&(1<<20-1):][:length]
}

func (p *part) name(at, length uint32) string {
	if length == 0 {
		return ""
	}
	return string(p.raw(at, length))
}

// maxDepth is of directories: as many as a climb goes.
const maxDepth = 2048

// cssDying is of cgroup_subsys_state.flags (linux include/linux/cgroup-defs.h,
// CSS_DYING): set by rmdir, before the group goes offline.
const cssDying = 1 << 4

// groups lists those of the first part, which has them all but for what was removed
// during the walk, and then what else others met.
func (r *reader) groups(inherit, memoryIDs bool) {
	r.c.Groups = make([]snapshot.CensusGroup, 1, r.parts[0].used[tableGroup])
	r.c.Groups[0].Parent = -1
	known := map[uint64]int32{}
	for _, p := range r.parts {
		n := int(p.used[tableGroup])
		p.groups = make([]int32, n)
		first := len(r.c.Groups)
		for i := 1; i < n; i++ {
			g := &p.m.groups[i]
			if at, ok := known[g.id]; ok {
				p.groups[i] = at
				continue
			}
			p.groups[i] = int32(len(r.c.Groups))
			known[g.id] = p.groups[i]
			r.c.Groups = append(r.c.Groups, r.group(g, inherit, memoryIDs))
		}
		for i := 1; i < n; i++ {
			if at := int(p.groups[i]); at >= first {
				r.groupPath(p, uint32(i), 0)
			}
		}
	}
}

func (r *reader) group(g *groupRecord, inherit, memoryIDs bool) snapshot.CensusGroup {
	dying := g.flags&cssDying != 0
	to := snapshot.CensusGroup{ID: g.id, Parent: -1, Dying: dying, Usage: snapshot.Unknown, MemoryID: snapshot.Unknown}
	// The root is not charged itself, and from 7.1 on a dying group's
	// counter stays although its memory is the parent's.
	if g.listed > 0 && g.parent != 0 && !(dying && inherit) {
		to.Usage = int64(g.usage) * r.page
	}
	if g.listed > 0 && memoryIDs {
		to.MemoryID = int64(g.memoryID)
	}
	if !inherit {
		to.Inherited = snapshot.Unknown
	}
	return to
}

// groupPath says what a group's path is, after those above it.
func (r *reader) groupPath(p *part, i uint32, depth int) string {
	g := &p.m.groups[i]
	to := &r.c.Groups[p.groups[i]]
	if to.Path != "" {
		return to.Path
	}
	if g.parent == 0 || uint64(g.parent) >= p.used[tableGroup] || depth > 64 {
		to.Path = "/"
		return to.Path
	}
	to.Parent = int(p.groups[g.parent])
	to.Path = strings.TrimSuffix(r.groupPath(p, g.parent, depth+1), "/") + "/" + p.name(g.name, g.len)
	return to.Path
}

func (r *reader) inodes() {
	all := 0
	for _, p := range r.parts {
		all += int(p.used[tableInode]) - 1
	}
	r.c.Inodes = make([]snapshot.CensusInode, 0, all)
	for _, p := range r.parts {
		p.before = len(r.c.Inodes) - 1
		kinds := make([]string, p.used[tableSuper])
		for i := range kinds {
			kinds[i] = unix.ByteSliceToString(p.m.supers[i].kind[:])
		}
		for i := uint32(1); i < uint32(p.used[tableInode]); i++ {
			f := p.m.inodes.at(i)
			in := snapshot.CensusInode{
				Number: f.ino, Generation: f.generation, Links: f.nlink, Size: int64(f.size), Mode: f.mode,
			}
			if f.super != 0 {
				s := &p.m.supers[f.super]
				in.Magic, in.Device, in.Type = s.magic, s.dev, kinds[f.super]
			}
			r.path(p, &in, f)
			in.Deleted = f.nlink == 0 && f.named != 0 && !in.Pseudo
			r.c.Inodes = append(r.c.Inodes, in)
		}
	}
}

func (r *reader) path(p *part, in *snapshot.CensusInode, f *inodeRecord) {
	if f.named == 0 || f.named == unreadable {
		return
	}
	name := p.raw(f.name, uint32(f.len))
	if f.named == isRoot {
		in.Path = string(name)
		in.Pseudo = in.Path != "/"
		return
	}
	dir, whole := r.dir(p, f.dir)
	in.Path, in.Partial = r.join(dir, name), !whole
}

// join makes a path in memory that many share.
func (r *reader) join(dir string, name []byte) string {
	n := len(dir) + 1 + len(name)
	if cap(r.text)-len(r.text) < n {
		r.text = make([]byte, 0, max(n, 256<<10))
	}
	at := len(r.text)
	r.text = append(append(append(r.text, dir...), '/'), name...)
	return unsafe.String(&r.text[at], n)
}

// dir is the path of a directory without a slash at its end, and whether it
// begins at the root.
func (r *reader) dir(p *part, dentry uint32) (path string, whole bool) {
	r.stack = r.stack[:0]
	for dentry != 0 && len(r.stack) < maxDepth {
		d := p.m.dentries.at(dentry)
		if d.parent == dentry {
			whole = true
			if name := p.name(d.name, d.len); name != "/" {
				path = name
			}
			break
		}
		if known := p.dirs[dentry]; known != "" {
			path, whole = known, true
			break
		}
		r.stack = append(r.stack, dentry)
		dentry = d.parent
	}
	for i := len(r.stack) - 1; i >= 0; i-- {
		d := p.m.dentries.at(r.stack[i])
		path += "/" + p.name(d.name, d.len)
		if whole {
			p.dirs[r.stack[i]] = path
		}
	}
	return path, whole
}

func (r *reader) rows() {
	files, slabs := 0, 0
	fold := folding{}
	for _, p := range r.parts {
		p.caches = make([]string, p.used[tableCache])
		for i := range p.caches {
			c := &p.m.caches[i]
			p.caches[i] = p.name(c.name, c.len)
		}
		for i := uint32(1); i < uint32(p.used[tableRow]); i++ {
			row := p.m.rows.at(i)
			if len(r.parts) > 1 && fold.away(p, row) {
				continue
			}
			switch row.kind() {
			case keyFile:
				files++
			case keyObjects, keySlabs:
				slabs++
			}
		}
	}
	r.c.Files = make([]snapshot.CensusFile, 0, files)
	r.c.Slabs = make([]snapshot.CensusSlab, 0, slabs)
	for _, p := range r.parts {
		for i := uint32(1); i < uint32(p.used[tableRow]); i++ {
			r.row(p, p.m.rows.at(i))
		}
	}
}

func (r *reader) row(p *part, row *rowRecord) {
	group := int(p.groups[row.group()])
	g := &r.c.Groups[group]
	pages := int64(row.n[nPages]) * r.page
	switch row.kind() {
	case keyNone:
	case keyObjects:
		c := &p.m.caches[row.item()]
		s := snapshot.CensusSlab{Group: group, Cache: p.caches[row.item()], Objects: int64(row.n[nPages]), Reclaimable: c.flags != 0}
		// Each object is charged with the pointer that says whose it is
		// (linux mm/slab.h, obj_full_size).
		s.Bytes = s.Objects * (int64(c.size) + 8)
		g.Slab += s.Bytes
		r.c.Slabs = append(r.c.Slabs, s)
	case keySlabs:
		c := &p.m.caches[row.item()]
		r.c.Slabs = append(r.c.Slabs, snapshot.CensusSlab{Group: group, Cache: p.caches[row.item()], Bytes: pages, Reclaimable: c.flags != 0})
	case keyFile:
		inode := -1
		if n := row.item(); n != 0 {
			inode = n + p.before
		}
		r.file(group, inode, row, pages)
	default:
		r.class(g, row, pages)
	}
}

// folding puts together what several parts have of one kernel cache or class.
type folding map[foldKey]*rowRecord

type foldKey struct {
	kind, group int
	cache       uint64 // its address
}

// away adds a row to that of an earlier part, if there is one, and empties it.
func (f folding) away(p *part, row *rowRecord) bool {
	key := foldKey{kind: row.kind(), group: int(p.groups[row.group()])}
	switch key.kind {
	case keyFile:
		return false
	case keyObjects, keySlabs:
		key.cache = p.m.caches[row.item()].address
	}
	into := f[key]
	if into == nil {
		f[key] = row
		return false
	}
	for i, n := range row.n {
		into.n[i] += n
	}
	row.key = 0
	return true
}

func (r *reader) class(g *snapshot.CensusGroup, row *rowRecord, pages int64) {
	switch row.kind() {
	case keyAnon:
		g.Anon.Add(r.memory(row))
		inherit(g, int64(row.n[nInherited])*r.page)
	case keyKSM:
		g.KSM += pages
	case keyTable:
		g.Tables += pages
	case keyKernel:
		g.Kernel += pages
	case keyHugetlb:
		g.Hugetlb += pages
	case keyLargeKmalloc:
		g.Slab += pages
	default:
		g.Other += pages
	}
}

func (r *reader) file(group, inode int, row *rowRecord, pages int64) {
	f, g := snapshot.CensusFile{Group: group, Inode: inode}, &r.c.Groups[group]
	tmpfs := false
	if f.Inode >= 0 {
		switch r.c.Inodes[f.Inode].Magic {
		case magicHuge:
			g.Hugetlb += pages
			return
		case snapshot.MagicTmpfs:
			g.Shmem += pages
			tmpfs = true
		}
	}
	f.PageState = r.fileState(row, tmpfs)
	g.File.Add(*f.PageState)
	inherit(g, int64(row.n[nInherited])*r.page)
	r.c.Node.File += pages
	r.c.Files = append(r.c.Files, f)
}

// alike is what a row's counts make.
type alike struct {
	n     [counts]uint32
	tmpfs bool
	state *snapshot.PageState
}

// fileState is a row's state in memory that rows of the same counts share, as far as
// they are met close together. Most files are of few pages, and unused.
func (r *reader) fileState(row *rowRecord, tmpfs bool) *snapshot.PageState {
	hash := row.n[nPages] ^ row.n[nActive]<<1 ^ row.n[nMapped]<<3 ^ row.n[nReferenced]<<5 ^ row.n[nDirty]<<7
	a := &r.alike[hash%uint32(len(r.alike))]
	if a.state == nil || a.tmpfs != tmpfs || a.n != row.n {
		state := r.memory(row)
		if tmpfs {
			state.Dirty = 0
		}
		*a = alike{row.n, tmpfs, &state}
	}
	return a.state
}

func inherit(g *snapshot.CensusGroup, n int64) {
	if g.Inherited != snapshot.Unknown {
		g.Inherited += n
	}
}

func (r *reader) memory(row *rowRecord) snapshot.PageState {
	of := func(i int) int64 { return int64(row.n[i]) * r.page }
	m := snapshot.PageState{
		Bytes: of(nPages), Active: of(nActive), Inactive: of(nInactive), Unevictable: of(nUnevictable),
		Isolated: of(nOffLRU), Dirty: of(nDirty), Writeback: of(nWriteback), Mapped: of(nMapped),
		Referenced: of(nReferenced), Large: of(nLarge), Huge: of(nHuge),
	}
	if m.Marks = snapshot.Unknown; r.generations {
		m.Marks = of(nMarks)
	}
	if m.Large > 0 && !r.mapcounts {
		m.Mapped = snapshot.Unknown
	}
	return m
}
