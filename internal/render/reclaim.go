package render

import (
	"slices"
	"time"

	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/words"
)

// screenPlanFiles is how many files a plan shows on a screen.
const screenPlanFiles = 8

// Reclaim renders a plan, or what became of it; wide has every file.
func Reclaim(r *report.Reclaim, wide bool) []byte {
	p := &page{Printer: words.In(r.Lang)}
	if !wide {
		p.width = Width
	}
	p.fold("  ", 3, p.reclaimAnswer(r))
	p.line("%s", printable.Fit(printable.Text(r.Target.Cgroup), Width))
	plan := &r.Plan
	p.line("  usage    %9s   lowest without swap about %s", size.Text(plan.UsageBytes), size.Text(plan.ReachableBytes))
	if len(plan.Knobs) > 0 {
		p.line("  plan     %9s   within %s", size.Text(plan.ExpectBytes), size.Text(plan.ErrorBytes))
	}
	if r.Result == nil && len(plan.Knobs) > 0 {
		reclaimCost(p, &plan.Cost)
	}
	if res := r.Result; res != nil && res.FreedBytes != nil && *res.FreedBytes < 0 {
		p.line("  grew     %9s   meanwhile, usage now %s", size.Text(-*res.FreedBytes), size.Text(*res.UsageAfterBytes))
	} else if res != nil && res.FreedBytes != nil {
		p.line("  freed    %9s   usage now %s", size.Text(*res.FreedBytes), size.Text(*res.UsageAfterBytes))
	}
	if r.Result != nil {
		reclaimResult(p, r.Result)
	}
	if wide && r.Result != nil {
		reclaimAccounts(p, r.Result.Accounts)
	}
	reclaimKnobs(p, plan, wide)
	reclaimFiles(p, plan, wide)
	reclaimSpared(p, plan, wide)
	if r.Result == nil && len(plan.Knobs) > 0 {
		files := !slices.ContainsFunc(plan.Knobs, func(k report.ReclaimKnob) bool { return k.Knob != "fadvise" })
		p.fold("  ", 4, p.guardsText(&plan.Guards, files))
	}
	reclaimNotes(p, r)
	return p.Bytes()
}

// reclaimCost says what it may cost, in one line.
func reclaimCost(p *page, c *report.ReclaimCost) {
	if c.WritebackBytes > 0 {
		p.line("  costs    %9s   read from disk again, if all of it is used again; %s written first", size.Text(c.RereadBytes), size.Text(c.WritebackBytes))
		return
	}
	p.line("  costs    %9s   read from disk again, if all of it is used again", size.Text(c.RereadBytes))
}

// reclaimAccounts is the target's ledger before and after.
func reclaimAccounts(p *page, list []report.ReclaimChange) {
	text := func(n *int64) string {
		if n == nil {
			return "?"
		}
		return size.Text(*n)
	}
	for _, a := range list {
		p.line("  %9s  -> %9s  %s", text(a.BeforeBytes), text(a.AfterBytes), a.Path)
	}
}

// reclaimKnobs says by what, and why by that.
func reclaimKnobs(p *page, plan *report.ReclaimPlan, wide bool) {
	for _, k := range plan.Knobs {
		p.fold("    ", 4, p.Say("BY %s, %s in %s: %s", k.Knob, size.Text(k.Bytes), p.steps(k.Steps), k.Because))
		if wide || k.Knob != "fadvise" {
			p.fold("    ", 3, p.Say("   undo: %s", k.Undo))
		}
	}
}

func reclaimSpared(p *page, plan *report.ReclaimPlan, wide bool) {
	for _, s := range plan.Spared {
		line := p.Say("left alone %9s in %s: %s", size.Text(s.Bytes), p.fileCount(s.Files), s.Because)
		if wide {
			line += p.Say(", such as %s", s.Example)
		}
		p.fold("    ", 2, line)
	}
}

// reclaimNotes are what else could be done, and what is not certain.
func reclaimNotes(p *page, r *report.Reclaim) {
	for _, o := range r.Plan.Offers {
		p.fold("  ", 3, "> "+o)
	}
	for _, d := range r.Plan.Doubts {
		p.fold("  ", 2, "- "+d)
	}
	for _, m := range r.NotSeen {
		p.fold("  ", 2, p.Say("- not seen: %s (%s: %s)", m.WouldShow, m.Source, m.Why))
	}
}

func milliseconds(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

func (p *page) steps(n int) string { return p.Count(int64(n), "1 step", "%d steps") }

func (p *page) reclaimAnswer(r *report.Reclaim) string {
	plan, res := &r.Plan, r.Result
	keep := r.Keep
	switch {
	case keep != nil && plan.ExpectBytes == 0:
		return p.Say("Would keep usage at %s for %s, looking every %s; now nothing is to be given back. Nothing was changed: --yes does it.",
			size.Text(keep.KeepBytes), milliseconds(keep.ForMs), milliseconds(keep.EveryMs))
	case keep != nil:
		return p.Say("Would keep usage at %s for %s, looking every %s, and give back up to %s of %s little by little. Nothing was changed: --yes does it.",
			size.Text(keep.KeepBytes), milliseconds(keep.ForMs), milliseconds(keep.EveryMs), size.Text(plan.ExpectBytes), size.Text(plan.UsageBytes))
	case plan.ToBytes != nil:
		return p.reclaimTo(plan, res)
	case res == nil && plan.ExpectBytes == 0 && plan.WantBytes == 0:
		return p.Say("Nothing to give back.")
	case res == nil && plan.ExpectBytes == 0:
		return p.Say("Nothing of the %s that were asked for can be given back as asked.", size.Text(plan.WantBytes))
	case res == nil:
		s := p.Say("Would give back %s of %s", size.Text(plan.ExpectBytes), size.Text(plan.UsageBytes))
		if plan.FileCount > 0 {
			s += p.Say(": the cache of %s", p.fileCount(plan.FileCount))
		}
		if plan.ExpectBytes+plan.ErrorBytes < plan.WantBytes {
			s += p.Say("; that is less than the %s that were asked for", size.Text(plan.WantBytes))
		}
		return s + p.Say(". Nothing was changed: --yes does it.")
	case res.Stopped != "":
		return p.stopped(res)
	case res.Met && res.GoneBytes > 0 && res.DroppedBytes == 0:
		return p.Say("Nothing was left to give back: somebody else had freed the %s that were planned.", size.Text(res.GoneBytes))
	case res.Met && res.GoneBytes > plan.ErrorBytes:
		return p.Say("Gave back %s; somebody else had freed %s of what was planned.", p.freed(res), size.Text(res.GoneBytes))
	case res.Met:
		return p.Say("Gave back %s.", p.freed(res))
	}
	return p.Say("Gave back %s, less than the %s that were planned.", p.freed(res), size.Text(plan.WantBytes))
}

// reclaimTo answers whether a lower usage is, or could be, reached.
func (p *page) reclaimTo(plan *report.ReclaimPlan, res *report.ReclaimResult) string {
	to := size.Text(*plan.ToBytes)
	switch {
	case res == nil && plan.WantBytes == 0:
		return p.Say("A limit of %s would fit: usage is %s. Nothing has to be given back.", to, size.Text(plan.UsageBytes))
	case res == nil && plan.ExpectBytes+plan.ErrorBytes < plan.WantBytes:
		return p.reclaimShort(plan, to)
	case res == nil:
		s := p.Say("A limit of %s would fit: would give back %s of %s", to, size.Text(plan.ExpectBytes), size.Text(plan.UsageBytes))
		if plan.FileCount > 0 {
			s += p.Say(": the cache of %s", p.fileCount(plan.FileCount))
		}
		return s + p.Say(". Nothing was changed: --yes does it.")
	case res.Stopped != "":
		return p.stopped(res)
	case res.UsageAfterBytes == nil:
		return p.Say("Gave back %s, and usage cannot be read: %s were asked for.", p.freed(res), to)
	case res.Met && res.Steps == 0:
		return p.Say("Usage is %s already, and %s were asked for: nothing had to be given back.", size.Text(*res.UsageAfterBytes), to)
	case res.Met:
		return p.Say("Gave back %s: usage is %s, and %s were asked for.", p.freed(res), size.Text(*res.UsageAfterBytes), to)
	}
	return p.Say("Gave back %s, and usage is still %s: more than the %s that were asked for.", p.freed(res), size.Text(*res.UsageAfterBytes), to)
}

// reclaimShort tells a limit that cannot fit from one that would with more than was allowed.
func (p *page) reclaimShort(plan *report.ReclaimPlan, to string) string {
	usage, expect := size.Text(plan.UsageBytes), size.Text(plan.ExpectBytes)
	s := p.Say("A limit of %s would fit only with what is left alone below", to)
	if *plan.ToBytes < plan.ReachableBytes {
		s = p.Say("A limit of %s would not fit: about %s cannot be freed without swap", to, size.Text(plan.ReachableBytes))
	}
	if plan.ExpectBytes == 0 {
		return s + p.Say(". Nothing of %s can be given back as asked.", usage)
	}
	return s + p.Say(". Would give back %s of %s, and %s would be left. Nothing was changed: --yes does it.",
		expect, usage, size.Text(plan.UsageBytes-plan.ExpectBytes))
}

func (p *page) stopped(res *report.ReclaimResult) string {
	return p.Say("Stopped by a guard after %s, %s given back: %s (%s).", p.steps(res.Steps), p.freed(res), res.Because, res.Stopped)
}

// freed is by how much usage fell, or what of files went where usage grew meanwhile.
func (p *page) freed(res *report.ReclaimResult) string {
	if res.FreedBytes == nil {
		return p.Say("an unknown amount")
	}
	return size.Text(max(*res.FreedBytes, res.DroppedBytes))
}

func reclaimResult(p *page, res *report.ReclaimResult) {
	if res.DroppedBytes > 0 {
		p.line("  dropped  %9s   of the files' cache", size.Text(res.DroppedBytes))
	}
	if res.WorkingSetBeforeBytes != nil && res.WorkingSetAfterBytes != nil {
		p.line("  working  %9s   set now, %s before", size.Text(*res.WorkingSetAfterBytes), size.Text(*res.WorkingSetBeforeBytes))
	}
	if res.GoneBytes > 0 {
		p.line("  gone     %9s   of it already when its turn came: somebody else freed it", size.Text(res.GoneBytes))
	}
	if res.RereadBytes != nil {
		p.line("  re-read  %9s   of the files in memory again after %s", size.Text(*res.RereadBytes), time.Duration(res.VerifyMs)*time.Millisecond)
	}
	for _, l := range res.Left {
		p.fold("  ", 3, p.Say("! not put back: %s", l))
	}
	for _, f := range res.Failures {
		line := p.Say("failed %s, %s: %s", p.steps(f.Steps), size.Text(f.Bytes), f.Because)
		if f.Skipped {
			line = p.Join([]string{p.steps(f.Steps), size.Text(f.Bytes), f.Because})
		}
		if f.Example != "" {
			line += p.Say(", such as %s", f.Example)
		}
		p.fold("    ", 3, line)
	}
	if len(res.Blind) > 0 {
		var names []string
		for _, b := range res.Blind {
			names = append(names, b.Guard)
		}
		p.fold("  ", 2, p.Say("- guards that could not look: %s", p.Join(names)))
	}
	if res.RecordError != "" {
		p.fold("  ", 2, p.Say("- the record of this is not complete: %s", res.RecordError))
	}
}

func reclaimFiles(p *page, plan *report.ReclaimPlan, wide bool) {
	shown := plan.Files
	if !wide && len(shown) > screenPlanFiles {
		shown = shown[:screenPlanFiles]
	}
	for i := range shown {
		f := &shown[i]
		p.line("  %9s  %-9s %s", size.Text(f.Bytes), kind(f.Kind), place(f.Path, wide))
		if wide {
			p.line("             %s", printable.Text(f.Because))
			if f.RereadBytes != nil {
				p.line("             %s in memory again", size.Text(*f.RereadBytes))
			}
		}
	}
	if n := plan.FileCount - len(shown); n > 0 {
		p.line("  and %d more files", n)
	}
}

func (p *page) guardsText(g *report.ReclaimGuards, files bool) string {
	if files {
		return p.Say("Stops when the target waits for memory %.0f%% of the time, reads %s, faults in %s again, or a neighbour (%d watched) loses %s; after %s at the latest.",
			g.StallPercent, size.Text(g.ReadBytes), size.Text(g.RefaultBytes), g.Neighbours, size.Text(g.NeighbourLossBytes), milliseconds(g.TimeMs))
	}
	return p.Say("Stops when usage is down to %s, or the target waits for memory %.0f%% of the time, reads %s, faults in %s again, or a neighbour (%d watched) loses %s; after %s at the latest.",
		size.Text(g.FloorBytes), g.StallPercent, size.Text(g.ReadBytes), size.Text(g.RefaultBytes), g.Neighbours, size.Text(g.NeighbourLossBytes),
		milliseconds(g.TimeMs))
}
