package diagnose

import (
	"fmt"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
)

var kernelPagetables = Rule{
	Code:    codeTables,
	Title:   "page tables",
	Noun:    "page tables",
	NoBytes: "this kernel does not count page tables of a cgroup",
	find:    tables,
	Doc: Doc{
		Means: `The tables that say where each page of each process is: 8 bytes for 4 KiB, 0.2 % of what is mapped. They grow far beyond that when many processes map the same large shared memory (a database with hundreds of connections: each has its own tables of all of shared_buffers), ` +
			`or when a program touches few pages in a huge range. They stay until the mapping or the process ends, even when its pages are long gone.`,
		Grades: "info always.",
		Needs:  []string{"memory.stat: pagetables (v2, since 5.16), or a census"},
		Verify: []string{"grep pagetables /sys/fs/cgroup/<cgroup>/memory.stat", "grep VmPTE /proc/<pid>/status", "grep PageTables /proc/meminfo"},
		Do:     []string{"huge pages for large shared memory: huge_pages = on in PostgreSQL, -XX:+UseLargePages; a table of the lowest level is saved for each 2 MiB", "fewer processes that map it: a connection pool"},
		Owner:  "app", Stories: `Nothing of this is in RSS. MADV_DONTNEED frees the pages and leaves the tables (before 6.14).`,
	},
}

func tables(f *facts) []report.Finding {
	bytes := f.account(ledger.PageTables)
	if !f.matters(bytes) {
		return nil
	}
	r := f.cause(codeTables, bytes, high, f.Say("page tables"), f.balanced(f.Say("page tables"), ledger.PageTables))
	var most, who int64
	for i := range f.s.Processes {
		p := &f.s.Processes[i]
		if n, ok := p.Status.Value.Fields.Get("VmPTE"); ok && n > most {
			most, who = n, int64(i)
		}
	}
	if most > 0 {
		p := &f.s.Processes[who]
		r.Title += f.Say(", the most of them of %s", f.processName(p))
		r.Evidence = append(r.Evidence, report.Evidence{Statement: f.Say("the process with the most"), Source: fmt.Sprintf("/proc/%d/status", p.PID), Value: fmt.Sprintf("VmPTE %d", most)})
	}
	r.Remedies = []report.Remedy{
		{Kind: "look", Command: "grep VmPTE /proc/*/status | sort -k2 -n | tail", Cost: f.Say("none")},
		{Kind: "app", Command: f.Say("fewer processes that map the same memory (a pool of connections); munmap what is not used"), ExpectBytes: ptr(bytes), Cost: f.Say("a pool to run")},
		{Kind: "configure", Command: f.Say("huge pages for shared memory that many processes map"), ExpectBytes: ptr(bytes), Cost: f.Say("they are set apart on the node")},
	}
	return []report.Finding{r}
}
