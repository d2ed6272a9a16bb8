package diagnose

import (
	"fmt"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

var throttleHigh = Rule{
	Code:    codeThrottle,
	Title:   "slowed down at memory.high",
	NoBytes: "what can be taken back is not known",
	find:    throttled,
	Doc: Doc{
		Means: `memory.high does not kill: each process that asks for more than it is put to sleep, up to two seconds for each charge. ` +
			`What cannot be freed is at that mark, so reclaim gets nowhere and everything below it crawls: health checks time out, and no log says why.`,
		Grades: "notice: at the mark, and the kernel has not counted it yet. warning: it has.",
		Needs:  []string{"cgroup v2: memory.high, memory.events, memory.stat; memory.pressure says how much time it costs"},
		Verify: []string{"cat /sys/fs/cgroup/<cgroup>/memory.{high,current,events.local,pressure}", "cat /proc/<pid>/stack   # mem_cgroup_handle_over_high"},
		Do: []string{
			"raise memory.high (systemd: MemoryHigh=; Kubernetes: the feature gate MemoryQoS sets it)",
			"or bound the program below it",
		},
		Owner:   "platform",
		Stories: `"CPU is idle and there is no OOM kill, so it is the network": this is a memory limit that does not say so.`,
	},
}

func throttled(f *facts) []report.Finding {
	l, ok := f.w.Deciding(false)
	if !ok || !f.w.ReclaimKnown || l.UnreclaimableMin < l.Bytes*19/20 {
		return nil
	}
	r := report.Finding{
		Code: codeThrottle, Severity: notice, Confidence: medium, Bytes: ptr(l.UnreclaimableMax), Evidence: f.limitEvidence(l),
		Remedies: []report.Remedy{
			{Kind: "limit", Command: f.Say("raise memory.high (systemd: MemoryHigh=), or bound the program below it"), Cost: f.Say("memory of the node")},
		},
	}
	times := int64(0)
	for i := range f.s.Path {
		c := &f.s.Path[i]
		if c.Path != l.Cgroup {
			continue
		}
		for _, events := range []snapshot.Reading[snapshot.Stat]{c.EventsLocal, c.Events} {
			if st, ok := events.Get(); ok && times == 0 {
				if n, ok := st.Get("high"); ok && n > 0 {
					times = n
					r.Evidence = append(r.Evidence, report.Evidence{Statement: f.Say("how often it was exceeded"), Source: events.Source, Value: fmt.Sprintf("high %d", n)})
				}
			}
		}
		if p, ok := c.Pressure.Get(); ok && p.HasFull {
			r.Evidence = append(r.Evidence, report.Evidence{Statement: f.Say("share of the last 10 seconds that all its processes waited for memory"), Source: c.Pressure.Source, Value: fmt.Sprintf("full avg10=%.2f", p.Full.Avg10)})
		}
	}
	title := f.Say("is at its end")
	if times > 0 {
		r.Severity, r.Confidence = warning, high
		title = f.Say("slows its processes down, %s so far", f.timesText(times))
	}
	r.Title = f.Say("memory.high %s of %s %s: %s cannot be freed", size.Text(l.Bytes), f.place(l.Cgroup), title, size.Text(l.UnreclaimableMax))
	return []report.Finding{r}
}
