package advisory

import (
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

func charged(cgroup string, kmem int64, procs int, own bool) snapshot.KmemHeld {
	return snapshot.KmemHeld{
		Cgroup: cgroup, Own: own,
		Kmem:  snapshot.Reading[int64]{Value: kmem, State: snapshot.Present, Source: cgroup},
		Procs: snapshot.Reading[[]int]{Value: make([]int, procs), State: snapshot.Present},
	}
}

// What a directory without processes is charged beyond those below it belongs to
// removed cgroups; a container may be charged for what its own processes left.
func TestPinned(t *testing.T) {
	healthy := []snapshot.KmemHeld{
		charged("/kubepods", 300, 0, false), charged("/kubepods/pod1", 300, 0, false),
		charged("/kubepods/pod1/a", 100, 1, true), charged("/kubepods/pod1/b", 200, 0, true), charged("/system.slice", 0, 0, true),
	}
	broken := charged("/kubepods/pod1/c", 0, 0, true)
	broken.Kmem.State = snapshot.Denied
	for name, c := range map[string]struct {
		held  []snapshot.KmemHeld
		want  int64
		known bool
	}{
		"nothing read":        {nil, 0, false},
		"healthy":             {healthy, 0, true},
		"a removed pod":       {append([]snapshot.KmemHeld{charged("/kubepods", 340, 0, false)}, healthy[1:]...), 40, true},
		"pods with processes": {append([]snapshot.KmemHeld{charged("/kubepods", 340, 2, false)}, healthy[1:]...), 0, true},
		"on two levels": {
			append([]snapshot.KmemHeld{charged("/kubepods", 350, 0, false), charged("/kubepods/pod1", 310, 0, false)}, healthy[2:]...), 50, true,
		},
		"one not read":  {append([]snapshot.KmemHeld{broken}, healthy...), 0, false},
		"no amount":     {[]snapshot.KmemHeld{charged("/kubepods", -4096, 0, false)}, 0, false},
		"read too late": {append([]snapshot.KmemHeld{charged("/kubepods", 290, 0, false)}, healthy[1:]...), 0, true},
	} {
		s := &snapshot.Snapshot{Kmem: snapshot.Kmem{Held: c.held}}
		got, evidence, known := Look(words.Printer{}, s).Pinned()
		if got != c.want || known != c.known || (got > 0) != (len(evidence) > 0) {
			t.Errorf("%s: %d, %v, %v", name, got, known, evidence)
		}
	}
}

// Ids of live cgroups alone count on later kernels, by whichever file has them.
func TestIDs(t *testing.T) {
	s := &snapshot.Snapshot{}
	s.Host.Kernel = snapshot.Reading[string]{Value: "6.1.0-13-amd64", State: snapshot.Present}
	if ids := Look(words.Printer{}, s).IDs(); ids.Known || ids.Used != 0 {
		t.Errorf("%+v", ids)
	}
	s.Kmem.Root.State = snapshot.Present
	s.Kmem.Root.Value.Entries = []snapshot.Entry{{Key: "nr_descendants", Value: 70_000}, {Key: "nr_dying_descendants", Value: 5}}
	if ids := Look(words.Printer{}, s).IDs(); !ids.Known || ids.Live != 70_000 || ids.Used != MaxIDs || ids.Dead != 0 {
		t.Errorf("%+v", ids)
	}
}
