package wire

import (
	"slices"
	"time"

	"github.com/memwhy/memwhy/internal/actuate"
	"github.com/memwhy/memwhy/internal/explain"
	"github.com/memwhy/memwhy/internal/gather"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// How old a look at who uses files may be, and a count of pages. What takes long is
// repeated less often, so that looking takes a fifth of the time at most.
const (
	usersAge = 100 * time.Millisecond
	pagesAge = 2 * time.Second
	looking  = 4 // times as long as a look took, the next one waits
)

// recheck looks once more, just before each step of a plan, at who uses the files: the
// census of the plan, or a newer one, with the users of the moment.
type recheck struct {
	r    *Reclaiming
	src  kernel.Source // its census is taken once
	pick map[*remedy.File]*remedy.Pick

	looked, counted time.Time // when the last look, and count, ended
	cost, counting  time.Duration
	situation       *remedy.Situation
	above           []remedy.Ancestor
	now             map[snapshot.FileID]*remedy.Candidate
	err             error
	over            bool // all steps are made, and the last count is newer than they
}

func newRecheck(r *Reclaiming) *recheck {
	c := &recheck{r: r, src: r.seen.src, counted: r.seen.counted, pick: map[*remedy.File]*remedy.Pick{}}
	for i := range r.decision.Picked {
		c.pick[r.decision.Steps[i].File] = &r.decision.Picked[i]
	}
	return c
}

// before is actuate.Options.Check.
func (c *recheck) before(s remedy.Step) error {
	if time.Since(c.looked) > max(usersAge, looking*c.cost) {
		c.look()
	}
	if c.err != nil {
		return notNow(c.err.Error())
	}
	why, w := "", c.r.node.words
	i := slices.IndexFunc(c.above, func(a remedy.Ancestor) bool { return a.ID == s.Group.ID })
	switch {
	case s.File != nil && c.of(s) == nil:
		return actuate.ErrGone
	case s.File != nil:
		why = c.pick[s.File].Still(w, c.of(s), c.r.sel)
	case i >= 0:
		why = c.above[i].Reaches(w, c.r.sel)
	case c.r.opt.Dying:
		why = w.Say("no removed cgroup below it holds anything that it could give back")
	default:
		why = c.situation.StillAlone(c.r.sel)
	}
	if why != "" {
		return notNow(why)
	}
	return nil
}

// of is what is known now of the file of a step; nil: the target is charged for none of it.
func (c *recheck) of(s remedy.Step) *remedy.Candidate { return c.now[c.pick[s.File].ID] }

// gone is actuate.Options.Gone: one count, newer than all steps, tells.
func (c *recheck) gone(s remedy.Step) bool {
	if !c.over {
		c.over, c.counted = true, time.Time{}
		c.look()
	}
	return c.err == nil && c.of(s) == nil
}

// notNow is why a step is left out: what it rests on has changed since it was planned.
type notNow string

func (n notNow) Error() string { return "left alone at the last look: " + string(n) }

// look looks at the users, and counts when the count is old.
func (c *recheck) look() {
	start := time.Now()
	if start.Sub(c.counted) > max(pagesAge, looking*c.counting) {
		c.src = c.r.node.recount()
		kernel.Census(c.src, c.r.seen.PIDs)
		c.counted, c.counting = time.Now(), time.Since(start)
		start = c.counted
	}
	c.situation, c.now, c.err = nil, map[snapshot.FileID]*remedy.Candidate{}, nil
	g, err := c.r.again(c.src)
	if err == nil {
		c.situation, c.above, err = c.r.plan(c.r.node.words, g.Snapshot, explain.Observed{ID: g.ID, HasReclaim: g.HasReclaim, Opens: c.r.seen.Opens})
	}
	if c.err = err; err == nil {
		for i := range c.situation.Candidates {
			f := &c.situation.Candidates[i]
			c.now[f.ID] = f
		}
	}
	c.looked = time.Now()
	c.cost = c.looked.Sub(start)
}

// again reads the target of the plan, and who uses its files, from src.
func (r *Reclaiming) again(src kernel.Source) (*gather.Reclaimable, error) {
	return r.node.again(src, r.decision.Target.Path, r.decision.Target.ID)
}
