package diagnose

import (
	"math"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

func withHeaps(s *snapshot.Snapshot, h snapshot.Heaps) *snapshot.Snapshot {
	s = running(s, stat("RssAnon", 90*mib))
	s.Processes[0].Heaps = read(h)
	return s
}

// The allocator is suspected for what its accounts say, and no further.
func TestAllocatorSuspicion(t *testing.T) {
	malloc := func(system, free, idle int64) snapshot.Heaps {
		return snapshot.Heaps{Libraries: []string{"libc.so.6"}, Glibc: &snapshot.GlibcHeap{Arenas: 1, System: system * mib, Free: free * mib, Idle: idle * mib}}
	}
	silent := malloc(80, 1, 1)
	silent.Libraries = append(silent.Libraries, "python3.11")
	for name, c := range map[string]struct {
		h               snapshot.Heaps
		answer, because string
	}{
		"keeps":                {malloc(85, 61, 60), confirmed, "60.0 MiB"},
		"uses all":             {malloc(85, 1, 1), ruledOut, "of 85.0 MiB that runtimes and allocators account for, 1.0 MiB"},
		"in pieces":            {malloc(85, 50, 1), likely, "49.0 MiB is free in pieces between blocks in use, most of it by malloc of glibc in "},
		"covers half":          {malloc(50, 1, 1), unlikely, "of 50.0 MiB"},
		"covers little":        {malloc(5, 1, 1), cannotTell, "only its runtime knows"},
		"with one that is mum": {silent, cannotTell, "arenas of small objects"},
	} {
		s := withHeaps(charged(200, "anon", 90, "file", 10), c.h)
		w, err := ledger.Explain(s)
		if err != nil {
			t.Fatal(err)
		}
		got := Suspicions(words.Printer{}, s, w, find(t, s))[2]
		if got.Answer != c.answer || !strings.Contains(got.Because, c.because) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// What is kept and what is in use are two causes that sum to the account.
func TestRetainedAndLive(t *testing.T) {
	found := find(t, keeping(charged(200, "anon", 90, "file", 10), 60))
	kept, _ := of(found, codeRetained)
	live, ok := of(found, codeAnon)
	if !ok || bytes(kept) != 60*mib || bytes(live) != 30*mib || live.Confidence != high {
		t.Errorf("%+v", found)
	}
	// Five processes that forked keep it together.
	s := keeping(charged(200, "anon", 90, "file", 10), 60)
	p := s.Processes[0]
	p.Rollup = stat("Pss_Anon", 18*mib)
	s.Processes, s.PIDs = nil, nil
	for pid := 10; pid < 15; pid++ {
		p.PID = pid
		s.Processes, s.PIDs = append(s.Processes, p), append(s.PIDs, pid)
	}
	if kept, ok = of(find(t, s), codeRetained); !ok || bytes(kept) != 60*mib {
		t.Errorf("%+v", kept)
	}
}

// A heap that may outgrow the limit is told.
func TestHeapsBeyondTheLimit(t *testing.T) {
	for name, c := range map[string]struct {
		h    snapshot.Heaps
		want string
	}{
		"JVM":                 {snapshot.Heaps{Libraries: []string{"libjvm.so"}, JVM: &snapshot.JVMHeap{Reserved: 190 * mib, Committed: 80 * mib, Used: 80 * mib, Found: true, Resident: 80 * mib}}, "JVM heap alone may grow to 190.0 MiB, the limit is 200.0 MiB"},
		"a JVM that fits":     {snapshot.Heaps{Libraries: []string{"libjvm.so"}, JVM: &snapshot.JVMHeap{Reserved: 150 * mib, Committed: 80 * mib, Used: 80 * mib}}, ""},
		"Go":                  {snapshot.Heaps{Go: &snapshot.GoHeap{Percent: 100, Limit: 300 * mib, InUse: 80 * mib}}, "GOMEMLIMIT is 300.0 MiB, above the limit of 200.0 MiB"},
		"Go without a limit":  {snapshot.Heaps{Go: &snapshot.GoHeap{Percent: 100, Limit: math.MaxInt64, InUse: 80 * mib}}, ""},
		"Go with a low limit": {snapshot.Heaps{Go: &snapshot.GoHeap{Percent: 100, Limit: 100 * mib, InUse: 80 * mib}}, ""},
	} {
		live, ok := of(find(t, withHeaps(charged(200, "anon", 90, "file", 10), c.h)), codeAnon)
		if !ok || (c.want == "") != !strings.Contains(live.Title, "limit") || !strings.Contains(live.Title, c.want) || len(live.Evidence) < 3 {
			t.Errorf("%s: %+v", name, live)
		}
	}
}

// Who is near the limit by one heap is told how to bound that.
func TestTightByOneHeap(t *testing.T) {
	s := withHeaps(charged(110, "anon", 100), snapshot.Heaps{Go: &snapshot.GoHeap{Percent: 100, Limit: math.MaxInt64, InUse: 80 * mib}})
	r, ok := of(find(t, s), codeTight)
	if !ok || !strings.Contains(r.Remedies[len(r.Remedies)-1].Command, "app (pid 7): GOMEMLIMIT") {
		t.Errorf("%+v", r)
	}
	s.Processes[0].Heaps = read(snapshot.Heaps{Libraries: []string{"libc.so.6"}})
	if r, _ := of(find(t, s), codeTight); len(r.Remedies) != 2 {
		t.Errorf("%+v", r)
	}
}

// The cure of what was given back lazily, and of holes that were filled, is that of
// the runtime which did it.
func TestCuresByRuntime(t *testing.T) {
	s := causes()[codeLazy].is
	s.Processes[0].GoVersion = read("go1.13.4")
	if r, ok := of(find(t, s), codeLazy); !ok || !strings.Contains(r.Remedies[0].Command, "or Go 1.16") {
		t.Errorf("%+v", r)
	}
	s = running(charged(200, "anon", 90, "anon_thp", 80), stat("RssAnon", 90*mib))
	s.Processes[0].Rollup = stat("AnonHugePages", 80*mib, "Pss_Anon", 90*mib)
	s.Processes[0].GoVersion = read("go1.21.2")
	r, ok := of(find(t, s), codeTHP)
	if !ok || len(r.Remedies) != 3 || !strings.Contains(r.Remedies[2].Command, "Go 1.21.4 or later for app (pid 7)") {
		t.Errorf("%+v", r)
	}
	s.Processes[0].GoVersion = read("go1.22.0")
	if r, _ := of(find(t, s), codeTHP); len(r.Remedies) != 2 {
		t.Errorf("%+v", r)
	}
}
