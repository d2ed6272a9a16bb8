package census

import (
	"math"
	"math/rand"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// What the flags of a page mean, as kernels print them.
func TestKpageFlags(t *testing.T) {
	const page = 4096
	file := func(m snapshot.PageState) snapshot.CensusGroup { return snapshot.CensusGroup{File: m} }
	for name, c := range map[string]struct {
		flags []uint64
		ids   []uint64
		want  snapshot.CensusGroup
		node  snapshot.CensusNode
	}{
		"file": {
			[]uint64{kpLRU | kpUptodate | kpActive | kpDirty},
			[]uint64{7},
			file(snapshot.PageState{Bytes: page, Active: page, Dirty: page}),
			snapshot.CensusNode{File: page},
		},
		"file on its way to a list": {
			[]uint64{kpUptodate | kpMapped},
			[]uint64{7},
			file(snapshot.PageState{Bytes: page, Isolated: page, Mapped: page}),
			snapshot.CensusNode{File: page},
		},
		"tmpfs is never dirty": {
			[]uint64{kpLRU | kpUptodate | kpSwapBacked | kpDirty | kpUnevictable},
			[]uint64{7},
			snapshot.CensusGroup{File: snapshot.PageState{Bytes: page, Unevictable: page}, Shmem: page},
			snapshot.CensusNode{File: page},
		},
		"tails that repeat their head": {
			[]uint64{kpLRU | kpAnon, kpLRU | kpAnon | kpTail},
			[]uint64{7, 7},
			snapshot.CensusGroup{Anon: snapshot.PageState{Bytes: 2 * page, Inactive: 2 * page, Large: 2 * page}},
			snapshot.CensusNode{},
		},
		"tails that say nothing": {
			[]uint64{kpLRU | kpAnon | kpReferenced, kpTail},
			[]uint64{7, 0},
			snapshot.CensusGroup{Anon: snapshot.PageState{Bytes: 2 * page, Inactive: 2 * page, Referenced: 2 * page, Large: 2 * page}},
			snapshot.CensusNode{},
		},
		"slab, whose other bits mean something else": {
			[]uint64{kpSlab | kpAnon | kpKSM, kpSlab | kpAnon | kpTail},
			[]uint64{0, 0},
			snapshot.CensusGroup{},
			snapshot.CensusNode{Slab: 2 * page},
		},
		"free, with a bit left":  {[]uint64{kpBuddy | kpUptodate}, []uint64{0}, snapshot.CensusGroup{}, snapshot.CensusNode{Free: page}},
		"no page":                {[]uint64{kpNoPage}, []uint64{0}, snapshot.CensusGroup{}, snapshot.CensusNode{}},
		"firmware":               {[]uint64{kpReserved}, []uint64{0}, snapshot.CensusGroup{}, snapshot.CensusNode{Reserved: page}},
		"ballooned":              {[]uint64{kpOffline}, []uint64{0}, snapshot.CensusGroup{}, snapshot.CensusNode{Offline: page}},
		"page table":             {[]uint64{kpTable}, []uint64{7}, snapshot.CensusGroup{Tables: page}, snapshot.CensusNode{}},
		"a stack":                {[]uint64{0}, []uint64{7}, snapshot.CensusGroup{Kernel: page}, snapshot.CensusNode{}},
		"merged":                 {[]uint64{kpLRU | kpAnon | kpKSM}, []uint64{7}, snapshot.CensusGroup{KSM: page}, snapshot.CensusNode{}},
		"huge page of hugetlbfs": {[]uint64{kpHuge, kpHuge | kpTail}, []uint64{7, 7}, snapshot.CensusGroup{Hugetlb: 2 * page}, snapshot.CensusNode{}},
	} {
		tally := newTally(page)
		tally.add(c.flags, c.ids)
		tally.merged(1 << 30)
		got := tally.group(7).g
		c.want.ID, c.want.Usage, c.want.MemoryID, c.want.Slab, c.want.Inherited = 7, snapshot.Unknown, snapshot.Unknown, snapshot.Unknown, snapshot.Unknown
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if d := cmp.Diff(c.node, tally.node); d != "" {
			t.Errorf("%s: node (-want +got):\n%s", name, d)
		}
		if len(tally.groups) > 1 {
			t.Errorf("%s: also of %d others", name, len(tally.groups)-1)
		}
	}
}

func TestHugeFolio(t *testing.T) {
	tally := newTally(4096)
	flags, ids := make([]uint64, 513), make([]uint64, 513)
	for i := range flags {
		flags[i], ids[i] = kpLRU|kpAnon|kpTail, 7
	}
	flags[0], flags[512] = kpLRU|kpAnon, kpLRU|kpAnon
	tally.add(flags, ids)
	if a := tally.group(7).g.Anon; a.Huge != 2<<20 || a.Large != 2<<20 || a.Bytes != 2<<20+4096 {
		t.Errorf("%+v", a)
	}
}

func TestPassesVisitEveryBlockOnce(t *testing.T) {
	var all []uint64
	for i := range passes {
		all = append(all, passOrder(i))
	}
	if all[0] != 0 || all[1] != passes/2 || all[2] != passes/4 {
		t.Errorf("%v are not spread", all[:4])
	}
	slices.Sort(all)
	for i, n := range all {
		if n != uint64(i) {
			t.Fatalf("%v", all)
		}
	}
}

// The stated error holds: of many estimates about one in twenty may be off by
// more.
func TestEstimateKeepsItsError(t *testing.T) {
	const all, seen, runs, frames = 1024, 64, 400, 128
	r := rand.New(rand.NewSource(1))
	flags, ids := make([]uint64, frames), make([]uint64, frames)
	off, truthful := 0, 0.0
	for range runs {
		blocks := make([]int, all)
		truth := 0
		for i := range blocks {
			blocks[i] = r.Intn(frames)
			if i%8 == 0 { // lumps
				blocks[i] = frames
			}
			truth += blocks[i]
		}
		tally := newTally(4096)
		for _, i := range r.Perm(all)[:seen] {
			for j := range flags {
				flags[j], ids[j] = kpLRU|kpUptodate, 7
				if j >= blocks[i] {
					flags[j], ids[j] = kpBuddy, 0
				}
			}
			tally.add(flags, ids)
		}
		tally.scale(all)
		g := tally.group(7).g
		if d := math.Abs(float64(g.File.Bytes - int64(truth)*4096)); d > float64(g.Error) {
			off++
		}
		if g.Error <= 0 || g.Error > g.File.Bytes/2 {
			t.Fatalf("%d bytes, off by up to %d", g.File.Bytes, g.Error)
		}
		truthful += float64(g.File.Bytes) / float64(truth*4096) / runs
	}
	if off > runs/10 || off == 0 {
		t.Errorf("%d of %d estimates are off by more than they say", off, runs)
	}
	if truthful < 0.99 || truthful > 1.01 {
		t.Errorf("estimates are %.3f of the truth on average", truthful)
	}
}

// A mark that more pages have than KSM has merged means nothing.
func TestKSMMark(t *testing.T) {
	for shared, want := range map[int64]snapshot.CensusGroup{
		1 << 30:          {KSM: 8 << 20},
		0:                {Anon: snapshot.PageState{Bytes: 8 << 20, Active: 8 << 20}},
		snapshot.Unknown: {Anon: snapshot.PageState{Bytes: 8 << 20, Active: 8 << 20}},
	} {
		tally := newTally(4096)
		for range 2048 {
			tally.add([]uint64{kpLRU | kpActive | kpAnon | kpKSM}, []uint64{7})
		}
		want.ID, want.Usage, want.MemoryID, want.Slab, want.Inherited = 7, snapshot.Unknown, snapshot.Unknown, snapshot.Unknown, snapshot.Unknown
		believed := tally.merged(shared)
		if d := cmp.Diff(want, tally.group(7).g); d != "" || believed != (shared > 0) {
			t.Errorf("%d shared, %v (-want +got):\n%s", shared, believed, d)
		}
	}
}

func TestMergedPassesAreOne(t *testing.T) {
	r := rand.New(rand.NewSource(2))
	var blocks [][2][]uint64
	for range 8 {
		b := [2][]uint64{make([]uint64, 64), make([]uint64, 64)}
		for i := range b[0] {
			b[0][i], b[1][i] = r.Uint64()&(1<<27-1)&^kpNoPage, uint64(r.Intn(4))
		}
		blocks = append(blocks, b)
	}
	once, parts := newTally(4096), newTally(4096)
	for _, b := range blocks {
		once.add(b[0], b[1])
		part := newTally(4096)
		part.add(b[0], b[1])
		parts.merge(part)
	}
	for id, g := range once.groups {
		if d := cmp.Diff(g.g, parts.group(id).g); d != "" || g.squares != parts.group(id).squares {
			t.Errorf("%d: %s", id, d)
		}
	}
	if once.node != parts.node || once.frames != parts.frames || once.blocks != parts.blocks {
		t.Errorf("%+v, %+v", once.node, parts.node)
	}
}
