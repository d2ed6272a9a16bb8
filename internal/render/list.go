package render

import (
	"cmp"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/words"
)

// List renders a ranking, one line a container or cgroup; wide shows paths too,
// images and how runs ended. A name is what memwhy explain is told next: it is shown
// whole, and the last in its line, which it may make longer than a screen is wide.
func List(l *report.List, wide bool) []byte {
	p := &page{Printer: words.In(l.Lang)}
	const row = "%8s %8s %9s %5s %8s %-7s %8s %s"
	counted := slices.ContainsFunc(l.Containers, func(c report.Listed) bool { return c.ColdMinBytes != nil })
	heading := p.Say("NAME, sizes in MiB")
	if wide {
		heading = "KILL     " + heading
	}
	cold := "COLD<="
	if counted {
		cold = "COLD>="
	}
	p.line(row, "USAGE", "WORKSET", "UNRECLAIM", "%", "LIMIT", "LARGEST", cold, heading)
	for _, c := range l.Containers {
		n := c.Numbers
		cannot, share := p.Say("unknown"), "-"
		if n.UnreclaimableBytes != nil {
			cannot = size.MiBs(*n.UnreclaimableBytes)
			if n.LimitBytes != nil && c.Risk.MarginBytes != nil {
				share = size.Percent(*n.LimitBytes-*c.Risk.MarginBytes, *n.LimitBytes)
			}
		}
		who := listed(c.Target)
		if wide {
			who = layout("%-8s %s", c.Risk.Level, p.listedWide(c.Target))
		}
		p.line(row, size.MiBs(n.UsageBytes), mib(n.WorkingSetBytes, p.Say("unknown")), cannot, share,
			mib(n.LimitBytes, p.Say("none")), c.Largest.Account, p.cold(&c, counted), who)
	}
	if !wide {
		p.width = Width
	}
	if len(l.Containers) == 0 {
		p.line("nothing of what was asked for holds a process")
	}
	for _, m := range l.NotSeen {
		if m.State != "absent" || m.Key == "containers" || m.Key == "" && len(l.Containers) == 0 {
			p.fold("  ", 3, p.Say("not seen: %s (%s: %s)", m.WouldShow, m.Source, m.Why))
		}
	}
	return p.Bytes()
}

// cold is what a row has under COLD<=, or under COLD>= where a census counted.
func (p *page) cold(c *report.Listed, counted bool) string {
	switch most := mib(c.ColdMaxBytes, p.Say("unknown")); {
	case counted && c.ColdMinBytes != nil:
		return size.MiBs(*c.ColdMinBytes)
	case counted && c.ColdMaxBytes != nil: // it came after the census
		return "<=" + most
	default:
		return most
	}
}

// ListNames renders what memwhy explain takes as a target, one a line.
func ListNames(l *report.List) []byte {
	p := &page{}
	seen := map[string]int{}
	for _, c := range l.Containers {
		seen[c.Target.Name]++
	}
	for _, c := range l.Containers {
		t := c.Target
		if t.Name != "" && seen[t.Name] == 1 {
			p.line("%s", t.Name)
			continue
		}
		p.line("%s", cmp.Or(t.ID, t.Cgroup))
	}
	return p.Bytes()
}

func mib(n *int64, none string) string {
	if n == nil {
		return none
	}
	return size.MiBs(*n)
}

// maxListed is for names that somebody made long on purpose.
const maxListed = 256

// listed is a name for one column.
func listed(t report.Target) string {
	if t.Name != "" {
		return printable.Fit(printable.Text(t.Name), maxListed)
	}
	if t.ID != "" {
		return strings.TrimSpace(t.Runtime + " " + short(t.ID))
	}
	return printable.Fit(printable.Text(t.Cgroup), maxListed)
}

func (p *page) listedWide(t report.Target) string {
	var more []string
	if t.Name != "" {
		more = append(more, t.Name)
	}
	more = append(more, t.Cgroup, "("+p.processes(t.PIDCount)+")")
	if t.Image != "" {
		more = append(more, t.Image)
	}
	if t.RestartCount != nil && *t.RestartCount > 0 {
		more = append(more, p.Say("restarts %d", *t.RestartCount))
	}
	if t.LastTermination != nil {
		more = append(more, p.Say("last ended %s", p.ended(t.LastTermination)))
	}
	return strings.Join(more, "  ")
}

func (p *page) ended(t *report.Termination) string {
	s := p.reason(t)
	if t.ExitCode != nil {
		s = strings.TrimSpace(p.Say("%s code %d", s, *t.ExitCode))
	}
	return strings.TrimSpace(p.Say("%s at %s", s, t.FinishedAt.UTC().Format("2006-01-02T15:04:05Z")))
}
