package ledger

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

func read[T any](v T) snapshot.Reading[T] {
	return snapshot.Reading[T]{Value: v, State: snapshot.Present, Source: "test"}
}

func absent[T any]() snapshot.Reading[T] {
	return snapshot.Reading[T]{State: snapshot.Absent, Source: "test"}
}

// stat makes a memory.stat from pairs; total_ twins are added for version 1.
func stat(v snapshot.Version, keys map[string]int64) snapshot.Reading[snapshot.Stat] {
	var s snapshot.Stat
	for k, n := range keys {
		s.Entries = append(s.Entries, snapshot.Entry{Key: k, Value: n})
		if v == snapshot.V1 {
			s.Entries = append(s.Entries, snapshot.Entry{Key: "total_" + k, Value: n})
		}
	}
	return read(s)
}

func env() Env { return Env{CPUs: read(2), PageSize: 4096, LazyFree: true} }

func v2(usage int64, keys map[string]int64) *snapshot.Cgroup {
	return &snapshot.Cgroup{Path: "/a", Version: snapshot.V2, Usage: read(usage), Stat: stat(snapshot.V2, keys), UseHierarchy: absent[int64]()}
}

func v1(usage, kmem int64, keys map[string]int64) *snapshot.Cgroup {
	return &snapshot.Cgroup{
		Path: "/a", Version: snapshot.V1, Usage: read(usage), KmemUsage: read(kmem), UseHierarchy: read[int64](1),
		Stat: stat(snapshot.V1, keys), Slabs: read([]snapshot.SlabCache{}), Descendants: read(0),
	}
}

func leaves(t *testing.T, l *Ledger) map[string]int64 {
	t.Helper()
	m := map[string]int64{}
	for _, a := range l.Accounts {
		if _, dup := m[a.Path]; dup {
			t.Errorf("leaf %s twice", a.Path)
		}
		m[a.Path] = a.Bytes
	}
	return m
}

var wholeV2 = map[string]int64{
	"anon": 100, "file": 500, "shmem": 50, "kernel": 90, "kernel_stack": 10, "pagetables": 8, "sec_pagetables": 2, "percpu": 5,
	"vmalloc": 3, "zswap": 0, "sock": 7, "slab_reclaimable": 20, "slab_unreclaimable": 30, "swapcached": 4,
	"inactive_anon": 100, "active_anon": 24, "inactive_file": 300, "active_file": 180, "unevictable": 0,
	"file_mapped": 10, "file_dirty": 0, "file_writeback": 0,
}

func TestLeavesOfVersion2(t *testing.T) {
	l, err := Balance(v2(710, wholeV2), env())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{
		AnonLazyFree: 30, AnonOther: 70, SwapCached: 4, File: 450, Shmem: 50, SlabReclaimable: 20, SlabPinned: 30, Stacks: 10,
		PageTables: 10, Percpu: 5, Vmalloc: 3, Zswap: 0, KernelOther: 12, Sock: 7, Unexplained: 9,
	}
	if d := cmp.Diff(want, leaves(t, l)); d != "" {
		t.Error(d)
	}
	if l.Bound != 64*4096*2*2 {
		t.Errorf("bound %d", l.Bound)
	}
	if l.Reclaimable != 480+20 || l.UnreclaimableMax != 210 || l.UnreclaimableMin != 210 {
		t.Errorf("reclaimable %d, unreclaimable %d..%d", l.Reclaimable, l.UnreclaimableMin, l.UnreclaimableMax)
	}
}

// Parts of huge pages that were given back stay on the LRU lists, unmapped.
func TestUnmappedPartsOfHugePages(t *testing.T) {
	keys := map[string]int64{}
	for k, v := range wholeV2 {
		keys[k] = v
	}
	keys["inactive_anon"] += 40
	l, err := Balance(v2(750, keys), env())
	if err != nil {
		t.Fatal(err)
	}
	if m := leaves(t, l); m[AnonUnmapped] != 40 || m[SwapCached] != 4 || m[Unexplained] != 9 {
		t.Errorf("%v", m)
	}
	if l.UnreclaimableMax-l.UnreclaimableMin != 40 {
		t.Errorf("unreclaimable %d..%d, want a range as wide as they are", l.UnreclaimableMin, l.UnreclaimableMax)
	}
}

func TestKernelBefore518HasADerivedRest(t *testing.T) {
	keys := map[string]int64{
		"anon": 100, "file": 0, "shmem": 0, "slab_reclaimable": 10, "slab_unreclaimable": 20, "kernel_stack": 5, "sock": 1,
		"inactive_anon": 100, "active_anon": 0, "inactive_file": 0, "active_file": 0, "unevictable": 0,
	}
	l, err := Balance(v2(200, keys), env())
	if err != nil {
		t.Fatal(err)
	}
	a, ok := l.Account(KernelOther)
	if !ok || a.Bytes != 64 || !a.Derived || l.UnexplainedBytes() != 0 {
		t.Errorf("kernel/other %+v, unexplained %d", a, l.UnexplainedBytes())
	}
	for _, path := range []string{PageTables, Percpu, Vmalloc, Zswap} {
		if a, ok := l.Account(path); ok {
			t.Errorf("leaf %+v of a kernel without its key", a)
		}
	}
}

func TestLeavesOfVersion1(t *testing.T) {
	keys := map[string]int64{
		"rss": 100, "cache": 500, "shmem": 50, "inactive_anon": 100, "active_anon": 50,
		"inactive_file": 300, "active_file": 150, "unevictable": 0, "mapped_file": 0, "dirty": 0, "writeback": 0,
	}
	l, err := Balance(v1(650, 45, keys), env())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{AnonLazyFree: 0, AnonOther: 100, File: 450, Shmem: 50, KernelUndivided: 45, Unexplained: 5}
	if d := cmp.Diff(want, leaves(t, l)); d != "" {
		t.Error(d)
	}
	if l.UnreclaimableMin != 155 || l.UnreclaimableMax != 200 {
		t.Errorf("unreclaimable %d..%d, want a range as wide as the undivided kernel memory", l.UnreclaimableMin, l.UnreclaimableMax)
	}
}

func TestWithoutShmemTheLeafIsAbsentNotZero(t *testing.T) {
	keys := map[string]int64{"rss": 100, "cache": 500, "inactive_anon": 100, "active_anon": 60, "inactive_file": 300, "active_file": 140, "unevictable": 0}
	e := env()
	e.LazyFree = false
	l, err := Balance(v1(600, 0, keys), e)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := l.Account(Shmem); ok {
		t.Error("a shmem leaf without a counter")
	}
	if _, ok := l.Account(AnonLazyFree); ok {
		t.Error("a lazyfree leaf on a kernel without MADV_FREE")
	}
	if f, _ := l.Account(File); f.Bytes != 500 || f.State["onAnonLists"] != 60 {
		t.Errorf("file %+v", f)
	}
	if len(l.Missing) == 0 || l.Missing[0].Key != "accounts/"+Shmem {
		t.Errorf("missing %+v", l.Missing)
	}
}

func TestSlabTableOfALeafSplitsTheKernelPart(t *testing.T) {
	c := v1(100, 60, map[string]int64{"rss": 40, "cache": 0, "inactive_anon": 40, "active_anon": 0, "inactive_file": 0, "active_file": 0, "unevictable": 0})
	c.Slabs = read([]snapshot.SlabCache{{Name: "dentry", Bytes: 30}, {Name: "kmalloc-64", Bytes: 10}})
	l, err := Balance(c, env())
	if err != nil {
		t.Fatal(err)
	}
	m := leaves(t, l)
	if m[Slab] != 40 || m[KernelOther] != 20 || l.UnreclaimableMin != 60 || l.UnreclaimableMax != 100 {
		t.Errorf("%v, unreclaimable %d..%d", m, l.UnreclaimableMin, l.UnreclaimableMax)
	}
	c.Descendants = read(1) // then the table covers less than the counter
	l, _ = Balance(c, env())
	if m := leaves(t, l); m[KernelUndivided] != 60 {
		t.Errorf("with children: %v", m)
	}
}

func TestRoots(t *testing.T) {
	keys := map[string]int64{
		"anon": 10, "file": 30, "shmem": 5, "kernel": 99, "slab_reclaimable": 50, "inactive_anon": 15, "active_anon": 0,
		"inactive_file": 25, "active_file": 0, "unevictable": 0,
	}
	c := v2(0, keys)
	c.Path, c.Usage = "/", absent[int64]()
	l, err := Balance(c, env())
	if err != nil || l.Usage != 40 || l.UnexplainedBytes() != 0 {
		t.Errorf("v2 root: %+v, %v", l, err)
	}
	c1 := v1(40, 1000, map[string]int64{"rss": 10, "cache": 30, "shmem": 5, "inactive_anon": 15, "active_anon": 0, "inactive_file": 25, "active_file": 0, "unevictable": 0})
	c1.Path = "/"
	l, err = Balance(c1, env())
	if err != nil || l.UnexplainedBytes() != 0 {
		t.Errorf("v1 root: %+v, %v", l, err)
	}
}

func TestBrokenCountersAreEvidenceNotLeaves(t *testing.T) {
	keys := map[string]int64{}
	for k, v := range wholeV2 {
		keys[k] = v
	}
	keys["sock"], keys["slab_unreclaimable"] = -4096, math.MaxInt64
	l, err := Balance(v2(710, keys), env())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{Sock, SlabPinned} {
		if a, ok := l.Account(path); ok {
			t.Errorf("leaf %+v of a broken counter", a)
		}
	}
	if len(l.Doubts) < 2 {
		t.Errorf("doubts %q", l.Doubts)
	}
	if _, err := Balance(v2(-1, keys), env()); !errors.Is(err, ErrNoUsage) {
		t.Errorf("usage -1: %v", err)
	}
}

func TestNoStatistics(t *testing.T) {
	c := v2(1<<20, nil)
	c.Stat = snapshot.Reading[snapshot.Stat]{State: snapshot.Denied, Source: "/x/memory.stat", Err: "permission denied"}
	l, err := Balance(c, env())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]int64{Unexplained: 1 << 20}, leaves(t, l)); d != "" || l.ReclaimKnown {
		t.Error(d, l.ReclaimKnown)
	}
	for _, m := range l.Missing {
		if m.State != snapshot.Denied {
			t.Errorf("%s is %s, want denied", m.Key, m.State)
		}
	}
}

// allKeys is every key that a ledger looks at.
var allKeys = []string{
	"anon", "file", "shmem", "kernel", "kernel_stack", "pagetables", "sec_pagetables", "percpu", "vmalloc", "zswap", "sock",
	"slab_reclaimable", "slab_unreclaimable", "swapcached", "hugetlb", "inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable",
	"rss", "cache", "mapped_file", "dirty", "writeback", "file_mapped", "file_dirty", "file_writeback", "anon_thp", "swap",
}

// random makes a cgroup that no kernel would: any key may be missing, negative
// or absurd.
func random(r *rand.Rand) (*snapshot.Cgroup, Env) {
	number := func() int64 {
		switch r.IntN(12) {
		case 0:
			return 0
		case 1:
			return -r.Int64N(1 << 40)
		case 2:
			return math.MaxInt64 - r.Int64N(1000)
		}
		return r.Int64N(1 << r.IntN(56))
	}
	keys := map[string]int64{}
	for _, k := range allKeys {
		if r.IntN(5) > 0 {
			keys[k] = number()
		}
	}
	e := Env{CPUs: read(r.IntN(512)), PageSize: 4096, SwapLeft: r.Int64N(1 << 40), SwapOn: r.IntN(2) == 0, LazyFree: r.IntN(2) == 0}
	usage := r.Int64N(1 << 50)
	if r.IntN(2) == 0 {
		return v2(usage, keys), e
	}
	c := v1(usage, number(), keys)
	if r.IntN(2) == 0 {
		c.Slabs = read([]snapshot.SlabCache{{Name: "x", Bytes: r.Int64N(1 << 40)}})
	}
	c.UseHierarchy = read(int64(r.IntN(2)))
	return c, e
}

func TestConservation(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		c, e := random(r)
		l, err := Balance(c, e)
		if err != nil {
			t.Fatal(err)
		}
		var sum int64
		for _, a := range l.Accounts {
			sum += a.Bytes
			if a.Bytes < 0 && a.Path != Unexplained {
				t.Fatalf("negative leaf %+v of %+v", a, c)
			}
		}
		if sum != l.Usage || l.Accounts[len(l.Accounts)-1].Path != Unexplained {
			t.Fatalf("leaves sum to %d, usage is %d", sum, l.Usage)
		}
		if l.UnreclaimableMin < 0 || l.UnreclaimableMin > l.UnreclaimableMax || l.UnreclaimableMax > l.Usage {
			t.Fatalf("unreclaimable %d..%d of %d", l.UnreclaimableMin, l.UnreclaimableMax, l.Usage)
		}
		if l.ReclaimKnown && l.Reclaimable+l.UnreclaimableMax != l.Usage {
			t.Fatalf("%d reclaimable and %d not, of %d", l.Reclaimable, l.UnreclaimableMax, l.Usage)
		}
	}
}

func TestOrderOfKeysDoesNotMatter(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 2_000 {
		c, e := random(r)
		want, err := Balance(c, e)
		if err != nil {
			t.Fatal(err)
		}
		r.Shuffle(len(c.Stat.Value.Entries), func(i, j int) {
			s := c.Stat.Value.Entries
			s[i], s[j] = s[j], s[i]
		})
		got, _ := Balance(c, e)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	}
}

func anonOnly(path string, usage, anon, limit int64) snapshot.Cgroup {
	c := v2(usage, map[string]int64{
		"anon": anon, "file": usage - anon, "shmem": 0, "kernel": 0, "sock": 0, "inactive_anon": anon, "active_anon": 0,
		"inactive_file": usage - anon, "active_file": 0, "unevictable": 0,
	})
	c.Path, c.Limit, c.High = path, read(limit), read(size.Unlimited)
	c.Limit.Source = path + "/memory.max"
	return *c
}

// A target at 12 % of its own limit, below a parent that its siblings fill.
func TestSiblingsFillTheParent(t *testing.T) {
	s := &snapshot.Snapshot{Path: []snapshot.Cgroup{
		anonOnly("/pod/me", 120, 100, 1000),
		anonOnly("/pod", 1000, 990, 1000),
		anonOnly("/", 1000, 990, size.Unlimited),
	}}
	w, err := Explain(s)
	if err != nil {
		t.Fatal(err)
	}
	level, l, why := w.Risk(words.Printer{}, true)
	if level != Critical || l.Cgroup != "/pod" || l.Margin() != 10 {
		t.Errorf("%s at %+v: %s", level, l, why)
	}
	if own := w.Limits[0]; own.Level() != Low {
		t.Errorf("own limit: %s", own.Level())
	}
	// The same parent full of cache is no danger: reclaim takes it.
	s.Path[1] = anonOnly("/pod", 1000, 150, 1000)
	w, _ = Explain(s)
	if level, _, _ := w.Risk(words.Printer{}, true); level != Low {
		t.Errorf("a parent full of cache: %s", level)
	}
}

func TestAParentWithoutHierarchyDoesNotBind(t *testing.T) {
	keys := map[string]int64{"rss": 90, "cache": 10, "shmem": 0, "inactive_anon": 90, "active_anon": 0, "inactive_file": 10, "active_file": 0, "unevictable": 0}
	me, parent := v1(100, 0, keys), v1(100, 0, keys)
	me.Limit, parent.Limit = read[int64](1000), read[int64](100)
	me.High, parent.High, me.MemswLimit, parent.MemswLimit = absent[int64](), absent[int64](), absent[int64](), absent[int64]()
	me.Path, parent.Path, parent.UseHierarchy = "/a/b", "/a", read[int64](0)
	w, err := Explain(&snapshot.Snapshot{Path: []snapshot.Cgroup{*me, *parent}})
	if err != nil {
		t.Fatal(err)
	}
	if l, ok := w.Deciding(true); !ok || l.Cgroup != "/a/b" {
		t.Errorf("deciding %+v", l)
	}
}

func TestLevels(t *testing.T) {
	for share, want := range map[int64]Level{0: Low, 699: Low, 700: Raised, 849: Raised, 850: High, 949: High, 950: Critical, 1200: Critical} {
		if got := level(share, 1000); got != want {
			t.Errorf("%d of 1000: %s, want %s", share, got, want)
		}
	}
}

func TestUnreadableLimitIsUnknownNotNone(t *testing.T) {
	c := anonOnly("/a", 100, 100, 0)
	c.Limit = snapshot.Reading[int64]{State: snapshot.Denied, Source: "/a/memory.max"}
	w, err := Explain(&snapshot.Snapshot{Path: []snapshot.Cgroup{c}})
	if err != nil {
		t.Fatal(err)
	}
	if level, _, _ := w.Risk(words.Printer{}, true); level != UnknownRisk {
		t.Errorf("level %s", level)
	}
}

func meminfo(total, free int64) snapshot.Node {
	return snapshot.Node{Meminfo: read(snapshot.Stat{Entries: []snapshot.Entry{{Key: "SwapTotal", Value: total}, {Key: "SwapFree", Value: free}}})}
}

func TestSwapLeft(t *testing.T) {
	v2at := func(used, limit int64) snapshot.Cgroup {
		c := anonOnly("/a", 100, 100, size.Unlimited)
		c.SwapUsage, c.SwapLimit = read(used), read(limit)
		return c
	}
	v1at := func(swappiness, limit, memswUsage, memswLimit int64) snapshot.Cgroup {
		c := *v1(100, 0, nil)
		c.Swappiness, c.Limit, c.MemswUsage, c.MemswLimit = read(swappiness), read(limit), read(memswUsage), read(memswLimit)
		return c
	}
	for name, c := range map[string]struct {
		path []snapshot.Cgroup
		node snapshot.Node
		want int64
	}{
		"no swap":                   {[]snapshot.Cgroup{v2at(0, size.Unlimited)}, meminfo(0, 0), 0},
		"the node's":                {[]snapshot.Cgroup{v2at(0, size.Unlimited)}, meminfo(500, 300), 300},
		"own limit":                 {[]snapshot.Cgroup{v2at(20, 70)}, meminfo(500, 300), 50},
		"swap.max below current":    {[]snapshot.Cgroup{v2at(90, 70)}, meminfo(500, 300), 0},
		"parent's limit":            {[]snapshot.Cgroup{v2at(0, size.Unlimited), v2at(60, 70)}, meminfo(500, 300), 10},
		"v1 swappiness 0":           {[]snapshot.Cgroup{v1at(0, size.Unlimited, 100, size.Unlimited)}, meminfo(500, 300), 0},
		"v1 memsw binds first":      {[]snapshot.Cgroup{v1at(60, 1000, 100, 1000)}, meminfo(500, 300), 0},
		"v1 memsw leaves room":      {[]snapshot.Cgroup{v1at(60, 150, 100, 250)}, meminfo(500, 300), 150},
		"v1 without limit":          {[]snapshot.Cgroup{v1at(60, size.Unlimited, 100, size.Unlimited)}, meminfo(500, 300), 300},
		"meminfo could not be read": {[]snapshot.Cgroup{v2at(0, size.Unlimited)}, snapshot.Node{}, 0},
	} {
		if got, _ := swapLeft(&snapshot.Snapshot{Path: c.path, Node: c.node}, 0); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
