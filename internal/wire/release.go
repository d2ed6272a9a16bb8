package wire

import (
	"context"
	"time"

	"github.com/memwhy/memwhy/internal/explain"
	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/kernel/knob"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// ErrNoDying is why removed cgroups cannot be released.
var ErrNoDying = explain.ErrNoDying

// How often, and how far apart, it is looked whether removed cgroups are gone: the kernel
// frees them some time after their last page.
const (
	goneLooks = 4
	goneAfter = 200 * time.Millisecond
)

// PlanRelease looks at the removed cgroups below a target, "/" for the node, and plans
// how they are released.
func (n *Node) PlanRelease(target string, opt ReclaimOptions) (*Reclaiming, error) {
	opt.Dying = true
	at, err := n.see(target, opt)
	if err != nil {
		return nil, err
	}
	dead, err := explain.Removed(n.words, at.Snapshot, at.Observed)
	if err != nil {
		return nil, err
	}
	for i := range dead.Above {
		a := &dead.Above[i]
		if a.Cannot == "" && !opt.Really {
			a.Cannot = n.words.Of(guarded(at.Reclaimable, a.Path, identity.Parse(a.Path).Kind))
		}
	}
	d, err := remedy.MakeDying(dead.Situation, dead.Graves, dead.Above, opt.Selection)
	if err != nil {
		return nil, err
	}
	plan := func(w words.Printer, s *snapshot.Snapshot, o explain.Observed) (*remedy.Situation, []remedy.Ancestor, error) {
		dead, err := explain.Removed(w, s, o)
		if err != nil {
			return nil, nil, err
		}
		return dead.Situation, dead.Above, nil
	}
	return &Reclaiming{
		Report: explain.Release(n.words, at.Snapshot, d, at.Window), node: n, opt: opt, sel: opt.Selection, decision: d, seen: at, plan: plan,
	}, nil
}

// released counts what became of the removed cgroups of a plan, which is its result.
func (r *Reclaiming) released(ctx context.Context) {
	dying, res := r.Report.Dying, r.Report.Result
	for i := range goneLooks {
		if i > 0 {
			_ = knob.Settle() // a page of theirs may wait in the batch of an idle processor
		}
		select {
		case <-ctx.Done():
		case <-time.After(goneAfter << i):
		}
		g, err := r.again(r.node.recount())
		if err != nil || g.Census.State != snapshot.Present {
			return
		}
		explain.Released(r.seen.Snapshot, g.Snapshot, dying)
		if ctx.Err() != nil || dying.Went != nil && *dying.Went >= dying.Releases {
			break
		}
	}
	if dying.BytesLeft == nil {
		return
	}
	freed := dying.Bytes - *dying.BytesLeft
	res.UsageBeforeBytes, res.UsageAfterBytes, res.FreedBytes = &dying.Bytes, dying.BytesLeft, &freed
	p := &r.decision.Plan
	res.Met = res.Stopped == "" && res.Restored && freed+p.Error >= p.Want
}
