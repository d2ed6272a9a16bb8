package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/mapping"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/runtimes"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

var allocRetained = Rule{
	Code:    codeRetained,
	Title:   "memory that was freed inside, and is kept",
	Noun:    "memory that its processes freed inside, and whose allocators keep it",
	NoBytes: "no runtime or allocator tells what it keeps",
	find:    retained,
	Doc: Doc{
		Means: `Programs freed this memory, and the runtime or the allocator between them and the kernel keeps it for later: the kernel still counts it as theirs. ` +
			`It is told only where the runtime's own accounts say so: free blocks of glibc's malloc in whole resident pages, spans that Go has free and did not give back, ` +
			`resident heap of the JVM beyond what objects use. What Python, V8, jemalloc and tcmalloc keep inside of their own arenas nobody outside can tell.`,
		Grades: "info always; limit.tight and limit.parent say when it is a danger.",
		Needs:  []string{"the right to read /proc/PID/mem: root or CAP_SYS_PTRACE; glibc from 2.23, Go 1.20 to 1.26, HotSpot without -XX:-UsePerfData"},
		Verify: []string{
			"gdb -p <pid> -batch -ex 'call (int)malloc_trim(0)'   # stops the program meanwhile; anon falls by so much",
			"jcmd <pid> GC.heap_info   # committed and used",
			"GODEBUG=gctrace=1, or runtime/metrics /memory/classes/heap/free:bytes   # Go",
		},
		Do: []string{
			"glibc: MALLOC_ARENA_MAX=2, malloc_trim(0) after the load, or jemalloc",
			"JVM: a smaller -XX:MaxHeapFreeRatio, with G1 -XX:G1PeriodicGCInterval; a smaller -Xmx",
			"Go: GOMEMLIMIT below the limit; debug.FreeOSMemory() after the load",
			"nothing, where the load comes back: it will be used again without asking the kernel",
		},
		Owner: "app",
		Stories: `"RSS does not fall after the load, so it leaks": a leak is memory that nobody freed; this was freed. ` +
			`"The kernel will take it when it needs it" is wrong too: without swap nothing but the program gives it back.`,
	},
}

// keeper is a process with what its runtimes keep and do not use, as its share.
type keeper struct {
	process *snapshot.Process
	all     []runtimes.Runtime
	anon    int64 // its anonymous memory
	managed int64 // of it, by those who tell
	idle    int64 // of managed
	pieces  int64 // free between blocks in use: nobody can give them back
}

// keepers are the processes that hold anonymous memory, the most idle first.
// Processes that forked share what they keep, as they share the rest.
func (f *facts) keepers() []keeper {
	if f.kept != nil {
		return f.kept
	}
	f.kept = []keeper{}
	_, list := f.anonByProcess()
	for _, h := range list {
		k := keeper{process: h.process, all: runtimes.Of(f.Printer, h.process), anon: h.bytes}
		share := 1.0
		if rss, ok := h.process.Status.Value.Fields.Get("RssAnon"); ok && rss > h.bytes && h.how != mapping.ByStatus {
			share = float64(h.bytes) / float64(rss)
		}
		for _, r := range k.all {
			if r.Heap.Idle < 0 {
				continue
			}
			k.idle += int64(share * float64(r.Heap.Idle))
			k.pieces += int64(share * float64(r.Pieces()))
			k.managed += int64(share * float64(r.Heap.Used+r.Heap.Idle+r.Pieces()))
		}
		k.idle, k.managed, k.pieces = min(k.idle, k.anon), min(k.managed, k.anon), max(0, min(k.pieces, k.anon))
		f.kept = append(f.kept, k)
	}
	slices.SortStableFunc(f.kept, func(a, b keeper) int { return cmp.Compare(b.idle, a.idle) })
	return f.kept
}

// retained is what all of them keep and do not use.
func (f *facts) retained() (sum int64) {
	for _, k := range f.keepers() {
		sum = min(sum+k.idle, maxSum)
	}
	return min(sum, f.account(ledger.AnonOther))
}

func retained(f *facts) []report.Finding {
	bytes := f.retained()
	if !f.matters(bytes) {
		return nil
	}
	r := f.cause(codeRetained, bytes, high, f.Say("memory that was freed inside of processes, and is kept by their runtimes and allocators"))
	list := f.keepers()
	for _, k := range list[:min(len(list), 3)] {
		for _, m := range k.all {
			if m.Heap.Idle < fewBytes {
				continue
			}
			if len(r.Evidence) == 0 {
				if 2*k.idle > bytes {
					r.Title = f.Say("%s of memory that was freed inside of processes, and is kept; most of it by %s in %s", size.Text(bytes), m.Title(f.Printer), f.processName(k.process))
				}
				r.Remedies = []report.Remedy{{
					Kind: "app", Command: m.Cure, ExpectBytes: ptr(k.idle), Cost: f.Say("page faults when it is used again; more work for a garbage collector"),
				}}
			}
			r.Evidence = append(r.Evidence, report.Evidence{
				Statement: f.Say("%s: %s", f.processName(k.process), m.Sentence(f.Printer)), Source: k.process.Heaps.Source, Value: fmt.Sprint(m.Heap.Idle),
			})
		}
	}
	r.Remedies = append(r.Remedies, report.Remedy{Kind: "look", Command: f.Say("memwhy explain %s -o wide: runtimes by process", f.brief()), Cost: f.Say("none")})
	return []report.Finding{r}
}
