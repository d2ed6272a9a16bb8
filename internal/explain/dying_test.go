package explain

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

func TestDyingByCensus(t *testing.T) {
	s := counted()
	c := s.Census.Value
	c.Walked = true
	for i := range c.Groups {
		c.Groups[i].MemoryID, c.Groups[i].Usage = int64(i), snapshot.Unknown
	}
	c.Groups[5].MemoryID, c.Groups[5].Usage = 0, 12
	c.Groups[4].MemoryID = snapshot.Unknown // made between the walks
	c.Groups = append(c.Groups, snapshot.CensusGroup{Path: "/c/empty", Parent: 2, Dying: true, MemoryID: 9, Usage: snapshot.Unknown})
	c.Groups[2].Inherited = 5
	c.Slabs = append(c.Slabs, snapshot.CensusSlab{Group: 5, Cache: "dentry", Bytes: 3})
	r := Node(words.Printer{}, s)
	d := r.Dying
	usage, gone, kept := int64(12), int64(0), int64(9)
	want := []report.DyingGroup{
		{
			Cgroup: "/c/one/job\x1b[31m", Bytes: 10, UsageBytes: &usage, MemoryID: &gone, Accounts: map[string]int64{"file": 10},
			PinnedBy: []report.Pin{{Kind: "file", Name: "old", Path: "/data/log/old", Deleted: true, Bytes: 10}, {Kind: "slab-cache", Name: "dentry", Bytes: 3}},
		},
		{Cgroup: "/c/empty", MemoryID: &kept, Accounts: map[string]int64{}, PinnedBy: []report.Pin{}},
	}
	if diff := cmp.Diff(want, d.Groups); diff != "" {
		t.Error(diff)
	}
	if *d.Count != 2 || *d.Bytes != 10 || d.How != "census" || *d.IDs.Taken != 4 || *d.IDs.Dead != 1 || *d.IDs.Live != 3 || len(d.Evidence) != 0 {
		t.Errorf("%+v, ids %d taken, %d live, %d dead", d, *d.IDs.Taken, *d.IDs.Live, *d.IDs.Dead)
	}
	if diff := cmp.Diff([]report.Charge{{Cgroup: "/c", Bytes: 5}}, d.Inherited); diff != "" {
		t.Error(diff)
	}
}

// Without a census that walked all of them, files tell how many there are, or
// nothing does.
func TestDyingByFiles(t *testing.T) {
	s := counted() // not walked
	s.Host.Kernel = present("6.1.0-50-amd64")
	s.Kmem.Version = snapshot.V2
	s.Kmem.Root = present(snapshot.Stat{Entries: []snapshot.Entry{{Key: "nr_descendants", Value: 40}, {Key: "nr_dying_descendants", Value: 7}}})
	d := Node(words.Printer{}, s).Dying
	if d.Count == nil || *d.Count != 7 || d.How != "counter" || d.Bytes != nil || len(d.Groups) != 0 || d.IDs.How != "at-least" || *d.IDs.Taken != 40 || len(d.Evidence) != 2 {
		t.Errorf("%+v", d)
	}
	r := Node(words.Printer{}, &snapshot.Snapshot{})
	if r.Dying.Count != nil || r.Dying.How != "unknown" || r.Dying.IDs.Taken != nil {
		t.Errorf("%+v", r.Dying)
	}
	keys := map[string]bool{}
	for _, n := range r.NotSeen {
		keys[n.Key] = true
	}
	for _, key := range []string{"generated", "host.cpus", "host.memTotalBytes", "dying.count", "dying.bytes", "dying.ids.taken", "dying.ids.live", "dying.ids.dead"} {
		if !keys[key] {
			t.Errorf("%s is null and nothing says why", key)
		}
	}
}
