package actuate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/memwhy/memwhy/internal/kernel/knob"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

const (
	// largestSqueeze is by how much a limit of version 1 is lowered at most at once: the
	// kernel takes hot pages when there are no others.
	largestSqueeze = 16 << 20
	// longestStep is when a write is given up that no guard bounds.
	longestStep = 2 * time.Minute
)

// at is where a test may end the process.
var at = func(string) {}

// runner runs one plan.
type runner struct {
	p     *remedy.Plan
	o     Options
	watch watch
	res   Result

	write    func(knob.Order, time.Duration) (knob.Reply, error)
	get      func(knob.Group, string) (int64, error)
	guardian *guardian
	journal  *journal
	records  *records
	failed   map[string]error // by knob and cgroup
	settled  snapshot.Reading[int64]
}

// Run runs a plan. When ctx ends it stops after the step that is under way. The
// error says why nothing was done at all; else there is a Result.
func Run(ctx context.Context, p *remedy.Plan, o Options) (*Result, error) {
	if err := validate(p, &o); err != nil {
		return nil, err
	}
	r := &runner{p: p, o: o, get: get, failed: map[string]error{}}
	r.watch = watch{meter: o.Meter, target: p.Target, g: p.Guards}
	release, err := r.prepare()
	defer release()
	if err != nil {
		return nil, err
	}
	at("prepared")
	w := &writer{command: o.Writer}
	if r.guardian != nil {
		w.life = r.guardian.life
	}
	defer w.close()
	r.write = w.order
	return r.run(ctx)
}

// run runs the steps.
func (r *runner) run(ctx context.Context) (*Result, error) {
	r.res.Restored = true
	if err := r.watch.see(); err != nil {
		r.stop(ByTarget, words.Later("%s", err))
	}
	r.res.Before = r.watch.first.target
	for i := range r.p.Steps {
		if r.res.Stopped != "" || !r.next(ctx, &r.p.Steps[i]) {
			break
		}
	}
	if err := r.watch.see(); err != nil {
		r.stop(ByTarget, words.Later("%s", err))
		r.watch.now.target = Sample{Usage: snapshot.Reading[int64]{State: snapshot.Absent, Err: err.Error()}}
	}
	r.res.After = r.watch.now.target
	before, ok := r.res.Before.Usage.Get()
	if after, also := r.res.After.Usage.Get(); ok && also {
		r.res.Freed = before - after
	}
	r.conclude()
	r.res.Blind = r.watch.blinds()
	r.res.RecordErr = r.records.end(r.p, &r.res)
	return &r.res, nil
}

// stop notes why no further step is made; the first reason counts.
func (r *runner) stop(guard string, why words.Text) {
	if r.res.Stopped == "" {
		r.res.Stopped, r.res.Why = guard, why
	}
}

// next makes one step, between guards. False ends the plan.
func (r *runner) next(ctx context.Context, s *remedy.Step) bool {
	if r.enough(s) {
		return false
	}
	d := Done{Step: *s, Had: nothing.Had, Dropped: nothing.Dropped}
	if err := r.failed[like(s)]; err != nil {
		d.Err = fmt.Errorf("%w: %w", ErrSkipped, err)
		r.done(d)
		return true
	}
	if guard, why := r.before(ctx, s); guard != "" {
		r.stop(guard, why)
		return false
	}
	asked, why := r.room(s)
	if asked <= 0 {
		r.stop(ByFloor, why)
		return false
	}
	d.Asked = asked
	if r.o.Check != nil {
		if err := r.o.Check(*s); err != nil {
			d.Asked, d.Err = 0, err
			r.done(d)
			return true
		}
	}
	start := r.watch.now.target.Usage.Value
	begin := time.Now()
	reply, err := r.act(s, asked)
	d.Had, d.Dropped, d.Err, d.Wall = reply.Had, reply.Dropped, err, time.Since(begin)
	at("step over")
	if err := r.watch.see(); err != nil {
		r.stop(ByTarget, words.Later("%s", err))
	} else {
		r.settled = r.watch.now.target.Usage
		d.Freed = start - r.settled.Value
	}
	r.done(d)
	r.after(s, &d)
	return r.res.Stopped == ""
}

// done notes a step that is over.
func (r *runner) done(d Done) {
	r.res.Asked += d.Asked
	r.res.Steps = append(r.res.Steps, d)
	if r.o.Each != nil {
		r.o.Each(d)
	}
}

// enough reports that usage is what it was to come down to, whoever freed what, or that
// knobs by which the kernel chooses gave all that was wanted: some give more than they
// are asked.
func (r *runner) enough(s *remedy.Step) bool {
	left, ok := r.missing()
	return ok && (r.p.To != nil || s.Knob != remedy.FileCache) && left < int64(os.Getpagesize())
}

// missing is what of the amount that is wanted has not been given yet.
func (r *runner) missing() (bytes int64, ok bool) {
	if r.p.To != nil {
		now, known := r.watch.now.target.Usage.Get()
		return now - *r.p.To, known
	}
	before, known := r.res.Before.Usage.Get()
	return r.p.Want - (before - r.settled.Value), known && r.p.Want > 0 && len(r.res.Steps) > 0 && r.settled.State == snapshot.Present
}

// before looks at everything that may stop the plan before a step.
func (r *runner) before(ctx context.Context, s *remedy.Step) (guard string, why words.Text) {
	if r.guardian != nil && !r.guardian.alive() {
		return ByGuardian, words.Later("the process that puts settings back has ended")
	}
	lowers := s.Knob == remedy.Limit || s.Knob == remedy.High
	pause := time.Duration(0)
	switch {
	case r.settled.State == snapshot.Present && s.Knob.Chooses():
		pause = r.p.Guards.Pause
	case lowers && r.p.Guards.Growth > 0:
		r.settled, pause = r.watch.now.target.Usage, settling
	}
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
	if ctx.Err() != nil {
		return ByInterrupt, words.Later("it was told to stop")
	}
	if time.Since(r.watch.now.at) > fresh {
		if err := r.watch.see(); err != nil {
			return ByTarget, words.Later("%s", err)
		}
	}
	if guard, why := r.watch.check(); guard != "" {
		return guard, why
	}
	if s.Knob.Chooses() {
		if guard, why := r.watch.returns(); guard != "" {
			return guard, why
		}
	}
	if lowers && r.settled.State == snapshot.Present {
		return r.growth(r.watch.now.target.Usage.Value - r.settled.Value)
	}
	return "", words.Text{}
}

func (r *runner) growth(by int64) (guard string, why words.Text) {
	if most := r.p.Guards.Growth; most > 0 && by > most {
		return ByGrowth, words.Later("its usage grew by %d bytes meanwhile, more than %d", by, most)
	}
	return "", words.Text{}
}

// room is how much a step may ask for, in whole pages: not below the floor, and where
// anonymous memory stays, not more than there is of the rest. Single files end at their
// own size, wherever usage is meanwhile.
func (r *runner) room(s *remedy.Step) (asked int64, why words.Text) {
	now := &r.watch.now.target
	above := now.Usage.Value - r.p.Guards.Floor
	why = words.Later("usage is %d bytes, and shall not fall below %d", now.Usage.Value, r.p.Guards.Floor)
	switch {
	case s.Knob == remedy.FileCache:
		return s.Bytes, words.Text{}
	case s.Knob == remedy.ForceEmpty && s.Bytes > above: // all or nothing
		return 0, why
	case s.Knob == remedy.ForceEmpty:
		return s.Bytes, words.Text{}
	}
	asked = min(s.Bytes, above)
	if left, ok := r.missing(); ok && s.Knob.Chooses() && left > 0 { // steps before gave more than they were asked
		asked = min(asked, left)
	}
	return asked - asked%int64(os.Getpagesize()), why
}

// like names steps that fail together.
func like(s *remedy.Step) string {
	if s.Knob == remedy.FileCache {
		return ""
	}
	return string(s.Knob) + " " + strconv.FormatUint(s.Group.ID, 10)
}

// after draws the conclusions of a step.
func (r *runner) after(s *remedy.Step, d *Done) {
	switch {
	case d.Err == nil:
	case errors.Is(d.Err, knob.ErrGone), errors.Is(d.Err, knob.ErrSet):
		r.stop(ByTarget, words.Later("%s", d.Err))
	case errors.Is(d.Err, knob.ErrInterrupted), errors.Is(d.Err, errStuck):
		r.stop(ByStepTime, words.Later("a step took longer than %s", r.patience()))
	case errors.Is(d.Err, ErrJournal):
		r.stop(ByRestore, words.Later("%s", d.Err))
	case s.Knob != remedy.FileCache:
		r.failed[like(s)] = d.Err
	}
	if r.res.Stopped != "" {
		return
	}
	if guard, why := r.watch.check(); guard != "" {
		r.stop(guard, why)
		return
	}
	if s.Knob == remedy.Limit || s.Knob == remedy.High {
		r.stop(r.growth(-d.Freed))
	}
}
