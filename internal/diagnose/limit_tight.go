package diagnose

import (
	"fmt"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
)

var limitTight = Rule{
	Code:    codeTight,
	Title:   "what cannot be freed is near its own limit",
	NoBytes: "what can be taken back is not known",
	find:    tight,
	Doc: Doc{
		Means: `Page cache goes before anybody is killed; what counts is the rest: anonymous memory without swap, memory files, buffers, kernel memory. That is near the limit of this very cgroup. ` +
			`A little more, and the kernel kills a process of it.`,
		Grades: "info: from 70 % of the limit. notice: from 85 %. warning: from 95 %.",
		Needs:  []string{"memory.max (memory.limit_in_bytes), memory.stat with the five lists"},
		Verify: []string{"cat /sys/fs/cgroup/<cgroup>/memory.{max,current,peak,events}", "memwhy explain <cgroup>   # cannot free"},
		Do: []string{
			"look at the cause that has the most bytes: it says who can give back",
			"raise the limit, or bound the program below it (GOMEMLIMIT, -Xmx, shared_buffers)",
			"in Kubernetes: a limit somewhat above what cannot be freed at the peak, not above the working set",
		},
		Owner:   "app for what it holds; platform for the limit",
		Stories: `"usage is at 100 % of the limit" is no danger by itself: cache fills every limit. "It was at 60 % in the graph" is no safety: graphs miss peaks.`,
	},
}

func tight(f *facts) []report.Finding {
	l, ok := f.w.Deciding(true)
	if !ok || !f.w.ReclaimKnown || l.Cgroup != f.target().Path {
		return nil
	}
	severity, ok := fullness(l)
	if !ok {
		return nil
	}
	r := report.Finding{
		Code: codeTight, Severity: severity, Confidence: high, Bytes: ptr(l.UnreclaimableMax),
		Title: f.Say("%s of the limit %s cannot be freed (%s), %s to go", size.Text(l.UnreclaimableMax), size.Text(l.Bytes), size.Percent(l.UnreclaimableMax, l.Bytes), size.Text(l.Margin())),
	}
	if l.UnreclaimableMin < l.UnreclaimableMax {
		r.Confidence = medium
	}
	r.Evidence = append(f.limitEvidence(l), f.counters(f.Say("what it is"), "anon", "shmem", "sock", "slab_unreclaimable", "kernel"))
	r.Remedies = []report.Remedy{
		{Kind: "look", Command: f.Say("memwhy explain %s -o wide: the causes below, and who holds them", f.brief()), Cost: f.Say("none")},
		{Kind: "limit", Command: f.Say("raise the limit, or bound the program below it"), Cost: f.Say("memory of the node")},
	}
	if _, list := f.anonByProcess(); len(list) > 0 && 2*list[0].bytes > l.UnreclaimableMax {
		if cure := f.bound(list[0].process); cure != "" {
			r.Remedies = append(r.Remedies, report.Remedy{Kind: "app", Command: f.Say("%s: %s", f.processName(list[0].process), cure), Cost: f.Say("more work for a garbage collector")})
		}
	}
	return []report.Finding{r}
}

// fullness grades a limit by what cannot be freed.
func fullness(l ledger.Limit) (severity string, ok bool) {
	switch l.Level() {
	case ledger.Raised:
		return info, true
	case ledger.High:
		return notice, true
	case ledger.Critical:
		return warning, true
	}
	return "", false
}

func (f *facts) limitEvidence(l ledger.Limit) []report.Evidence {
	return []report.Evidence{
		{Statement: f.Say("the limit"), Source: l.Knob, Value: fmt.Sprint(l.Bytes)},
		{Statement: f.Say("charged, and of that what can be freed"), Source: l.Cgroup, Value: fmt.Sprintf("%d - %d = %d", l.Usage, l.Usage-l.UnreclaimableMax, l.UnreclaimableMax)},
	}
}
