package procfs

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func find(t *testing.T, s snapshot.Smaps, name string, nth int) snapshot.Mapping {
	t.Helper()
	for _, m := range s.Maps {
		if m.Name == name {
			if nth == 0 {
				return m
			}
			nth--
		}
	}
	t.Fatalf("no mapping %q", name)
	return snapshot.Mapping{}
}

const allSmaps = snapshot.SmapsSwapPss<<1 - 1

func TestParseSmapsOfRealKernels(t *testing.T) {
	s, err := ParseSmaps(fixture(t, "smaps", "6.18-go1.26"))
	if err != nil || s.Has != allSmaps || len(s.Maps) != 30 {
		t.Fatalf("%v, lines %b, %d mappings", err, s.Has, len(s.Maps))
	}
	want := snapshot.Mapping{
		Start: 0x400000, End: 0x49f000, Perms: [4]byte([]byte("r-xp")), Inode: s.Maps[0].Inode, Name: "/opt/gohold",
		Rss: 632 << 10, Pss: 632 << 10, PrivateClean: 632 << 10,
	}
	if d := cmp.Diff(want, s.Maps[0]); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	var rss, anon int64
	for _, m := range s.Maps {
		rss, anon = rss+m.Rss, anon+m.Anonymous
	}
	roll, err := ParseSmapsRollup(fixture(t, "smaps_rollup", "6.18"))
	if err != nil || roll.Malformed+roll.Repeated != 0 {
		t.Fatalf("%v %+v", err, roll)
	}
	for key, sum := range map[string]int64{"Rss": rss, "Anonymous": anon} {
		if v, ok := roll.Get(key); !ok || v != sum {
			t.Errorf("%s: the rollup has %d, the mappings sum to %d", key, v, sum)
		}
	}
}

// el7 prints neither Pss_Dirty nor LazyFree nor SwapPss.
func TestParseSmapsOfOldKernels(t *testing.T) {
	s, err := ParseSmaps(fixture(t, "smaps", "3.10-made"))
	if err != nil || s.Has != allSmaps&^(snapshot.SmapsLazyFree|snapshot.SmapsSwapPss) {
		t.Fatalf("%v, lines %b", err, s.Has)
	}
	if m := find(t, s, "[stack:1234]", 0); m.Rss != 8<<10 || m.Perms != [4]byte([]byte("rw-p")) {
		t.Errorf("%+v", m)
	}
	if m := find(t, s, "/opt/a b\nc\\d (deleted)", 0); m.Anonymous != 4<<10 || m.Inode != 77 {
		t.Errorf("%+v", m)
	}
	if m := find(t, s, "[heap]", 0); m.End-m.Start != 0x21000 || m.Rss != 123456789<<10 {
		t.Errorf("%+v", m)
	}
}

func TestParseSmapsRefusesJunk(t *testing.T) {
	good := string(fixture(t, "smaps", "3.10-made"))
	for name, junk := range map[string]string{
		"no mapping":  "Rss: 4 kB\n",
		"text":        "hello\n",
		"empty line":  good + "\n",
		"no perms":    "1000-2000 rw\n",
		"backwards":   "2000-1000 rw-p 0 0:0 0\n",
		"long number": "11111111111111111-22222222222222222 rw-p 0 0:0 0\n",
		"cut":         good[:len(good)*2/3],
		"no amount":   strings.Replace(good, "Rss:                   8 kB", "Rss:                   x kB", 1),
		"twice":       good + "Rss:                   8 kB\n",
		"other lines": good + "5000-6000 rw-p 00000000 00:00 0 \nRss:                   8 kB\n",
		"NULs":        "\x00\x00\x00",
		"negative":    strings.Replace(good, "Rss:                   8 kB", "Rss:                  -8 kB", 1),
		"too much":    strings.Replace(good, "Rss:                   8 kB", "Rss:       99999999999999 kB", 1),
	} {
		if s, err := ParseSmaps([]byte(junk)); err == nil {
			t.Errorf("%s: %d mappings, want an error", name, len(s.Maps))
		}
	}
	if s, err := ParseSmaps(nil); err != nil || len(s.Maps) != 0 { // a zombie
		t.Errorf("%+v, %v", s, err)
	}
}

func TestCountMaps(t *testing.T) {
	if n, err := CountMaps([]byte("a\nb\n")); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := CountMaps([]byte("a\nb")); err == nil {
		t.Errorf("%d of a cut file", n)
	}
}

func TestParseSmapsRollup(t *testing.T) {
	s, err := ParseSmapsRollup([]byte("0-1 ---p 0 0:0 0 [rollup]\nRss: 4 kB\nNew: 1 kB\nRss: 5 kB\nx\nPss: 2\n"))
	want := snapshot.Stat{Entries: []snapshot.Entry{{Key: "Rss", Value: 4 << 10}, {Key: "New", Value: 1 << 10}}, Repeated: 1, Malformed: 2}
	if d := cmp.Diff(want, s); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if _, err := ParseSmapsRollup([]byte("Rss: 4 kB\n")); err == nil {
		t.Error("no heading, no error")
	}
}

func TestParseSmapsAllocatesLittle(t *testing.T) {
	one := fixture(t, "smaps", "6.18-go1.26")
	b := bytes.Repeat(one, 100)
	// The mappings, the names, the lines of the first mapping.
	if n := testing.AllocsPerRun(20, func() { _, _ = ParseSmaps(b) }); n > 60 {
		t.Errorf("%v allocations for %d mappings", n, 3000)
	}
}

func FuzzParseSmaps(f *testing.F) {
	// Two mappings of each: long inputs make slow fuzzing.
	for _, name := range []string{"6.18-go1.26", "3.10-made"} {
		f.Add(fixture(f, "smaps", name)[:1400])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSmaps(b)
		if err != nil {
			return
		}
		if lines := bytes.Count(b, []byte("\n")) + 1; len(s.Maps) > lines {
			t.Errorf("%d mappings of %d lines", len(s.Maps), lines)
		}
		for _, m := range s.Maps {
			if m.End < m.Start || m.Rss%1024 != 0 || strings.Contains(m.Name, `\012`) {
				t.Errorf("%+v", m)
			}
		}
	})
}

func FuzzParseSmapsRollup(f *testing.F) {
	seed(f, "smaps_rollup")
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseSmapsRollup(b); err == nil {
			fuzzStat(t, b, s)
		}
	})
}

func BenchmarkParseSmaps(b *testing.B) {
	file := bytes.Repeat(fixture(b, "smaps", "6.18-go1.26"), 100)
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = ParseSmaps(file)
	}
}

func TestMappedFiles(t *testing.T) {
	got, err := MappedFiles([]byte("00400000-00452000 r-xp 00000000 08:02 17     /bin/a b\n" +
		"00452000-00453000 rw-p 00052000 08:02 17     /bin/a b\n" +
		"7f00-7f01 rw-p 00000000 00:00 0 [anon:a]\n7f01-7f02 rw-p 00000000 00:00 0 \n" +
		"7f02-7f03 r--s 00000000 08:02 18 /x\\012y (deleted)\n7f03-7f04 r--s 00000000 08:02 17     /bin/a b\ncut /of"))
	if d := cmp.Diff([]string{"/bin/a b", "/x\ny (deleted)"}, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
}
