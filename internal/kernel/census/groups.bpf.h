// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

// Memory cgroups: those that a page leads to, and the list of all. Part of
// census.bpf.c.

struct climb up_groups;

GLOBAL int group_step(void) {
  u64 css = up_groups.at, kn, id, r, name;
  u32 n, below = up_groups.below;
  struct group *g;
  if (rd(css + css_ss) != st.subsystem) { st.sum[BAD_GROUP]++; return 1; }
  kn = rd(rd(css + css_cgroup) + cg_kn);
  id = rd(kn + kn_id);
  if (!id) { st.sum[BAD_GROUP]++; return 1; }
  r = group_entry(id);
  if (r == NONE) return 1;
  n = r >> 1;
  if (!up_groups.first) up_groups.first = n;
  g = whole(&groups, below);
  if (g && below) g->parent = n;
  if (!(r & 1)) return 1;
  name = put_name(rd(kn + kn_name));
  g = whole(&groups, n);
  if (!g) return 1;
  g->parent = 0;
  g->name = name >> 32;
  g->len = name;
  g->flags = rd32(css + css_flags);
  g->usage = 0;
  g->memory_id = 0;
  g->listed = 0;
  __builtin_memset(g->lists, 0, sizeof(g->lists));
  up_groups.below = n;
  up_groups.at = rd(css + css_parent);
  return !up_groups.at;
}

// group_of climbs from a memcg to the root and stops at a group that is known.
GLOBAL u64 group_of(u64 memcg) {
  up_groups.at = memcg + mc_css;
  up_groups.first = 0;
  up_groups.below = 0;
  for (int i = 0; i < 64; i++)
    if (group_step()) break;
  return up_groups.first;
}

// The tour lists every group, parents first, along css.children and css.sibling.
// A css has a serial number of its own for ever, and siblings are linked in their
// order (linux kernel/cgroup/cgroup.c, css_create). So the place can be found
// again from the root by the serial numbers of the last group that was listed
// and of those above it. That is needed when the css that the tour stopped at is
// off its list: between runs its pointer serves only with its serial number
// unchanged and without CSS_RELEASED.
#define DEPTH 64
#define CSS_RELEASED (1 << 2)
#define CSS_DYING (1 << 4)
struct tour {
  u64 root, at, depth;
  u64 listed[DEPTH], listed_depth;        // serial numbers
  u64 stop, stop_serial, stop_depth, stop_down;  // where a run ended, and which way it was to go on
  u64 resumed;  // at is a pointer of an earlier run
  u64 seek;     // on the way back to the last group that was listed
  u64 up;       // all below at is done
  u64 found, restarts;
  u64 lost;     // places where it could not go on
  u64 gens[GENS];
};
struct tour tour;
u64 css[32];

INLINE u64 css_word(u64 offset) { return css[bounded(offset >> 3, 31)]; }
INLINE u64 css_flag(u64 flag) { return css_word(css_flags) >> (css_flags & 4) * 8 & flag; }

GLOBAL int tour_restart(void) {
  tour.at = tour.root;
  tour.depth = 0;
  tour.seek = 1;
  tour.up = 0;
  tour.restarts++;
  return 0;
}

// tour_across goes on to the next sibling, or else up; 1 at the end.
GLOBAL int tour_across(void) {
  u64 up = css_word(css_parent), next = css_word(css_sibling);
  if (tour.at == tour.root || !tour.depth) return 1;
  if (css_flag(CSS_RELEASED)) return tour_restart();
  tour.up = next == up + css_children;
  tour.at = tour.up ? up : next - css_sibling;
  if (tour.up) tour.depth--;
  return 0;
}

GLOBAL int tour_down(void) {
  u64 first = css_word(css_children);
  if (first == tour.at + css_children) return tour_across();
  if (tour.depth >= DEPTH - 1) { tour.lost++; return tour_across(); }
  tour.at = first - css_sibling;
  tour.depth++;
  return 0;
}

// What the kernel counts of a node's lists by zone, and of its generations by
// generation, kind and zone: the walk's own count is held against it. A page is in
// one of both.
u64 zone_lists[32], zone_gens[64];

GLOBAL int gen_of(u64 number, u64 gen, u64 active) {
  struct group *g = whole(&groups, number);
  if (!g) return 0;
  for (u64 zone = 0; zone < 6; zone++) {
    if (zone >= zones) break;
    u64 anon = zone_gens[bounded(gen * 2 * zones + zone, 63)], file = zone_gens[bounded((gen * 2 + 1) * zones + zone, 63)];
    g->lists[active & 1] += anon;
    g->lists[2 + (active & 1)] += file;
    tour.gens[bounded(gen * 2, GENS - 1)] += anon;
    tour.gens[bounded(gen * 2 + 1, GENS - 1)] += file;
  }
  return 0;
}

GLOBAL int lists_of(u64 memcg, u64 nid, u64 number) {
  struct group *g = whole(&groups, number);
  u64 node = rd(memcg + mc_nodeinfo + (nid & 1023) * 8), seq;
  if (!g || !node || probe_read(zone_lists, sizeof(zone_lists), (void *)(node + pn_lists))) return 0;
  for (u32 zone = 0; zone < 6; zone++)
    for (u32 list = 0; list < LISTS; list++)
      if (zone < zones) g->lists[list] += zone_lists[zone * 5 + list];
  if (!pn_gens || probe_read(zone_gens, sizeof(zone_gens), (void *)(node + pn_gens))) return 0;
  seq = rd(node + pn_max_seq);
  gen_of(number, seq & 3, 1);
  gen_of(number, (seq - 1) & 3, 1);
  gen_of(number, (seq - 2) & 3, 0);
  gen_of(number, (seq - 3) & 3, 0);
  return 0;
}

GLOBAL int tour_list(u64 memcg) {
  u32 n = group_of(memcg);
  struct group *g = whole(&groups, n);
  if (!g || !n) return 0;
  // A cgroup has two when its controller was switched off and on again.
  if (!css_flag(CSS_DYING) || !g->listed) g->flags = css_flag(0xffffffff);
  g->usage += rd(memcg + mc_usage);
  if (!g->memory_id) g->memory_id = rd32(memcg + mc_id) & mc_id_mask;
  g->listed++;
  tour.found++;
  for (u32 i = 0; i < 16 && i < nodes; i++) lists_of(memcg, i, n);
  return 0;
}

GLOBAL int tour_on(u64 serial, u64 down) {
  tour.stop = tour.at;
  tour.stop_serial = serial;
  tour.stop_depth = tour.depth;
  tour.stop_down = down;
  return down ? tour_down() : tour_across();
}

GLOBAL int tour_resume(u64 serial) {
  tour.resumed = 0;
  if (serial != tour.stop_serial || css_flag(CSS_RELEASED)) return tour_restart();
  return tour_on(serial, tour.stop_down);
}

// tour_step lists one group or goes past one; 1 at the end.
GLOBAL int tour_step(void) {
  u64 at = tour.at, serial, want;
  if (probe_read(css, sizeof(css), (void *)at) || css_word(css_ss) != st.subsystem) {
    if (at == tour.root) { tour.lost++; return 1; }
    tour.resumed = 0;
    return tour_restart();
  }
  serial = css_word(css_serial);
  if (tour.resumed) return tour_resume(serial);
  if (tour.up) return tour_on(serial, 0);
  if (tour.seek) {
    want = tour.listed[bounded(tour.depth, DEPTH - 1)];
    if (serial < want) return tour_on(serial, 0);
    if (serial > want || tour.depth == tour.listed_depth) tour.seek = 0;
    if (serial == want) return tour_on(serial, 1);
  }
  tour_list(at - mc_css);
  tour.listed[bounded(tour.depth, DEPTH - 1)] = serial;
  tour.listed_depth = tour.depth;
  return tour_on(serial, 1);
}

GLOBAL int tour_steps(void) {
  for (int i = 0; i < 8; i++)
    if (tour_step()) return 1;
  return 0;
}

GLOBAL int root_step(void) {
  u64 up = rd(tour.root + css_parent);
  if (!up) return 1;
  tour.root = up;
  return 0;
}
