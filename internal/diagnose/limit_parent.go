package diagnose

import (
	"fmt"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
)

var limitParent = Rule{
	Code:    codeParent,
	Title:   "a limit above is nearly full",
	NoBytes: "what can be taken back is not known",
	find:    parentLimit,
	Doc: Doc{
		Means: `The limit that decides is not the container's own but one above it: its pod's, its class's, a slice's. All below share it, and what cannot be freed of them together is near it. ` +
			`Far from its own limit, this container can be the one that is killed.`,
		Grades: "info: from 70 % of the limit. notice: from 85 %. warning: from 95 %.",
		Needs:  []string{"limits and memory.stat of the cgroups above"},
		Verify: []string{"cat /sys/fs/cgroup/<ancestor>/memory.{max,current}", "memwhy explain /<ancestor>", "memwhy ps --sort unreclaimable"},
		Do: []string{
			"find who fills it: memwhy explain on the owner of the limit, memwhy ps",
			"pod: its containers and its tmpfs volumes together have to fit",
			"kubepods: fewer pods, or more reserved for the system",
		},
		Owner:   "platform",
		Stories: `"It uses 12 % of its limit, so it cannot be out of memory" looks at the wrong limit.`,
	},
}

func parentLimit(f *facts) []report.Finding {
	l, ok := f.w.Deciding(true)
	if !ok || !f.w.ReclaimKnown || l.Cgroup == f.target().Path {
		return nil
	}
	severity, ok := fullness(l)
	if !ok {
		return nil
	}
	others := max(0, l.UnreclaimableMax-f.w.UnreclaimableMax)
	r := report.Finding{
		Code: codeParent, Severity: severity, Confidence: high, Bytes: &others,
		Title: f.Say("%s of the limit %s of %s cannot be freed (%s), %s of it of others below it", size.Text(l.UnreclaimableMax), size.Text(l.Bytes), f.place(l.Cgroup), size.Percent(l.UnreclaimableMax, l.Bytes), size.Text(others)),
		Evidence: append(f.limitEvidence(l), report.Evidence{
			Statement: f.Say("of that this cgroup's own"), Source: f.w.UsageSource, Value: fmt.Sprint(f.w.UnreclaimableMax),
		}),
		Remedies: []report.Remedy{
			{Kind: "look", Command: f.Say("memwhy explain %s: who fills it", quoted(l.Cgroup)), Cost: f.Say("none")},
			{Kind: "limit", Command: f.Say("raise that limit, or move what fills it elsewhere"), Cost: f.Say("memory of the node")},
		},
	}
	if l.UnreclaimableMin < l.UnreclaimableMax {
		r.Confidence = medium
	}
	return []report.Finding{r}
}
