package cgroupfs

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// checked is an independent parser of flat keyed files, slow and obvious.
func checked(b []byte) snapshot.Stat {
	var s snapshot.Stat
	seen := map[string]bool{}
	for _, line := range strings.SplitAfter(string(b), "\n") {
		if line == "" {
			continue
		}
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 2)
		n, err := int64(0), strconv.ErrSyntax
		if len(parts) == 2 && parts[0] != "" && !strings.HasPrefix(parts[1], "+") {
			n, err = strconv.ParseInt(parts[1], 10, 64)
			if u, uerr := strconv.ParseUint(parts[1], 10, 64); err != nil && uerr == nil {
				n, err = int64(u), nil
			}
		}
		switch {
		case err != nil:
			s.Malformed++
		case seen[parts[0]]:
			s.Repeated++
		default:
			seen[parts[0]] = true
			s.Entries = append(s.Entries, snapshot.Entry{Key: parts[0], Value: n})
		}
	}
	return s
}

func TestParseStatOfEveryFixture(t *testing.T) {
	for _, kind := range []string{"memory.stat", "memory.events", "memory.oom_control", "cgroup.stat"} {
		files, _ := filepath.Glob(filepath.Join("testdata", kind, "*.txt"))
		for _, file := range files {
			b := fixture(t, kind, strings.TrimSuffix(filepath.Base(file), ".txt"))
			var s snapshot.Stat
			if err := ParseStat(b, &s); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			if diff := cmp.Diff(checked(b), s); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
			if made := strings.Contains(file, "underflow"); !made && s.Malformed+s.Repeated > 0 {
				t.Errorf("%s: %d malformed, %d repeated", file, s.Malformed, s.Repeated)
			}
		}
	}
}

func TestParseStatKnownValues(t *testing.T) {
	for _, tt := range []struct {
		kind, name string
		entries    int
		key        string
		want       int64
	}{
		{"memory.stat", "3.10.0-1062.el7.x86_64", 30, "hierarchical_memory_limit", 268435456},
		{"memory.stat", "3.10.0-1160.el7.x86_64", 30, "total_rss", 57344},
		{"memory.stat", "6.18", 42, "unevictable", 14893056},
		{"memory.stat", "6.18-v2-made", 67, "anon", 45670400},
		{"memory.events", "6.18-v2-made", 7, "oom_kill", 1},
		{"memory.oom_control", "6.18", 3, "oom_kill", 0},
		{"cgroup.stat", "6.18", 6, "nr_dying_descendants", 0},
	} {
		var s snapshot.Stat
		if err := ParseStat(fixture(t, tt.kind, tt.name), &s); err != nil {
			t.Fatal(err)
		}
		if n, ok := s.Get(tt.key); !ok || n != tt.want || len(s.Entries) != tt.entries {
			t.Errorf("%s/%s: %s = %d, %v of %d entries; want %d of %d", tt.kind, tt.name, tt.key, n, ok, len(s.Entries), tt.want, tt.entries)
		}
	}
	var s snapshot.Stat
	if err := ParseStat(fixture(t, "memory.oom_control", "3.10.0-1062.el7.x86_64"), &s); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Get("oom_kill"); ok {
		t.Error("el7 has no oom_kill, and an absent key must stay absent")
	}
}

func TestParseStatKeepsWhatTheKernelPrinted(t *testing.T) {
	var s snapshot.Stat
	if err := ParseStat(fixture(t, "memory.stat", "underflow-made"), &s); err != nil {
		t.Fatal(err)
	}
	want := snapshot.Stat{
		Entries:   []snapshot.Entry{{Key: "cache", Value: 4096}, {Key: "rss", Value: -4096}, {Key: "mapped_file", Value: -8192}, {Key: "unknown_key", Value: 1}},
		Repeated:  1,
		Malformed: 2,
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseStatReuse(t *testing.T) {
	var s snapshot.Stat
	for _, file := range []string{
		"a 1\nb 2\n", "a 3\nb 4\n", "a 5\n", "a 5\nc 6\nd 7\n", "c 6\na 5\nd 7\n", "c 6\na 5\nd 7\ne 8",
		"c 6\na 18446744073709551615\nd -7\ne 08", "c 6\na 1\nd\ne 8\n", "c 1\nc 2\n", "c 1\n\n", "", "x 1\n", "x 1\ny 2\n", "x 9223372036854775808\ny 1234567890123456789\n",
	} {
		if err := ParseStat([]byte(file), &s); err != nil {
			t.Errorf("%q: %v", file, err)
		}
		if diff := cmp.Diff(checked([]byte(file)), s, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", file, diff)
		}
	}
	for _, junk := range []string{"\n", "x", "x 1 \n", " 1\n", "x 1.5\n", "x  1\n", "x 0x1\n", "x +1\n", "x -\n", "x 18446744073709551616\n", "x -9223372036854775809\n", "\x00\xff"} {
		if err := ParseStat([]byte(junk), &s); err == nil || len(s.Entries) != 0 {
			t.Errorf("%q gives %v, want an error and no entry of the file before", junk, s)
		}
	}
}

func TestParseStatAllocatesNothingInSteadyState(t *testing.T) {
	for _, name := range []string{"6.18", "3.10.0-1062.el7.x86_64", "6.18-v2-made"} {
		b := fixture(t, "memory.stat", name)
		var s snapshot.Stat
		if err := ParseStat(b, &s); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() { _ = ParseStat(b, &s) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
	// An underflowed counter must not cost anything either.
	b := []byte("cache 4096\nrss 18446744073709547520\n")
	var s snapshot.Stat
	if n := testing.AllocsPerRun(100, func() { _ = ParseStat(b, &s) }); n != 0 {
		t.Errorf("underflow: %v allocations, want 0", n)
	}
}

func TestParseStatIsLinearInItsInput(t *testing.T) {
	var b []byte
	for i := range 200_000 {
		b = fmt.Appendf(b, "k%d %d\n", i%150_000, i)
	}
	var s snapshot.Stat
	if err := ParseStat(b, &s); err != nil || len(s.Entries) != 150_000 || s.Repeated != 50_000 {
		t.Errorf("%d entries, %d repeated, %v", len(s.Entries), s.Repeated, err)
	}
	newlines := []byte(strings.Repeat("\n", 1<<20))
	if err := ParseStat(newlines, &snapshot.Stat{}); err == nil {
		t.Error("a megabyte of newlines is no stat file")
	}
}

func FuzzParseStat(f *testing.F) {
	seed(f, "memory.stat", "memory.events", "memory.oom_control", "cgroup.stat")
	other := fixture(f, "memory.stat", "6.18")
	f.Fuzz(func(t *testing.T, b []byte) {
		want := checked(b)
		var s snapshot.Stat
		err := ParseStat(b, &s)
		if (err != nil) != (len(b) > 0 && len(want.Entries) == 0) {
			t.Fatalf("error %v with %d entries", err, len(want.Entries))
		}
		reused := snapshot.Stat{}
		_ = ParseStat(other, &reused)
		_ = ParseStat(b, &reused)
		for _, got := range []*snapshot.Stat{&s, &reused} {
			for range 2 { // as it came, and parsed once more into itself
				if !slices.Equal(want.Entries, got.Entries) || want.Repeated != got.Repeated || want.Malformed != got.Malformed {
					t.Fatalf("(-want +got):\n%s", cmp.Diff(want, *got))
				}
				_ = ParseStat(b, got)
			}
		}
		for _, e := range s.Entries {
			if e.Key == "" || strings.ContainsAny(e.Key, " \n") {
				t.Errorf("key %q", e.Key)
			}
		}
	})
}

func BenchmarkParseStat(b *testing.B) {
	for _, name := range []string{"6.18", "3.10.0-1062.el7.x86_64", "6.18-v2-made"} {
		file := fixture(b, "memory.stat", name)
		b.Run(name+"/steady", func(b *testing.B) {
			var s snapshot.Stat
			b.ReportAllocs()
			b.SetBytes(int64(len(file)))
			for b.Loop() {
				_ = ParseStat(file, &s)
			}
		})
		b.Run(name+"/fresh", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var s snapshot.Stat
				_ = ParseStat(file, &s)
			}
		})
		b.Run(name+"/bare-digit-loop", func(b *testing.B) {
			var sum uint64
			for b.Loop() {
				sum += digits(file)
			}
			_ = sum
		})
	}
}

// digits is the least that any parser of these files does.
func digits(file []byte) (sum uint64) {
	var n uint64
	value := false
	for _, c := range file {
		switch {
		case c == ' ':
			value, n = true, 0
		case c == '\n':
			value = false
			sum += n
		case value:
			n = n*10 + uint64(c-'0')
		}
	}
	return sum
}
