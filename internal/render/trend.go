package render

import (
	"fmt"
	"time"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
)

// course says in a line or two what the looks say together: what grew and who has it,
// else why nothing leaks.
func course(p *page, r *report.Report) {
	if r.Trend == nil {
		return
	}
	for _, code := range []string{"anon.leak", "cache.filling"} {
		for _, f := range r.Findings {
			if f.Code == code {
				p.fold("  ", 2, p.Say("Over time: %s.", f.Title))
				return
			}
		}
	}
	for _, s := range r.Suspicions {
		if s.ID == "leak" {
			p.fold("  ", 2, p.Say("Over time: %s.", s.Because))
		}
	}
}

// overTime is what several looks say together.
func overTime(p *page, r *report.Report) {
	t := r.Trend
	if t == nil {
		return
	}
	how := p.Say("watched")
	if t.Captures {
		how = p.Say("two captures, nothing seen between them")
	}
	p.line("OVER TIME, %.1f s from %s: %s", t.Seconds, t.From.Format(time.RFC3339), how)
	for _, l := range t.Lines {
		p.line("  %-8s %-9s %12s  %12s/s  of %d looks, noise %s", l.Path, l.Shape, signed(l.ChangeBytes), signed(l.BytesPerSecond), len(l.Samples), size.Text(l.NoiseBytes))
	}
	for _, a := range t.Activity {
		switch {
		case a.Amount == nil:
			p.line("  %-14s unknown", a.Kind)
		case a.Kind == "cpu":
			p.line("  %-14s %s  [%s]", a.Kind, time.Duration(*a.Amount).Round(time.Millisecond), a.Source)
		default:
			p.line("  %-14s %s  [%s]", a.Kind, size.Text(*a.Amount), a.Source)
		}
	}
	for _, c := range t.Counts {
		p.line("  %-30s +%d", c.Name, c.Count)
	}
	for _, m := range t.Movers {
		if m.AnonBytes != 0 || m.PartBytes != 0 {
			p.line("  %s (pid %d) anonymous memory %s; most of it in %s %s", m.Name, m.PID, signed(m.AnonBytes), p.Of(m.Part), signed(m.PartBytes))
		}
	}
	for _, f := range t.Files {
		p.line("  %s: cache %s to %s%s", f.Path, signed(f.AfterBytes-f.BeforeBytes), size.Text(f.AfterBytes), fileUse(p, &f))
	}
	if t.Restarted {
		p.line("  restarted: all of its processes ended, and others began")
	}
	if t.Started+t.Ended > 0 {
		p.line("  processes: %d began, %d ended", t.Started, t.Ended)
	}
}

func signed(n int64) string {
	if n > 0 {
		return "+" + size.Text(n)
	}
	return size.Text(n)
}

// fileUse says how much of a file was used again, and who goes on in it.
func fileUse(p *page, f *report.FileMove) (text string) {
	if f.UsedBytes > 0 {
		text = p.Say(", read again: %s", size.Text(f.UsedBytes))
	}
	for _, u := range f.By {
		text += fmt.Sprintf(", pid %d %s", u.PID, u.How)
	}
	return text
}
