// Package runtimes owns whose hands the memory of a process is in: which language
// runtime and which allocator, how that is known, what it was told, how it
// accounts for its heap, what of it is idle (free, resident and kept), and the
// setting that would give that back. It must not know how any of it was read, nor
// what is charged to whom. It is pure.
//
// A runtime is named only where a sign of it is seen that others do not have. Idle
// bytes are told only where the runtime's own accounts say them; where nothing
// outside the process can know, Unknown says why. Amounts are bytes.
package runtimes

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// The runtimes and allocators that are recognised.
const (
	Go       = "go"
	JVM      = "jvm"
	Node     = "node"
	Python   = "python"
	Glibc    = "glibc-malloc"
	Jemalloc = "jemalloc"
	Tcmalloc = "tcmalloc"
	Mimalloc = "mimalloc"
	Musl     = "musl-malloc"
	V8       = "v8"
	Ruby     = "ruby"
	DotNet   = "dotnet"

	Unrecognised = "unrecognised" // none of these, or one of which only that it is there is known
)

// Runtime is one that manages memory of a process.
type Runtime struct {
	Name     string
	Version  string // empty where nothing says it
	How      string // it was recognised
	Settings []Setting
	Heap     Heap
	Unknown  string // why Heap.Idle is not known
	Cure     string // what gives idle memory back, or bounds it
}

// Setting is one that was given, or is in force.
type Setting struct{ Name, Value string }

// Heap is how it accounts for its memory. What is not known is -1.
type Heap struct {
	Reserved  int64 // the most that it can become
	Committed int64 // had from the kernel
	Used      int64 // of Committed: by objects, dead ones too
	Idle      int64 // of Committed: free, resident, and not given back
	Limit     int64 // a soft limit that it was told
	Classes   int64 // beside Committed: metaspace of a JVM
	Arenas    int   // of malloc or of Python, 0 where there are none
	AtLeast   bool  // Idle is a lower bound
}

var none = Heap{Reserved: -1, Committed: -1, Used: -1, Idle: -1, Limit: -1, Classes: -1}

// Of recognises who manages the memory of p: languages first, then allocators. What
// is said of them, it says by the printer.
func Of(w words.Printer, p *snapshot.Process) []Runtime {
	h, seen := p.Heaps.Get()
	var all []Runtime
	if version, ok := p.GoVersion.Get(); ok {
		all = append(all, goRuntime(w, p, &h, version))
	} else if h.Go != nil {
		all = append(all, goRuntime(w, p, &h, ""))
	}
	for _, r := range []struct {
		is   *regexp.Regexp
		make func(w words.Printer, p *snapshot.Process, h *snapshot.Heaps, how string) Runtime
		mark []string // functions of it, where it is within the executable
	}{
		{jvmFile, jvm, nil},
		{nodeFile, node, nil},
		{nil, v8, v8Functions},
		{pythonFile, python, nil},
		{rubyFile, ruby, nil},
		{dotnetFile, dotnet, nil},
		{jemallocFile, jemalloc, []string{"mallctl", "je_mallctl", "_rjem_mallctl"}},
		{tcmallocFile, tcmalloc, []string{"tc_malloc", "MallocExtension_ReleaseFreeMemory", "TCMallocInternalMalloc"}},
		{mimallocFile, mimalloc, []string{"mi_malloc"}},
		{muslFile, musl, nil},
		{libcFile, glibc, nil},
	} {
		i, k := -1, -1
		if r.is != nil {
			i = slices.IndexFunc(h.Libraries, r.is.MatchString)
		}
		if i < 0 {
			k = slices.IndexFunc(h.Exports, func(name string) bool { return slices.Contains(r.mark, name) })
		}
		switch {
		case i < 0 && k < 0, r.is == libcFile && h.Glibc == nil && other(all), r.is == nil && has(all, Node):
		case i >= 0:
			all = append(all, r.make(w, p, &h, h.Libraries[i]))
		default:
			m := r.make(w, p, &h, "")
			m.How = w.Say("its executable has the function %s", h.Exports[k])
			all = append(all, m)
		}
	}
	if h.Glibc != nil && !has(all, Glibc) {
		all = append(all, glibc(w, p, &h, "")) // static
	}
	own := slices.Contains(h.Exports, "malloc") && !other(all)
	if seen && (own || len(all) == 0) {
		all = append(all, unrecognised(w, own))
	}
	for i := range all {
		r := &all[i]
		if r.Heap.Idle < 0 && !seen && p.Heaps.Err != "" {
			r.Unknown = w.Of(p.Heaps.Err)
		}
	}
	return all
}

// other reports whether an allocator takes the place of the C library's.
func other(all []Runtime) bool {
	return has(all, Jemalloc) || has(all, Tcmalloc) || has(all, Mimalloc) || has(all, Musl)
}

func has(all []Runtime, name string) bool {
	return slices.ContainsFunc(all, func(r Runtime) bool { return r.Name == name })
}

var (
	jvmFile      = regexp.MustCompile(`^libjvm\.so$`)
	nodeFile     = regexp.MustCompile(`^(node|nodejs|libnode\.so.*)$`)
	pythonFile   = regexp.MustCompile(`^(libpython|python)(3\.[0-9]+)`)
	jemallocFile = regexp.MustCompile(`^libjemalloc\.so`)
	tcmallocFile = regexp.MustCompile(`^libtcmalloc`)
	mimallocFile = regexp.MustCompile(`^libmimalloc`)
	muslFile     = regexp.MustCompile(`^(ld-musl-|libc\.musl-)|-linux-musl[a-z]*/libc\.so$`)
	rubyFile     = regexp.MustCompile(`^(?:libruby|ruby)(?:-?([0-9]+\.[0-9]+))?`)
	dotnetFile   = regexp.MustCompile(`^libcoreclr\.so$`)
	libcFile     = regexp.MustCompile(`^libc(\.so\.6|-2\.([0-9]+)\.so)$`)
)

// why is the reason that a heap could not be read.
func why(w words.Printer, h *snapshot.Heaps, runtime string) string {
	for _, u := range h.Unknown {
		if u.Runtime == runtime {
			return w.Of(u.Why)
		}
	}
	return ""
}

func goRuntime(w words.Printer, p *snapshot.Process, h *snapshot.Heaps, version string) Runtime {
	r := Runtime{
		Name: Go, Version: strings.TrimPrefix(version, "go"), How: w.Say("Go build information in the executable"),
		Settings: variables(p, "GOGC", "GOMEMLIMIT", "GODEBUG"), Heap: none, Unknown: why(w, h, snapshot.RuntimeGo),
		Cure: w.Say("GOMEMLIMIT somewhat below the limit of the container: the runtime then gives free memory back before it reaches that"),
	}
	g := h.Go
	if g == nil {
		if before(r.Version, 16) {
			r.Cure = w.Say("GODEBUG=madvdontneed=1, or Go 1.16 and later: memory that was given back then leaves RSS at once")
		}
		return r
	}
	r.Unknown = ""
	r.Heap.Committed, r.Heap.Used, r.Heap.Idle = g.InUse+g.Free, g.InUse, g.Free
	gogc := fmt.Sprint(g.Percent)
	if g.Percent < 0 {
		gogc = "off"
	}
	r.inForce("GOGC", gogc)
	if g.Limit != math.MaxInt64 {
		r.Heap.Limit = g.Limit
		r.inForce("GOMEMLIMIT", fmt.Sprint(g.Limit))
	} else {
		r.inForce("GOMEMLIMIT", "off")
	}
	return r
}

// before tells Go 1.n and older, where the version is known.
func before(version string, n int) bool {
	var minor int
	_, err := fmt.Sscanf(version, "1.%d", &minor)
	return err == nil && minor < n
}

// inForce is a setting as the runtime has it, whoever set it.
func (r *Runtime) inForce(name, value string) {
	i := slices.IndexFunc(r.Settings, func(s Setting) bool { return s.Name == name })
	if i < 0 {
		r.Settings = append(r.Settings, Setting{name, value})
		return
	}
	r.Settings[i].Value = value
}

func jvm(w words.Printer, p *snapshot.Process, h *snapshot.Heaps, _ string) Runtime {
	r := Runtime{
		Name: JVM, How: w.Say("%s is mapped", "libjvm.so"), Heap: none, Unknown: why(w, h, snapshot.RuntimeJVM),
		Settings: append(flags(p, javaFlag), variables(p, "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS")...),
		Cure:     w.Say("-Xms and -Xmx, or -XX:MaxRAMPercentage, lower; a smaller -XX:MaxHeapFreeRatio, with G1 -XX:G1PeriodicGCInterval too: the JVM then gives free heap back"),
	}
	j := h.JVM
	if j == nil {
		r.Heap.Reserved = r.told(maxJava, 1)
		return r
	}
	r.Version, r.Unknown = j.Version, w.Say("the heap was not found among private mappings (that of ZGC is shared memory), so what of it is resident is not known")
	r.Heap.Reserved, r.Heap.Committed, r.Heap.Used = j.Reserved, j.Committed, j.Used
	r.Heap.Classes = j.Metaspace
	if j.Found {
		r.Heap.Idle, r.Unknown = max(0, j.Resident-j.Used), ""
	}
	if j.Collector != "" {
		r.Settings = append(r.Settings, Setting{"collector", j.Collector})
	}
	return r
}

var (
	javaFlag = regexp.MustCompile(`^-X`)
	nodeFlag = regexp.MustCompile(`^--?(max[-_](old|semi|heap)|stack[-_]size)`)
)

func node(w words.Printer, p *snapshot.Process, h *snapshot.Heaps, file string) Runtime {
	r := Runtime{
		Name: Node, How: w.Say("%s is mapped", file), Heap: none,
		Settings: append(flags(p, nodeFlag), variables(p, "NODE_OPTIONS")...),
		Unknown:  w.Say("not looked into: the heap of V8 tells nobody outside what of it is free, process.memoryUsage() within does"),
		Cure:     w.Say("--max-old-space-size below the limit of the container, in MiB: V8 then collects before it grows"),
	}
	r.Heap.Reserved = r.told(maxNode, size.MiB)
	return r
}

// The flags that bound a heap.
var (
	maxJava = regexp.MustCompile(`(?:^|\s)-Xmx=?([0-9]{1,12}[kKmMgGtT]?)(?:\s|$)`)
	maxNode = regexp.MustCompile(`(?:^|\s)--?max[-_]old[-_]space[-_]size[= ]([0-9]{1,9})(?:\s|$)`)
)

// told is what a flag bounds the heap to, -1 without one: one of the command line
// before one of the environment.
func (r *Runtime) told(flag *regexp.Regexp, unit int64) int64 {
	for _, s := range r.Settings {
		for _, text := range []string{s.Name + "=" + s.Value, s.Value} {
			if m := flag.FindStringSubmatch(text); m != nil {
				if n, err := size.Parse(m[1]); err == nil && n < 1<<40 {
					return n * unit
				}
			}
		}
	}
	return -1
}

func python(w words.Printer, p *snapshot.Process, h *snapshot.Heaps, file string) Runtime {
	r := Runtime{
		Name: Python, Version: pythonFile.FindStringSubmatch(file)[2], How: w.Say("%s is mapped", file), Heap: none,
		Settings: variables(p, "PYTHONMALLOC"), Unknown: cmp.Or(why(w, h, snapshot.RuntimePython), w.Say("the arenas of small objects were not looked at")),
		Cure: w.Say("work that needs much memory in a process of its own, which ends; PYTHONMALLOC=malloc lets malloc manage small objects too"),
	}
	if a := h.Python; a != nil {
		r.Unknown = ""
		r.Heap.Committed, r.Heap.Used, r.Heap.Idle = a.System, a.Used, a.Idle
		r.Heap.Arenas, r.Heap.AtLeast = a.Arenas, a.AtLeast
	}
	return r
}

func glibc(w words.Printer, p *snapshot.Process, h *snapshot.Heaps, file string) Runtime {
	r := Runtime{
		Name: Glibc, How: w.Say("%s is mapped", file), Heap: none, Unknown: why(w, h, snapshot.RuntimeGlibc),
		Settings: variables(p, "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES"),
		Cure:     w.Say("malloc_trim(0) after the load, MALLOC_TRIM_THRESHOLD_=131072 with MALLOC_MMAP_THRESHOLD_=131072, or jemalloc"),
	}
	if m := libcFile.FindStringSubmatch(file); m != nil && m[2] != "" {
		r.Version = "2." + m[2]
	}
	if file == "" {
		r.How = w.Say("its arenas are among the variables of a static executable")
	}
	g := h.Glibc
	if g == nil {
		return r
	}
	if g.Arenas > 2 {
		r.Cure = w.Say("MALLOC_ARENA_MAX=2: fewer arenas hold less that is free; malloc_trim(0) after the load, or jemalloc")
	}
	r.Unknown = ""
	r.Heap.Committed, r.Heap.Used, r.Heap.Idle = g.System, g.System-g.Free, g.Idle
	r.Heap.Arenas, r.Heap.AtLeast = g.Arenas, g.AtLeast
	return r
}

// variables are those of its environment at the start.
func variables(p *snapshot.Process, names ...string) []Setting {
	var found []Setting
	for _, v := range p.Environ.Value {
		if name, value, ok := strings.Cut(v, "="); ok && slices.Contains(names, name) {
			found = append(found, Setting{name, value})
		}
	}
	return found
}

// flags are those of its command line, which holds none but about memory.
func flags(p *snapshot.Process, which *regexp.Regexp) []Setting {
	var found []Setting
	for i, arg := range p.Command.Value {
		if i == 0 || !which.MatchString(arg) {
			continue
		}
		name, value, ok := strings.Cut(arg, "=")
		if m := stuck.FindStringSubmatch(arg); m != nil {
			name, value = m[1], m[2]
		} else if !ok && i+1 < len(p.Command.Value) && !strings.HasPrefix(p.Command.Value[i+1], "-") {
			value = p.Command.Value[i+1]
		}
		found = append(found, Setting{name, value})
	}
	return found
}

// stuck is a flag of the JVM with its amount behind it.
var stuck = regexp.MustCompile(`^(-X(?:mx|ms|mn|ss))([0-9].*)$`)

// Sentence says in one line how r accounts for its memory, or nothing where it
// does not tell.
func (r *Runtime) Sentence(w words.Printer) string {
	h := r.Heap
	if h.Committed < 0 {
		return ""
	}
	switch r.Name {
	case Go:
		limit := w.Say("no GOMEMLIMIT")
		if h.Limit >= 0 {
			limit = "GOMEMLIMIT " + size.Text(h.Limit)
		}
		return w.Say("Go heap: %s in use, %s free and kept, %s", size.Text(h.Used), size.Text(h.Idle), limit)
	case JVM:
		if h.Idle < 0 {
			return w.Say("JVM heap: %s committed of at most %s, %s used by objects", size.Text(h.Committed), size.Text(h.Reserved), size.Text(h.Used))
		}
		return w.Say("JVM heap: %s committed of at most %s, %s used by objects, %s free and resident", size.Text(h.Committed), size.Text(h.Reserved), size.Text(h.Used), size.Text(h.Idle))
	}
	if r.Name == Python {
		return w.Say("Python's small objects: %s in arenas (%d), %s used, %s in pools without an object", size.Text(h.Committed), h.Arenas, size.Text(h.Used), size.Text(h.Idle))
	}
	if h.AtLeast {
		return w.Say("malloc: %s in arenas (%d), at least %s of it free, %s in whole pages", size.Text(h.Committed), h.Arenas, size.Text(h.Committed-h.Used), size.Text(h.Idle))
	}
	return w.Say("malloc: %s in arenas (%d), %s of it free, %s in whole pages", size.Text(h.Committed), h.Arenas, size.Text(h.Committed-h.Used), size.Text(h.Idle))
}

// Lazy is what lets memory that was given back with MADV_FREE leave RSS at once,
// nothing where r does not give back so.
func (r *Runtime) Lazy(w words.Printer) string {
	switch {
	case r.Name == Go && before(r.Version, 16):
		return w.Say("GODEBUG=madvdontneed=1, or Go 1.16 and later")
	case r.Name == Go && slices.ContainsFunc(r.Settings, func(s Setting) bool { return s.Name == "GODEBUG" && strings.Contains(s.Value, "madvdontneed=0") }):
		return w.Say("GODEBUG without madvdontneed=0")
	case r.Name == Jemalloc:
		return "MALLOC_CONF=muzzy_decay_ms:0"
	}
	return ""
}

// Holes reports a runtime whose holes in huge pages khugepaged fills again: Go
// 1.21.0 to 1.21.3 (go issue 64332).
func (r *Runtime) Holes() bool {
	return r.Name == Go && slices.Contains([]string{"1.21", "1.21.0", "1.21.1", "1.21.2", "1.21.3"}, r.Version)
}

// Pieces is what is free between blocks in use, in pieces that nobody can give back.
func (r *Runtime) Pieces() int64 {
	if h := r.Heap; h.Idle >= 0 && (r.Name == Glibc || r.Name == Python) {
		return max(0, h.Committed-h.Used-h.Idle)
	}
	return 0
}

// Title is its name for people.
func (r *Runtime) Title(w words.Printer) string {
	switch r.Name {
	case Go:
		return "Go"
	case JVM:
		return w.Say("the JVM")
	case Node:
		return "Node.js"
	case Python:
		return "Python"
	case Glibc:
		return w.Say("malloc of glibc")
	case Musl:
		return w.Say("malloc of musl")
	case V8, Ruby, DotNet:
		return map[string]string{V8: "V8", Ruby: "Ruby", DotNet: ".NET"}[r.Name]
	case Unrecognised:
		return w.Say("an allocator that is not recognised")
	}
	return r.Name
}
