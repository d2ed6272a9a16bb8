package actuate

import (
	"errors"
	"fmt"

	"github.com/memwhy/memwhy/internal/kernel/knob"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// nothing is the reply of what is no file.
var nothing = func() knob.Reply {
	none := snapshot.Reading[int64]{State: snapshot.Absent, Err: "not a file"}
	return knob.Reply{Had: none, Dropped: none}
}()

// vanished reports a file that is elsewhere, or deleted, and of which nothing is in memory:
// somebody else has given it back.
func (r *runner) vanished(d *Done) bool {
	return d.Step.File != nil && errors.Is(d.Err, knob.ErrChanged) && r.o.Gone != nil && r.o.Gone(d.Step)
}

// conclude judges whether the goal is met. What somebody else freed meanwhile counts: a
// usage is what it is, and a file that is out of memory is not missed.
func (r *runner) conclude() {
	var given int64
	for i := range r.res.Steps {
		d := &r.res.Steps[i]
		if r.vanished(d) {
			d.Err = fmt.Errorf("%w: %w", ErrGone, d.Err)
		}
		if d.Step.File == nil {
			given += max(0, d.Freed)
			continue
		}
		covered, gone := d.covers()
		given += covered
		r.res.Gone += gone
	}
	after, known := r.res.After.Usage.Get()
	switch {
	case r.res.Stopped != "" || !r.res.Restored:
	case r.p.To != nil:
		r.res.Met = known && after <= *r.p.To+r.p.Drift
	default:
		r.res.Met = max(given, r.res.Freed)+r.p.Error >= r.p.Want
	}
}

// covers is what of a file's planned bytes is out of memory now, and what of them was
// before its turn came.
func (d *Done) covers() (covered, gone int64) {
	planned := d.Step.Bytes
	if errors.Is(d.Err, ErrGone) {
		return planned, planned
	}
	had, ok1 := d.Had.Get()
	dropped, ok2 := d.Dropped.Get()
	switch {
	case d.Err != nil:
		return 0, 0
	case !ok1 || !ok2:
		return min(planned, max(0, d.Freed)), 0
	}
	stays := max(0, d.Step.File.Bytes-planned) // dirty, say
	within := func(n int64) int64 { return min(planned, max(0, n)) }
	return within(planned + stays - (had - dropped)), within(d.Step.File.Bytes - had)
}
