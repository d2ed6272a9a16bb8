package census

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// What a key is about when it is a pointer, and the low bits of one that points to a
// kernel cache.
const (
	pointerKey   = 4096
	objectsKey   = 1
	slabPagesKey = 2
)

// memory is the kernel's memory. What is not there is not read, or reads as
// zeros.
type memory interface {
	read(address uint64, b []byte) bool
}

// chunkFrames is how many struct pages are looked at together: 1 MiB of them.
// Every folio begins in one and has its second page there too.
const chunkFrames = 16384

// walker does what census.bpf.c does, outside of the kernel: nothing that it
// reads is held still, so every pointer may be stale. It follows none that does
// not look like one, bounds every climb, and believes of a name only what two
// reads agree on.
type walker struct {
	l                  constants
	mem                memory
	page               int64
	vmemmap, subsystem uint64

	c      *snapshot.Census
	rows   map[rowKey]*rowSum
	groups map[uint64]int // by id, in c.Groups
	payers map[payerKey]payer
	inodes map[uint64]int // by mapping, in c.Inodes; -1 for one that cannot be read
	caches map[uint64]cacheName
	dirs   map[uint64]dirName // by dentry
	sums   [4]int64           // pages: active and inactive anon, active and inactive file
	tails  int64
	kmem   int64 // pages of large kmalloc
	slabs  int64 // pages of slab
	bad    int64 // owners of slab objects that are no pointers
	lost   int64 // groups that could not be read
	blocks map[uint64]*[blockSize]byte
	frame  uint64 // the first of those in pages
	pages  []byte
}

const blockSize = 4096

type rowKey struct {
	key   uint64 // as in census.bpf.c: a mapping, a cache with low bits, or a class
	group int
}

type rowSum struct {
	snapshot.PageState
	inherited, objects int64
}

type payerKey struct{ who, node uint64 }

type payer struct {
	group int
	seq   uint64
	own   bool
}

type cacheName struct {
	name        string
	size        int64
	reclaimable bool
}

type dirName struct {
	path  string
	whole bool
}

func newWalker(l constants, mem memory, page int64) *walker {
	return &walker{
		l: l, mem: mem, page: page,
		c:    &snapshot.Census{Engine: snapshot.EngineKcore, Complete: true, PageSize: page, Groups: []snapshot.CensusGroup{{Parent: -1, Usage: snapshot.Unknown, MemoryID: snapshot.Unknown}}},
		rows: map[rowKey]*rowSum{}, groups: map[uint64]int{}, inodes: map[uint64]int{}, caches: map[uint64]cacheName{}, dirs: map[uint64]dirName{},
		blocks: map[uint64]*[blockSize]byte{}, payers: map[payerKey]payer{},
	}
}

// pointer reports whether a word can be a pointer to an object of the kernel.
func pointer(p uint64) bool { return p>>56 == 0xff && p&7 == 0 }

// block is 4 KiB of memory, kept for a while: neighbours are asked for soon.
func (w *walker) block(at uint64) *[blockSize]byte {
	if b, ok := w.blocks[at]; ok {
		return b
	}
	b := new([blockSize]byte)
	if !w.mem.read(at, b[:]) {
		b = nil
	}
	if len(w.blocks) >= 4096 {
		clear(w.blocks)
	}
	w.blocks[at] = b
	return b
}

func (w *walker) bytes(a uint64, into []byte) bool {
	if a>>56 != 0xff {
		return false
	}
	for n := 0; n < len(into); {
		b := w.block((a + uint64(n)) &^ (blockSize - 1))
		if b == nil {
			return w.mem.read(a, into)
		}
		n += copy(into[n:], b[(a+uint64(n))%blockSize:])
	}
	return true
}

func (w *walker) u64(a uint64) uint64 {
	var b [8]byte
	if !w.bytes(a, b[:]) {
		return 0
	}
	return binary.LittleEndian.Uint64(b[:])
}

func (w *walker) u32(a uint64) uint32 { return uint32(w.part(a)) }

func (w *walker) part(a uint64) uint64 {
	var b [4]byte
	if !w.bytes(a, b[:]) {
		return 0
	}
	return uint64(binary.LittleEndian.Uint32(b[:]))
}

// fresh reads a word anew.
func (w *walker) fresh(a uint64) uint64 {
	var b [8]byte
	if a>>56 != 0xff || !w.mem.read(a, b[:]) {
		return 0
	}
	return binary.LittleEndian.Uint64(b[:])
}

// text is a string of at most most bytes.
func (w *walker) text(a uint64, most int) string {
	b := make([]byte, most)
	if !pointer(a&^7) || !w.bytes(a, b) {
		return ""
	}
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// words of the struct pages at hand

func (w *walker) word(pfn, offset uint64) uint64 {
	at := (pfn-w.frame)*pageStruct + offset&^7
	if at+8 > uint64(len(w.pages)) {
		return 0
	}
	return binary.LittleEndian.Uint64(w.pages[at:])
}

func (w *walker) half(pfn, offset uint64) uint32 {
	return uint32(w.word(pfn, offset) >> (offset & 4 * 8))
}

func (w *walker) is(kind uint32, what string) bool {
	return uint64(kind)&w.l[what+"_mask"] == w.l[what+"_value"]
}

func (w *walker) bit(flags uint64, name string) bool { return flags>>(w.l[name]&63)&1 == 1 }

// chunk walks the frames of one chunk from pfn on and returns where to go on.
func (w *walker) chunk(pfn, end uint64, pages []byte) uint64 {
	w.frame, w.pages = pfn, pages
	clear(w.payers) // nothing pins what they point to
	for pfn < end {
		pfn += w.step(pfn)
	}
	return pfn
}

// step counts one page, folio or free block, and says how many pages it has.
func (w *walker) step(pfn uint64) (n uint64) {
	if w.word(pfn, w.l["pg_head"])&1 != 0 {
		w.tails++
		return 1
	}
	kind, flags := w.half(pfn, w.l["pg_type"]), w.word(pfn, w.l["pg_flags"])
	slab := w.is(kind, "slab")
	if w.l["has_slab_bit"] == 1 {
		slab = w.bit(flags, "bit_slab")
	}
	if w.is(kind, "buddy") {
		n = 1
		if order := w.word(pfn, w.l["pg_private"]); order <= w.l["max_order"] {
			n = 1 << order
		}
		w.c.Node.Free += int64(n) * w.page
		return n
	}
	if w.half(pfn, w.l["pg_refcount"]) == 0 && w.word(pfn, w.l["pg_charge"]) == 0 && int32(kind) >= -1 && !slab {
		w.c.Node.Free += w.page
		return 1
	}
	n = 1
	if w.bit(flags, "bit_head") {
		if order := w.word(pfn+1, w.l["pg_order"]) >> (w.l["pg_order"] & 7 * 8) & 0xff; order <= 18 {
			n = 1 << order
		}
	}
	if slab {
		w.slab(pfn, n)
	} else {
		w.used(pfn, n)
	}
	return n
}

func (w *walker) row(key uint64, group int) *rowSum {
	r := w.rows[rowKey{key, group}]
	if r == nil {
		r = &rowSum{}
		w.rows[rowKey{key, group}] = r
		switch { // while what it points to is likely still there
		case key < pointerKey:
		case key&7 == 0:
			w.inode(key)
		default:
			w.cache(key &^ 7)
		}
	}
	return r
}

func (w *walker) add(key uint64, group int, n uint64) { w.row(key, group).Bytes += int64(n) * w.page }

func (w *walker) node(flags uint64) uint64 {
	if w.l["nid_shift"] == 0 {
		return 0
	}
	return flags >> (w.l["nid_shift"] & 63) & 1023
}

// used counts a page or folio that is in use and not slab.
func (w *walker) used(pfn, n uint64) {
	l := w.l
	flags, charge, mapping, kind := w.word(pfn, l["pg_flags"]), w.word(pfn, l["pg_charge"]), w.word(pfn, l["pg_mapping"]), w.half(pfn, l["pg_type"])
	direct := l["charge_is_memcg"] == 1
	kmem := !direct && charge&2 != 0
	if l["has_kmem_type"] == 1 {
		kmem = w.is(kind, "kmem")
	}
	who := charge &^ 7
	if direct && charge&1 != 0 {
		who = 0
	}
	var p payer
	if pointer(who) {
		p = w.payer(who, w.node(flags), !direct && (l["folio_has_objcg"] == 1 || charge&2 != 0))
	} else {
		who = 0
	}
	var class uint64
	switch {
	case w.is(kind, "table"):
		class = keyTable
	case w.is(kind, "hugetlb"):
		class = keyHugetlb
	case w.is(kind, "kmalloc"), kmem && l["has_kmalloc_type"] == 0 && n > 1:
		class = keyLargeKmalloc
		w.kmem += int64(n)
	case kmem:
		class = keyKernel
	case w.is(kind, "offline"):
		w.c.Node.Offline += int64(n) * w.page
		return
	case w.bit(flags, "bit_reserved"):
		w.c.Node.Reserved += int64(n) * w.page
		return
	}
	switch {
	case class != 0:
		w.add(class, p.group, n)
	case mapping&3 == 3:
		w.user(pfn, n, keyKSM, p, who)
	case mapping&1 != 0:
		w.user(pfn, n, keyAnon, p, who)
	case pointer(mapping) && int32(kind) >= -128:
		w.user(pfn, n, mapping, p, who)
	case who != 0:
		w.add(keyOther, p.group, n)
	default:
		w.c.Node.Unowned += int64(n) * w.page
	}
}

// mark adds how much use the multi-generation LRU remembers, as marks of census.bpf.c does.
func (w *walker) mark(r *rowSum, flags uint64, size int64) {
	shift := w.l["gen_shift"]
	if shift == 0 {
		r.Marks = snapshot.Unknown
		return
	}
	n := int64(flags >> (shift - 2) & 3)
	for _, name := range []string{"bit_referenced", "bit_workingset"} {
		if w.bit(flags, name) {
			n++
		}
	}
	r.Marks += n * size
}

// user counts a page or folio of user memory or file cache.
func (w *walker) user(pfn, n, key uint64, p payer, who uint64) {
	r, flags, size := w.row(key, p.group), w.word(pfn, w.l["pg_flags"]), int64(n)*w.page
	r.Bytes += size
	w.list(r, flags, int64(n), p.seq)
	for _, f := range []struct {
		bit  string
		into *int64
	}{{"bit_dirty", &r.Dirty}, {"bit_writeback", &r.Writeback}, {"bit_referenced", &r.Referenced}} {
		if w.bit(flags, f.bit) {
			*f.into += size
		}
	}
	w.mark(r, flags, size)
	mapped := int32(w.half(pfn, w.l["pg_type"])) >= 0
	if n > 1 {
		mapped = w.l["pg_large_mapcount"] != 0 && int32(w.half(pfn+1, w.l["pg_large_mapcount"])) >= 0
		r.Large += size
	}
	if mapped {
		r.Mapped += size
	}
	if n >= 1<<w.l["huge_order"] {
		r.Huge += size
	}
	if w.l["folio_has_objcg"] == 1 && who != 0 && !p.own {
		r.inherited += size
	}
}

func (w *walker) list(r *rowSum, flags uint64, n int64, seq uint64) {
	size := n * w.page
	switch {
	case !w.bit(flags, "bit_lru"):
		r.Isolated += size
		return
	case w.bit(flags, "bit_unevictable"):
		r.Unevictable += size
		return
	}
	active, sum := w.bit(flags, "bit_active"), 2
	if shift := w.l["gen_shift"]; shift != 0 {
		if g := flags >> (shift & 63) & 7; g != 0 {
			active = g-1 == seq&3 || g-1 == (seq-1)&3
		}
	}
	if w.bit(flags, "bit_swapbacked") {
		sum = 0
	}
	if active {
		r.Active += size
	} else {
		r.Inactive += size
		sum++
	}
	w.sums[sum] += n
}

func (w *walker) slab(pfn, n uint64) {
	l := w.l
	w.slabs += int64(n)
	cache, vec, stride := w.word(pfn, l["sl_cache"]), w.word(pfn, l["sl_vector"]), l["ext_size"]
	if vec&1 == 0 || !pointer(vec&^7) {
		w.add(cache|slabPagesKey, 0, n)
		return
	}
	switch {
	case l["has_stride"] == 1:
		stride = uint64(w.half(pfn, l["sl_stride"]))
	case l["has_inobj"] == 1 && w.word(pfn, l["sl_inobj"])>>(l["sl_inobj_shift"]&63)&1 == 1:
		stride = uint64(w.u32(cache + l["kc_size"]))
	}
	count := w.word(pfn, l["sl_objects"]) >> (l["sl_objects_shift"] & 63) & l["sl_objects_mask"]
	if count == 0 || stride < 8 || stride > 1<<20 || count*stride > 4<<20 {
		w.bad++
		return
	}
	b := make([]byte, (count-1)*stride+8)
	if !w.mem.read(vec&^7, b) {
		w.bad++
		return
	}
	node := w.node(w.word(pfn, l["pg_flags"]))
	for i := range count {
		switch o := binary.LittleEndian.Uint64(b[i*stride:]); {
		case o == 0:
		case !pointer(o):
			w.bad++
		default:
			w.row(cache|objectsKey, w.payer(o, node, true).group).objects++
		}
	}
}

// payer is what a charge word points to.
func (w *walker) payer(who, node uint64, objcg bool) payer {
	k := payerKey{who, node}
	if p, ok := w.payers[k]; ok {
		return p
	}
	memcg := who
	if objcg {
		memcg = w.u64(who + w.l["oc_memcg"])
	}
	p := payer{own: true}
	if pointer(memcg) {
		p.group = w.group(memcg)
		at := w.u64(memcg + w.l["mc_nodeinfo"] + node*8)
		if w.l["gen_shift"] != 0 && pointer(at) {
			p.seq = w.u64(at + w.l["pn_max_seq"])
		}
		if w.l["has_pn_objcg"] == 1 {
			p.own = w.u64(at+w.l["pn_objcg"]) == who
		}
	}
	w.payers[k] = p
	return p
}

// group climbs from a memcg to the root. A step that does not look right, or does
// not read the same twice, ends it with nothing.
func (w *walker) group(memcg uint64) int {
	type level struct {
		id    uint64
		name  string
		dying bool
	}
	var up []level
	known := 0
	for css := memcg + w.l["mc_css"]; css != 0; css = w.u64(css + w.l["css_parent"]) {
		kn := w.u64(w.u64(css+w.l["css_cgroup"]) + w.l["cg_kn"])
		if len(up) == 64 || !pointer(css) || w.u64(css+w.l["css_ss"]) != w.subsystem || !pointer(kn) {
			w.lost++
			return 0
		}
		id := w.u64(kn + w.l["kn_id"])
		if i, ok := w.groups[id]; ok {
			known = i
			break
		}
		name := w.text(w.u64(kn+w.l["kn_name"]), 256)
		if id == 0 || w.fresh(kn+w.l["kn_id"]) != id || w.fresh(css+w.l["css_ss"]) != w.subsystem {
			w.lost++
			return 0
		}
		up = append(up, level{id, name, w.u32(css+w.l["css_flags"])&cssDying != 0})
	}
	for i := len(up) - 1; i >= 0; i-- {
		g := snapshot.CensusGroup{ID: up[i].id, Dying: up[i].dying, Parent: -1, Path: "/", Usage: snapshot.Unknown, MemoryID: snapshot.Unknown}
		if known > 0 {
			g.Parent, g.Path = known, strings.TrimSuffix(w.c.Groups[known].Path, "/")+"/"+up[i].name
		}
		if w.l["folio_has_objcg"] == 0 {
			g.Inherited = snapshot.Unknown
		}
		w.c.Groups = append(w.c.Groups, g)
		known = len(w.c.Groups) - 1
		w.groups[g.ID] = known
	}
	return known
}

// inode is the number of the file of a mapping, -1 when it cannot be believed.
func (w *walker) inode(mapping uint64) int {
	if i, ok := w.inodes[mapping]; ok {
		return i
	}
	w.inodes[mapping] = -1
	l, host := w.l, w.u64(mapping+w.l["as_host"])
	if !pointer(host) || w.u64(host+l["in_mapping"]) != mapping {
		w.c.Dropped.BadMappings++
		return -1
	}
	in := snapshot.CensusInode{
		Number: w.u64(host + l["in_ino"]), Size: int64(w.u64(host + l["in_size"])), Links: w.u32(host + l["in_nlink"]),
		Mode: uint16(w.u32(host + l["in_mode"])), Generation: w.u32(host + l["in_generation"]),
	}
	if sb := w.u64(host + l["in_sb"]); pointer(sb) {
		in.Device, in.Magic = w.u32(sb+l["sb_dev"]), w.u64(sb+l["sb_magic"])
		in.Type = w.text(w.u64(w.u64(sb+l["sb_type"])+l["ft_name"]), 16)
	}
	if alias := w.u64(host + l["in_dentry"]); pointer(alias) {
		w.name(&in, alias-l["de_alias"])
		in.Deleted = in.Links == 0 && !in.Pseudo
	}
	// Freed or used anew meanwhile: what was read may be of two files.
	if w.fresh(mapping+l["as_host"]) != host || w.fresh(host+l["in_mapping"]) != mapping || w.fresh(host+l["in_ino"]) != in.Number || in.Size < 0 {
		w.c.Dropped.BadMappings++
		return -1
	}
	w.c.Inodes = append(w.c.Inodes, in)
	w.inodes[mapping] = len(w.c.Inodes) - 1
	return w.inodes[mapping]
}

func (w *walker) name(in *snapshot.CensusInode, dentry uint64) {
	name, up := w.text(w.u64(dentry+w.l["de_name"]), 256), w.u64(dentry+w.l["de_parent"])
	if up == dentry {
		in.Path, in.Pseudo = name, name != "/"
		return
	}
	d := w.dir(up, 0)
	in.Path, in.Partial = d.path+"/"+name, !d.whole
}

// dir is the path of a directory, without a slash at its end.
func (w *walker) dir(dentry uint64, depth int) dirName {
	if d, ok := w.dirs[dentry]; ok || depth > 64 || !pointer(dentry) {
		return d
	}
	name, up := w.text(w.u64(dentry+w.l["de_name"]), 256), w.u64(dentry+w.l["de_parent"])
	d := dirName{whole: true}
	if up != dentry {
		d = w.dir(up, depth+1)
		d.path += "/" + name
	} else if name != "/" {
		d.path = name
	}
	w.dirs[dentry] = d
	return d
}

func (w *walker) cache(at uint64) cacheName {
	if c, ok := w.caches[at]; ok {
		return c
	}
	c := cacheName{w.text(w.u64(at+w.l["kc_name"]), 128), int64(w.u32(at + w.l["kc_size"])), uint64(w.u32(at+w.l["kc_flags"]))&w.l["kc_reclaim"] != 0}
	w.caches[at] = c
	return c
}

// conclude turns the rows into lists and sums.
func (w *walker) conclude() {
	for k, r := range w.rows {
		g := &w.c.Groups[k.group]
		if w.l["pg_large_mapcount"] == 0 && r.Large > 0 {
			r.Mapped = snapshot.Unknown
		}
		switch {
		case k.key < pointerKey:
			w.class(g, k.key, r)
		case k.key&7 == objectsKey:
			c := w.cache(k.key &^ 7)
			s := snapshot.CensusSlab{Group: k.group, Cache: c.name, Objects: r.objects, Bytes: r.objects * (c.size + 8), Reclaimable: c.reclaimable}
			g.Slab += s.Bytes
			w.c.Slabs = append(w.c.Slabs, s)
		case k.key&7 == slabPagesKey:
			c := w.cache(k.key &^ 7)
			w.c.Slabs = append(w.c.Slabs, snapshot.CensusSlab{Group: k.group, Cache: c.name, Bytes: r.Bytes, Reclaimable: c.reclaimable})
		default:
			w.file(g, k, r)
		}
	}
	w.c.Node.Slab = (w.slabs + w.kmem) * w.page
	w.c.Dropped.BadTail, w.c.Dropped.BadCharges = w.tails, w.bad+w.lost
}

func (w *walker) class(g *snapshot.CensusGroup, key uint64, r *rowSum) {
	switch key {
	case keyAnon:
		g.Anon.Add(r.PageState)
		inherit(g, r.inherited)
	case keyKSM:
		g.KSM += r.Bytes
	case keyTable:
		g.Tables += r.Bytes
	case keyKernel:
		g.Kernel += r.Bytes
	case keyHugetlb:
		g.Hugetlb += r.Bytes
	case keyLargeKmalloc:
		g.Slab += r.Bytes
	default:
		g.Other += r.Bytes
	}
}

func (w *walker) file(g *snapshot.CensusGroup, k rowKey, r *rowSum) {
	f := snapshot.CensusFile{Group: k.group, Inode: w.inode(k.key), PageState: &r.PageState}
	if f.Inode >= 0 {
		switch w.c.Inodes[f.Inode].Magic {
		case magicHuge:
			g.Hugetlb += f.Bytes
			return
		case snapshot.MagicTmpfs:
			g.Shmem += f.Bytes
			f.Dirty = 0
		}
	}
	g.File.Add(*f.PageState)
	inherit(g, r.inherited)
	w.c.Node.File += f.Bytes
	w.c.Files = append(w.c.Files, f)
}

// seems says whether a page of which everything is known is where it would be
// with that base, and what of it is not as it should be.
func (w *walker) seems(base, pfn, ino uint64) error {
	w.vmemmap = base
	page := make([]byte, pageStruct)
	if !w.mem.read(base+pfn*pageStruct, page) {
		return fmt.Errorf("nothing at %#x", base+pfn*pageStruct)
	}
	w.frame, w.pages = pfn, page
	mapping, count := w.word(pfn, w.l["pg_mapping"]), w.half(pfn, w.l["pg_refcount"])
	if !pointer(mapping) || count < 2 || count > 64 || !w.bit(w.word(pfn, w.l["pg_flags"]), "bit_swapbacked") {
		return fmt.Errorf("no page of tmpfs at %#x", base+pfn*pageStruct)
	}
	host := w.fresh(mapping + w.l["as_host"])
	if !pointer(host) || w.fresh(host+w.l["in_mapping"]) != mapping || w.fresh(host+w.l["in_ino"]) != ino {
		return fmt.Errorf("not the own file at %#x", mapping)
	}
	return nil
}
