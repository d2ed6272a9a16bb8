package ledger

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// A group that was removed and made anew under its name, with a child of each.
func rebuilt() *snapshot.Census {
	file := func(n int64) snapshot.PageState { return snapshot.PageState{Bytes: n} }
	return &snapshot.Census{
		Groups: []snapshot.CensusGroup{
			{Parent: -1, Kernel: 1 << 20},
			{Path: "/", Parent: -1},
			{Path: "/a", Parent: 1, Dying: true, File: file(1000)},
			{Path: "/a/old", Parent: 2, Dying: true, File: file(2000)},
			{Path: "/a/new", Parent: 5, Dying: true, File: file(64), Shmem: 32, Slab: 8},
			{Path: "/a", Parent: 1, File: file(500), Anon: file(7), KSM: 1, Slab: 300, Tables: 40, Kernel: 16, Inherited: snapshot.Unknown},
			{Path: "/ab", Parent: 1, File: file(9)},
		},
		Slabs: []snapshot.CensusSlab{
			{Group: 5, Cache: "dentry", Bytes: 200, Reclaimable: true},
			{Group: 5, Cache: "kmalloc-8", Bytes: 90},
			{Group: 3, Cache: "dentry", Bytes: 50, Reclaimable: true},
			{Group: 0, Cache: "dentry", Bytes: 70, Reclaimable: true},
		},
	}
}

func TestCount(t *testing.T) {
	want := Counted{
		Anon: 8, File: 532, Shmem: 32, PageTables: 40, SlabReclaimable: 200, SlabPinned: 108, Kernel: 16, Inherited: snapshot.Unknown,
		DyingBytes: 72, DyingGroups: 1,
	}
	got, known := Count(rebuilt(), "/a", false)
	if d := cmp.Diff(want, got); d != "" || !known {
		t.Errorf("%v\n%s", known, d)
	}
	if got, _ := Count(rebuilt(), "/a", true); got.File != 500 || got.DyingGroups != 0 {
		t.Errorf("alone: %+v", got)
	}
	if got, _ := Count(rebuilt(), "/", false); got.File != 500+2000+1000+32+9 || got.SlabReclaimable != 250 {
		t.Errorf("root: %+v", got)
	}
	if _, known := Count(rebuilt(), "/none", false); known {
		t.Error("a cgroup that the census has never heard of is known")
	}
	c := rebuilt()
	c.Groups[5].Slab = snapshot.Unknown
	if got, _ := Count(c, "/a", false); got.SlabPinned != snapshot.Unknown || got.SlabReclaimable != snapshot.Unknown {
		t.Errorf("slab: %+v", got)
	}
	c = rebuilt()
	for i := range c.Slabs {
		c.Slabs[i].Reclaimable = false
	}
	if got, _ := Count(c, "/a", false); got.SlabPinned != 308 || got.SlabReclaimable != snapshot.Unknown {
		t.Errorf("no reclaimable cache: %+v", got)
	}
}

func TestCensusSplitsKernelMemoryOfVersion1(t *testing.T) {
	for _, c := range []struct {
		kmem    int64
		counted *Counted
		want    map[string]int64
		max     int64 // unreclaimable
		doubt   bool
	}{
		{100, nil, map[string]int64{KernelUndivided: 100}, 100, false},
		{100, &Counted{SlabPinned: snapshot.Unknown}, map[string]int64{KernelUndivided: 100}, 100, false},
		{100, &Counted{SlabReclaimable: 60, SlabPinned: 20, PageTables: 5}, map[string]int64{SlabReclaimable: 60, SlabPinned: 20, PageTables: 5, KernelOther: 15}, 40, false},
		{100, &Counted{SlabReclaimable: snapshot.Unknown, SlabPinned: 20, PageTables: 5}, map[string]int64{Slab: 20, PageTables: 5, KernelOther: 75}, 100, false},
		{100, &Counted{SlabReclaimable: 90, SlabPinned: 8 << 20, PageTables: 5}, map[string]int64{SlabReclaimable: 90, SlabPinned: 10, PageTables: 0, KernelOther: 0}, 10, true},
	} {
		e := env()
		e.Counted = c.counted
		l, err := Balance(v1(c.kmem, c.kmem, map[string]int64{
			"rss": 0, "cache": 0, "shmem": 0, "inactive_anon": 0, "active_anon": 0, "inactive_file": 0, "active_file": 0, "unevictable": 0,
		}), e)
		if err != nil {
			t.Fatal(err)
		}
		got := leaves(t, l)
		for path := range got {
			if !strings.HasPrefix(path, "kernel/") {
				delete(got, path)
			}
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%+v: %s", c.counted, d)
		}
		if l.UnreclaimableMax != c.max || (len(l.Doubts) > 0) != c.doubt {
			t.Errorf("%+v: cannot free %d, doubts %q", c.counted, l.UnreclaimableMax, l.Doubts)
		}
	}
}
