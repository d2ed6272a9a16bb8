package snapshot

import "errors"

// Heaps is what the memory of one process says of who manages it. What is nil was
// not found, or Unknown says why it is not known. Amounts are bytes.
type Heaps struct {
	Libraries []string      `json:"libraries,omitempty"` // base names of mapped files that tell a runtime or an allocator
	Exports   []string      `json:"exports,omitempty"`   // functions of allocators and runtimes that the executable itself has and exports
	Glibc     *GlibcHeap    `json:"glibc,omitempty"`
	Go        *GoHeap       `json:"go,omitempty"`
	JVM       *JVMHeap      `json:"jvm,omitempty"`
	Python    *PythonHeap   `json:"python,omitempty"`
	Unknown   []HeapUnknown `json:"unknown,omitempty"`
}

// HeapUnknown says why the heap of a runtime could not be read.
type HeapUnknown struct {
	Runtime string `json:"runtime"`
	Why     string `json:"why"`
}

// The runtimes of HeapUnknown.
const (
	RuntimeGo     = "go"
	RuntimeJVM    = "jvm"
	RuntimeGlibc  = "glibc"
	RuntimePython = "python"
)

// GlibcHeap is the sum over the arenas of glibc's malloc, but for what it maps
// for one large block each.
type GlibcHeap struct {
	Arenas  int   `json:"arenas"`
	System  int64 `json:"system"`  // had from the kernel
	Free    int64 `json:"free"`    // of System, freed by the program; without caches of threads and fast bins
	Idle    int64 `json:"idle"`    // of Free, whole pages that are resident: what malloc_trim(3) gives back
	AtLeast bool  `json:"atLeast"` // there are more free blocks than were looked at
}

// PythonHeap is the sum over the arenas of small objects of CPython. Larger ones are
// in malloc.
type PythonHeap struct {
	Arenas  int   `json:"arenas"`
	System  int64 `json:"system"`  // had from the kernel
	Used    int64 `json:"used"`    // of System, by objects; from a sample of the pools where they are many
	Idle    int64 `json:"idle"`    // of System, in pools without an object, resident
	AtLeast bool  `json:"atLeast"` // Idle is a lower bound: not every arena was looked at
}

// GoHeap is how the Go runtime accounts for its heap.
type GoHeap struct {
	Percent  int64 `json:"percent"`  // GOGC as it is in force, -1 when off
	Limit    int64 `json:"limit"`    // GOMEMLIMIT as it is in force, the largest int64 without one
	InUse    int64 `json:"inUse"`    // spans in use
	Free     int64 `json:"free"`     // spans not in use, not given back
	Released int64 `json:"released"` // given back
}

// JVMHeap is what HotSpot publishes for its tools.
type JVMHeap struct {
	Version   string `json:"version"`
	Collector string `json:"collector"`
	Reserved  int64  `json:"reserved"`  // address space: the largest size of the heap
	Committed int64  `json:"committed"` // its size now
	Used      int64  `json:"used"`      // by objects, dead ones too
	Metaspace int64  `json:"metaspace"` // committed for classes

	Found    bool  `json:"found"`    // the heap is known among the mappings
	Resident int64 `json:"resident"` // of Committed, when found
}

// Check reports what no process can have.
func (h *Heaps) Check() error {
	var all []int64
	if g := h.Glibc; g != nil {
		all = append(all, int64(g.Arenas), g.System, g.Free, g.Idle, g.System-g.Free)
	}
	if g := h.Go; g != nil {
		all = append(all, g.Percent+1, g.Limit, g.InUse, g.Free, g.Released)
	}
	if p := h.Python; p != nil {
		all = append(all, int64(p.Arenas), p.System, p.Used, p.Idle, p.System-p.Used-p.Idle)
	}
	if j := h.JVM; j != nil {
		all = append(all, j.Reserved, j.Committed, j.Used, j.Metaspace, j.Resident, j.Committed-j.Used, j.Reserved-j.Committed)
	}
	for _, n := range all {
		if n < 0 {
			return errors.New("a heap of an amount that cannot be")
		}
	}
	return nil
}
