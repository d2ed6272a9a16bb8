package diagnose

import (
	"fmt"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/mapping"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/runtimes"
)

var allocLazyfree = Rule{
	Code:    codeLazy,
	Title:   "memory that its owner gave back with MADV_FREE",
	Noun:    "memory that its owner gave back with MADV_FREE",
	NoBytes: "this kernel does not know MADV_FREE",
	find:    lazyfree,
	Doc: Doc{
		Means: `A program told the kernel that it does not need these pages any more, in the way that lets the kernel take them when it likes: until then they are in RSS, in anon and in the usage. ` +
			`Go 1.12 to 1.15, jemalloc and some JVMs free so. Under pressure it goes first, without any I/O.`,
		Grades: "info always: it can be taken at no cost.",
		Needs:  []string{"memory.stat: the file lists beyond the page cache; /proc/PID/smaps LazyFree (since 4.12)"},
		Verify: []string{"grep LazyFree /proc/<pid>/smaps_rollup", "grep -E '^(active_file|inactive_file|file|shmem) ' /sys/fs/cgroup/<cgroup>/memory.stat   # lists - (file - shmem)"},
		Do: []string{
			"Go 1.12 to 1.15: GODEBUG=madvdontneed=1, or a newer Go; jemalloc: MALLOC_CONF=muzzy_decay_ms:0",
			"nothing, where only a graph is wrong: it is no use of memory",
		},
		Owner:   "app",
		Stories: `"RSS stays high after the load, so it leaks": this part is free already. It is subtracted from the working set as if it were inactive page cache, so that graph is right by accident.`,
	},
}

func lazyfree(f *facts) []report.Finding {
	bytes := f.account(ledger.AnonLazyFree)
	e := []report.Evidence{f.counters(f.Say("file lists that are longer than the page cache without shared memory"), "active_file", "inactive_file", "file", "shmem")}
	confidence := medium
	cure := f.Say("Go before 1.16: GODEBUG=madvdontneed=1; jemalloc: muzzy_decay_ms:0")
	var sum, most int64
	for i := range f.s.Processes {
		p := &f.s.Processes[i]
		n, ok := mapping.LazyFree(p)
		if !ok || n <= 0 {
			continue
		}
		for _, r := range runtimes.Of(f.Printer, p) {
			if lazy := r.Lazy(f.Printer); lazy != "" && n > most {
				cure, most = lazy, n
			}
		}
		if sum = min(sum+n, maxSum); len(e) < 4 {
			e = append(e, report.Evidence{Statement: f.Say("%s gave back", f.processName(p)), Source: fmt.Sprintf("/proc/%d/smaps", p.PID), Value: fmt.Sprintf("LazyFree %d", n)})
		}
	}
	if anon := bytes + f.account(ledger.AnonOther); sum > bytes { // mlocked files hide some of it from the lists
		bytes = min(sum, anon)
	}
	if 2*sum >= bytes {
		confidence = high
	}
	if !f.matters(bytes) {
		return nil
	}
	r := f.cause(codeLazy, bytes, confidence, f.Say("memory that its owner gave back with MADV_FREE: the kernel takes it when it needs it"), e...)
	r.Remedies = []report.Remedy{
		{Kind: "app", Command: cure, ExpectBytes: ptr(bytes), Cost: f.Say("page faults when it is used again")},
	}
	return []report.Finding{r}
}
