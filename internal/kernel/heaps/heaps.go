// Package heaps owns what the memory of a process says of who manages it: the
// arenas of glibc's malloc and of Python, the accounts of the Go runtime and of the JVM, found
// and read where those programs keep them. It must not know how memory is read,
// and it never asks for a page that is not resident, so that reading neither
// swaps in nor waits for a file.
//
// All that it reads is hostile and changes meanwhile: every step is bounded by a
// budget, no pointer is followed out of the process's own mappings, and a
// structure that does not fit in every checked respect is unknown, not guessed.
// Amounts are bytes, addresses those of the process. 64-bit little-endian only.
package heaps

import (
	"encoding/binary"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// Memory is the memory of one process.
type Memory interface {
	// Read fills b from an address, and reports whether all of it was resident.
	Read(at uint64, b []byte) bool
	// Resident is how many bytes of a range are resident, of all pages that it touches.
	Resident(start, end uint64) (int64, bool)
}

// Budget of one process. A page that is read takes 2 us, a step in one that was
// just read a tenth of that.
const (
	maxSteps    = 400_000
	maxLoads    = 20_000   // pages that are read
	maxScan     = 16 << 20 // bytes of variables looked through
	maxResident = 64 << 30 // bytes of mappings whose pages are counted: 8 bytes each 4 KiB are read
	pageBytes   = 4 << 10
)

// Read recognises who manages the memory of a process that has maps mapped and
// was built by a version of Go, or by something else.
func Read(m Memory, maps []snapshot.Mapping, goVersion string) snapshot.Heaps {
	r := &reader{Memory: m, maps: maps, steps: maxSteps, loads: maxLoads, pages: maxResident}
	h := snapshot.Heaps{Libraries: libraries(maps)}
	add := func(runtime, why string) {
		if why != "" {
			h.Unknown = append(h.Unknown, snapshot.HeapUnknown{Runtime: runtime, Why: why})
		}
	}
	var why string
	if goVersion != "" {
		h.Go, why = r.goHeap(goVersion)
		add(snapshot.RuntimeGo, why)
	}
	if has(maps, "libjvm.so") {
		h.JVM, why = r.jvm()
		add(snapshot.RuntimeJVM, why)
	}
	if goVersion == "" || r.dynamic() { // a static Go program has no C library
		h.Glibc, why = r.glibc()
		add(snapshot.RuntimeGlibc, why)
	}
	if slices.ContainsFunc(h.Libraries, pythonFile.MatchString) {
		h.Python, why = r.python()
		add(snapshot.RuntimePython, why)
	}
	return h
}

// reader spends the budget.
type reader struct {
	Memory
	maps         []snapshot.Mapping
	steps, loads int
	pages        int64

	from, to uint64 // the pages that were read last
	content  []byte
}

// words reads n words at an address, which do not fill a page.
func (r *reader) words(at uint64, n int) ([]uint64, bool) {
	if r.steps--; r.steps < 0 || at%8 != 0 || r.mapping(at) == nil {
		return nil, false
	}
	w := make([]uint64, n)
	for i := range w {
		a := at + 8*uint64(i)
		if !r.load(a &^ (pageBytes - 1)) {
			return nil, false
		}
		w[i] = binary.LittleEndian.Uint64(r.content[a-r.from:])
	}
	return w, true
}

// load reads a page, unless it just did. Free blocks are often neighbours: beside
// the last page many are read at once.
func (r *reader) load(page uint64) bool {
	const many = 16 * pageBytes
	switch {
	case page >= r.from && page < r.to:
		return true
	case page == r.to && r.read(page, many, 4), page+pageBytes == r.from && page >= many && r.read(page+pageBytes-many, many, 4):
		return true
	}
	return r.read(page, pageBytes, 1)
}

func (r *reader) read(at uint64, n, cost int) bool {
	if r.content == nil {
		r.content = make([]byte, 16*pageBytes)
	}
	r.from, r.to = 0, 0
	if r.loads -= cost; r.loads < 0 || !r.Read(at, r.content[:n]) {
		return false
	}
	r.from, r.to = at, at+uint64(n)
	return true
}

// resident counts within the budget.
func (r *reader) resident(start, end uint64) (int64, bool) {
	if end < start || end-start > uint64(max(r.pages, 0)) {
		return 0, false
	}
	r.pages -= int64(end - start)
	return r.Resident(start, end)
}

// mapping finds the one that holds an address; they are in order.
func (r *reader) mapping(at uint64) *snapshot.Mapping {
	lo, hi := 0, len(r.maps)
	for lo < hi {
		if mid := (lo + hi) / 2; r.maps[mid].End <= at {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(r.maps) || at < r.maps[lo].Start {
		return nil
	}
	return &r.maps[lo]
}

// variables calls look with the memory of the writable variables of a mapped
// file, its .data and .bss, until it says that it is done. What is not resident
// was never written and is zero.
func (r *reader) variables(file func(*snapshot.Mapping) bool, look func(at uint64, b []byte) (done bool)) {
	left := maxScan
	for i := range r.maps {
		m := &r.maps[i]
		bss := i > 0 && m.Inode == 0 && bssName(m.Name) && m.Start == r.maps[i-1].End && file(&r.maps[i-1])
		if !writable(m) || !bss && !file(m) {
			continue
		}
		n := int(min(m.End-m.Start, uint64(left)))
		left -= n
		if b := r.bulk(m.Start, n); b != nil && look(m.Start, b) {
			return
		}
	}
}

func bssName(name string) bool { return name == "" || strings.HasPrefix(name, "[anon: .bss") }

// bulk reads n bytes, zeros for what is not resident.
func (r *reader) bulk(at uint64, n int) []byte {
	if r.loads -= (n + pageBytes - 1) / pageBytes; r.loads < 0 {
		return nil
	}
	b := make([]byte, n)
	r.fill(at, b)
	return b
}

// fill reads what is resident in as few pieces as that lies in, halving them.
func (r *reader) fill(at uint64, b []byte) {
	const most = 256 << 10
	pages := (len(b) + pageBytes - 1) / pageBytes
	half := (pages + 1) / 2 * pageBytes
	if pages <= 1 {
		if !r.Read(at, b) {
			clear(b)
		}
		return
	}
	switch n, ok := r.Resident(at, at+uint64(pages*pageBytes)); {
	case ok && n == 0:
	case ok && len(b) <= most && n >= int64(pages*pageBytes) && r.Read(at, b):
	default:
		r.fill(at, b[:half])
		r.fill(at+uint64(half), b[half:])
	}
}

func writable(m *snapshot.Mapping) bool { return m.Perms == [4]byte{'r', 'w', '-', 'p'} }

// program is the file that is mapped first: the executable is below its
// libraries, unless it is static.
func (r *reader) program() func(*snapshot.Mapping) bool {
	for i := range r.maps {
		if m := &r.maps[i]; m.Inode != 0 {
			return func(o *snapshot.Mapping) bool { return o.Inode == m.Inode && o.Name == m.Name }
		}
	}
	return func(*snapshot.Mapping) bool { return false }
}

// known are files whose mapping tells a runtime or an allocator. Nothing else of
// the names that a process has mapped is kept.
var known = regexp.MustCompile(`^(libc\.so\.6|libc-2\.[0-9]{1,2}\.so|libjvm\.so|libjemalloc\.so(\.[0-9]{1,2})?|libtcmalloc(_minimal|_and_profiler)?(_debug)?\.so(\.[0-9]{1,2}){0,3}` +
	`|libmimalloc(-[a-z]{1,8})?\.so(\.[0-9]{1,2}){0,2}|ld-musl-[a-z0-9_]{1,16}\.so\.1|libc\.musl-[a-z0-9_]{1,16}\.so\.1|[a-z0-9_]{1,16}-linux-musl[a-z]{0,8}/libc\.so|libcoreclr\.so|libruby(-[0-9.]{1,6})?\.so(\.[0-9.]{1,8})?|ruby([0-9.]{1,6})?` +
	`|libpython3\.[0-9]{1,2}[a-z]{0,2}\.so(\.[0-9.]{1,6})?|python3(\.[0-9]{1,2})?|libnode\.so(\.[0-9]{1,3})?|node|nodejs)$`)

// functions that only one allocator or runtime has, by which it is told where it is
// linked into the executable. malloc itself tells that some allocator is.
var functions = []string{
	"malloc",
	"mallctl", "je_mallctl", "_rjem_mallctl",
	"tc_malloc", "MallocExtension_ReleaseFreeMemory", "TCMallocInternalMalloc",
	"mi_malloc",
	"_ZN2v87Isolate3NewERKNS0_12CreateParamsE", // v8::Isolate::New(v8::Isolate::CreateParams const&)
}

// Functions are those that snapshot.Heaps may have as exported.
func Functions() []string { return slices.Clone(functions) }

func libraries(maps []snapshot.Mapping) []string {
	seen := map[string]bool{}
	var names []string
	for i := range maps {
		if name := base(&maps[i]); maps[i].Inode != 0 && !seen[name] && known.MatchString(name) {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

// base is the name of a file without its directory, but for the C library of musl,
// which some distributions have as libc.so in one that says so.
func base(m *snapshot.Mapping) string {
	name := strings.TrimSuffix(m.Name, " (deleted)")
	if of := muslLibrary.FindString(name); of != "" {
		return of
	}
	return path.Base(name)
}

var muslLibrary = regexp.MustCompile(`[a-z0-9_]{1,16}-linux-musl[a-z]{0,8}/libc\.so$`)

func has(maps []snapshot.Mapping, name string) bool {
	for i := range maps {
		if maps[i].Inode != 0 && base(&maps[i]) == name {
			return true
		}
	}
	return false
}
