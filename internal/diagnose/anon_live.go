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

var anonLive = Rule{
	Code:    codeAnon,
	Title:   "anonymous memory that processes hold",
	Noun:    "anonymous memory that its processes hold (heaps, stacks)",
	NoBytes: "the cgroup's counters could not be read",
	find:    liveAnon,
	Doc: Doc{
		Means: `Heaps, stacks and everything else that a program asked for and wrote to. Only the program can give it back, or swap take it away. ` +
			`Whether it is in use, leaked, or freed inside the allocator and kept for later looks the same in one look at the counters: growth over time tells a leak, the runtime's own accounts tell what it keeps unused (alloc.retained), where it has any that can be read.`,
		Grades: "info always; limit.tight and limit.parent say when it is a danger.",
		Needs:  []string{"memory.stat: anon (v1: rss); /proc/PID/smaps for whose it is and what kind"},
		Verify: []string{"grep -E '^(total_rss|anon) ' /sys/fs/cgroup/<cgroup>/memory.stat", "grep -E 'Pss_Anon|Anonymous' /proc/<pid>/smaps_rollup", "memwhy explain <cgroup> -o wide   # by process and kind of mapping"},
		Do: []string{
			"Go: GOMEMLIMIT somewhat below the limit, a heap profile; JVM: -Xmx or MaxRAMPercentage, jcmd VM.native_memory",
			"C and C++: MALLOC_ARENA_MAX=2, malloc_trim, or another allocator, where many arenas hold freed memory",
			"look again in some minutes under the same load: flat is no leak",
		},
		Owner: "app",
		Stories: `"RSS does not fall after the load, so it leaks" is wrong more often than right: allocators keep what they freed. ` +
			`The sum of RSS counts shared pages once for each process.`,
	},
}

func liveAnon(f *facts) []report.Finding {
	all := f.account(ledger.AnonOther)
	bytes := all
	if idle := f.retained(); f.matters(idle) { // another cause
		bytes -= idle
	}
	if !f.matters(bytes) {
		return nil
	}
	sum, list := f.anonByProcess()
	confidence := medium
	if 10*sum >= 9*all { // nobody else can hold it
		confidence = high
	}
	r := f.cause(codeAnon, bytes, confidence, f.Say("anonymous memory, which only its processes can give back"), f.counters(f.Say("anonymous memory in the counters"), "anon"))
	r.PartOf = codeLeak
	for i, p := range list[:min(len(list), 3)] {
		what := f.mostly(p)
		if i == 0 && 2*p.bytes > all {
			r.Title += f.Say("; most of it is held by %s%s", f.processName(p.process), what) + f.native(p)
			if fits := f.fits(p.process); fits != "" {
				r.Title = f.Say("%s; %s", r.Title, fits)
			}
		}
		r.Evidence = append(r.Evidence, report.Evidence{
			Statement: f.Say("%s holds%s", f.processName(p.process), what), Source: fmt.Sprintf("/proc/%d/%s", p.process.PID, p.how), Value: fmt.Sprint(p.bytes),
		})
		r.Evidence = append(r.Evidence, f.managedBy(p.process)...)
	}
	if len(list) > 0 && 2*list[0].bytes <= all {
		r.Title += f.manyAlike(list, all)
	}
	forked, e := f.copies()
	r.Title, r.Evidence = r.Title+forked, append(r.Evidence, e...)
	r.Remedies = []report.Remedy{
		{Kind: "look", Command: f.Say("memwhy explain %s -o wide: by process and kind of mapping; again after some minutes", f.brief()), Cost: f.Say("none")},
		{Kind: "app", Command: f.Say("a heap profile; a bound for the heap (GOMEMLIMIT, -Xmx, MALLOC_ARENA_MAX)"), Cost: f.Say("more work for a garbage collector")},
	}
	if len(list) > 0 {
		if rt, ok := f.outside(list[0]); ok && rt.Name == runtimes.JVM {
			r.Remedies[1].Command = f.Say("jcmd PID VM.native_memory, of a JVM that was started with -XX:NativeMemoryTracking=summary; -XX:MaxDirectMemorySize, fewer threads, MALLOC_ARENA_MAX")
		} else if cure := f.bound(list[0].process); cure != "" {
			r.Remedies[1].Command = f.Say("a heap profile; %s", cure)
		}
	}
	return []report.Finding{r}
}

// bound is the setting that bounds the heap of a process, where its language has one,
// or what an allocator that is not looked into has.
func (f *facts) bound(p *snapshot.Process) string {
	for _, r := range runtimes.Of(f.Printer, p) {
		if r.Name != runtimes.Glibc && r.Name != runtimes.Python && r.Name != runtimes.Unrecognised {
			return r.Cure
		}
	}
	return ""
}

// managedBy is what the runtimes of a process say, and what they do not.
func (f *facts) managedBy(p *snapshot.Process) (list []report.Evidence) {
	for _, r := range runtimes.Of(f.Printer, p) {
		switch text := r.Sentence(f.Printer); {
		case text != "":
			list = append(list, report.Evidence{Statement: f.Say("%s: %s", f.processName(p), text), Source: p.Heaps.Source, Value: fmt.Sprint(r.Heap.Committed)})
		case r.Unknown != "":
			list = append(list, report.Evidence{Statement: f.Say("%s is managed by %s", f.processName(p), r.Title(f.Printer)), Source: p.Heaps.Source, Value: r.Unknown})
		}
	}
	return list
}

// fits says where a heap may grow beyond what the limit lets it.
func (f *facts) fits(p *snapshot.Process) string {
	l, ok := f.w.Deciding(true)
	if !ok || l.Bytes <= 0 {
		return ""
	}
	for _, r := range runtimes.Of(f.Printer, p) {
		h := r.Heap
		switch {
		case r.Name == runtimes.JVM && 10*h.Reserved >= 9*l.Bytes:
			return f.Say("its JVM heap alone may grow to %s, the limit is %s", size.Text(h.Reserved), size.Text(l.Bytes))
		case r.Name == runtimes.Node && 10*h.Reserved >= 9*l.Bytes:
			return f.Say("its V8 old space alone may grow to %s, the limit is %s", size.Text(h.Reserved), size.Text(l.Bytes))
		case r.Name == runtimes.Go && h.Limit > l.Bytes:
			return f.Say("its GOMEMLIMIT is %s, above the limit of %s", size.Text(h.Limit), size.Text(l.Bytes))
		}
	}
	return ""
}

// anonByProcess are the processes that hold anonymous memory, the most first.
func (f *facts) anonByProcess() (sum int64, list []anonHolder) {
	for i := range f.s.Processes {
		p := &f.s.Processes[i]
		if n, how, ok := mapping.Anon(p); ok && n > 0 {
			list = append(list, anonHolder{p, n, how})
			sum = min(sum+n, maxSum)
		}
	}
	slices.SortStableFunc(list, func(a, b anonHolder) int { return cmp.Compare(b.bytes, a.bytes) })
	return sum, list
}
