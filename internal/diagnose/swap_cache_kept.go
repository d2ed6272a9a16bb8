package diagnose

import (
	"fmt"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
)

var swapCacheKept = Rule{
	Code:    codeKept,
	Title:   "anonymous memory went to swap while page cache stayed",
	NoBytes: "how much is in swap could not be read",
	find:    cacheKept,
	Doc: Doc{
		Means: `Memory of programs is in swap, and at the same time there is as much page cache that nobody is seen to use. ` +
			`The kernel weighs the two by vm.swappiness and by what came back lately; above 100 it prefers to swap.`,
		Grades: "info always, with low confidence: one look cannot say whether the cache came after the swapping.",
		Needs:  []string{"memory.swap.current (v1: memory.memsw.usage_in_bytes or swap in memory.stat), memory.stat"},
		Verify: []string{"cat /sys/fs/cgroup/<cgroup>/memory.swap.current", "cat /proc/sys/vm/swappiness /sys/fs/cgroup/memory/<cgroup>/memory.swappiness", "vmstat 1   # si, so: does it go on?"},
		Do: []string{
			"swapping that goes on (si, so not 0): lower vm.swappiness, or bound the cache of whoever fills it",
			"swap that just lies there: nothing is lost, it comes back when it is touched",
		},
		Owner:   "platform",
		Stories: `"Swap is used, so memory is short" is wrong: what went out once and is never touched stays out.`,
	},
}

func cacheKept(f *facts) []report.Finding {
	a, _ := f.w.Account(ledger.AnonOther)
	swap := a.State["swap"]
	rest := f.divide().rest
	if !f.matters(swap) || rest < swap {
		return nil
	}
	r := f.cause(codeKept, swap, low, f.Say("anonymous memory is in swap beside %s of page cache that nobody is seen to use", size.Text(rest)),
		f.counters(f.Say("page cache"), "file", "active_file", "inactive_file"))
	source, value := f.target().SwapUsage.Source, fmt.Sprint(swap)
	if source == "" {
		source = f.target().Stat.Source
	}
	r.Evidence = append(r.Evidence, report.Evidence{Statement: f.Say("in swap, not in the usage"), Source: source, Value: value})
	if n, ok := f.target().Swappiness.Get(); ok {
		r.Evidence = append(r.Evidence, report.Evidence{Statement: f.Say("how much this cgroup prefers to swap"), Source: f.target().Swappiness.Source, Value: fmt.Sprint(n)})
	}
	r.PartOf = codeCold
	r.Remedies = []report.Remedy{
		{Kind: "look", Command: f.Say("vmstat 1: si and so say whether it goes on"), Cost: f.Say("none")},
		{Kind: "configure", Command: f.Say("vm.swappiness: lower"), Cost: f.Say("more page cache goes instead")},
	}
	return []report.Finding{r}
}
