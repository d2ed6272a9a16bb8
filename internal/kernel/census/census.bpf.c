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
CONST(bit_active); CONST(bit_unevictable); CONST(bit_referenced); CONST(bit_workingset); CONST(bit_lru);
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
CONST(kc_size); CONST(kc_name); CONST(kc_flags); CONST(kc_reclaim);
// memory cgroups
CONST(oc_memcg); CONST(mc_css); CONST(mc_nodeinfo); CONST(css_ss); CONST(css_cgroup);
CONST(css_parent); CONST(css_flags); CONST(cg_kn); CONST(kn_id); CONST(kn_name);
CONST(css_children); CONST(css_sibling); CONST(css_serial);
CONST(mc_usage); CONST(mc_id); CONST(mc_id_mask);  // mask 0: not there
CONST(pn_objcg); CONST(has_pn_objcg); CONST(pn_lists);
CONST(pn_gens); CONST(zones); CONST(nodes);  // nodes 0: lists are not looked at
CONST(pn_max_seq); CONST(gen_shift); CONST(nid_shift);  // shift 0: not there
// files
CONST(as_host); CONST(in_data); CONST(in_mapping); CONST(in_sb); CONST(in_ino);
CONST(in_nlink); CONST(in_size); CONST(in_mode); CONST(in_generation); CONST(in_dentry);
CONST(sb_dev); CONST(sb_magic); CONST(sb_type); CONST(ft_name);
CONST(de_alias); CONST(de_parent); CONST(de_hash); CONST(de_name);
// the self-test
CONST(ts_files); CONST(fs_fdt); CONST(fdt_fd); CONST(fi_inode); CONST(as_head);
CONST(ts_cgroups); CONST(cs_memcg);
CONST(budget);  // ns that a run may take
// Walkers go over all frames at the same time, each a program with tables of its own.
// Files are shared out by their mapping, for the pages of one may lie anywhere; all else
// by where it lies.
CONST(walkers); CONST(walker);
CONST(row_buckets); CONST(inode_buckets); CONST(dentry_buckets); CONST(group_buckets);  // of an index, those that a key is sent to: without the last PROBES - 1

#define NONE (~0ULL)

// Records start with their key. An index is open-addressed, by the bucket: an entry holds the
// number of a record, 0 for none, and above it bits of the key's hash. Record 0
// is never used. The tables that files fill are in pieces, which user space adds
// between runs.
struct record { u64 key; };

enum { ROW, INODE, DENTRY, GROUP, SUPER, CACHE, TABLES };
#define NUMBER_BITS 20
#define PIECE_BITS 13
#define SUPERS (1 << 12)
#define CACHES (1 << 11)
#define NAMES (1 << 20)
#define PIECES 128
#define BUCKET 16  // entries: a cache line
#define PROBES 4   // buckets

enum {
  PAGES, ACTIVE, INACTIVE, UNEVICTABLE, OFF_LRU, DIRTY, WRITEBACK, MAPPED,
  REFERENCED, LARGE, HUGE, INHERITED, MARKS, COUNTS
};
// A row's key is its group, above that the number of an inode or kernel cache,
// above that the kind.
struct row { u64 key; u32 n[COUNTS]; };
// What is found by a kernel pointer has the slice in which it was last seen to be
// the same object: between runs it may be freed and its memory used anew.
struct inode {
  u64 mapping;
  u32 slice, row;  // the row of the group that was first met
  u64 ino, size;
  u32 generation, nlink, name, dir;
  u16 super, mode;
  u8 len, named, pad[2];
};
enum { NAME = 1, ROOT_NAME, UNREADABLE };  // inode.named
struct dentry { u64 address; u32 slice, parent, name, len, hash, pad; };
#define LISTS 4  // inactive and active anon, inactive and active file
struct group { u64 id, usage, lists[LISTS]; u32 parent, name, len, flags, memory_id, listed; };
struct super { u64 address; u32 slice, dev; u64 magic; char type[16]; };
struct cache { u64 address; u32 size, flags, name, len; };

#define ARRAY(name, entries, what)                                            \
  struct {                                                                    \
    int (*type)[2];                                                           \
    int (*map_flags)[1 << 10];                                                \
    int (*max_entries)[entries];                                              \
    u32 *key;                                                                 \
    what *value;                                                              \
  } name SEC(".maps")

#define TABLE(name)                                                           \
  struct {                                                                    \
    int (*type)[12];                                                          \
    int (*max_entries)[PIECES];                                               \
    u32 *key;                                                                 \
    u32 *value;                                                               \
  } name SEC(".maps")

struct bucket { u32 entry[BUCKET]; };
struct chunk { char bytes[NAMES]; };
TABLE(rows);
TABLE(inodes);
TABLE(dentries);
TABLE(names);
ARRAY(row_index, 1, struct bucket);  // user space sets sizes of 1
ARRAY(inode_index, 1, struct bucket);
ARRAY(dentry_index, 1, struct bucket);
ARRAY(groups, 1, struct group);
ARRAY(group_index, 1, struct bucket);
ARRAY(supers, SUPERS, struct super);
ARRAY(super_index, SUPERS * 2 / BUCKET, struct bucket);
ARRAY(caches, CACHES, struct cache);
ARRAY(cache_index, CACHES * 2 / BUCKET, struct bucket);

// Kinds of rows. row_of takes those before FILE, or a pointer.
enum { ANON = 1, KSM, TABLE_PAGES, KERNEL, HUGETLB, LARGE_KMALLOC, OTHER, FILE, OF_OBJECTS, OF_SLABS };
// Low bits of a pointer to a kmem_cache.
enum { OBJECTS = 1, SLAB_PAGES = 2 };

enum {
  STEPS, FAULTS, FREE, TAILS, IDLE, RESERVED, OFFLINE, UNOWNED, SLABS, KMALLOCS,
  BAD_MAPPING, BAD_OBJCG, BAD_GROUP, LOST_NAMES, LOST_PAGES, DEEP,
  ACTIVE_ANON, INACTIVE_ANON, ACTIVE_FILE, INACTIVE_FILE, SUMS
};

#define GENS 8  // pages by generation, of each anon and file
struct state {
  u64 pfn, end, buffered, slice;
  u64 vec, vec_left, vec_stride, vec_cache, vec_nid;  // the rest of a slab's vector
  u64 vmemmap, subsystem;         // known after the self-test
  u64 heavy;                      // directories since the clock was read
  u64 arena;                      // next free byte of names
  u64 used[TABLES], lost[TABLES];
  u64 sum[SUMS];
  u64 gens[GENS];
};
struct state st;
u64 pages[64 * 8];
// The number of records, or byte of names, from which on the run ends early for
// user space to add pieces.
struct room { u64 rows, inodes, dentries, names; };
struct room room;

// A payer is what a charge word points to, an objcg or a memcg. Neither is
// pinned from 7.1 on, so none is believed beyond the slice that read it.
struct payer { u64 who, slice, nid, seq; u32 group, own; };
#define PAYERS 2048
struct payer payers[PAYERS];
u64 vector[16];

INLINE u64 rd(u64 a) { u64 v = 0; probe_read(&v, 8, (void *)a); return v; }
INLINE u32 rd32(u64 a) { u32 v = 0; probe_read(&v, 4, (void *)a); return v; }
// bounded hides from the compiler where a number comes from, so that the mask
// stays the last thing that the verifier sees. Up to 6.1 it loses the bounds at
// an OR with a constant.
INLINE u64 bounded(u64 n, u64 mask) { asm volatile("" : "+r"(n)); return n & mask; }
INLINE u64 mix(u64 x) { x ^= x >> 32; x *= 0x9e3779b97f4a7c15ULL; return x ^ x >> 29; }

INLINE void *piece(void *table, u32 n) {
  u32 which = n >> PIECE_BITS, in = n & ((1 << PIECE_BITS) - 1);
  void *records = map_lookup(table, &which);
  return records ? map_lookup(records, &in) : 0;
}
INLINE void *whole(void *table, u32 n) { return map_lookup(table, &n); }

// bucket_of spreads hashes over any number of buckets.
INLINE u32 bucket_of(u64 hash, u64 buckets) { return (u64)(u32)hash * buckets >> 32; }

// is_mine says whether what has this hash is for this walker.
INLINE int is_mine(u64 hash) { return walkers < 2 || bucket_of(hash, walkers) == walker; }

// entry finds or adds a record: number << 1, plus 1 when it is new; NONE when
// there is no room. It adds after the loop, at a place that went through memory:
// so the verifier does not know it, and sees that part once.
u64 place;
#define ENTRY(name, index, buckets, at, records, table)                       \
  GLOBAL u64 name(u64 key) {                                                  \
    u64 hash = mix(key);                                                      \
    u32 tag = hash >> 32 << NUMBER_BITS, n, where;                            \
    struct record *r;                                                         \
    struct bucket *b;                                                         \
    for (u32 i = 0; i < PROBES; i++) {                                        \
      where = bucket_of(hash, buckets) + i;                                   \
      b = map_lookup(&index, &where);                                         \
      if (!b) return NONE;                                                    \
      for (u32 j = 0; j < BUCKET; j++) {                                      \
        n = b->entry[j];                                                      \
        if (!n) { place = (u64)where * BUCKET + j; goto add; }                \
        if ((n ^ tag) >> NUMBER_BITS) continue;                               \
        n &= (1 << NUMBER_BITS) - 1;                                          \
        r = at(&records, n);                                                  \
        if (r && r->key == key) return (u64)n << 1;                           \
      }                                                                       \
    }                                                                         \
    goto lost;                                                                \
  add:                                                                        \
    hash = *(volatile u64 *)&place;                                           \
    where = hash / BUCKET;                                                    \
    b = map_lookup(&index, &where);                                           \
    n = st.used[table];                                                       \
    r = n >> NUMBER_BITS ? 0 : at(&records, n);                               \
    if (!n || !r || !b) goto lost;                                            \
    r->key = key;                                                             \
    b->entry[bounded(hash, BUCKET - 1)] = tag | n;                            \
    st.used[table] = n + 1;                                                   \
    return (u64)n << 1 | 1;                                                   \
  lost:                                                                       \
    st.lost[table]++;                                                         \
    return NONE;                                                              \
  }

ENTRY(row_entry, row_index, row_buckets, piece, rows, ROW)
ENTRY(inode_entry, inode_index, inode_buckets, piece, inodes, INODE)
ENTRY(dentry_entry, dentry_index, dentry_buckets, piece, dentries, DENTRY)
ENTRY(group_entry, group_index, group_buckets, whole, groups, GROUP)
ENTRY(super_entry, super_index, SUPERS * 2 / BUCKET - PROBES + 1, whole, supers, SUPER)
ENTRY(cache_entry, cache_index, CACHES * 2 / BUCKET - PROBES + 1, whole, caches, CACHE)

// A record whose object is gone keeps its number and is never found again:
// pointers have no low bits.
INLINE void retire(void *record) { ((struct record *)record)->key |= 1; }

// put_name appends a string to the arena: where << 32 | length; 0 when there was
// no room or no string. Names have up to 255 bytes (NAME_MAX).
GLOBAL u64 put_name(u64 from) {
  u64 where = st.arena;
  u32 which = where / NAMES, in = where % NAMES, first = 0;
  if (in > NAMES - 256) { which++; in = 0; }
  void *strings = map_lookup(&names, &which);
  if (!strings) { st.sum[LOST_NAMES]++; return 0; }
  struct chunk *c = map_lookup(strings, &first);
  if (!c) { st.sum[LOST_NAMES]++; return 0; }
  asm volatile("" : "+r"(in));
  if (in > NAMES - 256) return 0;
  long n = probe_read_str(c->bytes + in, 256, (void *)from);
  if (n <= 1) return 0;
  st.arena = (u64)which * NAMES + in + n - 1;
  return ((u64)which * NAMES + in) << 32 | (u64)(n - 1);
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

u64 inode_words[16], dentry_words[8];

INLINE u64 inode_word(u64 offset) { return inode_words[offset >> 3 & 15]; }
INLINE u32 inode_half(u64 offset) { return inode_word(offset) >> (offset & 4) * 8; }
INLINE u64 dentry_word(u64 offset) { return dentry_words[offset >> 3 & 7]; }

// name_step records one directory. One that is known from an earlier run has to
// have the same name and parent still.
GLOBAL int name_step(void) {
  u64 d = up_names.at, r = dentry_entry(d), up, name;
  u32 n = r >> 1, below = up_names.below, fresh = r & 1, hash;
  struct dentry *e, *p;
  st.heavy++;
  if (r == NONE) return 1;
  e = piece(&dentries, n);
  if (!e) return 1;
  if (!fresh && e->slice != st.slice) fresh = 2;
  if (fresh) {
    if (probe_read(dentry_words, sizeof(dentry_words), (void *)d)) return 1;
    up = dentry_word(de_parent);
    hash = dentry_word(de_hash);
  }
  if (fresh == 2) {
    p = piece(&dentries, e->parent);
    if (e->hash != hash || !p || (e->parent && p->address != up)) {
      retire(e);
      r = dentry_entry(d);
      if (r == NONE) return 1;
      n = r >> 1;
      fresh = 1;
    }
  }
  if (!up_names.first) up_names.first = n;
  p = piece(&dentries, below);
  if (p && below) p->parent = n;
  if (!fresh) return 1;
  name = fresh == 1 ? put_name(dentry_word(de_name)) : 0;
  e = piece(&dentries, n);
  if (!e) return 1;
  e->slice = st.slice;
  if (fresh == 1) {
    e->parent = up == d ? n : 0;
    e->hash = hash;
    e->name = name >> 32;
    e->len = name;
  }
  up_names.below = n;
  up_names.at = up;
  return up == d || !up;
}

// climb records the names from a directory up to the root, as far as they are new.
// No path that a process can use has more than 2048 (PATH_MAX).
INLINE u64 climb(u64 d) {
  up_names.at = d;
  up_names.first = 0;
  up_names.below = 0;
  for (int i = 0; i < 256; i++)
    if (name_step() || name_step() || name_step() || name_step() || name_step() || name_step() || name_step() || name_step()) return up_names.first;
  st.sum[DEEP]++;
  return up_names.first;
}

INLINE u64 super_of(u64 sb) {
  u64 r = super_entry(sb), magic;
  u32 n = r >> 1, dev;
  if (r == NONE) return 0;
  struct super *s = whole(&supers, n);
  if (!s) return 0;
  if (!(r & 1) && s->slice == (u32)st.slice) return n;
  dev = rd32(sb + sb_dev);
  magic = rd(sb + sb_magic);
  if (!(r & 1) && (s->dev != dev || s->magic != magic)) {
    retire(s);
    r = super_entry(sb);
    n = r >> 1;
    s = whole(&supers, n);
    if (r == NONE || !s) return 0;
  }
  s->slice = st.slice;
  if (!(r & 1)) return n;
  s->dev = dev;
  s->magic = magic;
  __builtin_memset(s->type, 0, sizeof(s->type));
  probe_read_str(s->type, sizeof(s->type), (void *)rd(rd(sb + sb_type) + ft_name));
  return n;
}

// names_of records what a file is called.
INLINE void names_of(struct inode *i, u64 host) {
  u64 d = rd(host + in_dentry), name, up;
  i->named = 0;
  i->len = 0;
  i->dir = 0;
  if (!d) return;
  d -= de_alias;
  if (probe_read(dentry_words, sizeof(dentry_words), (void *)d)) return;
  up = dentry_word(de_parent);
  name = put_name(dentry_word(de_name));
  i->named = up == d ? ROOT_NAME : NAME;
  i->name = name >> 32;
  i->len = name;
  if (up != d && up) i->dir = climb(up);
}

// inode_of is the number of a mapping's file. One that is known from an earlier
// run has to be the same file still.
GLOBAL u64 inode_of(u64 mapping) {
  u64 r = inode_entry(mapping), host, super;
  u32 n = r >> 1, generation;
  struct inode *i;
  if (r == NONE) return 0;
  i = piece(&inodes, n);
  if (!i) return 0;
  if (!(r & 1) && i->slice == (u32)st.slice) return i->named == UNREADABLE ? 0 : n;
  // Nearly every mapping is in its inode.
  host = mapping - in_data;
  if (probe_read(inode_words, sizeof(inode_words), (void *)host) || inode_word(in_mapping) != mapping) {
    host = rd(mapping + as_host);
    if (!host || probe_read(inode_words, sizeof(inode_words), (void *)host) || inode_word(in_mapping) != mapping) {
      st.sum[BAD_MAPPING]++;
      if (r & 1) {
        __builtin_memset(&i->row, 0, sizeof(*i) - 12);
        i->named = UNREADABLE;
      }
      if (i->named == UNREADABLE) i->slice = st.slice;
      else retire(i);
      return 0;
    }
  }
  generation = in_generation < sizeof(inode_words) ? inode_half(in_generation) : rd32(host + in_generation);
  super = super_of(inode_word(in_sb));
  if (!(r & 1)) {
    i->slice = st.slice;
    if (i->named != UNREADABLE && i->ino == inode_word(in_ino) && i->generation == generation && i->super == (u16)super) return n;
    retire(i);
    r = inode_entry(mapping);
    n = r >> 1;
    i = piece(&inodes, n);
    if (r == NONE || !i) return 0;
  }
  i->slice = st.slice;
  i->row = 0;
  i->ino = inode_word(in_ino);
  i->size = inode_word(in_size);
  i->generation = generation;
  i->nlink = inode_half(in_nlink);
  i->super = super;
  i->mode = inode_word(in_mode) >> (in_mode & 7) * 8;
  names_of(i, host);
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
    c->flags = rd32(cache + kc_flags) & kc_reclaim;
    name = put_name(rd(cache + kc_name));
    c->name = name >> 32;
    c->len = name;
  }
  return n;
}

// add_row makes a row that no index leads to.
INLINE u64 add_row(u64 key) {
  u32 n = st.used[ROW];
  struct row *w = n && !(n >> NUMBER_BITS) ? piece(&rows, n) : 0;
  if (!w) { st.lost[ROW]++; return 0; }
  st.used[ROW] = n + 1;
  w->key = key;
  __builtin_memset(w->n, 0, sizeof(w->n));
  return n;
}

INLINE u64 indexed_row(u64 key) {
  u64 r = row_entry(key);
  u32 n = r >> 1;
  if (r == NONE) return 0;
  if (r & 1) {
    struct row *w = piece(&rows, n);
    if (!w) return 0;
    __builtin_memset(w->n, 0, sizeof(w->n));
  }
  return n;
}

// A file's first row hangs on its inode, for most files have one.
INLINE u64 file_row(u64 mapping, u64 group) {
  u32 n = inode_of(mapping), row;
  struct inode *i = piece(&inodes, n);
  struct row *w;
  group |= ((u64)FILE << 28 | n) << 32;
  if (!n || !i) return indexed_row(group);
  row = i->row;
  if (!row) return i->row = add_row(group);
  w = piece(&rows, row);
  if (w && w->key == group) return row;
  return indexed_row(group);
}

// The rows that this run used last.
struct seen { u64 key; u32 slice, group; u64 row; };
#define SEEN 256
struct seen seen[SEEN];

// row_of is the number of the row for (group, key); 0 when there is no room.
GLOBAL u64 row_of(u64 key, u64 group) {
  u64 slot = mix(key ^ group << 40) >> 8 & (SEEN - 1), row, kind;
  struct seen *s = &seen[slot];
  if (s->key == key && s->group == group && s->slice == (u32)st.slice) return s->row;
  if (key < 4096) row = indexed_row(key << 60 | group);
  else if (!(key & 7)) row = file_row(key, group);
  else {
    kind = (key & 7) == OBJECTS ? OF_OBJECTS : OF_SLABS;
    row = indexed_row((kind << 28 | cache_of(key & ~7ULL)) << 32 | group);
  }
  s = &seen[slot & (SEEN - 1)];
  s->key = key;
  s->group = group;
  s->slice = st.slice;
  s->row = row;
  return row;
}

INLINE int add_pages(u64 key, u64 group, u64 n) {
  u32 row = row_of(key, group);
  struct row *w = piece(&rows, row);
  if (!row || !w) { st.sum[LOST_PAGES] += n; return 0; }
  w->n[PAGES] += n;
  return 0;
}

GLOBAL int add(u64 key, u64 group, u64 n) { return add_pages(key, group, n); }

// Objects in a row that one objcg pays for are counted together.
struct run { u64 who, group, n; };
struct run run;

// other_object ends the run and begins that of another; NONE only ends it.
GLOBAL int other_object(u64 o) {
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

INLINE void object(u64 o) {
  if (!o) return;
  if (o == run.who) run.n++;
  else other_object(o);
}

// objects reads up to 16 entries of a slab's vector.
INLINE int objects(void) {
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
  other_object(NONE);
  st.vec += n * stride;
  st.vec_left -= n;
  return 0;
}

INLINE u64 word(u64 pfn, u64 offset) { return pages[bounded((pfn & 63) * 8 + (offset >> 3 & 7), 511)]; }
INLINE u32 half(u64 pfn, u64 offset) { return word(pfn, offset) >> (offset & 4) * 8; }
INLINE int bit(u64 flags, u64 n) { return flags >> (n & 63) & 1; }

u64 mine;  // 1 when the pages that are buffered are this walker's, but for files

INLINE int slab(u64 pfn, u64 n) {
  u64 cache = word(pfn, sl_cache), vec = word(pfn, sl_vector);
  u64 stride = ext_size;
  st.sum[SLABS] += n;
  if (walkers > 1 && !mine) return 0;
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
  if (g) st.gens[bounded((g - 1) * 2 + !anon, GENS - 1)] += n;
  active = g ? g - 1 == (seq & 3) || g - 1 == ((seq - 1) & 3) : bit(flags, bit_active);
  if (active) {
    w->n[ACTIVE] += n;
    if (anon) st.sum[ACTIVE_ANON] += n; else st.sum[ACTIVE_FILE] += n;
  } else {
    w->n[INACTIVE] += n;
    if (anon) st.sum[INACTIVE_ANON] += n; else st.sum[INACTIVE_FILE] += n;
  }
}

// marks is how much use the multi-generation LRU remembers of a page, 0 to 5: reading it
// sets PG_referenced, then counts in two bits below the generation, and sets PG_workingset,
// in an order that varies (linux mm/swap.c, lru_gen_inc_refs).
INLINE u64 marks(u64 flags) {
  if (!gen_shift) return 0;
  return bit(flags, bit_referenced) + bit(flags, bit_workingset) + (flags >> ((gen_shift - 2) & 63) & 3);
}

INLINE int mapped(u64 pfn) {
  return pg_large_mapcount && (int)half(pfn + 1, pg_large_mapcount) >= 0;
}

// A run of pages that look the same in every way that counts: they are counted
// together.
struct alike { u64 flags, mapping, charge, type, n, row, seq, own; };
struct alike alike;

// count_alike counts the run so far, and ends it.
GLOBAL int count_alike(void) {
  u64 n = alike.n, flags = alike.flags;
  struct row *w = piece(&rows, alike.row);
  alike.n = 0;
  if (!n || !w) return 0;
  w->n[PAGES] += n;
  lru(w, flags, n, alike.seq);
  if (bit(flags, bit_dirty)) w->n[DIRTY] += n;
  if (bit(flags, bit_writeback)) w->n[WRITEBACK] += n;
  if (bit(flags, bit_referenced)) w->n[REFERENCED] += n;
  w->n[MARKS] += n * marks(flags);
  if ((int)alike.type >= 0) w->n[MAPPED] += n;
  if (folio_has_objcg && !alike.own) w->n[INHERITED] += n;
  return 0;
}

// is_others says that a page by itself is user memory or file cache, and another
// walker's. Nothing else is on a list of the LRU.
INLINE int is_others(u64 pfn) {
  u64 flags = word(pfn, pg_flags), mapping = word(pfn, pg_mapping);
  if (!bit(flags, bit_lru) || bit(flags, bit_head) || word(pfn, pg_head) & 1 || mapping >> 56 != 0xff) return 0;
  return mapping & 1 ? !mine : !is_mine(mix(mapping) >> 32);
}

// pass goes past a page that is another walker's, and those after it.
GLOBAL int pass(void) {
  u64 pfn = st.pfn, end = st.end;
  count_alike();
  for (u32 i = 0; i < 63; i++) {
    if (!(pfn & 63) || pfn >= end || !is_others(pfn)) break;
    pfn++;
  }
  st.pfn = pfn;
  return 0;
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
  struct row *w = piece(&rows, row);
  if (!row || !w) { st.sum[LOST_PAGES] += n; return 0; }
  if (n == 1) {
    count_alike();
    alike.flags = flags;
    alike.mapping = word(pfn, pg_mapping);
    alike.charge = word(pfn, pg_charge);
    alike.type = half(pfn, pg_type);
    alike.n = 1;
    alike.row = row;
    alike.seq = seq;
    alike.own = own;
    return 0;
  }
  w->n[PAGES] += n;
  lru(w, flags, n, seq);
  if (bit(flags, bit_dirty)) w->n[DIRTY] += n;
  if (bit(flags, bit_writeback)) w->n[WRITEBACK] += n;
  if (bit(flags, bit_referenced)) w->n[REFERENCED] += n;
  w->n[MARKS] += n * marks(flags);
  if (mapped(pfn)) w->n[MAPPED] += n;
  w->n[LARGE] += n;
  if (n >= 1ULL << (huge_order & 31)) w->n[HUGE] += n;
  if (folio_has_objcg && !own) w->n[INHERITED] += n;
  return 0;
}

#define IS(type, what) ((type & what##_mask) == what##_value)

// used counts a page or folio that is in use and not slab.
INLINE int used(u64 pfn, u64 n) {
  u64 flags = word(pfn, pg_flags), charge = word(pfn, pg_charge), mapping = word(pfn, pg_mapping);
  u64 payer = NONE, group = 0, who = charge & ~7ULL, kind = 0, key = 0;
  u32 type = half(pfn, pg_type);
  u64 kmem = has_kmem_type ? IS(type, kmem) : !charge_is_memcg && charge & 2;
  if (charge_is_memcg && charge & 1) who = 0;
  if (IS(type, table)) kind = TABLE_PAGES;
  else if (IS(type, hugetlb)) kind = HUGETLB;
  else if (IS(type, kmalloc)) kind = LARGE_KMALLOC;
  else if (kmem) kind = !has_kmalloc_type && n > 1 ? LARGE_KMALLOC : KERNEL;
  else if (IS(type, offline)) { st.sum[OFFLINE] += n; return 0; }
  else if (bit(flags, bit_reserved)) { st.sum[RESERVED] += n; return 0; }
  if (kind == LARGE_KMALLOC) st.sum[KMALLOCS] += n;
  if (!kind) {
    if (mapping & 1) key = mapping & 2 ? KSM : ANON;
    else if (mapping >> 56 == 0xff && !(mapping & 3) && (int)type >= -128) key = mapping;
    else if (!who) { st.sum[UNOWNED] += n; return 0; }
    else kind = OTHER;
  }
  if (walkers > 1 && !(key > OTHER ? is_mine(mix(mapping) >> 32) : mine)) return key && n == 1 ? pass() : 0;
  if (who) {
    payer = payer_of(who, nid_shift ? flags >> (nid_shift & 63) : 0, !charge_is_memcg && (folio_has_objcg || charge & 2));
    group = payers[payer & (PAYERS - 1)].group;
  }
  return kind ? add(kind, group, n) : user(pfn, n, key, payer);
}

// blank says whether the pages that are buffered are all zero: the kernel has not
// made anything of them yet.
INLINE int blank(void) {
  u64 any = 0;
  for (u32 i = 0; i < 64 * 8; i++) any |= pages[i];
  return !any;
}

// unmade says so of 512 pages from one on, by every 64th: the kernel makes them in
// steps of its largest free block (linux mm/mm_init.c, deferred_init_memmap).
u64 page[8];
GLOBAL int unmade(u64 pfn) {
  u64 any = 0;
  for (u32 i = 0; i < 512; i += 64) {
    if (probe_read(page, sizeof(page), (void *)(st.vmemmap + (pfn + i) * 64))) return 0;
    any |= page[0] | page[1] | page[2] | page[3] | page[4] | page[5] | page[6] | page[7];
    if (any) return 0;
  }
  return 1;
}

INLINE int is_alike(u64 pfn) {
  return word(pfn, pg_flags) == alike.flags && word(pfn, pg_mapping) == alike.mapping && word(pfn, pg_charge) == alike.charge && half(pfn, pg_type) == alike.type;
}

// go_on counts the pages up to the end of the block that are like the last.
GLOBAL int go_on(void) {
  u64 pfn = st.pfn, end = st.end;
  for (u32 i = 0; i < 63; i++) {
    if (!(pfn & 63) || pfn >= end || !is_alike(pfn)) break;
    pfn++;
  }
  alike.n += pfn - st.pfn;
  st.pfn = pfn;
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
    if (!(pfn & 511) && pfn + 512 <= st.end && max_order >= 9 && unmade(pfn)) {
      st.sum[IDLE] += 512;
      st.pfn = pfn + 512;
      return 0;
    }
    if (probe_read(pages, sizeof(pages), (void *)(st.vmemmap + (pfn & ~63ULL) * 64))) {
      st.buffered = NONE;
      st.pfn = (pfn | 63) + 1;
      st.sum[FAULTS] += st.pfn - pfn;
      return 0;
    }
    st.buffered = pfn & ~63ULL;
    if (walkers > 1 && (u64)is_mine(mix(pfn >> 12)) != mine) {
      count_alike();  // a run does not cross into what is another's
      mine = !mine;
    }
    if (!(pages[0] | pages[511]) && !(pfn & 63) && pfn + 64 <= st.end && blank()) {
      st.sum[IDLE] += 64;
      st.pfn = pfn + 64;
      return 0;
    }
  }
  st.pfn = pfn + 1;
  type = half(pfn, pg_type);
  flags = word(pfn, pg_flags);
  if (alike.n && is_alike(pfn)) {
    alike.n++;
    return go_on();
  }
  if (word(pfn, pg_head) & 1) { st.sum[TAILS]++; return 0; }
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

GLOBAL int full(void) {
  return st.used[ROW] >= room.rows || st.used[INODE] >= room.inodes || st.used[DENTRY] >= room.dentries || st.arena >= room.names;
}

// took packs a run's result: its duration in ns << 2, 2 when tables want pieces,
// 1 at the end.
INLINE u32 took(u64 start, int want, int done) {
  u64 t = ktime() - start;
  if (t > 0x1fffffff) t = 0x1fffffff;
  return t << 2 | want << 1 | done;
}

// steps is what is done between two looks at the clock: 5 to 50 us.
GLOBAL int steps(void) {
  st.heavy = 0;
  for (int i = 0; i < 32; i++) {
    if (step()) return 1;
    if (st.heavy >= 256) break;
  }
  return 0;
}

// ended says that a run is to end, after so many steps. A vector that was begun is
// read to its end: a slab may be freed between runs.
GLOBAL int ended(u64 start, u64 i) { return !st.vec_left && (full() || i >= 191 || ktime() - start > budget); }

// scan runs one slice. ctx: first frame and end of the range, 1 for a new range.
SEC("raw_tp") int scan(u64 *ctx) {
  u64 start = ktime(), done = 0;
  if (ctx[2]) { st.pfn = ctx[0]; st.vec_left = 0; }
  st.end = ctx[1];
  st.buffered = NONE;
  st.slice++;
  for (int i = 0; i < 256; i++) {
    if (steps()) { done = 1; break; }
    if (ended(start, i)) break;
  }
  count_alike();
  return took(start, !done && full(), done);
}

// list runs one slice of the tour. ctx: 1 for a new tour. The result is as scan's.
SEC("raw_tp") int list(u64 *ctx) {
  u64 start = ktime(), done = 0;
  tour.root = rd(rd(current_task() + ts_cgroups) + cs_memcg) + mc_css;
  for (int i = 0; i < 64; i++)
    if (root_step()) break;
  if (ctx[0]) {
    __builtin_memset(&tour.listed, 0, sizeof(tour.listed));
    __builtin_memset(&tour.gens, 0, sizeof(tour.gens));
    tour.found = tour.restarts = tour.lost = tour.seek = 0;
    tour.at = tour.root;
    tour.depth = 0;
  } else {
    tour.at = tour.stop;
    tour.depth = tour.stop_depth;
  }
  tour.resumed = !ctx[0];
  tour.up = 0;
  for (int i = 0; i < 512; i++) {
    done = tour_steps();
    if (done || ktime() - start > budget) break;
  }
  return took(start, 0, done);
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
