package census

import (
	"fmt"
	"math/bits"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// constants are the CONST variables of census.bpf.c by name: byte offsets unless
// the name says bit, shift, mask, value or has.
type constants map[string]uint64

// pageStruct is the only size of struct page that the walk can read.
const pageStruct = 64

// How much of a structure is read at once, in bytes.
const (
	cssHead    = 256
	inodeHead  = 128
	dentryHead = 64
)

// offsets: struct, then the alternatives for the path of the member. Anonymous
// members are descended into.
var offsets = []struct{ constant, in, member string }{
	{"pg_flags", "page", "flags"},
	{"pg_head", "page", "compound_head|compound_info"}, // compound_info since 7.1
	{"pg_mapping", "page", "mapping"},
	{"pg_private", "page", "private"},
	{"pg_type", "page", "page_type"},
	{"pg_refcount", "page", "_refcount"},
	{"pg_charge", "page", "memcg_data|mem_cgroup"}, // mem_cgroup until 5.10
	{"kc_size", "kmem_cache", "size"},
	{"kc_name", "kmem_cache", "name"},
	{"kc_flags", "kmem_cache", "flags"},
	{"oc_memcg", "obj_cgroup", "memcg"},
	{"mc_css", "mem_cgroup", "css"},
	{"mc_nodeinfo", "mem_cgroup", "nodeinfo"},
	{"css_ss", "cgroup_subsys_state", "ss"},
	{"css_cgroup", "cgroup_subsys_state", "cgroup"},
	{"css_parent", "cgroup_subsys_state", "parent"},
	{"css_flags", "cgroup_subsys_state", "flags"},
	{"css_children", "cgroup_subsys_state", "children"},
	{"css_sibling", "cgroup_subsys_state", "sibling"},
	{"css_serial", "cgroup_subsys_state", "serial_nr"},
	{"mc_usage", "mem_cgroup", "memory.usage"},
	{"cg_kn", "cgroup", "kn"},
	{"kn_id", "kernfs_node", "id"},
	{"kn_name", "kernfs_node", "name"},
	{"as_host", "address_space", "host"},
	{"as_head", "address_space", "i_pages.xa_head"},
	{"in_mapping", "inode", "i_mapping"},
	{"in_data", "inode", "i_data"},
	{"in_sb", "inode", "i_sb"},
	{"in_ino", "inode", "i_ino"},
	{"in_nlink", "inode", "i_nlink"},
	{"in_size", "inode", "i_size"},
	{"in_mode", "inode", "i_mode"},
	{"in_generation", "inode", "i_generation"},
	{"in_dentry", "inode", "i_dentry"},
	{"sb_dev", "super_block", "s_dev"},
	{"sb_magic", "super_block", "s_magic"},
	{"sb_type", "super_block", "s_type"},
	{"ft_name", "file_system_type", "name"},
	{"de_alias", "dentry", "d_u.d_alias|d_alias"}, // no d_u since 7.1
	{"de_parent", "dentry", "d_parent"},
	{"de_hash", "dentry", "d_name.hash"},
	{"de_name", "dentry", "d_name.name"},
	{"ts_files", "task_struct", "files"},
	{"fs_fdt", "files_struct", "fdt"},
	{"fdt_fd", "fdtable", "fd"},
	{"fi_inode", "file", "f_inode"},
	{"ts_cgroups", "task_struct", "cgroups"},
}

var flagBits = map[string]string{
	"bit_head": "PG_head", "bit_dirty": "PG_dirty", "bit_writeback": "PG_writeback",
	"bit_active": "PG_active", "bit_unevictable": "PG_unevictable", "bit_referenced": "PG_referenced",
	"bit_workingset": "PG_workingset", "bit_lru": "PG_lru", "bit_swapbacked": "PG_swapbacked", "bit_reserved": "PG_reserved",
}

// pageTypes have a PGTY_ name since 6.12 and a PG_ name in 6.10 and 6.11.
var pageTypes = []string{"buddy", "table", "slab", "offline", "hugetlb"}

// layoutOf reads from BTF where the walk finds what. It decides by what a kernel
// has, never by its version, and refuses a kernel where something is missing.
// pageSize is in bytes.
func layoutOf(spec *btf.Spec, pageSize int) (constants, error) {
	l := &layout{types: spec, c: constants{}}
	for _, o := range offsets {
		l.c[o.constant] = l.offset(o.in, o.member)
	}
	for constant, name := range flagBits {
		l.c[constant] = l.value("pageflags", name)
	}
	if s := l.structure("page"); s != nil && s.Size != pageStruct {
		l.fail(fmt.Sprintf("struct page of %d bytes (it has %d)", pageStruct, s.Size))
	}
	l.pages(pageSize)
	l.encodings()
	l.charge()
	l.slab()
	l.generations()
	if len(l.missing) > 0 {
		return nil, fmt.Errorf("this kernel's BTF lacks %s", strings.Join(l.missing, ", "))
	}
	return l.c, nil
}

type layout struct {
	types   *btf.Spec
	c       constants
	missing []string
}

func (l *layout) fail(what string) { l.missing = append(l.missing, what) }

func (l *layout) pages(pageSize int) {
	shift := uint64(bits.TrailingZeros64(uint64(pageSize)))
	l.c["huge_order"] = shift - 3 // a page table has a page of 8-byte entries
	areas := l.length("zone", "free_area")
	if areas == 0 {
		l.fail("zone.free_area[]")
	}
	l.c["max_order"] = areas - 1
	switch {
	case l.has("page", "compound_order"):
		l.c["pg_order"] = l.offset("page", "compound_order")
	case l.has("folio", "_folio_order"):
		l.c["pg_order"] = l.offset("folio", "_folio_order") - pageStruct
	default: // the low byte of the second page's flags
		l.c["pg_order"] = l.offset("folio", "_flags_1") - pageStruct
	}
	if l.has("folio", "_large_mapcount") { // since 6.10
		if at := l.offset("folio", "_large_mapcount"); at > pageStruct && at < 2*pageStruct {
			l.c["pg_large_mapcount"] = at - pageStruct
		}
	}
	for _, c := range []string{"pg_flags", "pg_head", "pg_mapping", "pg_private", "pg_charge"} {
		if l.c[c]%8 != 0 || l.c[c] >= pageStruct {
			l.fail(fmt.Sprintf("an aligned word for %s (offset %d)", c, l.c[c]))
		}
	}
	if l.c["pg_order"] >= pageStruct {
		l.fail("a folio order in the second page")
	}
}

// encodings sets how page types are told apart; three encodings so far.
func (l *layout) encodings() {
	set := func(name string, mask, value uint64) { l.c[name+"_mask"], l.c[name+"_value"] = mask, value }
	for _, name := range append(pageTypes, "kmalloc", "kmem") {
		set(name, 0, 1)
	}
	_, named := l.enum("pagetype", "PGTY_buddy")
	_, flagged := l.enum("pagetype", "PG_buddy")
	switch {
	case named: // the top byte is a number
		for _, name := range pageTypes {
			set(name, 0xff000000, l.value("pagetype", "PGTY_"+name)<<24)
		}
		if v, ok := l.enum("pagetype", "PGTY_large_kmalloc"); ok {
			set("kmalloc", 0xff000000, v<<24)
			l.c["has_kmalloc_type"] = 1
		}
	case flagged: // inverted bits below 0x80000000
		for _, name := range pageTypes {
			set(name, 0x80000000|l.value("pagetype", "PG_"+name), 0x80000000)
		}
	default: // inverted bits below 0xf0000000, macros of linux page-flags.h
		const base = 0xf0000000
		table := uint64(0x200)
		if l.has("page", "mem_cgroup") {
			table = 0x400
			set("kmem", base|0x200, base)
			l.c["has_kmem_type"] = 1
		}
		set("buddy", base|0x80, base)
		set("offline", base|0x100, base)
		set("table", base|table, base)
		l.c["has_slab_bit"], l.c["bit_slab"] = 1, l.value("pageflags", "PG_slab")
	}
}

func (l *layout) charge() {
	if !l.has("page", "memcg_data") {
		l.c["charge_is_memcg"] = 1
	}
	if l.has("mem_cgroup_per_node", "orig_objcg") { // since 7.1
		l.c["folio_has_objcg"] = 1
		l.c["has_pn_objcg"] = 1
		l.c["pn_objcg"] = l.offset("mem_cgroup_per_node", "orig_objcg")
	}
	if at, _, t := l.member("mem_cgroup", "id.id"); t != nil {
		if number, ok := t.(*btf.Int); ok && number.Size <= 4 {
			l.c["mc_id"], l.c["mc_id_mask"] = at/8, 1<<(8*number.Size)-1
		}
	}
	l.atHead(cssHead, "css_ss", "css_children", "css_sibling", "css_serial", "css_parent", "css_flags")
	l.atHead(inodeHead, "in_mapping", "in_sb", "in_ino", "in_nlink", "in_size", "in_mode")
	l.atHead(dentryHead, "de_parent", "de_hash", "de_name")
	l.c["cs_memcg"] = l.offset("css_set", "subsys") + 8*l.value("cgroup_subsys_id", "memory_cgrp_id")
}

// atHead demands that members are in what is read at once of their structure.
func (l *layout) atHead(size uint64, members ...string) {
	for _, c := range members {
		if l.c[c]+8 > size {
			l.fail(fmt.Sprintf("%s in the first %d bytes (offset %d)", c, size, l.c[c]))
		}
	}
}

// reclaimAccount is SLAB_RECLAIM_ACCOUNT before the flags had an enum (linux
// include/linux/slab.h, until 6.8).
const reclaimAccount = 0x00020000

func (l *layout) slab() {
	l.c["kc_reclaim"] = reclaimAccount
	if bit, ok := l.enum("_slab_flag_bits", "_SLAB_RECLAIM_ACCOUNT"); ok {
		l.c["kc_reclaim"] = 1 << bit
	}
	in := "slab" // since 5.17
	if !l.has(in, "slab_cache") {
		in = "page"
	}
	l.c["sl_cache"] = l.offset(in, "slab_cache")
	l.c["sl_vector"] = l.offset(in, "obj_exts|memcg_data|obj_cgroups|mem_cgroup")
	word := func(name, member string) uint64 {
		at, width, _ := l.member(in, member)
		l.c[name], l.c[name+"_shift"] = at/64*8, at%64
		return width
	}
	if width := word("sl_objects", "objects"); width == 0 {
		l.fail(in + ".objects")
	} else {
		l.c["sl_objects_mask"] = 1<<width - 1
	}
	l.c["ext_size"] = 8
	if s := l.structure("slabobj_ext"); s != nil {
		l.c["ext_size"] = uint64(s.Size)
	}
	if e := l.c["ext_size"]; e != 8 && e != 16 {
		l.fail(fmt.Sprintf("slabobj_ext of 8 or 16 bytes (it has %d)", e))
	}
	switch {
	case l.has(in, "stride"):
		l.c["has_stride"] = 1
		l.c["sl_stride"] = l.offset(in, "stride")
	case l.has(in, "obj_exts_in_object"):
		l.c["has_inobj"] = 1
		word("sl_inobj", "obj_exts_in_object")
	}
}

// generations finds the generation and the node in page.flags, which no BTF
// names: | node | zone | last_cpupid | generation (3 bits) | ... | flags |
// (linux include/linux/page-flags-layout.h, without tag-based KASAN).
func (l *layout) generations() {
	nodes := max(l.length("kmem_cache", "node"), l.length("kmem_cache", "per_node"))
	if nodes == 0 {
		l.fail("kmem_cache.node[] or per_node[]")
		return
	}
	nodeBits := log2(nodes)
	if nodeBits > 0 {
		l.c["nid_shift"] = 64 - nodeBits
	}
	zones := l.value("zone_type", "__MAX_NR_ZONES")
	if at, _, t := l.member("mem_cgroup_per_node", "lru_zone_size"); t != nil && zones <= 6 && l.value("lru_list", "NR_LRU_LISTS") == 5 {
		l.c["pn_lists"], l.c["zones"] = at/8, zones
	}
	if !l.has("mem_cgroup_per_node", "lruvec.lrugen.max_seq") {
		return
	}
	zoneBits := log2(zones)
	var cpuBits uint64
	if l.has("task_struct", "numa_faults") && !l.has("page", "_last_cpupid") {
		cpuBits = 8 + log2(64*l.length("cpumask", "bits"))
	}
	l.c["pn_gens"] = l.offset("mem_cgroup_per_node", "lruvec.lrugen.nr_pages")
	l.c["pn_max_seq"] = l.offset("mem_cgroup_per_node", "lruvec.lrugen.max_seq")
	l.c["gen_shift"] = 64 - nodeBits - zoneBits - cpuBits - 3
}

func log2(n uint64) uint64 {
	if n < 2 {
		return 0
	}
	return uint64(bits.Len64(n - 1))
}

func (l *layout) structure(name string) *btf.Struct {
	var s *btf.Struct
	if err := l.types.TypeByName(name, &s); err != nil {
		return nil
	}
	return s
}

// member finds a member by its path: offset and, of a bit field, width in bits.
func (l *layout) member(in, path string) (at, width uint64, found btf.Type) {
	s := l.structure(in)
	if s == nil {
		return 0, 0, nil
	}
	found = s
	for name := range strings.SplitSeq(path, ".") {
		m, ok := find(found, name)
		if !ok {
			return 0, 0, nil
		}
		at, width, found = at+uint64(m.Offset), uint64(m.BitfieldSize), m.Type
	}
	return at, width, btf.UnderlyingType(found)
}

func find(in btf.Type, name string) (btf.Member, bool) {
	var members []btf.Member
	switch t := btf.UnderlyingType(in).(type) {
	case *btf.Struct:
		members = t.Members
	case *btf.Union:
		members = t.Members
	}
	for _, m := range members {
		if m.Name == name {
			return m, true
		}
	}
	for _, m := range members {
		if m.Name != "" {
			continue
		}
		if inner, ok := find(m.Type, name); ok {
			inner.Offset += m.Offset
			return inner, true
		}
	}
	return btf.Member{}, false
}

func (l *layout) has(in, path string) bool {
	_, _, t := l.member(in, path)
	return t != nil
}

// offset is that of the first alternative that exists, in bytes.
func (l *layout) offset(in, alternatives string) uint64 {
	for path := range strings.SplitSeq(alternatives, "|") {
		if at, _, t := l.member(in, path); t != nil {
			return at / 8
		}
	}
	l.fail(in + "." + strings.ReplaceAll(alternatives, "|", " or ."))
	return 0
}

func (l *layout) length(in, path string) uint64 {
	_, _, t := l.member(in, path)
	if a, ok := t.(*btf.Array); ok {
		return uint64(a.Nelems)
	}
	return 0
}

func (l *layout) enum(in, name string) (uint64, bool) {
	var e *btf.Enum
	if err := l.types.TypeByName(in, &e); err != nil {
		return 0, false
	}
	for _, v := range e.Values {
		if v.Name == name {
			return v.Value, true
		}
	}
	return 0, false
}

func (l *layout) value(in, name string) uint64 {
	v, ok := l.enum(in, name)
	if !ok {
		l.fail("enum " + in + "." + name)
	}
	return v
}
