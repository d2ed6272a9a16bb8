package actuate

import (
	"errors"
	"testing"

	"github.com/memwhy/memwhy/internal/kernel/knob"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// filePlan is a plan of n files of 16 MiB each.
func filePlan(n int) *remedy.Plan {
	p := plan(n, remedy.FileCache, remedy.Guards{Floor: 1 << 30})
	for i := range p.Steps {
		p.Steps[i].File = &remedy.File{Bytes: 16 * mib}
	}
	p.Error, p.Drift = mib, mib
	return p
}

// A file that is out of memory is not missed, whoever took it; what stays in memory is.
func TestGoalOfFiles(t *testing.T) {
	all, none, unknown := known(int64(16*mib)), known(int64(0)), snapshot.Reading[int64]{State: snapshot.Absent}
	for name, c := range map[string]struct {
		replies    []knob.Reply // of the two files
		errs       []error
		falls      int64 // usage, with the second
		vanished   bool
		met        bool
		gone, more int64 // more: of the first that is dirty and stays
	}{
		"both are dropped":         {replies: []knob.Reply{{Had: all, Dropped: all}, {Had: all, Dropped: all}}, falls: 32 * mib, met: true},
		"usage grew meanwhile":     {replies: []knob.Reply{{Had: all, Dropped: all}, {Had: all, Dropped: all}}, falls: -64 * mib, met: true},
		"one was taken before":     {replies: []knob.Reply{{Had: none, Dropped: none}, {Had: all, Dropped: all}}, falls: 16 * mib, met: true, gone: 16 * mib},
		"half of one was":          {replies: []knob.Reply{{Had: known(int64(8 * mib)), Dropped: known(int64(8 * mib))}, {Had: all, Dropped: all}}, met: true, gone: 8 * mib},
		"one stays":                {replies: []knob.Reply{{Had: all, Dropped: none}, {Had: all, Dropped: all}}, falls: 16 * mib},
		"more was read, all stays": {replies: []knob.Reply{{Had: known(int64(40 * mib)), Dropped: none}, {Had: all, Dropped: all}}, falls: 16 * mib},
		"what is dirty stays":      {replies: []knob.Reply{{Had: known(int64(20 * mib)), Dropped: all}, {Had: all, Dropped: all}}, more: 4 * mib, met: true},
		"nothing tells, it falls":  {replies: []knob.Reply{{Had: unknown, Dropped: unknown}, {Had: unknown, Dropped: unknown}}, falls: 32 * mib, met: true},
		"nothing tells or falls":   {replies: []knob.Reply{{Had: unknown, Dropped: unknown}, {Had: unknown, Dropped: unknown}}},
		"one is another file":      {replies: []knob.Reply{{}, {Had: all, Dropped: all}}, errs: []error{knob.ErrChanged, nil}, falls: 16 * mib},
		"one was deleted":          {replies: []knob.Reply{{}, {Had: all, Dropped: all}}, errs: []error{knob.ErrChanged, nil}, falls: 16 * mib, vanished: true, met: true, gone: 16 * mib},
		"one is refused":           {replies: []knob.Reply{{}, {Had: all, Dropped: all}}, errs: []error{knob.ErrDenied, nil}, vanished: true, falls: 16 * mib},
	} {
		w := newWorld()
		w.reply = func(n int, _ knob.Order) (knob.Reply, error) {
			if n == 2 {
				w.target.Usage.Value -= c.falls
			}
			if c.errs != nil {
				return c.replies[n-1], c.errs[n-1]
			}
			return c.replies[n-1], nil
		}
		p := filePlan(2)
		p.Steps[0].File.Bytes += c.more
		r := w.run(t.Context(), t, p, Options{Gone: func(remedy.Step) bool { return c.vanished }})
		if r.Met != c.met || r.Gone != c.gone || r.Stopped != "" || len(r.Steps) != 2 {
			t.Errorf("%s: met %t, gone %d, %q after %d steps", name, r.Met, r.Gone, r.Stopped, len(r.Steps))
		}
	}
	w := newWorld()
	if r := w.run(t.Context(), t, filePlan(2), Options{Check: func(remedy.Step) error { return ErrGone }}); !r.Met || r.Gone != 32*mib || len(w.orders) > 0 {
		t.Errorf("the last look found nothing: %+v", r)
	}
	if r := newWorld().run(t.Context(), t, filePlan(2), Options{Check: func(remedy.Step) error { return errors.New("used") }}); r.Met || r.Gone > 0 {
		t.Errorf("the last look found users: %+v", r)
	}
}

// A usage that was to be reached is reached or is not, whoever freed what; steps that are
// not needed for it any more are not made.
func TestGoalOfUsage(t *testing.T) {
	for name, c := range map[string]struct {
		to       int64 // below usage, when it was planned
		begins   int64 // by so much usage changed since
		gives    int64 // each step
		steps    int
		met      bool
		knob     remedy.Knob
		lastAsks int64
	}{
		"all steps":                {to: 32 * mib, gives: 16 * mib, steps: 2, met: true, knob: remedy.FileCache},
		"others freed all":         {to: 32 * mib, begins: -32 * mib, steps: 0, met: true, knob: remedy.FileCache},
		"others freed half":        {to: 32 * mib, begins: -16 * mib, gives: 16 * mib, steps: 1, met: true, knob: remedy.FileCache},
		"it grew meanwhile":        {to: 32 * mib, begins: 16 * mib, gives: 16 * mib, steps: 2, knob: remedy.FileCache},
		"within what is in stock":  {to: 32 * mib, gives: 16*mib - 256<<10, steps: 2, met: true, knob: remedy.FileCache},
		"by the kernel's choice":   {to: 32 * mib, begins: -8 * mib, gives: 16 * mib, steps: 2, met: true, knob: remedy.Reclaim, lastAsks: 8 * mib},
		"the kernel gives nothing": {to: 32 * mib, steps: 2, knob: remedy.Reclaim, lastAsks: 16 * mib},
	} {
		w := newWorld()
		p := filePlan(2)
		if c.knob == remedy.Reclaim {
			p = plan(2, remedy.Reclaim, remedy.Guards{})
			p.Drift = mib
		}
		to := w.target.Usage.Value - c.to
		p.To = &to
		w.target.Usage.Value += c.begins
		w.reply = func(int, knob.Order) (knob.Reply, error) {
			w.target.Usage.Value -= c.gives
			return knob.Reply{Had: known(c.gives), Dropped: known(c.gives)}, nil
		}
		r := w.run(t.Context(), t, p, Options{})
		if r.Met != c.met || len(r.Steps) != c.steps || r.Stopped != "" {
			t.Errorf("%s: met %t after %d steps, %q", name, r.Met, len(r.Steps), r.Stopped)
		}
		if c.lastAsks > 0 && w.orders[len(w.orders)-1].Bytes != c.lastAsks {
			t.Errorf("%s: the last step asks for %d", name, w.orders[len(w.orders)-1].Bytes)
		}
	}
}
