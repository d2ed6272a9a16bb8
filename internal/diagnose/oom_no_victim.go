package diagnose

import (
	"fmt"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
)

var oomNoVictim = Rule{
	Code:    codeNoVictim,
	Title:   "out of memory with nobody to kill",
	NoBytes: "the counters do not say how much was charged",
	find:    noVictim,
	Doc: Doc{
		Means: `A limit was reached and there was no process that the kernel may kill: all have oom_score_adj -1000, what fills it belongs to no process (tmpfs, slab), or the OOM killer is switched off for the cgroup. ` +
			`Programs get ENOMEM, or wait in page faults for ever; the log fills with the same report again and again.`,
		Grades: `critical: tasks of the target, or of all below an ancestor's limit, are waiting right now (under_oom 1). warning: the log has it at the target's limit or above. notice, with low confidence: events count an OOM at its limit and no kill.`,
		Needs:  []string{"the kernel's log; memory.oom_control (v1), memory.events.local and memory.events (v2)"},
		Verify: []string{
			"dmesg | grep 'no killable processes'", "cat /sys/fs/cgroup/memory/<cgroup>/memory.oom_control   # v1: under_oom, oom_kill_disable",
			"cat /sys/fs/cgroup/<cgroup>/memory.events   # v2: oom > 0, oom_kill 0", "cat /proc/<pid>/oom_score_adj",
		},
		Do: []string{
			"raise the limit at once: it lets waiting tasks go on",
			"delete what fills it, as files on tmpfs",
			"no oom_score_adj -1000 below a limit, no docker --oom-kill-disable without one",
		},
		Owner:   "app, platform",
		Stories: `"No kill, so it cannot have been memory" is wrong: a hung container with flat CPU at its limit is this. Restarting it does not help while a pod's tmpfs holds the bytes.`,
	},
}

func noVictim(f *facts) []report.Finding {
	var all []report.Finding
	for i := range f.s.Path {
		if r, ok := f.waiting(&f.s.Path[i]); ok {
			all = append(all, r)
			break
		}
	}
	if list := f.kills.nobody; len(list) > 0 && len(all) == 0 {
		all = append(all, f.finding(codeNoVictim, list, warning))
	}
	if len(all) == 0 {
		all = f.noKillCounted()
	}
	for i := range all {
		all[i].Remedies = append(all[i].Remedies, report.Remedy{Kind: "limit", Command: f.Say("raise the limit that is reached: it lets waiting tasks go on"), Cost: f.Say("memory of the node")})
	}
	return all
}

// waiting reports tasks that wait because the OOM killer is off.
func (f *facts) waiting(c *snapshot.Cgroup) (report.Finding, bool) {
	st, ok := c.OOMControl.Get()
	under, _ := st.Get("under_oom")
	off, _ := st.Get("oom_kill_disable")
	if !ok || under != 1 || off != 1 {
		return report.Finding{}, false
	}
	r := report.Finding{
		Code: codeNoVictim, Severity: critical, Confidence: high,
		Title:    f.Say("out of memory at the limit of %s with its OOM killer switched off: its tasks wait", f.place(c.Path)),
		Evidence: []report.Evidence{{Statement: f.Say("it is under OOM, and nobody is killed"), Source: c.OOMControl.Source, Value: "under_oom 1, oom_kill_disable 1"}},
	}
	if n, ok := c.Usage.Get(); ok {
		r.Bytes = &n
	}
	return r, true
}

// noKillCounted reports, on version 2, OOMs at the target's own limit without any
// kill in it or below.
func (f *facts) noKillCounted() []report.Finding {
	t := f.target()
	oom, ok1 := t.EventsLocal.Value.Get("oom")
	killed, ok2 := t.Events.Value.Get("oom_kill")
	if t.EventsLocal.State != snapshot.Present || t.Events.State != snapshot.Present || !ok1 || !ok2 || oom <= 0 || killed > 0 {
		return nil
	}
	return []report.Finding{{
		Code: codeNoVictim, Severity: notice, Confidence: low,
		Title: f.Say("out of memory at its own limit %s, and nobody was killed", f.timesText(oom)),
		Evidence: []report.Evidence{
			{Statement: f.Say("its limit was reached and reclaim failed"), Source: t.EventsLocal.Source, Value: fmt.Sprintf("oom %d", oom)},
			{Statement: f.Say("no process in it or below was killed"), Source: t.Events.Source, Value: "oom_kill 0"},
		},
		Remedies: []report.Remedy{{Kind: "look", Command: "journalctl -k | memwhy oom parse -", Cost: f.Say("none")}},
	}}
}

func (f *facts) timesText(n int64) string {
	return f.Count(n, "once", "%d times")
}
