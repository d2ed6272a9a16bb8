package gather

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Bounds of what is asked of runtimes and allocators. One process takes some
// 2 ms, 60 at most; its mmap lock is held for a page at a time.
const (
	maxHeaps    = 16      // processes, the largest
	leastHeap   = 4 << 20 // bytes resident: less than that is not worth a look
	maxEnviron  = 256 << 10
	budgetHeaps = 200 * time.Millisecond // by the times of the answers
)

const (
	notLargestHeap = "not asked: runtimes are looked into of the 16 largest processes"
	overHeaps      = "not asked: the time for the runtimes of processes was used up"
	notRecorded    = "the recording does not hold it"
)

// readHeaps asks of the largest processes how their runtimes and allocators were
// told to use memory, and how they account for it.
func readHeaps(src kernel.Source, bySize []*snapshot.Process) {
	var first time.Time
	asked := 0
	for _, p := range bySize {
		if _, user := p.Status.Value.Fields.Get("VmSize"); !user || rss(p) < leastHeap {
			continue
		}
		if asked++; asked > maxHeaps {
			p.Heaps = snapshot.Reading[snapshot.Heaps]{State: snapshot.Absent, Source: procFile(p.PID, "mem"), Err: notLargestHeap}
			continue
		}
		p.Environ = heapFile(src, kernel.Question{Op: kernel.Environ, Path: procFile(p.PID, "environ"), Max: maxEnviron}, parseEnviron)
		if first.IsZero() {
			first = p.Environ.At
		}
		if p.Environ.At.Sub(first) > budgetHeaps {
			p.Heaps = refused[snapshot.Heaps](p, "mem", overHeaps)
			continue
		}
		p.Heaps = heapFile(src, kernel.Question{Op: kernel.Heaps, Path: procFile(p.PID, "mem"), Max: maxMaps}, parseHeaps)
	}
}

// heapFile asks and parses. That a recording does not say is no fault of it.
func heapFile[T any](src kernel.Source, q kernel.Question, parse func([]byte) (T, error)) snapshot.Reading[T] {
	a := src.Ask(q)
	if a.State == snapshot.Failed && src.Origin().Replay {
		a.State, a.Err = snapshot.Absent, notRecorded
	}
	return kernel.Parsed(a, q.Path, parse)
}

// parseEnviron trusts no recording to hold only what may be kept.
func parseEnviron(b []byte) ([]string, error) {
	b = identity.MemoryEnviron(b)
	if len(b) == 0 {
		return nil, nil
	}
	return strings.Split(string(bytes.TrimSuffix(b, []byte{0})), "\x00"), nil
}

func parseHeaps(b []byte) (snapshot.Heaps, error) {
	var h snapshot.Heaps
	err := json.Unmarshal(b, &h)
	if err == nil {
		err = h.Check()
	}
	return h, err
}
