package ledger

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

func made(pairs map[string]int64) snapshot.Stat {
	var s snapshot.Stat
	for k, v := range pairs {
		s.Entries = append(s.Entries, snapshot.Entry{Key: k, Value: v})
	}
	return s
}

func there[T any](v T) snapshot.Reading[T] {
	return snapshot.Reading[T]{Value: v, State: snapshot.Present, Source: "made"}
}

// madeNode has 1000 MiB, all of which is known.
func madeNode() *snapshot.Snapshot {
	const m = size.MiB
	s := &snapshot.Snapshot{}
	s.Host.PageSize, s.Host.CPUs = 4096, there(2)
	s.Node.Meminfo = there(made(map[string]int64{
		"MemTotal": 1000 * m, "MemFree": 300 * m, "AnonPages": 200 * m, "Cached": 150 * m, "Shmem": 50 * m, "Buffers": 10 * m,
		"SwapCached": 9 * m, "Active": 200 * m, "Inactive": 164 * m, "Unevictable": 0,
		"SReclaimable": 60 * m, "SUnreclaim": 20 * m, "KReclaimable": 61 * m, "KernelStack": 4 * m, "PageTables": 6 * m, "Percpu": 3 * m,
		"VmallocUsed": 12 * m, "VmallocChunk": 0, "Zswap": 2 * m, "Hugetlb": 40 * m, "Bounce": 0,
	}))
	s.Node.Vmstat = there(made(map[string]int64{"nr_zspages": 5 * m / 4096, "nr_memmap_pages": 256}))
	s.Node.Zones = there([]snapshot.Zone{{Name: "Normal", Free: 300 * m, OnLists: 7 * m, Threshold: 40960}})
	return s
}

func TestNodeClasses(t *testing.T) {
	const m = size.MiB
	c, ok := NodeClasses(madeNode())
	if !ok {
		t.Fatal("no classes")
	}
	got := map[string]int64{}
	for _, r := range c.Rows {
		got[r.Path] = r.Bytes / m
	}
	want := map[string]int64{
		FreeBlocks: 300, FreeOnLists: 7, Anon: 200, SwapCached: 4, FileCache: 100, FileBuffers: 10, Shmem: 50,
		SlabReclaimable: 60, SlabPinned: 20, KernelMisc: 1, Stacks: 4, PageTables: 6, Percpu: 3, Vmalloc: 8, KernelZspages: 5,
		KernelMemmap: 1, HugeTLB: 40, Unexplained: 181,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if want := 2 * (40960*int64(len(c.Rows)) + firstChunk); c.Bound != want || len(c.Missing)+len(c.Doubts) != 0 {
		t.Errorf("bound %d, want %d; %+v %v", c.Bound, want, c.Missing, c.Doubts)
	}
}

// Buffers of GPUs are counted since 7.0.
func TestNodeClassesOfAGPU(t *testing.T) {
	const m = size.MiB
	s := madeNode()
	s.Node.Meminfo.Value.Entries = append(s.Node.Meminfo.Value.Entries, snapshot.Entry{Key: "GPUActive", Value: 30 * m}, snapshot.Entry{Key: "GPUReclaim", Value: 12 * m})
	if c, ok := NodeClasses(s); !ok || c.Sum(KernelGPU) != 42*m || c.Unexplained() != (181-42)*m {
		t.Errorf("%+v", c)
	}
}

// What a kernel does not count is told, and is unexplained; a count of addresses is
// no count of pages, and a broken counter none at all.
func TestNodeClassesOfOldKernels(t *testing.T) {
	const m = size.MiB
	s := &snapshot.Snapshot{}
	s.Node.Zones.State, s.Node.Zones.Err = snapshot.Denied, "permission denied"
	s.Node.Meminfo = there(made(map[string]int64{
		"MemTotal": 1000 * m, "MemFree": 300 * m, "AnonPages": 200 * m, "Cached": 150 * m, "Shmem": -4096, "Buffers": 10 * m,
		"SReclaimable": 60 * m, "SUnreclaim": 20 * m, "KernelStack": 4 * m, "PageTables": 6 * m,
		"VmallocUsed": 200 * m, "VmallocChunk": 1 << 40, "HugePages_Total": 3, "Hugepagesize": 2 * m,
	}))
	c, ok := NodeClasses(s)
	if !ok || c.Bound != -1 {
		t.Fatalf("%v, bound %d", ok, c.Bound)
	}
	var missing []string
	for _, n := range c.Missing {
		missing = append(missing, n.Key+" "+n.State.String())
	}
	if diff := cmp.Diff([]string{
		"ledger.classes/free/cpu-lists denied", "ledger.classes/shmem absent", "ledger.classes/kernel/percpu absent", "ledger.classes/kernel/vmalloc absent",
	}, missing); diff != "" {
		t.Error(diff)
	}
	if c.Sum(HugeTLB) != 6*m || c.Sum("kernel") != 90*m || c.Unexplained() != 244*m {
		t.Errorf("%+v", c.Rows)
	}
	for _, total := range []map[string]int64{{}, {"MemTotal": 0}, {"MemTotal": -1}} {
		s.Node.Meminfo = there(made(total))
		if _, ok := NodeClasses(s); ok {
			t.Errorf("a ledger of %v", total)
		}
	}
}

func ownedBy(o *Owned) map[string]int64 {
	m := map[string]int64{"dying": o.Dying, "root": o.Root, "kernel": o.Kernel, "hugetlb": o.HugeTLB, "free": o.Free, "unowned": o.Unowned}
	for _, p := range o.Parts {
		m[p.Share.Path] = p.Bytes
	}
	for k := range m {
		m[k] /= size.MiB
	}
	return m
}

func TestNodeOwners(t *testing.T) {
	const m = size.MiB
	v1 := func(p string, usage, kmem int64) snapshot.Share {
		return snapshot.Share{Path: p, Usage: there(usage * m), Kmem: there(kmem * m)}
	}
	v2 := func(p string, usage int64, keys map[string]int64) snapshot.Share {
		for k := range keys {
			keys[k] *= m
		}
		return snapshot.Share{Path: p, Usage: there(usage * m), Stat: there(made(keys))}
	}
	census := func(s *snapshot.Snapshot) {
		s.Census = there(&snapshot.Census{Walked: true, Groups: []snapshot.CensusGroup{
			{Parent: -1},
			{Path: "/", Parent: -1},
			{Path: "/k", Parent: 1},
			{Path: "/k/pod", Parent: 2},
			{Path: "/k/pod/gone", Parent: 3, Dying: true, File: snapshot.PageState{Bytes: 6 * m}, Slab: snapshot.Unknown},
			{Path: "/gone", Parent: 1, Dying: true, Anon: snapshot.PageState{Bytes: 2 * m}, Slab: 3 * m, Hugetlb: 1 * m},
			{Path: "/k/empty", Parent: 2, Dying: true},
		}})
	}
	// Of madeNode: user memory 364, kernel 108, huge pages 40, free 307, else 181.
	for name, c := range map[string]struct {
		shares []snapshot.Share
		census bool
		want   map[string]int64
		blur   bool
	}{
		"v1": {
			shares: []snapshot.Share{{Path: "/"}, v1("/k", 200, 30), v1("/sys", 50, 5), {Path: "/k/pod", Usage: there(150 * m)}, {Path: "/k/pod/c", Usage: there(120 * m)}},
			want:   map[string]int64{"/k": 50, "/sys": 50, "/k/pod": 30, "/k/pod/c": 120, "root": 149, "kernel": 73, "hugetlb": 40, "free": 307, "unowned": 181, "dying": 0},
			blur:   true,
		},
		"v1 with a census": {
			shares: []snapshot.Share{{Path: "/"}, v1("/k", 200, 30), v1("/sys", 50, 5), {Path: "/k/pod", Usage: there(150 * m)}, {Path: "/k/pod/c", Usage: there(120 * m)}},
			census: true, blur: true,
			want: map[string]int64{"/k": 50, "/sys": 50, "/k/pod": 24, "/k/pod/c": 120, "root": 147, "kernel": 70, "hugetlb": 39, "free": 307, "unowned": 181, "dying": 12},
		},
		"v1, those below are not in the usage": {
			shares: []snapshot.Share{{Path: "/"}, {Path: "/k", Usage: there(10 * m), Kmem: there(1 * m), Flat: true}, v1("/k/pod", 90, 4)},
			want:   map[string]int64{"/k": 10, "/k/pod": 90, "root": 269, "kernel": 103, "hugetlb": 40, "free": 307, "unowned": 181, "dying": 0},
			blur:   true,
		},
		// 200 = 150 user, 20 of known kinds, 10 hugetlb, 5 sock, 15 of other kinds.
		"v2": {
			shares: []snapshot.Share{
				{Path: "/"},
				v2("/k", 200, map[string]int64{"anon": 90, "file": 60, "kernel": 35, "slab": 12, "kernel_stack": 2, "pagetables": 3, "percpu": 3, "sock": 5, "hugetlb": 10}),
				{Path: "/k/pod", Usage: there(70 * m)},
			},
			want: map[string]int64{"/k": 130, "/k/pod": 70, "root": 214, "kernel": 88, "hugetlb": 30, "free": 307, "unowned": 161, "dying": 0},
		},
		"v2 before 5.18": {
			shares: []snapshot.Share{{Path: "/"}, v2("/k", 200, map[string]int64{"anon": 90, "file": 60, "slab": 12, "sock": 5})},
			want:   map[string]int64{"/k": 200, "root": 214, "kernel": 63, "hugetlb": 40, "free": 307, "unowned": 176, "dying": 0},
			blur:   true,
		},
	} {
		s := madeNode()
		s.Shares = there(c.shares)
		if c.census {
			census(s)
		}
		classes, _ := NodeClasses(s)
		o, ok := NodeOwners(s, classes)
		if !ok {
			t.Fatal(name)
		}
		if diff := cmp.Diff(c.want, ownedBy(o)); diff != "" || o.Sum() != classes.Total || o.KernelBlurred != c.blur {
			t.Errorf("%s: blurred %v, sum %d:\n%s", name, o.KernelBlurred, o.Sum(), diff)
		}
	}
}

// A cgroup that may not be read is told of; one that has just ended is not. What
// those below it hold is theirs.
func TestNodeOwnersUnread(t *testing.T) {
	const m = size.MiB
	s := madeNode()
	denied := snapshot.Reading[int64]{State: snapshot.Denied, Source: "/x/usage", Err: "permission denied"}
	gone := snapshot.Reading[int64]{State: snapshot.Absent, Err: snapshot.Vanished}
	s.Shares = there([]snapshot.Share{{Path: "/"}, {Path: "/x", Usage: denied}, {Path: "/y", Usage: gone}, {Path: "/x/c", Usage: there(10 * m)}, {Path: "/z", Usage: there(5 * m)}})
	c, _ := NodeClasses(s)
	o, ok := NodeOwners(s, c)
	if !ok || o.Sum() != c.Total || len(o.Missing) != 2 || o.Missing[0].Source != "/x/usage" || o.Parts[0].Bytes != 0 || o.Parts[2].Bytes != 10*m {
		t.Errorf("%v %+v", ok, o)
	}
	if len(o.Doubts) != 0 {
		t.Errorf("%v", o.Doubts)
	}
	s.Shares.Value[4].Usage, s.Shares.Value[4].Kmem = there(500*m), there(int64(0))
	if o, _ := NodeOwners(s, c); len(o.Doubts) != 1 || o.Sum() != c.Total { // of 364 MiB of user memory
		t.Errorf("%v", o.Doubts)
	}
	s.Host.Nested = there(true)
	if _, ok := NodeOwners(s, c); ok {
		t.Error("owners from within a cgroup namespace")
	}
	s.Host.Nested = there(false)
	s.Shares.Value[0].Path = "/a/part"
	if _, ok := NodeOwners(s, c); ok {
		t.Error("owners without a root")
	}
}

// Whatever files say, both cuts sum to MemTotal.
func TestNodeAlwaysBalances(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	keys := []string{
		"MemFree", "AnonPages", "Cached", "Shmem", "Buffers", "SwapCached", "Active", "Inactive", "Unevictable", "SReclaimable", "SUnreclaim", "KReclaimable",
		"KernelStack", "PageTables", "Percpu", "VmallocUsed", "VmallocChunk", "Zswap", "Hugetlb", "HugePages_Total", "Hugepagesize", "Bounce", "SecPageTables",
	}
	value := func() int64 {
		return []int64{0, -1, r.Int64N(1 << 40), r.Int64N(1 << 56), 1<<63 - 1, -1 << 63}[r.IntN(6)]
	}
	paths := []string{"/a", "/b", "/a/pod", "/a/pod/c", "/b/x", "/b/x/y"}
	for range 5000 {
		s := madeNode()
		mem := map[string]int64{"MemTotal": 1 + r.Int64N(1<<50)}
		for _, k := range keys {
			if r.IntN(4) > 0 {
				mem[k] = value()
			}
		}
		s.Node.Meminfo = there(made(mem))
		s.Node.Vmstat = there(made(map[string]int64{"nr_zspages": value(), "nr_memmap_pages": value()}))
		s.Node.Zones.Value[0].OnLists = value()
		shares := []snapshot.Share{{Path: "/"}}
		for _, p := range paths {
			if r.IntN(3) > 0 {
				shares = append(shares, snapshot.Share{
					Path: p, Usage: there(value()), Kmem: there(value()), Flat: r.IntN(4) == 0,
					Stat: there(made(map[string]int64{"anon": value(), "file": value(), "kernel": value(), "slab": value(), "sock": value()})),
				})
			}
		}
		s.Shares = there(shares)
		c, ok := NodeClasses(s)
		if !ok {
			t.Fatal(mem)
		}
		var sum int64
		for _, row := range c.Rows {
			sum += row.Bytes
		}
		o, ok := NodeOwners(s, c)
		if sum != c.Total || !ok || o.Sum() != c.Total {
			t.Fatalf("%v: classes %d, owners %+v, total %d", mem, sum, o, c.Total)
		}
	}
}
