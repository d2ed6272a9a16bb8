package runtimes

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

const mib = 1 << 20

func read[T any](v T) snapshot.Reading[T] {
	return snapshot.Reading[T]{State: snapshot.Present, Value: v}
}

func process(goVersion string, command, environ []string, h snapshot.Heaps) *snapshot.Process {
	p := &snapshot.Process{PID: 7, Command: read(command), Environ: read(environ), Heaps: read(h)}
	if goVersion != "" {
		p.GoVersion = read(goVersion)
	}
	return p
}

func TestOf(t *testing.T) {
	goHeap := &snapshot.GoHeap{Percent: 100, Limit: math.MaxInt64, InUse: 50 * mib, Free: 150 * mib}
	limited := &snapshot.GoHeap{Percent: -1, Limit: 90 * mib, InUse: 50 * mib}
	java := &snapshot.JVMHeap{Version: "17.0.15+6", Collector: "Serial", Reserved: 400 * mib, Committed: 300 * mib, Used: 50 * mib, Metaspace: 9 * mib, Found: true, Resident: 250 * mib}
	lost := &snapshot.JVMHeap{Reserved: 400 * mib, Committed: 300 * mib, Used: 50 * mib}
	malloc := &snapshot.GlibcHeap{Arenas: 9, System: 200 * mib, Free: 151 * mib, Idle: 150 * mib, AtLeast: true}
	for name, c := range map[string]struct {
		p    *snapshot.Process
		want []Runtime // without How, Unknown and Cure
	}{
		"nothing":             {process("", nil, nil, snapshot.Heaps{}), []Runtime{{Name: Unrecognised, Heap: none}}},
		"a malloc of its own": {process("", nil, nil, snapshot.Heaps{Exports: []string{"malloc"}, Libraries: []string{"libc.so.6"}}), []Runtime{{Name: Glibc, Heap: none}, {Name: Unrecognised, Heap: none}}},
		"jemalloc within":     {process("", nil, []string{"JE_MALLOC_CONF=narenas:1"}, snapshot.Heaps{Exports: []string{"malloc", "je_mallctl"}, Libraries: []string{"libc.so.6"}}), []Runtime{{Name: Jemalloc, Settings: []Setting{{"JE_MALLOC_CONF", "narenas:1"}}, Heap: none}}},
		"tcmalloc within":     {process("", nil, nil, snapshot.Heaps{Exports: []string{"tc_malloc"}}), []Runtime{{Name: Tcmalloc, Heap: none}}},
		"mimalloc within":     {process("", nil, nil, snapshot.Heaps{Exports: []string{"mi_malloc"}}), []Runtime{{Name: Mimalloc, Heap: none}}},
		"musl of Debian":      {process("", nil, nil, snapshot.Heaps{Libraries: []string{"x86_64-linux-musl/libc.so"}}), []Runtime{{Name: Musl, Heap: none}}},
		"V8 within":           {process("", []string{"x", "--max-old-space-size=300"}, nil, snapshot.Heaps{Exports: []string{v8Functions[0]}}), []Runtime{{Name: V8, Settings: []Setting{{"--max-old-space-size", "300"}}, Heap: Heap{300 * mib, -1, -1, -1, -1, -1, 0, false}}}},
		"Node once":           {process("", nil, nil, snapshot.Heaps{Libraries: []string{"node"}, Exports: []string{v8Functions[0]}}), []Runtime{{Name: Node, Heap: none}}},
		"functions of nobody": {process("go1.26.8", nil, nil, snapshot.Heaps{Go: goHeap, Exports: []string{"main", "\x1b[31m"}}), []Runtime{{Name: Go, Version: "1.26.8", Settings: []Setting{{"GOGC", "100"}, {"GOMEMLIMIT", "off"}}, Heap: Heap{-1, 200 * mib, 50 * mib, 150 * mib, -1, -1, 0, false}}}},
		"musl, Ruby, .NET, mimalloc": {process("", nil, []string{"DOTNET_gcServer=1"}, snapshot.Heaps{Libraries: []string{"ld-musl-x86_64.so.1", "libruby-3.1.so.3.1.2", "libcoreclr.so", "libmimalloc.so.2"}}), []Runtime{
			{Name: Ruby, Version: "3.1", Heap: none},
			{Name: DotNet, Settings: []Setting{{"DOTNET_gcServer", "1"}}, Heap: none},
			{Name: Mimalloc, Heap: none},
			{Name: Musl, Heap: none},
		}},
		"Go": {process("go1.26.8", nil, []string{"GOGC=50", "MALLOC_ARENA_MAX=1"}, snapshot.Heaps{Go: goHeap}), []Runtime{
			{Name: Go, Version: "1.26.8", Settings: []Setting{{"GOGC", "100"}, {"GOMEMLIMIT", "off"}}, Heap: Heap{-1, 200 * mib, 50 * mib, 150 * mib, -1, -1, 0, false}},
		}},
		"Go with a limit and C": {process("go1.26.8", nil, nil, snapshot.Heaps{Go: limited, Libraries: []string{"libc.so.6"}, Glibc: malloc}), []Runtime{
			{Name: Go, Version: "1.26.8", Settings: []Setting{{"GOGC", "off"}, {"GOMEMLIMIT", "94371840"}}, Heap: Heap{-1, 50 * mib, 50 * mib, 0, 90 * mib, -1, 0, false}},
			{Name: Glibc, Heap: Heap{-1, 200 * mib, 49 * mib, 150 * mib, -1, -1, 9, true}},
		}},
		"an old Go": {process("go1.14", nil, []string{"GODEBUG=madvdontneed=1"}, snapshot.Heaps{}), []Runtime{
			{Name: Go, Version: "1.14", Settings: []Setting{{"GODEBUG", "madvdontneed=1"}}, Heap: none},
		}},
		"Java": {process("", []string{"java", "-Xmx400m", "-XX:MaxRAMPercentage=50", "-m", "1"}, []string{"JAVA_TOOL_OPTIONS=-Xms1m"}, snapshot.Heaps{JVM: java, Libraries: []string{"libc-2.31.so", "libjvm.so"}}), []Runtime{
			{Name: JVM, Version: "17.0.15+6", Settings: []Setting{{"-Xmx", "400m"}, {"-XX:MaxRAMPercentage", "50"}, {"JAVA_TOOL_OPTIONS", "-Xms1m"}, {"collector", "Serial"}}, Heap: Heap{400 * mib, 300 * mib, 50 * mib, 200 * mib, -1, 9 * mib, 0, false}},
			{Name: Glibc, Version: "2.31", Heap: none},
		}},
		"a heap that was not found": {process("", nil, nil, snapshot.Heaps{JVM: lost, Libraries: []string{"libjvm.so"}}), []Runtime{
			{Name: JVM, Heap: Heap{400 * mib, 300 * mib, 50 * mib, -1, -1, 0, 0, false}},
		}},
		"told by the environment": {process("", []string{"java"}, []string{"JAVA_TOOL_OPTIONS=-Xms1m -Xmx2g -XX:+UseG1GC"}, snapshot.Heaps{Libraries: []string{"libjvm.so"}}), []Runtime{
			{Name: JVM, Settings: []Setting{{"JAVA_TOOL_OPTIONS", "-Xms1m -Xmx2g -XX:+UseG1GC"}}, Heap: Heap{2048 * mib, -1, -1, -1, -1, -1, 0, false}},
		}},
		"others": {process("", []string{"node", "--max-old-space-size", "300"}, []string{"NODE_OPTIONS=--max-semi-space-size=1"}, snapshot.Heaps{Libraries: []string{"node", "libpython3.11.so.1.0", "libjemalloc.so.2", "libtcmalloc_minimal.so.4"}}), []Runtime{
			{Name: Node, Settings: []Setting{{"--max-old-space-size", "300"}, {"NODE_OPTIONS", "--max-semi-space-size=1"}}, Heap: Heap{300 * mib, -1, -1, -1, -1, -1, 0, false}},
			{Name: Python, Version: "3.11", Heap: none},
			{Name: Jemalloc, Heap: none},
			{Name: Tcmalloc, Heap: none},
		}},
		"arenas of Python": {process("", nil, []string{"PYTHONMALLOC=pymalloc"}, snapshot.Heaps{
			Libraries: []string{"python3.13"}, Python: &snapshot.PythonHeap{Arenas: 9, System: 9 * mib, Used: 4 * mib, Idle: 2 * mib},
		}), []Runtime{
			{Name: Python, Version: "3.13", Settings: []Setting{{"PYTHONMALLOC", "pymalloc"}}, Heap: Heap{-1, 9 * mib, 4 * mib, 2 * mib, -1, -1, 9, false}},
		}},
	} {
		got := Of(words.Printer{}, c.p)
		for i := range got {
			r := &got[i]
			if r.How == "" || r.Cure == "" || (r.Sentence(words.Printer{}) == "") != (r.Heap.Committed < 0) || r.Title(words.Printer{}) == "" {
				t.Errorf("%s: %+v", name, r)
			}
			if r.Heap.Idle >= 0 && r.Unknown != "" || r.Heap.Idle < 0 && r.Unknown == "" && r.Name != Go && r.Name != JVM && r.Name != Glibc {
				t.Errorf("%s: idle %d, unknown: %q", name, r.Heap.Idle, r.Unknown)
			}
			r.How, r.Unknown, r.Cure = "", "", ""
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// What was refused says so.
func TestRefused(t *testing.T) {
	p := &snapshot.Process{GoVersion: read("go1.26.8"), Heaps: snapshot.Reading[snapshot.Heaps]{State: snapshot.Denied, Err: "permission denied"}}
	if got := Of(words.Printer{}, p); len(got) != 1 || got[0].Unknown != "permission denied" || got[0].Heap.Idle >= 0 {
		t.Errorf("%+v", got)
	}
}

// Who gives back with MADV_FREE, and whose holes are filled, is known by version
// and settings.
func TestLazyAndHoles(t *testing.T) {
	for _, c := range []struct {
		r     Runtime
		lazy  string
		holes bool
	}{
		{Runtime{Name: Go, Version: "1.14.2"}, "GODEBUG=madvdontneed=1, or Go 1.16 and later", false},
		{Runtime{Name: Go, Version: "1.16"}, "", false},
		{Runtime{Name: Go, Version: "1.26.8", Settings: []Setting{{"GODEBUG", "gctrace=1,madvdontneed=0"}}}, "GODEBUG without madvdontneed=0", false},
		{Runtime{Name: Go, Version: "1.21.3"}, "", true},
		{Runtime{Name: Go, Version: "1.21.4"}, "", false},
		{Runtime{Name: Go}, "", false},
		{Runtime{Name: Jemalloc}, "MALLOC_CONF=muzzy_decay_ms:0", false},
		{Runtime{Name: Glibc, Version: "1.14"}, "", false},
	} {
		if c.r.Lazy(words.Printer{}) != c.lazy || c.r.Holes() != c.holes {
			t.Errorf("%+v: %q %v", c.r, c.r.Lazy(words.Printer{}), c.r.Holes())
		}
	}
}
