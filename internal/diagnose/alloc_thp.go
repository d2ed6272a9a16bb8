package diagnose

import (
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/mapping"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/runtimes"
	"github.com/memwhy/memwhy/internal/size"
)

var allocTHP = Rule{
	Code:    codeTHP,
	Title:   "huge pages hold more than was asked for",
	NoBytes: "this kernel does not count huge pages of a cgroup",
	find:    hugePages,
	Doc: Doc{
		Means: `With transparent huge pages the kernel gives 2 MiB where a program touches a byte, and khugepaged fills holes that an allocator made on purpose. ` +
			`Two amounts: parts of huge pages that were given back and stay charged until the page is split (the difference of the lists and the counters), ` +
			`and all memory in huge pages, of which nobody can tell how much was asked for: that is an upper bound.`,
		Grades: "info always. Bytes are the part that is proved; where nothing is, all that is in huge pages, with low confidence and as part of anon.live.",
		Needs:  []string{"memory.stat: anon_thp (v1: rss_huge), the LRU lists; /proc/PID/smaps AnonHugePages"},
		Verify: []string{"cat /sys/kernel/mm/transparent_hugepage/{enabled,khugepaged/max_ptes_none}", "grep AnonHugePages /proc/<pid>/smaps_rollup"},
		Do: []string{
			"transparent_hugepage=madvise on the node, or PR_SET_THP_DISABLE for the program",
			"khugepaged/max_ptes_none 0: it then fills no holes; Go 1.21.0 to 1.21.3 need it, later ones do not",
			"compare usage with and without, under the same load: there is no other proof",
		},
		Owner:   "platform, app",
		Stories: `"Switch huge pages off everywhere" costs databases a tenth of their speed. A runtime that packs its heap wastes nothing.`,
	},
}

func hugePages(f *facts) []report.Finding {
	unmapped := f.account(ledger.AnonUnmapped)
	a, _ := f.w.Account(ledger.AnonOther)
	thp := min(a.State["thp"], a.Bytes)
	remedies := []report.Remedy{
		{Kind: "look", Command: "grep AnonHugePages /proc/PID/smaps_rollup", Cost: f.Say("none")},
		{Kind: "configure", Command: "transparent_hugepage=madvise, khugepaged/max_ptes_none=0", Cost: f.Say("more TLB misses: a few per cent of CPU")},
	}
	for i := range f.s.Processes {
		p := &f.s.Processes[i]
		n, ok := mapping.Huge(p)
		for _, r := range runtimes.Of(f.Printer, p) {
			if ok && r.Holes() && f.matters(n) {
				remedies = append(remedies, report.Remedy{Kind: "app", Command: f.Say("Go 1.21.4 or later for %s: khugepaged fills again what %s gave back", f.processName(p), r.Version), Cost: f.Say("none")})
			}
		}
	}
	switch {
	case f.matters(unmapped):
		r := f.cause(codeTHP, unmapped, medium, f.Say("parts of huge pages that were given back, and stay until the kernel splits the pages"),
			f.counters(f.Say("on the lists, and neither mapped nor page cache"), "active_anon", "inactive_anon", "active_file", "inactive_file", "unevictable", "anon", "file"))
		r.Remedies = remedies
		return []report.Finding{r}
	case f.matters(thp) && 2*thp >= a.Bytes:
		r := f.cause(codeTHP, thp, low, f.Say("anonymous memory is in huge pages; how much of them was asked for, nobody can tell (%s of it)", size.Percent(thp, a.Bytes)),
			f.counters(f.Say("in huge pages"), "anon_thp", "anon"))
		r.PartOf, r.Remedies = codeAnon, remedies
		return []report.Finding{r}
	}
	return nil
}
