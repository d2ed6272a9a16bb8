package render

import (
	"strings"
	"time"

	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/words"
)

// screenTurns is how many turns of keeping are shown on a screen.
const screenTurns = 6

// Keep renders what would be done to keep usage at an amount, or what was.
func Keep(r *report.Reclaim, wide bool) []byte {
	k := r.Keep
	if k.TookMs == 0 {
		return Reclaim(r, wide)
	}
	p := &page{Printer: words.In(r.Lang)}
	if !wide {
		p.width = Width
	}
	p.fold("  ", 3, p.keptAnswer(k))
	p.line("%s", printable.Fit(printable.Text(r.Target.Cgroup), Width))
	p.line("  usage    %9s   at first, %s at the end, %s to be kept", size.Text(k.UsageFirstBytes), size.Text(k.UsageLastBytes), size.Text(k.KeepBytes))
	p.line("  freed    %9s   in %d of %d turns; %d turns backed off", size.Text(k.FreedBytes), k.Acted, k.TurnCount, k.Backoffs)
	p.line("  saved    %9s   on average over the time, less what was read again", size.Text(k.SavedBytes))
	if k.RereadBytes != nil {
		p.line("  re-read  %9s   of what was given back", size.Text(*k.RereadBytes))
	}
	if cost := p.keptCost(k); cost != "" {
		p.fold("  ", 3, p.Say("it cost at most: %s, all that the target did included", cost))
	}
	shown := k.Turns
	if !wide && len(shown) > screenTurns {
		shown = shown[len(shown)-screenTurns:]
	}
	for _, t := range shown {
		line := p.Say("%9s  usage %s", milliseconds(t.AfterMs).Round(time.Second), size.Text(t.UsageBytes))
		if t.AskedBytes > 0 {
			line += p.Say(", gave back %s", size.Text(t.FreedBytes))
		}
		if t.Because != "" {
			line += ": " + t.Because
		}
		p.fold("           ", 3, line)
	}
	var blind []string
	for _, b := range k.Blind {
		blind = append(blind, b.Guard+" ("+b.Why+")")
	}
	if len(blind) > 0 {
		p.fold("  ", 4, p.Say("- not felt, for want of a signal: %s", strings.Join(blind, ", ")))
	}
	if !k.Restored {
		p.fold("  ", 2, p.Say("! not every setting is what it was: memwhy reclaim --recover"))
	}
	return p.Bytes()
}

func (p *page) keptAnswer(k *report.ReclaimKeep) string {
	took := milliseconds(k.TookMs).Round(time.Second)
	did := p.Say("%s given back in %s", size.Text(k.FreedBytes), took)
	if k.RereadBytes != nil && k.FreedBytes > 0 {
		did += p.Say(", %s of it read again", size.Text(*k.RereadBytes))
	}
	end := ""
	if k.Interrupted {
		end = p.Say(", until it was interrupted")
	}
	switch {
	case k.Stopped != "":
		return p.Say("Ended by a guard: %s (%s); %s.", k.Because, k.Stopped, did)
	case k.Met:
		return p.Say("Usage is %s, and %s were to be kept: %s%s.", size.Text(k.UsageLastBytes), size.Text(k.KeepBytes), did, end)
	}
	return p.Say("Usage is %s, more than the %s that were to be kept: %s%s.", size.Text(k.UsageLastBytes), size.Text(k.KeepBytes), did, end)
}

// keptCost are the counters that moved meanwhile.
func (p *page) keptCost(k *report.ReclaimKeep) string {
	var cost []string
	for _, c := range []struct {
		n    *int64
		text func(int64) string
	}{
		{k.ReadBytes, func(n int64) string { return p.Say("%s read from disks", size.Text(n)) }},
		{k.RefaultBytes, func(n int64) string { return p.Say("%s of refaults", size.Text(n)) }},
		{k.MajorFaults, func(n int64) string { return p.Say("major faults: %d", n) }},
		{k.StallMs, func(n int64) string { return p.Say("%s of stalls", milliseconds(n)) }},
	} {
		if c.n != nil {
			cost = append(cost, c.text(*c.n))
		}
	}
	return strings.Join(cost, ", ")
}
