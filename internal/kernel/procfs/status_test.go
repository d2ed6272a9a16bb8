package procfs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestParseStatusOfRealKernels(t *testing.T) {
	for _, tt := range []struct {
		name   string
		want   snapshot.Status
		fields map[string]int64
	}{
		{"3.10.0-1062.el7.x86_64", snapshot.Status{Name: "appserver", State: "S", PPID: 1}, map[string]int64{"VmRSS": 62216 << 10, "RssAnon": 44560 << 10, "Threads": 3, "VmPMD": absent, "FDSize": absent, "Uid": absent}},
		{"6.18", snapshot.Status{Name: "cat", State: "R", PPID: 9682}, map[string]int64{"HugetlbPages": 0, "Threads": 1, "Kthread": absent}},
		{"6.18-kthread", snapshot.Status{Name: "kthreadd", State: "S", KernelThread: true}, map[string]int64{"VmRSS": absent, "Threads": 1}},
	} {
		s, err := ParseStatus(fixture(t, "status", tt.name))
		if diff := cmp.Diff(tt.want, s, cmpopts.IgnoreFields(snapshot.Status{}, "Fields")); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", tt.name, err, diff)
		}
		if s.Fields.Malformed+s.Fields.Repeated != 0 {
			t.Errorf("%s: %d malformed, %d repeated", tt.name, s.Fields.Malformed, s.Fields.Repeated)
		}
		wantKeys(t, tt.name, s.Fields, tt.fields)
	}
}

func TestKernelThreads(t *testing.T) {
	for _, tt := range []struct {
		lines string
		want  bool
	}{
		{"State:\tS (sleeping)\nPid:\t2\nPPid:\t0\n", true},
		{"State:\tI (idle)\nPid:\t77\nPPid:\t2\n", true},
		{"State:\tS (sleeping)\nPid:\t77\nPPid:\t2\nVmSize:\t8 kB\n", false},
		{"State:\tZ (zombie)\nPid:\t77\nPPid:\t2\n", false},
		{"State:\tR (running)\nPid:\t77\nPPid:\t1\n", false},
		{"State:\tR (running)\nPid:\t77\nPPid:\t1\nKthread:\t1\n", true},
		{"State:\tI (idle)\nPid:\t77\nPPid:\t2\nKthread:\t0\n", false},
	} {
		s, err := ParseStatus([]byte("Name:\tx\n" + tt.lines))
		if err != nil || s.KernelThread != tt.want {
			t.Errorf("%q: %v, %v; want %v", tt.lines, s.KernelThread, err, tt.want)
		}
	}
}

func TestParseStatusNames(t *testing.T) {
	for printed, want := range map[string]string{
		"a b": "a b", " lead": " lead", "": "", `a\nState:\tZ`: "a\nState:\\tZ", `back\\slash`: `back\slash`, `\\n`: `\n`, `\\\n`: "\\\n", `\`: `\`,
		"a:b": "a:b", "\xff\xfe": "\xff\xfe", "kworker/0:0-events": "kworker/0:0-events",
	} {
		s, err := ParseStatus([]byte("Name:\t" + printed + "\nState:\tS (sleeping)\nPPid:\t1\n"))
		if err != nil || s.Name != want {
			t.Errorf("%q: %q, %v; want %q", printed, s.Name, err, want)
		}
	}
}

func TestParseStatusOddLines(t *testing.T) {
	s, err := ParseStatus([]byte("Name:\tx\nState:\tS\nPPid:\t1\nVmRSS:\t 7 kB\nVmNew:\t 1 kB\nVmRSS:\t 8 kB\nVmSwap:\t x kB\nThreads:\t1 kB\nThreads:\tx\njunk\nVmPTE:\t18446744073709551612 kB\n"))
	want := snapshot.Stat{Entries: []snapshot.Entry{{Key: "VmRSS", Value: 7 << 10}, {Key: "VmNew", Value: 1 << 10}, {Key: "VmPTE", Value: -4096}}, Repeated: 1, Malformed: 4}
	if diff := cmp.Diff(want, s.Fields); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, junk := range []string{"", "\n", "Name:\tx\n", "Name:\tx\nState:\t\nPPid:\t1\n", "Name:\tx\nState:\tS\nPPid:\tx\n", "Name:\tx\nState:\tS\nPPid:\t99999999999\n"} {
		if s, err := ParseStatus([]byte(junk)); err == nil {
			t.Errorf("%q: %+v, want an error", junk, s)
		}
	}
}

func TestParseStatusAllocatesLittle(t *testing.T) {
	b := fixture(t, "status", "6.18")
	// The name, the state's letter, the fields and the set of their keys.
	if n := testing.AllocsPerRun(100, func() { _, _ = ParseStatus(b) }); n > 6 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParseStatus(f *testing.F) {
	seed(f, "status")
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseStatus(b)
		if err != nil {
			return
		}
		fuzzStat(t, b, s.Fields)
		if len(s.State) != 1 {
			t.Errorf("state %q", s.State)
		}
		for _, e := range s.Fields.Entries {
			if e.Key != "Threads" && e.Value%1024 != 0 {
				t.Errorf("%s = %d is no whole kB", e.Key, e.Value)
			}
		}
		// What a process calls itself cannot forge a line.
		if strings.Contains(s.Name, "\n") && !strings.Contains(string(b), `\n`) {
			t.Errorf("name %q", s.Name)
		}
	})
}

func BenchmarkParseStatus(b *testing.B) {
	file := fixture(b, "status", "6.18")
	b.ReportAllocs()
	for b.Loop() {
		_, _ = ParseStatus(file)
	}
}
