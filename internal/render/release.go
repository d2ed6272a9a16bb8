package render

import (
	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/words"
)

// Release renders a plan to release removed cgroups, or what became of it; wide has
// every file and every cgroup.
func Release(r *report.Reclaim, wide bool) []byte {
	p := &page{Printer: words.In(r.Lang)}
	if !wide {
		p.width = Width
	}
	d, plan := r.Dying, &r.Plan
	p.fold("  ", 3, p.releaseAnswer(r))
	if r.Target.Cgroup != "/" {
		p.line("below %s", printable.Fit(printable.Text(r.Target.Cgroup), Width-6))
	}
	if r.Result != nil {
		reclaimResult(p, r.Result)
	} else if len(plan.Knobs) > 0 {
		reclaimCost(p, &plan.Cost)
	}
	reclaimKnobs(p, plan, wide)
	reclaimFiles(p, plan, wide)
	reclaimSpared(p, plan, wide)
	shown := d.Losers
	if !wide {
		shown = shown[:min(len(shown), screenPlanFiles)]
	}
	for _, l := range shown {
		p.line("  %9s  at most, about %s, may be lost by %s", size.Text(l.MostBytes), size.Text(l.ExpectBytes), printable.Text(l.Cgroup))
	}
	if n := len(d.Losers) - len(shown); n > 0 {
		p.line("  and %d more living cgroups may lose some", n)
	}
	dyingTable(p, d.Rest, d.Omitted.Count, wide)
	for _, c := range d.Inherited {
		p.line("%8s  inherited from removed children by %s", size.MiBs(c.Bytes), printable.Text(c.Cgroup))
	}
	if r.Result == nil && len(plan.Knobs) > 0 {
		g := &plan.Guards
		p.fold("  ", 4, p.Say("Stops when the node waits for memory %.0f%% of the time, or a neighbour (%d watched) loses %s; after %s at the latest.",
			g.StallPercent, g.Neighbours, size.Text(g.NeighbourLossBytes), milliseconds(g.TimeMs)))
	}
	reclaimNotes(p, r)
	return p.Bytes()
}

func (p *page) releaseAnswer(r *report.Reclaim) string {
	d, res := r.Dying, r.Result
	all := p.Count(int64(d.Count), "1 removed memory cgroup", "%d removed memory cgroups")
	went := p.Say("how many went is not known")
	if d.Went != nil {
		went = p.Say("%d of %s went", *d.Went, all)
		if d.BytesLeft != nil {
			went += p.Say(", and %s of the %s that they held", size.Text(d.Bytes-*d.BytesLeft), size.Text(d.Bytes))
		}
	}
	switch {
	case d.Count == 0 && len(d.Inherited) > 0:
		return p.Say("No removed memory cgroup is kept: this kernel hands their memory on, and what living ones inherited is theirs.")
	case d.Count == 0:
		return p.Say("No removed memory cgroup is kept.")
	case res != nil && res.Stopped != "":
		return p.Say("Stopped by a guard after %s: %s (%s); %s.", p.steps(res.Steps), res.Because, res.Stopped, went)
	case res != nil:
		if d.Went == nil {
			return p.Say("Done; %s.", went)
		}
		return p.Say("%s.", went)
	case r.Plan.ExpectBytes == 0:
		return p.Say("Nothing can be done for the %s still kept, with %s.", all, size.Text(d.Bytes))
	}
	how := p.Say(", by a knob of a cgroup above them")
	if n := r.Plan.FileCount; n > 0 {
		how = p.Say(": the cache of %s", p.fileCount(n))
	}
	return p.Say("Would release %d of %s, and %s of the %s that they hold%s. Nothing was changed: --yes does it.",
		d.Releases, all, size.Text(r.Plan.ExpectBytes), size.Text(d.Bytes), how)
}
