package actuate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
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

// validate refuses what is no plan.
func validate(p *remedy.Plan, o *Options) error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrPlan}, args...)...)
	}
	if o.Meter == nil || len(o.Writer) == 0 {
		return wrong("nothing reads, or nothing writes")
	}
	if p.Target.ID == 0 || p.Guards.Floor < 0 || p.Want < 0 {
		return wrong("target, floor or amount")
	}
	if g := p.Guards.Stall; math.IsNaN(g) || g < 0 {
		return wrong("a stall of %g percent", g)
	}
	for i, s := range p.Steps {
		switch {
		case s.Bytes <= 0 || s.Bytes > 1<<56:
			return wrong("step %d: %d bytes", i+1, s.Bytes)
		case s.Knob == remedy.FileCache && s.File == nil || s.Knob != remedy.FileCache && (s.File != nil || s.Group.ID == 0):
			return wrong("step %d: a file, or a cgroup", i+1)
		case s.Knob == remedy.Limit && s.Bytes > largestSqueeze:
			return wrong("step %d: a limit is lowered by %d bytes at most", i+1, largestSqueeze)
		case s.KeepSwap && s.Knob != remedy.Reclaim:
			return wrong("step %d: swap is held with %s only", i+1, remedy.Reclaim)
		case !slices.Contains([]remedy.Knob{remedy.FileCache, remedy.Reclaim, remedy.High, remedy.Limit, remedy.ForceEmpty}, s.Knob):
			return wrong("step %d: no knob %q", i+1, string(s.Knob))
		}
	}
	o.Root, o.Journal = cmp.Or(o.Root, "/"), cmp.Or(o.Journal, o.State)
	return nil
}

// prepare takes locks, begins the record and starts the guardian, as far as the plan
// needs them. What it returns is to be called whatever happens.
func (r *runner) prepare() (release func(), err error) {
	var undo []func()
	release = func() {
		for _, f := range slices.Backward(undo) {
			f()
		}
	}
	restores := slices.ContainsFunc(r.p.Steps, remedy.Step.Restores)
	if r.o.Journal == "" && restores {
		return release, fmt.Errorf("%w: no directory for it", ErrJournal)
	}
	var locks []*held
	if r.o.Journal != "" {
		dir, err := openDir(r.o.Journal, true)
		if err != nil {
			return release, fmt.Errorf("%w: %w", ErrJournal, err)
		}
		undo = append(undo, func() { dir.Close() })
		for _, id := range r.locked() {
			l, err := lock(dir, strconv.FormatUint(id, 10)+lockEnd)
			if errors.Is(err, ErrBusy) {
				return release, ErrBusy
			}
			if err != nil {
				return release, fmt.Errorf("%w: %w", ErrJournal, err)
			}
			undo, locks = append(undo, l.release), append(locks, l)
			if err := left(&journal{dir, journalName(id)}); err != nil {
				return release, err
			}
		}
		r.journal = &journal{dir, journalName(r.p.Target.ID)}
	}
	if restores {
		if err := r.rehearse(); err != nil {
			return release, fmt.Errorf("%w: %w", ErrJournal, err)
		}
		if r.guardian, err = startGuardian(r.o.Guardian, charge{Journal: r.o.Journal, Name: r.journal.name}, locks); err != nil {
			return release, fmt.Errorf("%w: %w", ErrJournal, err)
		}
		undo = append(undo, r.guardian.dismiss)
	}
	if r.records, err = openRecords(r.o.State, r.p, r.o.Why); err != nil {
		return release, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return release, nil
}

// locked are the cgroups that nobody else may reclaim from meanwhile, in one order for
// all: the target, and every one of which a setting is changed.
func (r *runner) locked() []uint64 {
	ids := []uint64{r.p.Target.ID}
	for _, s := range r.p.Steps {
		if s.Restores() {
			ids = append(ids, s.Group.ID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// left reports a journal that was not replayed. One of another boot is nobody's.
func left(j *journal) error {
	e, err := j.read()
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%w: %s: %w", ErrPending, j.name, err)
	case e.Boot != bootID():
		return j.clear()
	}
	return ErrPending
}

// rehearse writes a journal of nothing, before anything is begun that needs one.
func (r *runner) rehearse() error {
	if bootID() == "" {
		return errors.New("which boot this is cannot be read")
	}
	if err := r.journal.write(r.entry(knob.Group{ID: r.p.Target.ID}, nil)); err != nil {
		return err
	}
	return r.journal.clear()
}

func (r *runner) entry(g knob.Group, settings []knob.Setting) *entry {
	e := &entry{
		Schema: journalSchema, Boot: bootID(), PID: os.Getpid(), At: time.Now().UTC(), State: knob.Path(r.o.State), Path: knob.Path(r.p.Target.Path),
		Group: g, Settings: settings,
	}
	if r.records != nil {
		e.Record = r.records.rec.ID
	}
	return e
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
	d := Done{Step: *s, Dropped: snapshot.Reading[int64]{State: snapshot.Absent, Err: "not a file"}}
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
	d.Dropped, d.Err = r.act(s, asked)
	d.Wall = time.Since(begin)
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

// enough reports that knobs by which the kernel chooses gave all that was wanted:
// some give more than they are asked.
func (r *runner) enough(s *remedy.Step) bool {
	if s.Knob == remedy.FileCache || r.p.Want <= 0 || len(r.res.Steps) == 0 {
		return false
	}
	before, ok := r.res.Before.Usage.Get()
	return ok && r.settled.State == snapshot.Present && before-r.settled.Value >= r.p.Want
}

// before looks at everything that may stop the plan before a step.
func (r *runner) before(ctx context.Context, s *remedy.Step) (guard string, why words.Text) {
	if ctx.Err() != nil {
		return ByInterrupt, words.Later("it was told to stop")
	}
	if r.guardian != nil && !r.guardian.alive() {
		return ByGuardian, words.Later("the process that puts settings back has ended")
	}
	lowers := s.Knob == remedy.Limit || s.Knob == remedy.High
	if lowers && r.p.Guards.Growth > 0 && r.settled.State != snapshot.Present {
		r.settled = r.watch.now.target.Usage
		select {
		case <-ctx.Done():
			return ByInterrupt, words.Later("it was told to stop")
		case <-time.After(settling):
		}
	}
	if time.Since(r.watch.now.at) > fresh {
		if err := r.watch.see(); err != nil {
			return ByTarget, words.Later("%s", err)
		}
	}
	if guard, why := r.watch.check(); guard != "" {
		return guard, why
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
// anonymous memory stays, not more than there is of the rest.
func (r *runner) room(s *remedy.Step) (asked int64, why words.Text) {
	now := &r.watch.now.target
	above := now.Usage.Value - r.p.Guards.Floor
	why = words.Later("usage is %d bytes, and shall not fall below %d", now.Usage.Value, r.p.Guards.Floor)
	if s.Knob == remedy.FileCache || s.Knob == remedy.ForceEmpty { // all or nothing
		if s.Bytes > above {
			return 0, why
		}
		return s.Bytes, words.Text{}
	}
	asked = min(s.Bytes, above)
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

// patience is how long one write may take.
func (r *runner) patience() time.Duration {
	p := longestStep
	if t := r.p.Guards.StepTime; t > 0 {
		p = min(p, t)
	}
	if t := r.p.Guards.Time; t > 0 {
		p = min(p, max(t-time.Since(r.watch.first.at), time.Millisecond))
	}
	return p
}

// act makes one step.
func (r *runner) act(s *remedy.Step, asked int64) (snapshot.Reading[int64], error) {
	none := snapshot.Reading[int64]{State: snapshot.Absent, Err: "not a file"}
	o := knob.Order{Group: knob.Group{Root: knob.Path(r.o.Root), Dir: knob.Path(s.Group.Dir), Version: s.Group.Version, ID: s.Group.ID}}
	switch s.Knob {
	case remedy.FileCache:
		f := s.File
		o.File = &knob.File{
			Root: knob.Path(r.o.Root), PID: f.PID, Path: knob.Path(f.Path), FS: f.FS,
			Device: f.Device, Inode: f.Inode, Generation: f.Generation, Sync: s.Sync,
		}
	case remedy.Reclaim:
		o.Bytes, o.Swappiness = asked, s.Swappiness
		if s.KeepSwap {
			hold, err := r.hold(o.Group)
			if err != nil {
				return none, err
			}
			o.Hold = hold
		}
		if s.KeepSwap || s.Swappiness != nil && *s.Swappiness == 0 {
			if left, ok := r.watch.now.target.Reclaimable.Get(); ok && s.Group.ID == r.p.Target.ID {
				o.Bytes = min(o.Bytes, left)
			}
		}
		if o.Bytes < int64(os.Getpagesize()) {
			return none, knob.ErrLess
		}
	case remedy.High, remedy.Limit:
		squeeze, err := r.squeeze(s, o.Group, asked)
		if err != nil {
			return none, err
		}
		o.Squeeze = squeeze
	case remedy.ForceEmpty:
		o.Empty = true
	}
	return r.carry(o)
}

// carry carries out an order; what it changes is in the journal meanwhile.
func (r *runner) carry(o knob.Order) (snapshot.Reading[int64], error) {
	var settings []knob.Setting
	for _, s := range []*knob.Setting{o.Squeeze, o.Hold} {
		if s != nil {
			settings = append(settings, *s)
		}
	}
	if len(settings) == 0 {
		reply, err := r.write(o, r.patience())
		return reply.Dropped, cmp.Or(err, reply.Err())
	}
	e := r.entry(o.Group, settings)
	if err := r.journal.write(e); err != nil {
		return snapshot.Reading[int64]{}, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	at("journal in place")
	reply, err := r.write(o, r.patience())
	at("written")
	if undone := r.putBack(e, errors.Is(err, errStuck)); undone != nil {
		r.stop(ByRestore, words.Later("%s", undone))
	}
	return reply.Dropped, cmp.Or(err, reply.Err())
}

// putBack makes sure that settings are what they were. Mostly the writer has seen to it.
// A writer that is stuck may still write: the journal is kept for the guardian, which
// waits for its end.
func (r *runner) putBack(e *entry, stuck bool) error {
	all := e.restore()
	at("restored")
	if stuck {
		r.res.Restored = false
		r.res.Left = append(r.res.Left, words.Later("%s of %s was put back, but %v and may change it again", e.Settings[0].Name, r.p.Target.Path, errStuck))
		return errStuck
	}
	for _, x := range all {
		switch x.Outcome {
		case Theirs:
			r.res.Restored = false
			r.res.Left = append(r.res.Left, words.Later("%s of %s was %s before; it was left at what somebody else has set since", x.Setting, x.Group.Path, x.Was))
		case Failing:
			r.res.Restored = false
			r.res.Left = append(r.res.Left, words.Later("%s of %s has to be set to %s again: %s", x.Setting, x.Group.Path, x.Was, x.Err))
		}
	}
	if !settled(all) {
		return errors.New("a setting could not be put back")
	}
	if err := r.journal.clear(); err != nil {
		return fmt.Errorf("the journal cannot be cleared: %w", err)
	}
	at("journal cleared")
	return nil
}

// get reads a setting of a cgroup.
func get(g knob.Group, name string) (int64, error) {
	c, err := knob.Open(g)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.Get(name)
}

// hold is the setting that lets no more be swapped out; nil when there is nothing to
// hold, because no more can be.
func (r *runner) hold(g knob.Group) (*knob.Setting, error) {
	was, err := r.get(g, knob.SwapMax)
	if err != nil {
		return nil, fmt.Errorf("swap cannot be held: %w", err)
	}
	swapped, err := r.get(g, "memory.swap.current")
	if err != nil {
		return nil, fmt.Errorf("swap cannot be held: %w", err)
	}
	if was <= swapped {
		return nil, nil
	}
	return &knob.Setting{Name: knob.SwapMax, Was: was, Set: swapped}, nil
}

// squeeze is the setting that makes a cgroup give asked bytes.
func (r *runner) squeeze(s *remedy.Step, g knob.Group, asked int64) (*knob.Setting, error) {
	usageFile := map[remedy.Knob]string{remedy.High: "memory.current", remedy.Limit: "memory.usage_in_bytes"}[s.Knob]
	usage, err := r.get(g, usageFile)
	if err != nil {
		return nil, err
	}
	was, err := r.get(g, string(s.Knob))
	if err != nil {
		return nil, err
	}
	set := usage - asked
	set -= set % int64(os.Getpagesize())
	if set < 0 || was <= set {
		return nil, fmt.Errorf("%s is %d already: %w", s.Knob, was, knob.ErrValue)
	}
	return &knob.Setting{Name: string(s.Knob), Was: was, Set: set}, nil
}
