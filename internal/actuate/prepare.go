package actuate

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/memwhy/memwhy/internal/kernel/knob"
	"github.com/memwhy/memwhy/internal/remedy"
)

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
