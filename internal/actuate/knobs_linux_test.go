package actuate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/kernel/knob"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestLowerAndRestore(t *testing.T) {
	g := group(t, "lower")
	cache(t, g, 64<<20)
	was, state := limit(t, g), private(t)
	p := &remedy.Plan{Target: g, Want: 32 << 20}
	for range 8 {
		p.Steps = append(p.Steps, lowering(g, 4<<20))
	}
	r, err := Run(context.Background(), p, options(t, state))
	if err != nil {
		t.Fatal(err)
	}
	if r.Stopped != "" || !r.Restored || len(r.Left) > 0 || r.RecordErr != nil || limit(t, g) != was {
		t.Fatalf("%+v, limit %s", r, limit(t, g))
	}
	if r.Freed < 24<<20 || r.Freed > 48<<20 {
		t.Errorf("freed %d of 32 MiB: %+v", r.Freed, r.Steps)
	}
	if got := Pending(state); len(got) > 0 {
		t.Errorf("pending: %+v", got)
	}
	h, err := History(state)
	if err != nil || len(h) != 1 || h[0].Ended.IsZero() || *h[0].Freed != r.Freed || h[0].Knobs[0].Steps != len(r.Steps) || h[0].Why != "a test" {
		t.Errorf("%+v, %v", h, err)
	}
	if left, _ := filepath.Glob(state + "/*.lock"); len(left) > 0 {
		t.Errorf("locks are left: %v", left)
	}
}

func TestDropFile(t *testing.T) {
	g := group(t, "file")
	f := cache(t, g, 32<<20)
	p := &remedy.Plan{Target: g, Want: 32 << 20, Steps: []remedy.Step{{Knob: remedy.FileCache, Group: g, Bytes: 32 << 20, File: fileOf(t, f)}}}
	r, err := Run(context.Background(), p, options(t, private(t)))
	if err != nil {
		t.Fatal(err)
	}
	if d := r.Steps[0]; d.Err != nil || d.Freed < 30<<20 || d.Dropped.State == snapshot.Present && d.Dropped.Value != 32<<20 {
		t.Errorf("%+v", r)
	}
}

func TestForceEmpty(t *testing.T) {
	g := group(t, "empty")
	if g.Version != snapshot.V1 {
		t.Skip("version 1 has it")
	}
	cache(t, g, 32<<20)
	p := &remedy.Plan{Target: g, Want: 32 << 20, Steps: []remedy.Step{{Knob: remedy.ForceEmpty, Group: g, Bytes: 32 << 20}}}
	r, err := Run(context.Background(), p, options(t, private(t)))
	if err != nil || r.Stopped != "" || r.Freed < 30<<20 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestReclaim(t *testing.T) {
	g := group(t, "reclaim")
	if _, err := os.Stat(filepath.Join(g.Dir, "memory.reclaim")); err != nil {
		t.Skip("no memory.reclaim here")
	}
	cache(t, g, 64<<20)
	zero := 0
	p := &remedy.Plan{Target: g, Want: 32 << 20}
	for range 2 {
		p.Steps = append(p.Steps, remedy.Step{Knob: remedy.Reclaim, Group: g, Bytes: 16 << 20, Swappiness: &zero})
	}
	r, err := Run(context.Background(), p, options(t, private(t)))
	if err != nil {
		t.Fatal(err)
	}
	if errors.Is(r.Steps[0].Err, knob.ErrSwappiness) { // before 6.11
		if len(r.Steps) != 2 || !errors.Is(r.Steps[1].Err, ErrSkipped) {
			t.Errorf("%+v", r.Steps)
		}
		for i := range p.Steps {
			p.Steps[i].Swappiness, p.Steps[i].KeepSwap = nil, true
		}
		swap, _ := os.ReadFile(filepath.Join(g.Dir, "memory.swap.max"))
		if r, err = Run(context.Background(), p, options(t, private(t))); err != nil {
			t.Fatal(err)
		}
		if now, _ := os.ReadFile(filepath.Join(g.Dir, "memory.swap.max")); string(now) != string(swap) {
			t.Errorf("memory.swap.max is %s, was %s", now, swap)
		}
	}
	if r.Freed < 30<<20 || !r.Restored || r.Stopped != "" {
		t.Errorf("%+v", r)
	}
	t.Logf("asked %d, freed %d", r.Asked, r.Freed)
}

// A write that blocks is given up, and what ends it is a signal.
func TestGivenUp(t *testing.T) {
	g := group(t, "givenup")
	cache(t, g, 64<<20)
	was := limit(t, g)
	o := options(t, private(t))
	o.Writer = command(asHalf)
	r, err := Run(context.Background(), &remedy.Plan{Target: g, Steps: []remedy.Step{lowering(g, 1<<20)}, Guards: remedy.Guards{StepTime: 100 * time.Millisecond}}, o)
	if err != nil || r.Stopped != ByStepTime || !errors.Is(r.Steps[0].Err, knob.ErrInterrupted) || !r.Restored || limit(t, g) != was {
		t.Errorf("%+v, %v", r, err)
	}
}

// A signal ends a write inside the kernel, and nothing of it goes on.
func TestSignalEndsWrite(t *testing.T) {
	g := group(t, "signal")
	// Less than is cached: force_empty is all or nothing, and counts lag behind.
	step := remedy.Step{Knob: remedy.ForceEmpty, Group: g, Bytes: 192 << 20}
	if g.Version == snapshot.V2 {
		if _, err := os.Stat(filepath.Join(g.Dir, "memory.reclaim")); err != nil {
			t.Skip("no memory.reclaim here")
		}
		zero := 0
		step.Knob, step.Swappiness = remedy.Reclaim, &zero
	}
	p := &remedy.Plan{Target: g, Steps: []remedy.Step{step}, Guards: remedy.Guards{StepTime: time.Millisecond}}
	for range 5 { // a signal may come when all is over
		cache(t, g, 256<<20)
		r, err := Run(context.Background(), p, options(t, private(t)))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Steps) == 0 {
			t.Fatalf("no step was made: %s, %s", r.Stopped, r.Why)
		}
		if errors.Is(r.Steps[0].Err, knob.ErrSwappiness) {
			t.Skip("up to 6.1 a signal is seen between rounds, and a round is all that is asked")
		}
		after := r.After.Usage.Value
		if r.Stopped != ByStepTime || !errors.Is(r.Steps[0].Err, knob.ErrInterrupted) || after < 64<<20 {
			continue
		}
		time.Sleep(300 * time.Millisecond)
		if now := usage(t, g); now < after*3/4 { // of what was marked before, a little may go still
			t.Errorf("usage %d, then %d", after, now)
		}
		return
	}
	t.Error("no write was ended")
}
