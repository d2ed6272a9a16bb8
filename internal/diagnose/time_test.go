package diagnose

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// watched looks at s seven times, a second apart: anonymous memory as given, in
// mebibytes, or as it is; then by how much counters went on. One process has it all
// in its heap, and ran for a millisecond.
func watched(s *snapshot.Snapshot, anon []int, counts ...any) *snapshot.Snapshot {
	begin := time.Unix(1_800_000_000, 0)
	t := s.Target()
	s.Host.PageSize = 4096
	now, _ := t.Stat.Value.Get("anon")
	if anon == nil {
		anon = slices.Repeat([]int{int(now / mib)}, 7)
	}
	w := &snapshot.Watch{First: &snapshot.Snapshot{Path: []snapshot.Cgroup{*t}}}
	for i, n := range anon {
		c := *t
		entries := slices.DeleteFunc(slices.Clone(t.Stat.Value.Entries), func(e snapshot.Entry) bool { return e.Key == "anon" })
		entries = append(entries, snapshot.Entry{Key: "anon", Value: int64(n) * mib})
		for k := 0; k < len(counts); k += 2 {
			entries = append(entries, snapshot.Entry{Key: counts[k].(string), Value: int64(counts[k+1].(int) * i / (len(anon) - 1))})
		}
		c.Stat.Value = snapshot.Stat{Entries: entries}
		w.Looks = append(w.Looks, snapshot.Look{At: begin.Add(time.Duration(i) * time.Second), Cgroup: c, CPU: read(int64(i) * 1e6), IO: read(snapshot.IO{})})
	}
	process := func(mibs int) snapshot.Process {
		heap := snapshot.Mapping{Name: "[heap]", Rss: int64(mibs) * mib, Pss: int64(mibs) * mib, Anonymous: int64(mibs) * mib}
		return snapshot.Process{
			PID: 7, Status: read(snapshot.Status{Name: "app"}), Times: read(snapshot.Times{Start: 5}), IO: stat("rchar", 0, "wchar", 0),
			Smaps: read(snapshot.Smaps{Maps: []snapshot.Mapping{heap}, Has: ^snapshot.SmapsKeys(0)}),
		}
	}
	w.First.Processes = []snapshot.Process{process(anon[0])}
	s.Processes, s.PIDs = []snapshot.Process{process(anon[len(anon)-1])}, []int{7}
	s.Watch = w
	return s
}

// What two looks and more say of churn and of leaks, with the window.
func TestSuspicionsOfAWatch(t *testing.T) {
	heap := func(anon []int, counts ...any) *snapshot.Snapshot {
		return watched(charged(200, "anon", 90, "file", 10), anon, counts...)
	}
	long := heap([]int{60, 65, 70, 75, 80, 85, 90})
	for i := range long.Watch.Looks {
		long.Watch.Looks[i].At = time.Unix(1_800_000_000+int64(i)*120, 0)
	}
	for name, c := range map[string]struct {
		s           *snapshot.Snapshot
		churn, leak string
	}{
		"flat":      {heap(nil, "pgfault", 10), ruledOut, unlikely},
		"leak":      {heap([]int{60, 65, 70, 75, 80, 85, 90}, "pgfault", 8000), ruledOut, likely},
		"for long":  {long, cannotTell, confirmed},
		"plateau":   {heap([]int{60, 75, 90, 90, 90, 90, 90}, "pgfault", 8000), ruledOut, unlikely},
		"collector": {heap([]int{60, 90, 60, 90, 60, 90, 60}, "pgfault", 40_000, "pgpgin", 40_000), confirmed, unlikely},
		"unsure":    {heap(nil, "pgfault", 40_000), likely, unlikely},
	} {
		w, err := ledger.Explain(c.s)
		if err != nil {
			t.Fatal(err)
		}
		got := Suspicions(words.Printer{}, c.s, w, find(t, c.s))
		if got[0].Answer != c.churn || got[1].Answer != c.leak {
			t.Errorf("%s: %+v", name, got[:2])
		}
		for _, x := range got[:2] {
			if x.Answer != cannotTell && !strings.Contains(x.Because, "within") && !strings.Contains(x.Because, "second") {
				t.Errorf("%s: no window: %q", name, x.Because)
			}
		}
	}
}

// Idle is what is known to be idle: unknown processor time is no rest.
func TestIdleIsNeverGuessed(t *testing.T) {
	for name, change := range map[string]func(*snapshot.Snapshot){
		"no processor time": func(s *snapshot.Snapshot) {
			s.Watch.Looks[0].CPU, s.Processes[0].Times = snapshot.Reading[int64]{}, snapshot.Reading[snapshot.Times]{}
		},
		"busy":     func(s *snapshot.Snapshot) { s.Watch.Looks[6].CPU = read(int64(3e9)) },
		"reads":    func(s *snapshot.Snapshot) { s.Watch.Looks[6].IO = read(snapshot.IO{Read: 50 * mib}) },
		"calls":    func(s *snapshot.Snapshot) { s.Processes[0].IO = stat("rchar", 50*mib, "wchar", 0) },
		"one look": func(s *snapshot.Snapshot) { s.Watch = nil },
		"a moment": func(s *snapshot.Snapshot) { s.Watch.Looks = s.Watch.Looks[:2] },
	} {
		s := watched(charged(200, "file", 90, "anon", 10), nil, "pgfault", 3)
		change(s)
		got := find(t, s)
		if _, idle := of(got, codeIdle); idle {
			t.Errorf("%s: idle", name)
		}
		if _, cold := of(got, codeCold); !cold {
			t.Errorf("%s: not even cold", name)
		}
	}
}
