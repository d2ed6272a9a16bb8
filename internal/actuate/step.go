package actuate

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/memwhy/memwhy/internal/kernel/knob"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/words"
)

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
func (r *runner) act(s *remedy.Step, asked int64) (knob.Reply, error) {
	none := nothing
	o := knob.Order{Group: knob.Group{Root: knob.Path(r.o.Root), Dir: knob.Path(s.Group.Dir), Version: s.Group.Version, ID: s.Group.ID}}
	switch s.Knob {
	case remedy.FileCache:
		f := s.File
		o.File = &knob.File{
			Root: knob.Path(r.o.Root), PID: f.PID, Path: knob.Path(f.Path), FS: f.FS,
			Device: f.Device, Inode: f.Inode, Generation: f.Generation, Sync: s.Sync, Most: f.Most,
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
func (r *runner) carry(o knob.Order) (knob.Reply, error) {
	var settings []knob.Setting
	for _, s := range []*knob.Setting{o.Squeeze, o.Hold} {
		if s != nil {
			settings = append(settings, *s)
		}
	}
	if len(settings) == 0 {
		reply, err := r.write(o, r.patience())
		return reply, cmp.Or(err, reply.Err())
	}
	e := r.entry(o.Group, settings)
	if err := r.journal.write(e); err != nil {
		return nothing, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	at("journal in place")
	reply, err := r.write(o, r.patience())
	at("written")
	if undone := r.putBack(e, errors.Is(err, errStuck)); undone != nil {
		r.stop(ByRestore, words.Later("%s", undone))
	}
	return reply, cmp.Or(err, reply.Err())
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
