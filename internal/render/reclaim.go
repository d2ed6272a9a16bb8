package render

import (
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
	if res := r.Result; res != nil && res.FreedBytes != nil {
		p.line("  freed    %9s   usage now %s", size.Text(*res.FreedBytes), size.Text(*res.UsageAfterBytes))
	}
	if r.Result != nil {
		reclaimResult(p, r.Result)
	}
	reclaimKnobs(p, plan, wide)
	reclaimFiles(p, plan, wide)
	reclaimSpared(p, plan, wide)
	if r.Result == nil && len(plan.Knobs) > 0 {
		p.fold("  ", 4, p.guardsText(&plan.Guards))
	}
	reclaimNotes(p, r)
	return p.Bytes()
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
		return p.Say("Stopped by a guard after %s, %s given back: %s (%s).", p.steps(res.Steps), p.freed(res), res.Because, res.Stopped)
	case res.Met:
		return p.Say("Gave back %s.", p.freed(res))
	}
	return p.Say("Gave back %s, less than the %s that were planned.", p.freed(res), size.Text(plan.WantBytes))
}

func (p *page) freed(res *report.ReclaimResult) string {
	if res.FreedBytes == nil {
		return p.Say("an unknown amount")
	}
	return size.Text(*res.FreedBytes)
}

func reclaimResult(p *page, res *report.ReclaimResult) {
	if res.DroppedBytes > 0 {
		p.line("  dropped  %9s   of the files' cache", size.Text(res.DroppedBytes))
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

func (p *page) guardsText(g *report.ReclaimGuards) string {
	return p.Say("Stops when usage is down to %s, or the target waits for memory %.0f%% of the time, reads %s, faults in %s again, or a neighbour (%d watched) loses %s; after %s at the latest.",
		size.Text(g.FloorBytes), g.StallPercent, size.Text(g.ReadBytes), size.Text(g.RefaultBytes), g.Neighbours, size.Text(g.NeighbourLossBytes),
		time.Duration(g.TimeMs)*time.Millisecond)
}
