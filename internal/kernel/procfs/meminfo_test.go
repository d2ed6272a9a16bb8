package procfs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// absent is the value of a key that is not there.
const absent = -12345

// wantKeys compares some keys of a Stat.
func wantKeys(t *testing.T, name string, s snapshot.Stat, want map[string]int64) {
	t.Helper()
	for key, n := range want {
		got, ok := s.Get(key)
		if !ok {
			got = absent
		}
		if got != n {
			t.Errorf("%s: %s = %d, want %d", name, key, got, n)
		}
	}
}

func TestParseMeminfo(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines int
		want  map[string]int64
	}{
		{"3.10.0-1062.el7.x86_64", 42, map[string]int64{"MemTotal": 2055408 << 10, "AnonHugePages": 43008 << 10, "HugePages_Total": 0, "DirectMap2M": 2091008 << 10, "Percpu": absent, "KReclaimable": absent}},
		{"3.10.0-1127.el7.x86_64", 43, map[string]int64{"MemFree": 1846084 << 10, "Percpu": 256 << 10}},
		{"6.18", 54, map[string]int64{"Percpu": 688 << 10, "Inactive(anon)": 6640 << 10, "SReclaimable": 125700 << 10, "DirectMap1G": 25165824 << 10}},
	} {
		s, err := ParseMeminfo(fixture(t, "meminfo", tt.name))
		if err != nil || len(s.Entries) != tt.lines || s.Malformed+s.Repeated != 0 {
			t.Errorf("%s: %d lines, %d malformed, %d repeated, %v", tt.name, len(s.Entries), s.Malformed, s.Repeated, err)
		}
		wantKeys(t, tt.name, s, tt.want)
	}
}

func TestParseMeminfoOddLines(t *testing.T) {
	got, err := ParseMeminfo([]byte("A: 1 kB\nHugePages_Free:   7\nB: 18446744073709551612 kB\nA: 2 kB\nnew(x):\t3 kB\nC: 9223372036854775807 kB\nD: 5 MB\nE 5 kB\n: 1 kB\n\nF: -4 kB"))
	want := snapshot.Stat{
		Entries:   []snapshot.Entry{{Key: "A", Value: 1024}, {Key: "HugePages_Free", Value: 7}, {Key: "B", Value: -4096}, {Key: "new(x)", Value: 3072}, {Key: "F", Value: -4096}},
		Repeated:  1,
		Malformed: 5,
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, junk := range []string{"", "\n", "x", "A: kB\n", "A: x kB\n"} {
		if s, err := ParseMeminfo([]byte(junk)); err == nil {
			t.Errorf("%q: %v, want an error", junk, s)
		}
	}
}

func TestParseVmstat(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines int
		want  map[string]int64
	}{
		{"3.10.0-1062.el7.x86_64", 106, map[string]int64{"workingset_nodereclaim": 0, "oom_kill": absent}},
		{"6.18", 192, map[string]int64{"nr_free_pages": 941956, "oom_kill": 0}},
	} {
		s, err := ParseVmstat(fixture(t, "vmstat", tt.name))
		if err != nil || len(s.Entries) != tt.lines || s.Malformed+s.Repeated != 0 {
			t.Errorf("%s: %d lines, %d malformed, %d repeated, %v", tt.name, len(s.Entries), s.Malformed, s.Repeated, err)
		}
		wantKeys(t, tt.name, s, tt.want)
	}
	for _, junk := range []string{"", "\n", "junk\n"} {
		if s, err := ParseVmstat([]byte(junk)); err == nil {
			t.Errorf("%q: %v, want an error", junk, s)
		}
	}
}

// fuzzStat checks what holds for every Stat made of b.
func fuzzStat(t *testing.T, b []byte, s snapshot.Stat) {
	t.Helper()
	seen := map[string]bool{}
	for _, e := range s.Entries {
		if e.Key == "" || strings.Contains(e.Key, "\n") || seen[e.Key] {
			t.Errorf("key %q, seen %v", e.Key, seen[e.Key])
		}
		seen[e.Key] = true
	}
	if lines := strings.Count(string(b), "\n") + 1; len(s.Entries)+s.Repeated+s.Malformed > lines {
		t.Errorf("%d entries, %d repeated and %d malformed of %d lines", len(s.Entries), s.Repeated, s.Malformed, lines)
	}
}

func FuzzParseMeminfo(f *testing.F) {
	seed(f, "meminfo")
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseMeminfo(b)
		if (err != nil) != (len(s.Entries) == 0) {
			t.Fatalf("%d entries, %v", len(s.Entries), err)
		}
		fuzzStat(t, b, s)
		inKB := strings.Count(string(b), "\n") == strings.Count(string(b), " kB\n")
		for _, e := range s.Entries {
			if inKB && strings.HasSuffix(string(b), "\n") && e.Value%1024 != 0 {
				t.Errorf("%s = %d although every line is in kB", e.Key, e.Value)
			}
		}
	})
}

func FuzzParseVmstat(f *testing.F) {
	seed(f, "vmstat")
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseVmstat(b)
		if (err != nil) != (len(s.Entries) == 0) {
			t.Fatalf("%d entries, %v", len(s.Entries), err)
		}
		fuzzStat(t, b, s)
	})
}
