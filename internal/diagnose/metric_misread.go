package diagnose

import (
	"fmt"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/says"
	"github.com/memwhy/memwhy/internal/size"
)

var metricMisread = Rule{
	Code:    codeMisread,
	Title:   "the working set is near the limit, and most of it can be freed",
	NoBytes: "memory.stat could not be read",
	find:    misread,
	Doc: Doc{
		Means: `kubectl top, the kubelet and most alerts use the working set: usage minus the inactive file list. Active page cache and slab that can shrink are in it, though the kernel takes both before it kills anybody. ` +
			`Here an alert at 80 % of the limit fires, and what cannot be freed is far below.`,
		Grades: "info: nothing is wrong with the container.",
		Needs:  []string{"memory.stat with the five lists, the limit"},
		Verify: []string{"grep -E '^(total_)?(inactive_file|active_file|slab_reclaimable)' /sys/fs/cgroup/<cgroup>/memory.stat", "memwhy explain <cgroup>   # WHO SAYS WHAT, cannot free"},
		Do: []string{
			"alert on what cannot be freed against the limit: anon + shmem + sock + kernel - slab_reclaimable",
			"eviction by the kubelet does look at the working set, of the node: see the risk of eviction apart from the risk of a kill",
		},
		Owner:   "platform",
		Stories: `"The working set is what cannot be evicted" (from old documentation) is wrong both ways. Working sets of nodes with the multi-generational LRU and of others do not compare.`,
	},
}

// The working set from where on alerts fire, and what cannot be freed below which
// they are wrong, in per cent of the limit.
const (
	alertPercent = 80
	safePercent  = 60
)

func misread(f *facts) []report.Finding {
	ws, key, inactive := says.WorkingSet(f.target(), f.w.Usage)
	limit, ok := f.target().Limit.Get()
	if !ok || !f.w.ReclaimKnown || !size.Plausible(limit) || limit == 0 || f.target().Stat.State.String() != "present" ||
		100*ws < alertPercent*limit || 100*f.w.UnreclaimableMax >= safePercent*limit {
		return nil
	}
	over := ws - f.w.UnreclaimableMax
	r := report.Finding{
		Code: codeMisread, Severity: info, Confidence: high, Bytes: &over, PartOf: f.mostFreeable(),
		Title: f.Say("the working set %s is %s of the limit, but only %s (%s) cannot be freed: an alert on it is wrong", size.Text(ws), size.Percent(ws, limit), size.Text(f.w.UnreclaimableMax), size.Percent(f.w.UnreclaimableMax, limit)),
		Evidence: []report.Evidence{
			{Statement: f.Say("the working set"), Source: f.w.UsageSource + ", " + f.target().Stat.Source, Value: fmt.Sprintf("%d - %s %d = %d", f.w.Usage, key, inactive, ws)},
			{Statement: f.Say("the limit"), Source: f.target().Limit.Source, Value: fmt.Sprint(limit)},
			f.counters(f.Say("in the working set, and yet to be freed"), "active_file", "slab_reclaimable"),
		},
		Remedies: []report.Remedy{
			{Kind: "look", Command: f.Say("memwhy explain %s: who says what, and what cannot be freed", f.brief()), Cost: f.Say("none")},
			{Kind: "configure", Command: f.Say("alert on what cannot be freed: anon + shmem + sock + kernel - slab_reclaimable, against the limit"), Cost: f.Say("none")},
		},
	}
	return []report.Finding{r}
}

// mostFreeable is the cause that the working set should not count.
func (f *facts) mostFreeable() string {
	d := f.divide()
	names, negative := f.names()
	best, code := d.rest, codeCold
	for c, n := range map[string]int64{codeHot: d.mapped, codeForeign: d.foreign, codeDentry: names.bytes - negative, codeNegative: negative} {
		if n > best {
			best, code = n, c
		}
	}
	return code
}
