package diagnose

import (
	"slices"
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// The most dangerous comes first, whatever explains more bytes; what is part of
// something that was not found is a finding of its own.
func TestOrder(t *testing.T) {
	const app, pod = "/kubepods/pod1/app", "/kubepods/pod1"
	s := node(kill(pod, pod+"/other"), kill(app, app), kill("", ""))
	s.Path[1].OOMControl = stat("oom_kill_disable", 1, "under_oom", 1)
	s.Path[0].CgroupStat = stat("nr_dying_descendants", 3)
	got := find(t, s)
	if short(got) != "oom.no-victim critical high, oom.container warning high, oom.ancestor notice high, oom.node notice low, cgroup.dying info high" {
		t.Errorf("%q", short(got))
	}
	for _, f := range got {
		if !slices.Contains(severities, f.Severity) || !slices.Contains(confidences, f.Confidence) || f.PartOf != "" {
			t.Errorf("%+v", f)
		}
	}
}

// Removed cgroups of a whole node, where the kernel counts them.
func TestDyingOfANode(t *testing.T) {
	for n, want := range map[int]string{
		1000:   "",
		1001:   "cgroup.dying notice high, kernel.advisory/pagecache-pins-dying-memcg notice medium",
		10_001: "cgroup.dying warning high, kernel.advisory/pagecache-pins-dying-memcg notice medium",
	} {
		s := node()
		s.Kmem.Root, s.Kmem.Version = stat("nr_descendants", 200, "nr_dying_descendants", n), snapshot.V2
		got := find(t, s)
		if short(got) != want {
			t.Errorf("%d: %q, want %q", n, short(got), want)
		}
		for _, f := range got[min(1, len(got)):] {
			if f.PartOf != "cgroup.dying" {
				t.Errorf("%d: %+v", n, f)
			}
		}
	}
}

// A limit of kernel memory that refuses is told on any kernel that has one.
func TestKmemLimitOfALaterKernel(t *testing.T) {
	s := node()
	for i := range s.Path {
		s.Path[i].Version = snapshot.V1
	}
	s.Path[0].KmemLimit, s.Path[0].KmemFailcnt, s.Path[0].KmemUsage = read(int64(12*mib)), read(int64(0)), read(int64(11*mib))
	if got := find(t, s); short(got) != "kernel.other info low" {
		t.Errorf("%q", short(got))
	}
	s.Path[0].KmemFailcnt = read(int64(5))
	if got := find(t, s); short(got) != "kmem.accounting warning high, kernel.other info low" || *got[0].Bytes != 11*mib {
		t.Errorf("%q", short(got))
	}
}

// What is a part of the usage is a part of one class of it.
func TestClass(t *testing.T) {
	for code, want := range map[string]string{
		codeCold: "file", codeTmpfs: "shmem", codeSock: "sock", codeStacks: "kernel", codeSlab: "kernel", codeRetained: "anon", codeLeak: "anon",
		codeParent: "", codeDying: "", codeThrottle: "", "kernel.advisory/el7-kmem-slab-leak": "",
	} {
		if got := Class(code); got != want {
			t.Errorf("%s: %q, want %q", code, got, want)
		}
	}
}
