// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

//go:build ignore

// The page census: walks the node's array of struct page and adds up who is
// charged for what. Every program here is run by BPF_PROG_TEST_RUN and never
// attached. Raw tracepoint programs run under rcu_read_lock (linux
// net/bpf/test_run.c, __bpf_prog_test_run_raw_tp), which is what keeps inodes,
// dentries, cgroups and kernfs nodes readable within one run.
//
// No kernel header is used. Each offset, bit number and size is a constant that
// user space takes from the running kernel's BTF before it loads this, see
// layout.go for what each is.

typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned char u8;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
// Functions that are not static are verified once each, not once per call.
#define GLOBAL __attribute__((noinline))
#define CONST(name) const volatile u64 name = 0

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static u64 (*ktime)(void) = (void *)5;
static u64 (*current_task)(void) = (void *)35;
static long (*probe_read)(void *to, u32 size, const void *from) = (void *)113;
static long (*probe_read_str)(void *to, u32 size, const void *from) = (void *)115;

// struct page
CONST(pg_flags); CONST(pg_head); CONST(pg_mapping); CONST(pg_private);
CONST(pg_type); CONST(pg_refcount); CONST(pg_charge);
CONST(pg_order); CONST(pg_large_mapcount);  // within the second page of a folio
CONST(max_order); CONST(huge_order);
CONST(bit_head); CONST(bit_slab); CONST(has_slab_bit); CONST(bit_dirty); CONST(bit_writeback);
CONST(bit_active); CONST(bit_unevictable); CONST(bit_referenced); CONST(bit_lru);
CONST(bit_swapbacked); CONST(bit_reserved);
// page types: (type & mask) == value; a type that this kernel does not have has
// mask 0 and value 1
CONST(buddy_mask); CONST(buddy_value); CONST(table_mask); CONST(table_value);
CONST(slab_mask); CONST(slab_value); CONST(offline_mask); CONST(offline_value);
CONST(hugetlb_mask); CONST(hugetlb_value); CONST(kmalloc_mask); CONST(kmalloc_value);
CONST(kmem_mask); CONST(kmem_value);
CONST(has_kmem_type);      // 5.10: accounted kernel pages have a page type
CONST(has_kmalloc_type);   // 6.16: large kmalloc has a page type
CONST(charge_is_memcg);    // 5.10: page.mem_cgroup
CONST(folio_has_objcg);    // 7.1: the charge word of every folio is an objcg
// slab
CONST(sl_cache); CONST(sl_vector); CONST(sl_objects); CONST(sl_objects_shift);
CONST(sl_objects_mask); CONST(sl_stride); CONST(has_stride);
CONST(sl_inobj); CONST(sl_inobj_shift); CONST(has_inobj); CONST(ext_size);
CONST(kc_size); CONST(kc_name);
// memory cgroups
CONST(oc_memcg); CONST(mc_css); CONST(mc_nodeinfo); CONST(css_ss); CONST(css_cgroup);
CONST(css_parent); CONST(css_flags); CONST(cg_kn); CONST(kn_id); CONST(kn_name);
CONST(css_children); CONST(css_sibling); CONST(css_serial);
CONST(mc_usage); CONST(mc_id); CONST(mc_id_mask);  // mask 0: not there
CONST(pn_objcg); CONST(has_pn_objcg);
CONST(pn_max_seq); CONST(gen_shift); CONST(nid_shift);  // shift 0: not there
// files
CONST(as_host); CONST(in_mapping); CONST(in_sb); CONST(in_ino);
CONST(in_nlink); CONST(in_size); CONST(in_mode); CONST(in_generation); CONST(in_dentry);
CONST(sb_dev); CONST(sb_magic); CONST(sb_type); CONST(ft_name);
CONST(de_alias); CONST(de_parent); CONST(de_name);
// the self-test
CONST(ts_files); CONST(fs_fdt); CONST(fdt_fd); CONST(fi_inode); CONST(as_head);
CONST(ts_cgroups); CONST(cs_memcg);
CONST(budget);  // ns that a run may take

#define NONE (~0ULL)

// Records start with their key. Tables are open-addressed: an index entry holds
// the number of a record, 0 for none, and above it 32 bits of the key's hash.
// Record 0 is never used.
struct record { u64 key; u32 key2; };

enum { ROW, INODE, DENTRY, GROUP, SUPER, CACHE, TABLES };
#define ROWS (1 << 18)
#define INODES (7 << 15)
#define DENTRIES (1 << 18)
#define GROUPS (1 << 16)
#define SUPERS (1 << 12)
#define CACHES (1 << 11)
#define CHUNK (1 << 20)
#define CHUNKS 12
#define PROBES 32

enum {
  PAGES, ACTIVE, INACTIVE, UNEVICTABLE, OFF_LRU, DIRTY, WRITEBACK, MAPPED,
  REFERENCED, LARGE, HUGE, INHERITED, COUNTS
};
struct row { u64 key; u32 group, item; u32 n[COUNTS]; };
struct inode { u64 mapping; u32 key2, dentry; u64 ino, size; u32 super, nlink, mode, generation; };
struct dentry { u64 address; u32 key2, parent, name, len; };
struct group { u64 id; u32 key2, parent, name, len; u64 flags, usage; u32 memory_id, listed; };
struct super { u64 address; u32 dev, pad; u64 magic; char type[16]; };
struct cache { u64 address; u32 key2, size, name, len; };

#define ARRAY(name, entries, what)                                            \
  struct {                                                                    \
    int (*type)[2];                                                           \
    int (*map_flags)[1 << 10];                                                \
    int (*max_entries)[entries];                                              \
    u32 *key;                                                                 \
    what *value;                                                              \
  } name SEC(".maps")

struct chunk { char bytes[CHUNK]; };
ARRAY(rows, ROWS, struct row);
ARRAY(row_index, ROWS * 2, u64);
ARRAY(inodes, INODES, struct inode);
ARRAY(inode_index, ROWS * 2, u64);
ARRAY(dentries, DENTRIES, struct dentry);
ARRAY(dentry_index, DENTRIES * 2, u64);
ARRAY(groups, GROUPS, struct group);
ARRAY(group_index, GROUPS * 2, u64);
ARRAY(supers, SUPERS, struct super);
ARRAY(super_index, SUPERS * 2, u64);
ARRAY(caches, CACHES, struct cache);
ARRAY(cache_index, CACHES * 2, u64);
ARRAY(names, CHUNKS, struct chunk);

// What a row is about when its key is no pointer.
enum { ANON = 1, KSM, TABLE_PAGES, KERNEL, HUGETLB, LARGE_KMALLOC, OTHER };
// Low bits of a key that points to a kmem_cache.
enum { OBJECTS = 1, SLAB_PAGES = 2 };

enum {
  STEPS, FAULTS, FREE, TAILS, IDLE, RESERVED, OFFLINE, UNOWNED, SLABS, KMALLOCS,
  BAD_MAPPING, BAD_OBJCG, BAD_GROUP, LOST_NAMES, LOST_PAGES, DEEP,
  ACTIVE_ANON, INACTIVE_ANON, ACTIVE_FILE, INACTIVE_FILE, SUMS
};

struct state {
  u64 pfn, end, buffered, slice;
  u64 vec, vec_left, vec_stride, vec_cache, vec_nid;  // the rest of a slab's vector
  u64 last_key, last_group, last_row;
  u64 vmemmap, subsystem;         // known after the self-test
  u64 arena;                      // next free byte of names
  u64 used[TABLES], lost[TABLES];
  u64 sum[SUMS];
};
struct state st;
u64 pages[64 * 8];

// A payer is what a charge word points to, an objcg or a memcg. Neither is
// pinned from 7.1 on, so none is believed beyond the slice that read it.
struct payer { u64 who, slice, nid, seq; u32 group, own; };
#define PAYERS 512
struct payer payers[PAYERS];
u64 vector[16];

INLINE u64 rd(u64 a) { u64 v = 0; probe_read(&v, 8, (void *)a); return v; }
INLINE u32 rd32(u64 a) { u32 v = 0; probe_read(&v, 4, (void *)a); return v; }
// bounded hides from the compiler where a number comes from, so that the mask
// stays the last thing that the verifier sees. Up to 6.1 it loses the bounds at
// an OR with a constant.
INLINE u64 bounded(u64 n, u64 mask) { asm volatile("" : "+r"(n)); return n & mask; }
INLINE u64 mix(u64 x) { x ^= x >> 32; x *= 0x9e3779b97f4a7c15ULL; return x ^ x >> 29; }

// entry finds or adds a record: number << 1, plus 1 when it is new; NONE when
// there is no room.
INLINE u64 entry(void *index, u32 size, void *records, u32 max, u32 table, u64 key, u32 key2) {
  u64 hash = mix(key ^ (u64)key2 << 40), tag = hash & 0xffffffff00000000ULL;
  u32 h = hash;
  for (u32 i = 0; i < PROBES; i++) {
    u32 slot = (h + i * (i + 1) / 2) & (size - 1);
    u64 *at = map_lookup(index, &slot);
    if (!at) return NONE;
    u32 n = *at;
    if (n && (*at ^ tag) >> 32) continue;
    if (!n) {
      n = st.used[table];
      if (!n || n >= max) break;
      struct record *r = map_lookup(records, &n);
      if (!r) break;
      r->key = key;
      r->key2 = key2;
      *at = tag | n;
      st.used[table] = n + 1;
      return (u64)n << 1 | 1;
    }
    struct record *r = map_lookup(records, &n);
    if (!r) break;
    if (r->key == key && r->key2 == key2) return (u64)n << 1;
  }
  st.lost[table]++;
  return NONE;
}

GLOBAL u64 row_entry(u64 key, u64 group) { return entry(&row_index, ROWS * 2, &rows, ROWS, ROW, key, group); }
GLOBAL u64 inode_entry(u64 key) { return entry(&inode_index, ROWS * 2, &inodes, INODES, INODE, key, 0); }
GLOBAL u64 dentry_entry(u64 key) { return entry(&dentry_index, DENTRIES * 2, &dentries, DENTRIES, DENTRY, key, 0); }
GLOBAL u64 group_entry(u64 key) { return entry(&group_index, GROUPS * 2, &groups, GROUPS, GROUP, key, 0); }
GLOBAL u64 super_entry(u64 key, u64 dev) { return entry(&super_index, SUPERS * 2, &supers, SUPERS, SUPER, key, dev); }
GLOBAL u64 cache_entry(u64 key) { return entry(&cache_index, CACHES * 2, &caches, CACHES, CACHE, key, 0); }

// put_name appends a string to the arena: where << 32 | length; 0 when there was
// no room or no string. Names have up to 255 bytes (NAME_MAX).
GLOBAL u64 put_name(u64 from) {
  u64 where = st.arena;
  u32 chunk = where / CHUNK, in = where % CHUNK;
  if (in > CHUNK - 256) { chunk++; in = 0; }
  struct chunk *c = map_lookup(&names, &chunk);
  if (!c) { st.sum[LOST_NAMES]++; return 0; }
  asm volatile("" : "+r"(in));
  if (in > CHUNK - 256) return 0;
  long n = probe_read_str(c->bytes + in, 256, (void *)from);
  if (n <= 1) return 0;
  st.arena = (u64)chunk * CHUNK + in + n - 1;
  return ((u64)chunk * CHUNK + in) << 32 | (u64)(n - 1);
}

// The climbs below keep their place in memory and make a step a function: a loop
// with branches in it is too much for the verifier of 6.1 and older.
struct climb { u64 at, first; u32 below, pad; };
struct climb up_names;

#include "groups.bpf.h"

// payer_of says where in payers what a charge word points to is described.
GLOBAL u64 payer_of(u64 who, u64 nid, u64 is_objcg) {
  u64 slot = mix(who >> 3 ^ nid << 50) >> 20 & (PAYERS - 1);
  struct payer *p = &payers[slot];
  if (p->who == who && p->slice == st.slice && p->nid == nid) return slot;
  u64 memcg = is_objcg ? rd(who + oc_memcg) : who;
  u64 node = rd(memcg + mc_nodeinfo + (nid & 1023) * 8);
  u64 group = group_of(memcg);
  p = &payers[slot & (PAYERS - 1)];
  p->who = who;
  p->slice = st.slice;
  p->nid = nid;
  p->group = group;
  p->seq = gen_shift ? rd(node + pn_max_seq) : 0;
  p->own = !has_pn_objcg || rd(node + pn_objcg) == who;
  return slot;
}

GLOBAL int name_step(void) {
  u64 d = up_names.at, r = dentry_entry(d), up, name;
  u32 n, below = up_names.below;
  struct dentry *e;
  if (r == NONE) return 1;
  n = r >> 1;
  if (!up_names.first) up_names.first = n;
  e = map_lookup(&dentries, &below);
  if (e && below) e->parent = n;
  if (!(r & 1)) return 1;
  up = rd(d + de_parent);
  name = put_name(rd(d + de_name));
  e = map_lookup(&dentries, &n);
  if (!e) return 1;
  e->parent = up == d ? n : 0;
  e->name = name >> 32;
  e->len = name;
  up_names.below = n;
  up_names.at = up;
  return up == d || !up;
}

// climb records the names from a dentry up to its root, as far as they are new.
INLINE u64 climb(u64 d) {
  up_names.at = d;
  up_names.first = 0;
  up_names.below = 0;
  for (int i = 0; i < 64; i++)
    if (name_step()) return up_names.first;
  st.sum[DEEP]++;
  return up_names.first;
}

INLINE u64 super_of(u64 sb) {
  u64 r = super_entry(sb, rd32(sb + sb_dev));
  if (r == NONE) return 0;
  u32 n = r >> 1;
  if (r & 1) {
    struct super *s = map_lookup(&supers, &n);
    if (!s) return 0;
    s->magic = rd(sb + sb_magic);
    __builtin_memset(s->type, 0, sizeof(s->type));
    probe_read_str(s->type, sizeof(s->type), (void *)rd(rd(sb + sb_type) + ft_name));
  }
  return n;
}

GLOBAL u64 inode_of(u64 mapping) {
  u64 host = rd(mapping + as_host), alias, r;
  if (!host || rd(host + in_mapping) != mapping) { st.sum[BAD_MAPPING]++; return 0; }
  r = inode_entry(mapping);
  if (r == NONE) return 0;
  u32 n = r >> 1;
  if (!(r & 1)) return n;
  struct inode *i = map_lookup(&inodes, &n);
  if (!i) return 0;
  i->ino = rd(host + in_ino);
  i->size = rd(host + in_size);
  i->nlink = rd32(host + in_nlink);
  i->mode = rd32(host + in_mode) & 0xffff;
  i->generation = rd32(host + in_generation);
  i->super = super_of(rd(host + in_sb));
  alias = rd(host + in_dentry);
  i->dentry = alias ? climb(alias - de_alias) : 0;
  return n;
}

GLOBAL u64 cache_of(u64 cache) {
  u64 r = cache_entry(cache), name;
  if (r == NONE) return 0;
  u32 n = r >> 1;
  if (r & 1) {
    struct cache *c = map_lookup(&caches, &n);
    if (!c) return 0;
    c->size = rd32(cache + kc_size);
    name = put_name(rd(cache + kc_name));
    c->name = name >> 32;
    c->len = name;
  }
  return n;
}

// row_of is the number of the row for (group, key); 0 when there is no room.
GLOBAL u64 row_of(u64 key, u64 group) {
  if (key == st.last_key && group == st.last_group) return st.last_row;
  u64 r = row_entry(key, group);
  u32 n = r == NONE ? 0 : r >> 1;
  if (n && r & 1) {
    u64 item = 0;
    if (key > 4096) item = key & 7 ? cache_of(key & ~7ULL) : inode_of(key);
    struct row *w = map_lookup(&rows, &n);
    if (!w) return 0;
    w->item = item;
    __builtin_memset(w->n, 0, sizeof(w->n));
  }
  st.last_key = key;
  st.last_group = group;
  st.last_row = n;
  return n;
}

INLINE int add_pages(u64 key, u64 group, u64 n) {
  u32 row = row_of(key, group);
  struct row *w = map_lookup(&rows, &row);
  if (!row || !w) { st.sum[LOST_PAGES] += n; return 0; }
  w->n[PAGES] += n;
  return 0;
}

GLOBAL int add(u64 key, u64 group, u64 n) { return add_pages(key, group, n); }

// Objects in a row that one objcg pays for are counted together.
struct run { u64 who, group, n; };
struct run run;

// object takes one entry of a slab's vector; NONE ends the run.
GLOBAL int object(u64 o) {
  if (!o || o == run.who) { run.n += !!o; return 0; }
  if (run.n) add_pages(st.vec_cache | OBJECTS, run.group, run.n);
  run.n = 0;
  run.who = 0;
  if (o == NONE) return 0;
  if (o >> 56 != 0xff || o & 7) { st.sum[BAD_OBJCG]++; return 0; }
  run.who = o;
  run.n = 1;
  run.group = payers[payer_of(o, st.vec_nid, 1) & (PAYERS - 1)].group;
  return 0;
}

// objects reads up to 16 entries of a slab's vector.
GLOBAL int objects(void) {
  u64 stride = st.vec_stride;
  u32 n = st.vec_left, per = stride == 8 ? 16 : 8;
  if (n > per) n = per;
  if (stride > 16) {
    for (u32 i = 0; i < 8 && i < n; i++) object(rd(st.vec + i * stride));
  } else {
    probe_read(vector, sizeof(vector), (void *)st.vec);
    u32 words = stride == 16 ? 2 : 1;
    for (u32 i = 0; i < 16 && i < n; i++) object(vector[i * words & 15]);
  }
  object(NONE);
  st.vec += n * stride;
  st.vec_left -= n;
  return 0;
}

INLINE u64 word(u64 pfn, u64 offset) { return pages[bounded((pfn & 63) * 8 + (offset >> 3 & 7), 511)]; }
INLINE u32 half(u64 pfn, u64 offset) { return word(pfn, offset) >> (offset & 4) * 8; }
INLINE int bit(u64 flags, u64 n) { return flags >> (n & 63) & 1; }

GLOBAL int slab(u64 pfn, u64 n) {
  u64 cache = word(pfn, sl_cache), vec = word(pfn, sl_vector);
  u64 stride = ext_size;
  st.sum[SLABS] += n;
  if (!(vec & 1)) vec = 0;
  vec &= ~7ULL;  // an entry vector that could not be allocated is only low bits
  if (!vec) { add(cache | SLAB_PAGES, 0, n); return 0; }
  if (has_stride) stride = half(pfn, sl_stride);
  else if (has_inobj && word(pfn, sl_inobj) >> (sl_inobj_shift & 63) & 1) stride = rd32(cache + kc_size);
  if (stride < 8) { st.sum[BAD_OBJCG]++; return 0; }
  st.vec = vec;
  st.vec_left = word(pfn, sl_objects) >> (sl_objects_shift & 63) & sl_objects_mask;
  st.vec_stride = stride;
  st.vec_cache = cache;
  st.vec_nid = nid_shift ? word(pfn, pg_flags) >> (nid_shift & 63) : 0;
  return 0;
}

// lru counts n pages of a row by the list that they are on.
INLINE void lru(struct row *w, u64 flags, u64 n, u64 seq) {
  u64 anon = bit(flags, bit_swapbacked), g, active;
  if (!bit(flags, bit_lru)) { w->n[OFF_LRU] += n; return; }
  if (bit(flags, bit_unevictable)) { w->n[UNEVICTABLE] += n; return; }
  g = gen_shift ? flags >> (gen_shift & 63) & 7 : 0;
  // The two youngest generations are the active list (linux mm_inline.h,
  // lru_gen_is_active); generation 0 is a page of the classic lists.
  active = g ? g - 1 == (seq & 3) || g - 1 == ((seq - 1) & 3) : bit(flags, bit_active);
  if (active) {
    w->n[ACTIVE] += n;
    if (anon) st.sum[ACTIVE_ANON] += n; else st.sum[ACTIVE_FILE] += n;
  } else {
    w->n[INACTIVE] += n;
    if (anon) st.sum[INACTIVE_ANON] += n; else st.sum[INACTIVE_FILE] += n;
  }
}

INLINE int mapped(u64 pfn, u64 n) {
  if (n == 1) return (int)half(pfn, pg_type) >= 0;
  return pg_large_mapcount && (int)half(pfn + 1, pg_large_mapcount) >= 0;
}

// user counts a page or folio of user memory or file cache.
GLOBAL int user(u64 pfn, u64 n, u64 key, u64 payer) {
  u64 flags = word(pfn, pg_flags), group = 0, seq = 0, own = 1;
  if (payer != NONE) {
    struct payer *p = &payers[payer & (PAYERS - 1)];
    group = p->group;
    seq = p->seq;
    own = p->own;
  }
  u32 row = row_of(key, group);
  struct row *w = map_lookup(&rows, &row);
  if (!row || !w) { st.sum[LOST_PAGES] += n; return 0; }
  w->n[PAGES] += n;
  lru(w, flags, n, seq);
  if (bit(flags, bit_dirty)) w->n[DIRTY] += n;
  if (bit(flags, bit_writeback)) w->n[WRITEBACK] += n;
  if (bit(flags, bit_referenced)) w->n[REFERENCED] += n;
  if (mapped(pfn, n)) w->n[MAPPED] += n;
  if (n > 1) w->n[LARGE] += n;
  if (n >= 1ULL << (huge_order & 31)) w->n[HUGE] += n;
  if (folio_has_objcg && !own) w->n[INHERITED] += n;
  return 0;
}

#define IS(type, what) ((type & what##_mask) == what##_value)

// used counts a page or folio that is in use and not slab.
INLINE int used(u64 pfn, u64 n) {
  u64 flags = word(pfn, pg_flags), charge = word(pfn, pg_charge), mapping = word(pfn, pg_mapping);
  u64 payer = NONE, group = 0, who = charge & ~7ULL, kind = 0;
  u32 type = half(pfn, pg_type);
  u64 kmem = has_kmem_type ? IS(type, kmem) : !charge_is_memcg && charge & 2;
  if (charge_is_memcg && charge & 1) who = 0;
  if (who) {
    payer = payer_of(who, nid_shift ? flags >> (nid_shift & 63) : 0, !charge_is_memcg && (folio_has_objcg || charge & 2));
    group = payers[payer & (PAYERS - 1)].group;
  }
  if (IS(type, table)) kind = TABLE_PAGES;
  else if (IS(type, hugetlb)) kind = HUGETLB;
  else if (IS(type, kmalloc)) kind = LARGE_KMALLOC;
  else if (kmem) kind = !has_kmalloc_type && n > 1 ? LARGE_KMALLOC : KERNEL;
  else if (IS(type, offline)) { st.sum[OFFLINE] += n; return 0; }
  else if (bit(flags, bit_reserved)) { st.sum[RESERVED] += n; return 0; }
  if (kind == LARGE_KMALLOC) st.sum[KMALLOCS] += n;
  if (kind) return add(kind, group, n);
  if (mapping & 1) return user(pfn, n, mapping & 2 ? KSM : ANON, payer);
  if (mapping >> 56 == 0xff && !(mapping & 3) && (int)type >= -128) return user(pfn, n, mapping, payer);
  if (who) return add(OTHER, group, n);
  st.sum[UNOWNED] += n;
  return 0;
}

// step counts one page, folio, free block or piece of a slab's vector; 1 at the
// end of the range.
GLOBAL int step(void) {
  u64 pfn = st.pfn, flags, n = 1;
  u32 type;
  int is_slab;
  if (st.vec_left) { objects(); return 0; }
  if (pfn >= st.end) return 1;
  st.sum[STEPS]++;
  if ((pfn & ~63ULL) != st.buffered) {
    if (probe_read(pages, sizeof(pages), (void *)(st.vmemmap + (pfn & ~63ULL) * 64))) {
      st.buffered = NONE;
      st.pfn = (pfn | 63) + 1;
      st.sum[FAULTS] += st.pfn - pfn;
      return 0;
    }
    st.buffered = pfn & ~63ULL;
  }
  st.pfn = pfn + 1;
  if (word(pfn, pg_head) & 1) { st.sum[TAILS]++; return 0; }
  type = half(pfn, pg_type);
  flags = word(pfn, pg_flags);
  is_slab = has_slab_bit ? bit(flags, bit_slab) : IS(type, slab);
  if (IS(type, buddy)) {
    u64 order = word(pfn, pg_private);
    if (order <= max_order) n = 1ULL << (order & 31);
    st.sum[FREE] += n;
    st.pfn = pfn + n;
    return 0;
  }
  // Reference count 0 alone says nothing, for slab pages have none since 6.15.
  // With no type and no charge: on a processor's free list, or not initialised.
  if (!half(pfn, pg_refcount) && !word(pfn, pg_charge) && (int)type >= -1 && !is_slab) {
    st.sum[IDLE]++;
    return 0;
  }
  if (bit(flags, bit_head)) {
    u64 order = word(pfn + 1, pg_order) >> (pg_order & 7) * 8 & 0xff;
    if (order <= 18) n = 1ULL << (order & 31);
    st.pfn = pfn + n;
  }
  if (is_slab) return slab(pfn, n);
  used(pfn, n);
  return 0;
}

// scan runs one slice. ctx: first frame and end of the range, 1 for a new range.
// The result is its duration in ns << 1, plus 1 at the end of the range.
SEC("raw_tp") int scan(u64 *ctx) {
  u64 start = ktime(), took, done = 0;
  if (ctx[2]) { st.pfn = ctx[0]; st.vec_left = 0; }
  st.end = ctx[1];
  st.buffered = NONE;
  st.last_key = 0;
  st.slice++;
  // The clock is read every 32 steps: 10 to 50 us.
  // A vector that was begun is read to its end: a slab may be freed between runs.
  for (int i = 0; i < 128; i++) {
    for (int j = 0; j < 32 && !done; j++) done = step();
    if (done) break;
    if ((i >= 63 || ktime() - start > budget) && !st.vec_left) break;
  }
  took = ktime() - start;
  if (took > 0x3fffffff) took = 0x3fffffff;
  return took << 1 | done;
}

// self looks up what the self-test compares: of this task and of one of its open
// files, whose number is ctx[0].
struct self {
  u64 folio, mapping, host, memcg, subsystem, node_objcg, objcg_memcg, charge, flags, max_seq, refcount;
};
struct self own;
SEC("raw_tp") int self_test(u64 *ctx) {
  u64 task = current_task(), file, inode, node;
  file = rd(rd(rd(rd(task + ts_files) + fs_fdt) + fdt_fd) + ctx[0] * 8);
  inode = rd(file + fi_inode);
  own.mapping = rd(inode + in_mapping);
  own.host = rd(own.mapping + as_host) == inode;
  own.folio = rd(own.mapping + as_head);
  own.memcg = rd(rd(task + ts_cgroups) + cs_memcg);
  own.subsystem = rd(own.memcg + mc_css + css_ss);
  own.charge = rd(own.folio + pg_charge);
  own.flags = rd(own.folio + pg_flags);
  own.refcount = rd32(own.folio + pg_refcount);
  own.objcg_memcg = rd((own.charge & ~7ULL) + oc_memcg);
  node = rd(own.memcg + mc_nodeinfo + (nid_shift ? own.flags >> (nid_shift & 63) : 0) * 8);
  own.node_objcg = has_pn_objcg ? rd(node + pn_objcg) : 0;
  own.max_seq = gen_shift ? rd(node + pn_max_seq) : 0;
  return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
