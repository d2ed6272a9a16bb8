package mapping

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/snapshot"
)

const all = snapshot.SmapsSwapPss<<1 - 1

// process has mappings, threads and, if Go built it, a version.
func process(threads int64, goVersion string, maps ...snapshot.Mapping) *snapshot.Process {
	p := &snapshot.Process{PID: 7}
	p.Smaps = snapshot.Reading[snapshot.Smaps]{State: snapshot.Present, Value: snapshot.Smaps{Has: all, Maps: maps}}
	p.Status = snapshot.Reading[snapshot.Status]{State: snapshot.Present}
	p.Status.Value.Fields.Entries = []snapshot.Entry{{Key: "Threads", Value: threads}, {Key: "RssAnon", Value: 999}}
	if goVersion != "" {
		p.GoVersion = snapshot.Reading[string]{State: snapshot.Present, Value: goVersion}
	}
	return p
}

// vma is a private mapping all of whose resident pages are anonymous and its own.
func vma(start, end uint64, perms, name string, bytes int64) snapshot.Mapping {
	m := snapshot.Mapping{Start: start, End: end, Perms: [4]byte([]byte(perms)), Name: name, Rss: bytes, Pss: bytes, PrivateDirty: bytes, Anonymous: bytes}
	if name != "" && name[0] == '/' {
		m.Inode = 1
	}
	return m
}

func kinds(parts []Part) (s []string) {
	for _, p := range parts {
		s = append(s, p.Kind+" "+p.Name)
	}
	return s
}

func TestKinds(t *testing.T) {
	for name, want := range map[string]string{
		"[heap]": "heap heap", "[stack]": "stack main thread", "[stack:77]": "stack threads", "": "anon mappings without a name",
		"[anon: Go: heap]": "go-heap Go heap", "[anon: Go: gc bits]": "named Go: gc bits", "[anon:pool]": "named pool", "[anon_shmem:x]": "named x",
		"[anon: glibc: pthread stack: 12]": "stack threads", "[anon: glibc: malloc]": "named glibc: malloc",
		"[uprobes]": "named [uprobes]", "/opt/app": "file-private /opt/app", "/dev/zero (deleted)": "file-private /dev/zero (deleted)",
		"[anon:": "named ", "/[heap]": "file-private /[heap]",
	} {
		p := process(1, "", vma(0x1000, 0x9000, "rw-p", name, 4096))
		if got := kinds(Parts(p, 10)); !slices.Equal(got, []string{want}) {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}

func TestThreadStacks(t *testing.T) {
	stack := func(at uint64) []snapshot.Mapping {
		return []snapshot.Mapping{vma(at, at+0x1000, "---p", "", 0), vma(at+0x1000, at+0x801000, "rw-p", "", 8192)}
	}
	two := append(stack(0x7f0000001000), stack(0x7f0000802000)...)
	arena := []snapshot.Mapping{ // of glibc, nearly full: its reserved rest looks like a guard
		vma(0x7f0010000000, 0x7f0013fff000, "rw-p", "", 4096), vma(0x7f0013fff000, 0x7f0014000000, "---p", "", 0), vma(0x7f0014000000, 0x7f0014100000, "rw-p", "", 4096),
	}
	none := []string{"anon mappings without a name"}
	for name, c := range map[string]struct {
		threads int64
		maps    []snapshot.Mapping
		want    []string
	}{
		"two of three threads":      {3, two, []string{"stack threads"}},
		"more stacks than threads":  {2, two, none},
		"one thread":                {1, stack(0x7f0000001000), none},
		"an arena's rest":           {9, arena, none},
		"large reserved mapping":    {9, []snapshot.Mapping{vma(0x1000, 0x1000000, "---p", "", 0), vma(0x1000000, 0x1800000, "rw-p", "", 4096)}, none},
		"not behind it":             {9, []snapshot.Mapping{vma(0x1000, 0x2000, "---p", "", 0), vma(0x3000, 0x803000, "rw-p", "", 4096)}, none},
		"a page between two guards": {9, []snapshot.Mapping{vma(0x1000, 0x2000, "---p", "", 0), vma(0x2000, 0x3000, "rw-p", "", 4096)}, none},
	} {
		if got := kinds(Parts(process(c.threads, "", c.maps...), 10)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestGoHeap(t *testing.T) {
	const a = 0x3fbe70000000
	heap := []snapshot.Mapping{
		vma(a, a+0x2400000, "---p", "", 0), vma(a+0x2400000, a+0xa400000, "rw-p", "", 1<<20), vma(a+0xa400000, a+3*arenaBytes, "---p", "", 0),
	}
	libc := func(at uint64) []snapshot.Mapping {
		return append(slices.Clone(heap), vma(at, at+0x1000, "r-xp", "/lib/libc.so.6", 0))
	}
	cut := slices.Clone(heap)
	cut[2].End -= 0x1000
	low := []snapshot.Mapping{vma(arenaBytes, 2*arenaBytes, "rw-p", "", 4096)} // a 32-bit process
	goHeap, anon := []string{"go-heap Go heap, go1.26.8"}, []string{"anon mappings without a name"}
	for name, c := range map[string]struct {
		version string
		maps    []snapshot.Mapping
		want    []string
	}{
		"at a random place":    {"go1.26.8", heap, goHeap},
		"before 1.26":          {"go1.26.8", []snapshot.Mapping{vma(0xc000000000, 0xc000400000, "rw-p", "", 4096), vma(0xc000400000, 0xc004000000, "---p", "", 0)}, goHeap},
		"not Go":               {"", heap, anon},
		"no whole arena":       {"go1.26.8", cut, anon},
		"32-bit":               {"go1.26.8", low, anon},
		"cgo, libc far away":   {"go1.26.8", libc(0x7f0000000000), goHeap},
		"maybe glibc's arenas": {"go1.26.8", libc(a + 1<<30), anon},
		"named by the kernel":  {"go1.26.8", []snapshot.Mapping{vma(a, a+0x1000, "rw-p", "[anon: Go: heap]", 4096)}, []string{"go-heap Go heap"}},
	} {
		parts := Parts(process(1, c.version, c.maps...), 10)
		if got := kinds(parts); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if byGuess := c.want[0] == goHeap[0]; (parts[0].How != "") != byGuess {
			t.Errorf("%s: recognised how? %q", name, parts[0].How)
		}
	}
}

// Forked processes share pages: their shares sum to what is there.
func TestSharesOfForks(t *testing.T) {
	var sum, status int64
	for range 4 {
		m := vma(0x1000, 0x9000, "rw-p", "[heap]", 0)
		m.Rss, m.Anonymous, m.SharedDirty, m.Pss = 4<<20, 4<<20, 4<<20, 1<<20
		p := process(1, "", m)
		n, how, ok := Anon(p)
		if !ok || how != BySmaps {
			t.Errorf("%d by %s, %v", n, how, ok)
		}
		sum += n
		p.Smaps.State = snapshot.Failed
		n, _, _ = Anon(p)
		status += n
	}
	if sum != 4<<20 || status != 4*999 {
		t.Errorf("shares sum to %d, status to %d", sum, status)
	}
}

// A mapping of a file holds pages of the file and copies of them.
func TestCopiesOfFiles(t *testing.T) {
	for name, c := range map[string]struct {
		m    snapshot.Mapping
		want int64
	}{
		"no copies":            {snapshot.Mapping{Rss: 100, Pss: 50, SharedClean: 100}, 0},
		"copies of its own":    {snapshot.Mapping{Rss: 100, Pss: 70, PrivateDirty: 40, SharedClean: 60, Anonymous: 40}, 40},
		"nothing shared":       {snapshot.Mapping{Rss: 100, Pss: 100, PrivateDirty: 40, PrivateClean: 60, Anonymous: 40}, 40},
		"copies shared by two": {snapshot.Mapping{Rss: 100, Pss: 50, SharedDirty: 40, SharedClean: 60, Anonymous: 40}, 20},
		"shared memory":        {snapshot.Mapping{Rss: 100, Pss: 100, PrivateDirty: 100}, 0},
		"all anonymous":        {snapshot.Mapping{Rss: 100, Pss: 25, SharedDirty: 100, Anonymous: 100}, 25},
		"nonsense":             {snapshot.Mapping{Rss: 100, Pss: 900, SharedClean: 60, Anonymous: 40}, 40},
	} {
		if got := anonShare(&c.m, all); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestFallbacks(t *testing.T) {
	p := process(1, "")
	p.Smaps.State = snapshot.Failed
	roll := func(e ...snapshot.Entry) {
		p.Rollup = snapshot.Reading[snapshot.Stat]{State: snapshot.Present, Value: snapshot.Stat{Entries: e}}
	}
	roll(snapshot.Entry{Key: "Pss", Value: 70}, snapshot.Entry{Key: "Pss_Anon", Value: 50}, snapshot.Entry{Key: "Anonymous", Value: 80}, snapshot.Entry{Key: "LazyFree", Value: 9})
	if n, how, ok := Anon(p); n != 50 || how != ByRollup || !ok {
		t.Errorf("%d by %s", n, how)
	}
	if n, ok := PSS(p); n != 70 || !ok {
		t.Errorf("PSS %d", n)
	}
	if n, ok := LazyFree(p); n != 9 || !ok {
		t.Errorf("lazyfree %d", n)
	}
	roll(snapshot.Entry{Key: "Pss", Value: 70}, snapshot.Entry{Key: "Anonymous", Value: 80}) // before 5.4
	if n, how, ok := Anon(p); n != 70 || how != ByRollup || !ok {
		t.Errorf("%d by %s", n, how)
	}
	if _, ok := LazyFree(p); ok {
		t.Error("a kernel without LazyFree has none of it")
	}
	p.Rollup.State = snapshot.Denied
	if n, how, ok := Anon(p); n != 999 || how != ByStatus || !ok {
		t.Errorf("%d by %s", n, how)
	}
	if _, ok := PSS(p); ok {
		t.Error("no file says the PSS")
	}
	if Parts(p, 10) != nil {
		t.Error("parts of nothing")
	}
	if n, how, ok := Anon(&snapshot.Process{}); ok {
		t.Errorf("%d by %s of nothing", n, how)
	}
}

func TestManyParts(t *testing.T) {
	var maps []snapshot.Mapping
	for i := range uint64(20) {
		maps = append(maps, vma(i<<20, i<<20+4096, "rw-p", "/f"+string(rune('a'+i)), int64(i+1)<<12))
	}
	p := process(1, "", maps...)
	parts := Parts(p, 10)
	var sum int64
	for _, x := range parts {
		sum += x.Bytes
	}
	anon, _, _ := Anon(p)
	if len(parts) != 11 || sum != anon || parts[10].Kind != Rest || parts[10].Count != 10 || parts[0].Bytes != 20<<12 {
		t.Errorf("%d parts of %d, %d in all: %+v", len(parts), sum, anon, parts)
	}
	want := map[string]int64{"rss": 55 << 12, "lazyFree": 0, "thp": 0, "swap": 0}
	if d := cmp.Diff(want, parts[10].State); d != "" {
		t.Error(d)
	}
	p.Smaps.Value.Has &^= snapshot.SmapsLazyFree
	if _, ok := Parts(p, 10)[0].State["lazyFree"]; ok {
		t.Error("what the kernel does not print became a 0")
	}
}

// Whatever the mappings are, parts sum to the whole and hide nothing.
func FuzzParts(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdef"), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, threads uint8) {
		names := []string{"", "", "[heap]", "[stack]", "/f", "/lib/libc.so.6", "[anon:x]", "[anon: Go: heap]"}
		perms := []string{"rw-p", "---p", "rw-s", "r-xp"}
		var maps []snapshot.Mapping
		at := uint64(1 << 32)
		for len(b) >= 4 {
			m := vma(at, at+uint64(b[0]%4+1)*arenaBytes/4, perms[b[1]%4], names[b[1]/4%8], int64(b[2])<<12)
			m.Anonymous = int64(b[3]) << 12
			m.SharedDirty, m.PrivateDirty = m.Rss/2, m.Rss/2
			m.Pss = m.PrivateDirty + m.SharedDirty/4
			maps, at, b = append(maps, m), m.End, b[4:]
		}
		p := process(int64(threads), "go1.26.8", maps...)
		var bytes int64
		for _, x := range Parts(p, 3) {
			if x.Bytes < 0 || x.Count == 0 {
				t.Errorf("%+v", x)
			}
			bytes += x.Bytes
		}
		if anon, _, _ := Anon(p); bytes != anon {
			t.Errorf("parts sum to %d of %d", bytes, anon)
		}
	})
}
