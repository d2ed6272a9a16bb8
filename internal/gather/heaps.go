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
	heapsAtOnce = 4                      // asked for together
)

const (
	notLargestHeap = "not asked: runtimes are looked into of the 16 largest processes"
	overHeaps      = "not asked: the time for the runtimes of processes was used up"
	notRecorded    = "the recording does not hold it"
)

// readHeaps asks of the largest processes how their runtimes and allocators were
// told to use memory, and how they account for it.
func readHeaps(src kernel.Source, bySize []*snapshot.Process) {
	var ps []*snapshot.Process
	for _, p := range bySize {
		if _, user := p.Status.Value.Fields.Get("VmSize"); !user || rss(p) < leastHeap {
			continue
		}
		if len(ps) == maxHeaps {
			p.Heaps = snapshot.Reading[snapshot.Heaps]{State: snapshot.Absent, Source: procFile(p.PID, "mem"), Err: notLargestHeap}
			continue
		}
		ps = append(ps, p)
	}
	for i, r := range askEach(src, ps, kernel.Environ, "environ", maxEnviron, parseEnviron) {
		ps[i].Environ = r
	}
	spent := time.Duration(0)
	for i := 0; i < len(ps); i += heapsAtOnce {
		some := ps[i:min(i+heapsAtOnce, len(ps))]
		if spent > budgetHeaps {
			for _, p := range some {
				p.Heaps = refused[snapshot.Heaps](p, "mem", overHeaps)
			}
			continue
		}
		for k, r := range askEach(src, some, kernel.Heaps, "mem", maxMaps, parseHeaps) {
			some[k].Heaps = r
			spent = r.At.Sub(ps[0].Environ.At)
		}
	}
}

// askEach asks the same of each process. That a recording does not say is no fault
// of it.
func askEach[T any](src kernel.Source, ps []*snapshot.Process, op kernel.Op, file string, max int, parse func([]byte) (T, error)) []snapshot.Reading[T] {
	qs := make([]kernel.Question, len(ps))
	for i, p := range ps {
		qs[i] = kernel.Question{Op: op, Path: procFile(p.PID, file), Max: max}
	}
	all := make([]snapshot.Reading[T], len(ps))
	for i, a := range kernel.AskAll(src, qs) {
		if a.State == snapshot.Failed && src.Origin().Replay {
			a.State, a.Err = snapshot.Absent, notRecorded
		}
		all[i] = kernel.Parsed(a, qs[i].Path, parse)
	}
	return all
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
