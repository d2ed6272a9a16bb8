// Package render owns how a report looks: text for a terminal, JSON, YAML. It
// takes a report and gives bytes; it must not know where the report came from,
// nor compute anything that another face would also want to show.
package render

import (
	"bytes"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/words"
)

// The width and height that the text form keeps to: one screen.
const (
	Width  = 80
	Height = 24
)

// page collects lines.
type page struct {
	bytes.Buffer
	words.Printer
	width int // 0: as long as they get
}

// line prints one line, made safe and cut to the width of the page.
func (p *page) line(format string, args ...any) {
	s := strings.TrimRight(printable.Text(layout(p.Of(format), args...)), " ")
	if p.width > 0 && columns(s) > p.width {
		s = s[:within(s, p.width-2)] + ".."
	}
	p.WriteString(s + "\n")
}

// fold prints a sentence over as many lines as it needs, at most max; the lines
// after the first are indented.
func (p *page) fold(indent string, max int, s string) {
	s = printable.Text(s)
	width := p.width
	if width == 0 {
		width = 1 << 20
	}
	for n := 1; ; n++ {
		if columns(s) <= width || n == max {
			p.line("%s", s)
			return
		}
		cut := breakAt(s, len(indent), width)
		p.line("%s", s[:cut])
		s = indent + strings.TrimLeft(s[cut:], " ")
	}
}

// Text renders r for one screen of 80 x 24.
func Text(r *report.Report) []byte {
	p := &page{Printer: words.In(r.Lang), width: Width}
	head(p, r)
	findings(p, r)
	figures(p, r)
	bar(p, r)
	heldBy(p, r)
	parts(p, r)
	saying(p, r, Height-p.rows()-2)
	doubts(p, r, Height-p.rows())
	return p.Bytes()
}

func head(p *page, r *report.Report) {
	p.fold("  ", 3, verdict(r))
	p.fold("  ", 2, p.Say("Kill risk %s: %s.", r.Risks.Kill.Level, r.Risks.Kill.Because))
	course(p, r)
	next(p, r)
	p.line("%s", printable.Fit(printable.Text(r.Target.Cgroup), Width))
	if who := p.who(r.Target); len(who) > 0 {
		p.line("%s", p.Join(who))
	}
	p.line("%s, cgroup %s, %s LRU, kernel %s", p.processes(r.Target.PIDCount), r.Target.CgroupVersion, r.Host.LRU, p.orUnknown(r.Host.Kernel))
}

// who tells whose cgroup it is, on one line: names where there are any, else ids.
func (p *page) who(t report.Target) []string {
	var who []string
	if t.Name != "" && t.Kind != "unit" {
		who = append(who, printable.Fit(printable.Text(t.Name), 50))
	}
	if t.ID != "" {
		who = append(who, strings.TrimSpace(p.Say("%s container %s", t.Runtime, short(t.ID))))
	}
	if t.PodUID != "" && t.Pod == "" {
		who = append(who, p.Say("pod %s", t.PodUID))
	}
	if t.LastTermination != nil && t.LastTermination.Reason != "" {
		who = append(who, p.Say("last ended %s", p.reason(t.LastTermination)))
	}
	return who
}

// oomKilled is what runtimes say of it.
const oomKilled = "OOMKilled"

// reason is the runtime's, and the kernel's where they differ.
func (p *page) reason(t *report.Termination) string {
	if t.OOMKilled && t.Reason != oomKilled {
		return p.Say("%s (OOM-killed, says the kernel's log)", t.Reason)
	}
	return t.Reason
}

func (p *page) processes(n int) string {
	return p.Count(int64(n), "1 process", "%d processes")
}

func (p *page) orUnknown(s string) string {
	if s == "" {
		return p.Say("unknown")
	}
	return s
}

func short(id string) string { return id[:min(12, len(id))] }

func figures(p *page, r *report.Report) {
	n := r.Numbers
	limit := p.Say("no limit on the path to the root")
	if n.LimitBytes != nil {
		limit = p.Say("%4s of the limit %s of this cgroup", size.Percent(n.UsageBytes, *n.LimitBytes), size.Text(*n.LimitBytes))
		if l := deciding(r); l != nil && l.Cgroup != r.Target.Cgroup {
			limit = p.Say("limit %s of %s, which holds %s", size.Text(l.LimitBytes), p.ancestor(r), size.Text(l.UsageBytes))
		}
	}
	p.line("  usage       %12s   %s", size.Text(n.UsageBytes), limit)
	p.line("  cannot free %12s   %s", p.span(n), p.margin(r))
	if n.ReclaimableBytes != nil {
		p.line("  can free    %12s   at least: page cache, known slab, room in swap", size.Text(*n.ReclaimableBytes))
	}
	if n.WorkingSetBytes != nil {
		p.line("  working_set %12s   rss %s, peak %s", size.Text(*n.WorkingSetBytes), p.optional(n.RSSBytes), p.optional(n.PeakBytes))
	}
}

func (p *page) optional(n *int64) string {
	if n == nil {
		return p.Say("unknown")
	}
	return size.Text(*n)
}

// deciding finds the row of the deciding limit.
func deciding(r *report.Report) *report.Limit {
	for i := range r.Limits {
		l := &r.Limits[i]
		if r.Numbers.LimitBytes != nil && l.Cgroup == r.Numbers.LimitOwner && l.LimitBytes == *r.Numbers.LimitBytes {
			return l
		}
	}
	return nil
}

// ancestor names the owner of the deciding limit by its distance: its path is
// the beginning of the target's, which is on the screen already.
func (p *page) ancestor(r *report.Report) string {
	owner := strings.TrimSuffix(r.Numbers.LimitOwner, "/")
	up := strings.Count(strings.TrimPrefix(r.Target.Cgroup, owner), "/")
	if up == 1 {
		return p.Say("its parent")
	}
	return p.Say("the cgroup %d levels up", up)
}

// span prints a range only where its ends differ by more than 1 %.
func (p *page) span(n report.Numbers) string {
	switch {
	case n.UnreclaimableBytes == nil:
		return p.Say("unknown")
	case 100*(*n.UnreclaimableMaxBytes-*n.UnreclaimableMinBytes) > *n.UnreclaimableMaxBytes:
		return size.Span(*n.UnreclaimableMinBytes, *n.UnreclaimableMaxBytes)
	}
	return size.Text(*n.UnreclaimableBytes)
}

func (p *page) margin(r *report.Report) string {
	l := deciding(r)
	if l == nil || r.Numbers.UnreclaimableBytes == nil {
		return ""
	}
	if l.Cgroup != r.Target.Cgroup {
		return p.Say("%s: %s, %s, %s to go", strings.TrimPrefix(p.ancestor(r), "the cgroup "), size.Text(l.UnreclaimableBytes), size.Percent(l.UnreclaimableBytes, l.LimitBytes), size.Text(l.MarginBytes))
	}
	return p.Say("%4s of the limit, %s to go", size.Percent(l.UnreclaimableBytes, l.LimitBytes), size.Text(l.MarginBytes))
}

// dispensable are the tools that few ask about, which go first where there is no
// room.
var dispensable = []string{"smem", "docker <=", "podman", "cAdvisor rss"}

// saying prints what other tools say, in at most so many lines below its heading.
func saying(p *page, r *report.Report, room int) {
	p.line("WHO SAYS WHAT, in MiB")
	rows := slices.Clone(r.Says)
	for _, tool := range dispensable {
		if len(rows) > room {
			rows = slices.DeleteFunc(rows, func(s report.Says) bool { return strings.HasPrefix(s.Tool, tool) })
		}
	}
	for _, s := range rows[:min(len(rows), max(room, 1))] {
		v := p.Say("unknown")
		if s.Bytes != nil {
			v = size.MiBs(*s.Bytes)
		}
		for _, said := range s.Reported {
			v += p.Say(" (says %s)", size.MiBs(said.Bytes))
			break
		}
		p.line("  %-15s %7s %s", s.Tool, v, formula(s))
	}
}

func formula(s report.Says) string {
	out := ""
	for i, t := range s.Terms {
		if i == 0 {
			out = "= "
		}
		if i > 0 || t.Sign == "-" {
			out += " " + t.Sign + " "
		}
		out += t.Name + " " + size.MiBs(t.Bytes)
	}
	if s.Note != "" && out != "" {
		return out + ", " + s.Note
	}
	return out + s.Note
}

// doubts says what was strange and what could not be seen, in the lines that
// are left.
func doubts(p *page, r *report.Report, room int) {
	all := append([]string{}, r.Doubts...)
	for _, n := range r.NotSeen {
		if n.State == "absent" && !strings.HasPrefix(n.Key, "accounts/") {
			continue
		}
		all = append(all, p.Say("not seen: %s (%s)", n.WouldShow, n.Why))
	}
	if len(all) == 0 {
		p.line("No doubts: every source was read; %s unexplained.", p.unexplained(r))
		return
	}
	p.doubts(all, room)
}

// doubts prints as many as the lines that are left can hold.
func (p *page) doubts(all []string, room int) {
	for i, d := range all {
		if room == 1 && i < len(all)-1 {
			if i == 0 {
				p.line("%s", p.Say("- %d things are strange or not seen: see -o wide", len(all)))
			} else {
				p.line("%s", p.Say("- and %d more: see -o wide", len(all)-i))
			}
			return
		}
		// A doubt may take a second line while the others keep theirs.
		before := p.Len()
		p.fold("  ", max(1, min(2, room-(len(all)-1-i))), "- "+d)
		room -= strings.Count(string(p.Bytes()[before:]), "\n")
	}
}

func (p *page) unexplained(r *report.Report) string {
	s := size.Text(r.Unexplained.Bytes)
	if r.Unexplained.BoundBytes != nil {
		s += p.Say(" of %s allowed", size.Text(*r.Unexplained.BoundBytes))
	}
	return s
}
