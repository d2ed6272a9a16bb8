package remedy

import (
	"slices"
	"time"

	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Ancestor is the nearest living cgroup above removed ones. Its own knob reaches them,
// and everybody else below it.
type Ancestor struct {
	Group
	Graves []Grave // what of Want each of the removed ones below it is charged for
	Want   int64   // file cache of the removed ones that no single file gives back
	Shared int64   // file cache of the removed ones that somebody living uses, or could
	Living []Loser // it and those below it, with file cache that the kernel may take instead, the largest first
	Cannot string  // why its knob is never turned; empty: it may be
}

// Grave is a removed cgroup, and some bytes that it is charged for.
type Grave struct {
	ID    uint64
	Bytes int64
}

// Loser is a living cgroup that a step may take from as well.
type Loser struct {
	Path   string
	Most   int64 // bytes that it may lose
	Expect int64 // about so many, as the kernel takes from all alike
}

// atRest is how much file cache living cgroups may hold that a knob of their ancestor may
// be turned nevertheless: counts lag behind by more.
const atRest = 1 << 20

// MakeDying plans how removed cgroups are released that the kernel keeps for their file
// cache. The candidates are files that graves, all of them with what each holds, are
// charged for; nobody's processes are theirs, and Usage is what they hold together. above
// are asked only for what no file gives.
func MakeDying(s *Situation, graves []Grave, above []Ancestor, sel Selection) (*Decision, error) {
	if err := sel.Check(); err != nil {
		return nil, err
	}
	d := &Decision{Printer: s.Printer, Plan: Plan{Target: s.Target, Usage: s.Usage}}
	d.pick(s, sel)
	left := map[uint64]int64{} // what each holds besides
	for _, g := range graves {
		left[g.ID] = g.Bytes
	}
	asked := &Decision{Printer: s.Printer}
	if len(sel.Files) == 0 {
		for i := range above {
			if asked.ask(s, &above[i], sel) {
				take(left, above[i].Graves)
			}
		}
	}
	d.bury(graves, left, sel)
	d.files(sel)
	d.Steps, d.Knobs = append(d.Steps, asked.Steps...), append(d.Knobs, asked.Knobs...)
	d.Offers, d.Losers, d.Expect = append(d.Offers, asked.Offers...), asked.Losers, d.Expect+asked.Expect
	d.Want = d.Expect
	d.Error = max(d.Expect/50, s.PageSize)
	d.price(s)
	d.Reaches = max(0, s.Usage-d.Expect)
	// What else lives on the node comes and goes as it does: only what is taken from it,
	// or what makes it wait, stops the plan.
	d.Guards = Guards{
		Time: time.Minute, StepTime: 10 * time.Second, Stall: 10, Neighbours: d.near(s), NeighbourLoss: squeeze,
	}
	d.rests()
	d.doubt(s, sel)
	return d, nil
}

func take(left map[uint64]int64, graves []Grave) {
	for _, g := range graves {
		left[g.ID] -= g.Bytes
	}
}

// bury keeps of the files that were picked those that release a removed cgroup. The cache
// of the others would be dropped for nothing, unless it is wanted back itself. left is
// what each holds besides what is asked of ancestors.
func (d *Decision) bury(graves []Grave, left map[uint64]int64, sel Selection) {
	for i := range d.Picked {
		take(left, d.Picked[i].Graves)
	}
	goes := map[uint64]bool{}
	for _, g := range graves {
		if goes[g.ID] = g.Bytes > 0 && left[g.ID] <= 0; goes[g.ID] {
			d.Goes = append(d.Goes, g.ID)
		}
	}
	if sel.All || len(sel.Files) > 0 {
		return
	}
	picked := d.Picked
	d.Picked = nil
	for _, p := range picked {
		if slices.ContainsFunc(p.Graves, func(g Grave) bool { return goes[g.ID] }) {
			d.Picked = append(d.Picked, p)
			continue
		}
		p.Why = d.Say("would release no removed cgroup: something else keeps it too (--all-cache)")
		d.Spared = append(d.Spared, p)
	}
}

// living is how much file cache living ones below it hold.
func (a *Ancestor) living() (sum int64) {
	for _, l := range a.Living {
		sum += l.Most
	}
	return sum
}

// Reaches says whom its knob reaches that is not to be reached; empty: nobody.
func (a *Ancestor) Reaches(w words.Printer, sel Selection) string {
	switch living := a.living(); {
	case living > atRest && !sel.AllowAncestor:
		return w.Say("the kernel chooses, and living cgroups below it hold %s of file cache (--allow-ancestor)", size.Text(living))
	case a.Shared > 0 && !sel.IncludeShared:
		return w.Say("the kernel chooses, and somebody living uses %s of what removed ones hold (--include-shared)", size.Text(a.Shared))
	}
	return ""
}

// ask plans the knob of an ancestor for what no single file gives back, and says whether
// the kernel will take that and hardly anything else.
func (d *Decision) ask(s *Situation, a *Ancestor, sel Selection) (all bool) {
	living := a.living()
	switch {
	case a.Want < s.PageSize:
		return false
	case a.Cannot != "":
		d.offer(d.Say("%s of removed cgroups below %s is of files that cannot be opened, and stays: %s", size.Text(a.Want), a.Path, a.Cannot))
		return false
	}
	if why := a.Reaches(d.Printer, sel); why != "" {
		d.offer(d.Say("%s more by a knob of %s: %s", size.Text(a.Want), a.Path, why))
		return false
	}
	own := Situation{
		Printer: s.Printer,
		Target:  a.Group, Usage: a.Want + living, Cache: a.Want + living, PageSize: s.PageSize, CPUs: s.CPUs,
		HasReclaim: s.HasReclaim, Since: s.Since, Swap: s.Swap, MGLRU: s.MGLRU,
	}
	before := len(d.Steps)
	if a.Version == snapshot.V2 {
		d.v2(&own, sel, a.Want)
	} else {
		d.v1(&own, sel, a.Want)
	}
	if len(d.Steps) == before {
		return false
	}
	use := &d.Knobs[len(d.Knobs)-1]
	use.Why = d.Say("of %s, which reaches all below it: %s", a.Path, use.Why)
	asked := int64(0)
	for _, step := range d.Steps[before:] {
		asked += step.Bytes
	}
	for _, l := range a.Living {
		l.Most = min(l.Most, asked)
		l.Expect = int64(float64(asked) * float64(l.Most) / float64(a.Want+living))
		d.Losers = append(d.Losers, l)
	}
	return living <= atRest
}
