package census

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// reader turns the tables into a Census. It copies everything: the tables are the
// next scan's.
type reader struct {
	m         *tableSet
	st        *state
	page      int64
	mapcounts bool // folios of more than one page say whether they are mapped

	generations bool // the kernel has the multi-generation LRU
	c           *snapshot.Census
	dirs        []string // by dentry record, as far as built
	stack       []uint32 // of dir
	text        []byte   // room for paths
	alike       [1024]alike
}

func (e *Engine) readOut() (*snapshot.Census, error) {
	var st state
	if err := e.loaded.Variables["st"].Get(&st); err != nil {
		return nil, &Refusal{ErrKernel, "read-out", "the walk's state", err}
	}
	r := &reader{
		m: &e.maps, st: &st, page: int64(os.Getpagesize()), c: &snapshot.Census{Engine: snapshot.EngineBPF, Complete: true},
		mapcounts: e.layout["pg_large_mapcount"] != 0, generations: e.layout["gen_shift"] != 0,
		dirs: make([]string, st.Used[tableDentry]),
	}
	r.c.PageSize = r.page
	r.groups(e.layout["folio_has_objcg"] == 1, e.layout["mc_id_mask"] != 0)
	r.inodes()
	r.rows()
	r.node()
	return r.c, nil
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
func (r *reader) raw(at, length uint32) []byte {
	return r.m.names.pieces[at>>20][0][at&(1<<20-1):][:length]
}

func (r *reader) name(at, length uint32) string {
	if length == 0 {
		return ""
	}
	return string(r.raw(at, length))
}

// maxDepth is of directories: as many as a climb goes.
const maxDepth = 2048

// cssDying is of cgroup_subsys_state.flags (linux include/linux/cgroup-defs.h,
// CSS_DYING): set by rmdir, before the group goes offline.
const cssDying = 1 << 4

func (r *reader) groups(inherit, memoryIDs bool) {
	n := int(r.st.Used[tableGroup])
	r.c.Groups = make([]snapshot.CensusGroup, n)
	r.c.Groups[0].Parent = -1
	for i := 1; i < n; i++ {
		g := &r.m.groups[i]
		dying := g.flags&cssDying != 0
		r.c.Groups[i] = snapshot.CensusGroup{ID: g.id, Parent: int(g.parent), Dying: dying, Usage: snapshot.Unknown, MemoryID: snapshot.Unknown}
		// The root is not charged itself, and from 7.1 on a dying group's
		// counter stays although its memory is the parent's.
		if g.listed > 0 && g.parent != 0 && !(dying && inherit) {
			r.c.Groups[i].Usage = int64(g.usage) * r.page
		}
		if g.listed > 0 && memoryIDs {
			r.c.Groups[i].MemoryID = int64(g.memoryID)
		}
		if g.parent == 0 {
			r.c.Groups[i].Parent = -1
		}
		if !inherit {
			r.c.Groups[i].Inherited = snapshot.Unknown
		}
	}
	for i := 1; i < n; i++ {
		r.c.Groups[i].Path = r.groupPath(uint32(i), 0)
	}
}

func (r *reader) groupPath(i uint32, depth int) string {
	g := &r.m.groups[i]
	if g.parent == 0 || int(g.parent) >= len(r.c.Groups) || depth > 64 {
		return "/"
	}
	up := r.c.Groups[g.parent].Path
	if up == "" {
		up = r.groupPath(g.parent, depth+1)
	}
	if up == "/" {
		up = ""
	}
	return up + "/" + r.name(g.name, g.len)
}

func (r *reader) inodes() {
	n := int(r.st.Used[tableInode])
	r.c.Inodes = make([]snapshot.CensusInode, n-1)
	kinds := make([]string, r.st.Used[tableSuper])
	for i := range kinds {
		kinds[i] = unix.ByteSliceToString(r.m.supers[i].kind[:])
	}
	for i := 1; i < n; i++ {
		f := r.m.inodes.at(uint32(i))
		in := &r.c.Inodes[i-1]
		*in = snapshot.CensusInode{
			Number: f.ino, Generation: f.generation, Links: f.nlink, Size: int64(f.size), Mode: f.mode,
		}
		if f.super != 0 {
			s := &r.m.supers[f.super]
			in.Magic, in.Device, in.Type = s.magic, s.dev, kinds[f.super]
		}
		r.path(in, f)
		in.Deleted = f.nlink == 0 && f.named != 0 && !in.Pseudo
	}
}

func (r *reader) path(in *snapshot.CensusInode, f *inodeRecord) {
	if f.named == 0 {
		return
	}
	name := r.raw(f.name, uint32(f.len))
	if f.named == isRoot {
		in.Path = string(name)
		in.Pseudo = in.Path != "/"
		return
	}
	dir, whole := r.dir(f.dir)
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
func (r *reader) dir(dentry uint32) (path string, whole bool) {
	r.stack = r.stack[:0]
	for dentry != 0 && len(r.stack) < maxDepth {
		d := r.m.dentries.at(dentry)
		if d.parent == dentry {
			whole = true
			if name := r.name(d.name, d.len); name != "/" {
				path = name
			}
			break
		}
		if known := r.dirs[dentry]; known != "" {
			path, whole = known, true
			break
		}
		r.stack = append(r.stack, dentry)
		dentry = d.parent
	}
	for i := len(r.stack) - 1; i >= 0; i-- {
		d := r.m.dentries.at(r.stack[i])
		path += "/" + r.name(d.name, d.len)
		if whole {
			r.dirs[r.stack[i]] = path
		}
	}
	return path, whole
}

func (r *reader) rows() {
	n := int(r.st.Used[tableRow])
	files, slabs := 0, 0
	for i := 1; i < n; i++ {
		switch r.m.rows.at(uint32(i)).kind() {
		case keyFile:
			files++
		case keyObjects, keySlabs:
			slabs++
		}
	}
	r.c.Files = make([]snapshot.CensusFile, 0, files)
	r.c.Slabs = make([]snapshot.CensusSlab, 0, slabs)
	names := make([]string, r.st.Used[tableCache])
	for i := range names {
		c := &r.m.caches[i]
		names[i] = r.name(c.name, c.len)
	}
	for i := 1; i < n; i++ {
		row := r.m.rows.at(uint32(i))
		g := &r.c.Groups[row.group()]
		pages := int64(row.n[nPages]) * r.page
		switch row.kind() {
		case keyObjects:
			c := &r.m.caches[row.item()]
			s := snapshot.CensusSlab{Group: row.group(), Cache: names[row.item()], Objects: int64(row.n[nPages]), Reclaimable: c.flags != 0}
			// Each object is charged with the pointer that says whose it is
			// (linux mm/slab.h, obj_full_size).
			s.Bytes = s.Objects * (int64(c.size) + 8)
			g.Slab += s.Bytes
			r.c.Slabs = append(r.c.Slabs, s)
		case keySlabs:
			c := &r.m.caches[row.item()]
			r.c.Slabs = append(r.c.Slabs, snapshot.CensusSlab{Group: row.group(), Cache: names[row.item()], Bytes: pages, Reclaimable: c.flags != 0})
		case keyFile:
			r.file(g, row, pages)
		default:
			r.class(g, row, pages)
		}
	}
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

func (r *reader) file(g *snapshot.CensusGroup, row *rowRecord, pages int64) {
	f := snapshot.CensusFile{Group: row.group(), Inode: row.item() - 1}
	tmpfs := false
	if f.Inode >= 0 {
		switch r.c.Inodes[f.Inode].Magic {
		case magicHuge:
			g.Hugetlb += pages
			return
		case magicTmpfs:
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
