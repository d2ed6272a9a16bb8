package render

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/words"
)

// Wide renders all of r.
func Wide(r *report.Report) []byte {
	p := &page{Printer: words.In(r.Lang)}
	wideHead(p, r)
	allFindings(p, r.Findings)
	suspicions(p, r)
	overTime(p, r)
	figures(p, r)
	bar(p, r)
	p.line("LEDGER, in bytes")
	for _, a := range r.Accounts {
		note := a.Reclaim
		if a.Derived {
			note += p.Say(", derived")
		}
		if a.How != "" {
			note += p.Say(", by %s", a.How)
		}
		p.line("  %-26s %15d  %-10s %s", a.Path, a.Bytes, note, state(a.State))
	}
	p.line("  %-26s %15d  = usage; unexplained is within %s", "sum", r.Numbers.UsageBytes, p.optional(r.Unexplained.BoundBytes))
	if len(r.Children) > 0 {
		p.line("CONSISTS OF, in bytes")
	}
	for _, c := range r.Children {
		p.line("  %-9s %15d  %-10s %s  %s", c.Kind, c.UsageBytes, c.Largest.Account, state(c.Accounts), strings.TrimSpace(c.Name+"  "+c.Cgroup))
	}
	counted(p, r)
	p.line("LIMITS, from the target to the root")
	for _, l := range r.Limits {
		p.line("  %12s  usage %s, cannot free %s, margin %s  %s", size.Text(l.LimitBytes), size.Text(l.UsageBytes),
			size.Text(l.UnreclaimableBytes), size.Text(l.MarginBytes), l.Knob)
	}
	if len(r.Limits) == 0 {
		p.line("  none")
	}
	for _, x := range []struct {
		name string
		risk report.Risk
	}{{"kill", r.Risks.Kill}, {"evict", r.Risks.Evict}, {"throttle", r.Risks.Throttle}} {
		p.line("RISK %-8s %-8s %s", x.name, x.risk.Level, x.risk.Because)
	}
	saying(p, r, len(r.Says))
	holders(p, r)
	if len(r.Advisories) > 0 {
		p.line("ADVISORIES")
	}
	for _, a := range r.Advisories {
		p.line("  %-31s %-24s %s", a.ID, a.Verdict, a.Title)
		if !bites(a) { // what bites is a finding, with its evidence
			p.evidence(a)
		}
	}
	p.foot(r.Doubts, r.NotSeen, r.Cost)
	return p.Bytes()
}

// foot is the end of what is printed whole.
func (p *page) foot(doubts []string, notSeen []report.NotSeen, cost report.Cost) {
	p.line("DOUBTS")
	for _, d := range doubts {
		p.line("  %s", d)
	}
	p.line("NOT SEEN")
	for _, n := range notSeen {
		p.line("  %-8s %s: %s. Would show %s.", n.State, n.Source, n.Why, strings.TrimPrefix(n.Key+": "+n.WouldShow, ": "))
	}
	p.line("COST  %.1f ms, %.1f ms CPU, %d bytes read", cost.WallMs, cost.CPUMs, cost.BytesRead)
}

func wideHead(p *page, r *report.Report) {
	p.line("%s", verdict(r))
	p.line("Kill risk %s: %s.", r.Risks.Kill.Level, r.Risks.Kill.Because)
	t := r.Target
	p.line("%s", t.Cgroup)
	for _, f := range [][2]string{
		{"name", t.Name},
		{"runtime", cmp.Or(t.RuntimeVersion, t.Runtime)},
		{"container", t.ID},
		{"pod", t.PodUID},
		{"qos", t.QoS},
		{"image", t.Image},
		{"labels", labels(t.Labels)},
		{p.Say("asked for"), p.asked(t)},
		{"run", p.runs(t)},
		{p.Say("named by"), t.NamedBy},
	} {
		if f[1] != "" {
			p.line("  %-10s %s", f[0], f[1])
		}
	}
	p.line("  %-10s kernel %s, %s, cgroup %s (%s), %s LRU", "host", p.orUnknown(r.Host.Kernel), p.orUnknown(r.Host.Distro), t.CgroupVersion, r.Host.CgroupMode, r.Host.LRU)
	p.line("  %-10s %d: %s", "processes", t.PIDCount, strings.Trim(fmt.Sprint(t.PIDs), "[]"))
}

func labels(m map[string]string) string {
	var s []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		s = append(s, k+"="+m[k])
	}
	return strings.Join(s, " ")
}

func (p *page) asked(t report.Target) string {
	var s []string
	if t.RequestBytes > 0 {
		s = append(s, p.Say("request %s", size.Text(t.RequestBytes)))
	}
	if t.SpecLimitBytes > 0 {
		s = append(s, p.Say("limit %s", size.Text(t.SpecLimitBytes)))
	}
	return p.Join(s)
}

func (p *page) runs(t report.Target) string {
	var s []string
	if t.State != "" {
		s = append(s, t.State)
	}
	if t.RestartCount != nil {
		s = append(s, p.Say("restarts %d", *t.RestartCount))
	}
	if t.LastTermination != nil {
		s = append(s, p.Say("last ended %s", p.ended(t.LastTermination)))
	}
	return p.Join(s)
}

func state(m map[string]int64) string {
	var s []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		s = append(s, fmt.Sprintf("%s=%d", k, m[k]))
	}
	return strings.Join(s, " ")
}

func nonZero(m map[string]int64) map[string]int64 {
	m = maps.Clone(m)
	maps.DeleteFunc(m, func(_ string, v int64) bool { return v == 0 })
	return m
}

func (p *page) users(list []report.User) string {
	const shown = 3
	var s []string
	format := words.Key(", open as %s")
	for i, u := range list {
		if !strings.HasPrefix(u.How, "fd ") {
			format = words.Key(", used by %s")
		}
		if i < shown {
			s = append(s, fmt.Sprintf("pid %d %s", u.PID, u.How))
		}
	}
	if len(s) == 0 {
		return ""
	}
	if more := len(list) - shown; more > 0 {
		s = append(s, p.Say("and %d more", more))
	}
	return p.Say(format, p.Join(s))
}

// cachedFile is a file that a census found: where it is, and who else pays for it.
func (p *page) cachedFile(h report.Holder) string {
	s := h.Path
	if s == "" {
		s = h.Name
	}
	s += "  " + h.Where
	if h.Deleted {
		s += p.Say(", deleted")
	}
	if h.Volume != "" {
		s += " " + h.Volume
	}
	if n := len(h.ChargedTo); n > 1 {
		s += p.Say(", charged to %d cgroups", n)
	}
	return s + p.users(h.UsedBy)
}

// counted holds what was counted page by page against the counters.
func counted(p *page, r *report.Report) {
	if r.Census == nil || r.Cost.Census == nil {
		return
	}
	p.line("CENSUS by %s, %d page frames in %.0f ms; the counters were read before it", r.Census.Engine, r.Cost.Census.Frames, r.Cost.Census.WallMs)
	for _, d := range r.Census.Differences {
		p.line("  %-26s %15d  counter %15d  difference %d", d.Account, d.CensusBytes, d.CounterBytes, d.CensusBytes-d.CounterBytes)
	}
}

// managed is a runtime or an allocator of a process.
func managed(p *page, x report.Runtime) {
	arenas := ""
	if x.Arenas > 0 {
		arenas = fmt.Sprintf("  arenas=%d", x.Arenas)
	}
	p.line("    runtime      %s (%s)%s%s%s", strings.TrimSpace(x.Name+" "+x.Version), x.How, arenas, after(state(x.Heap)), after(settings(x.Settings)))
	if x.Unknown != "" {
		p.line("      what it keeps and does not use is not known: %s", x.Unknown)
		if x.Cure != "" {
			p.line("      what would give it back, or bound it: %s", x.Cure)
		}
	}
}

func after(s string) string {
	if s == "" {
		return ""
	}
	return "  " + s
}

func settings(all map[string]string) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if all[key] == "" {
			list = append(list, key)
			continue
		}
		list = append(list, key+"="+all[key])
	}
	return strings.Join(list, ", ")
}

func holders(p *page, r *report.Report) {
	p.line("HOLDERS")
	for _, h := range r.Holders {
		what := h.Name
		if h.PID != 0 {
			what = fmt.Sprintf("pid %d %s", h.PID, h.Name)
		}
		if len(h.Command) > 0 {
			what += "  (" + strings.Join(h.Command, " ") + ")"
		}
		amount := size.Text(h.Bytes)
		if h.AtMost {
			amount = "<= " + amount
		}
		switch {
		case h.Kind == "directory":
			what = p.Say("%s/  %s, the files in it together", h.Path, h.Where)
		case h.Where != "":
			what = p.cachedFile(h)
		case h.Deleted && h.Kind == "cgroup":
			what = p.Say("%s (removed)", h.Path)
		case h.Deleted:
			what += p.Say("  %s (deleted)%s", h.Path, p.users(h.UsedBy))
		}
		if h.How != "" {
			what += p.Say("  by %s", h.How)
		}
		p.line("  %-12s %12s  %s  %s", h.Account, amount, what, state(h.State))
		for _, x := range h.Parts {
			how := ""
			if x.How != "" {
				how = " (" + p.Of(x.How) + ")"
			}
			p.line("    %-12s %10s  %d x %s%s  %s", x.Kind, size.Text(x.Bytes), x.Count, p.Of(x.Name), how, state(nonZero(x.State)))
		}
		for _, x := range h.Runtimes {
			managed(p, x)
		}
	}
	for _, o := range r.Omitted {
		p.line("  %-12s %12s  %d more", o.Account, size.Text(o.Bytes), o.Count)
	}
	if len(r.Holders) == 0 {
		p.line("  none that these files can name")
	}
}
