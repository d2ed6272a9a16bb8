package wire

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/memwhy/memwhy/internal/actuate"
	"github.com/memwhy/memwhy/internal/explain"
	"github.com/memwhy/memwhy/internal/gather"
	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/knob"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// ReclaimOptions choose what to give back and how.
type ReclaimOptions struct {
	remedy.Selection
	ToPercent float64       // of the deciding limit; 0: Selection.To says
	Observe   time.Duration // between two looks; 0: one look
	Verify    time.Duration // after which to look what was read again
	Really    bool          // also what should not be touched
	Guardian  []string      // commands that run ServeGuardian and ServeWriter
	Writer    []string
	Root      string // of the node
	State     string // where is noted what was done
	Journal   string
	Why       string // for the record
	Progress  func(text string)
}

// Errors of planning.
var (
	ErrInexact  = errors.New("giving back needs a target that is spelled out")
	ErrGuarded  = errors.New("this cgroup is not touched without --really")
	ErrNoLimit  = errors.New("there is no limit that a percentage could be of")
	ErrReplayed = errors.New("a capture cannot be acted on")
)

// Reclaiming is a plan that can be applied.
type Reclaiming struct {
	Report   *report.Reclaim
	node     *Node
	opt      ReclaimOptions
	decision *remedy.Decision
	pids     []int // of the target
}

// PlanReclaim looks at the target, twice with opt.Observe, and plans.
func (n *Node) PlanReclaim(target string, opt ReclaimOptions) (*Reclaiming, error) {
	n.askNames()
	if c, ok := n.Source.(*counting); ok && opt.Observe+opt.Verify > 0 {
		c.kept.expect(true)
	}
	first, err := gather.ForReclaim(n.Source, target, n.opt)
	if err != nil {
		return nil, n.late(err)
	}
	if err := refused(target, first, opt.Really); err != nil {
		return nil, err
	}
	seen := explain.Observed{ID: first.ID, HasReclaim: first.HasReclaim, Opens: knob.Droppable}
	last := first
	if opt.Observe > 0 && first.Census.State == snapshot.Present {
		if last, err = n.observe(first, opt, &seen); err != nil {
			return nil, n.late(err)
		}
	}
	situation, err := explain.Situation(n.words, last.Snapshot, seen)
	if err != nil {
		return nil, err
	}
	sel := opt.Selection
	if opt.ToPercent > 0 {
		limit, ok := last.Target().Limit.Get()
		if !ok || limit <= 0 || limit >= 1<<56 {
			return nil, ErrNoLimit
		}
		to := int64(opt.ToPercent / 100 * float64(limit))
		sel.To = &to
	}
	d, err := remedy.Make(situation, sel)
	if err != nil {
		return nil, err
	}
	return &Reclaiming{
		Report: explain.Reclaim(n.words, last.Snapshot, d, seen.Window), node: n, opt: opt, decision: d, pids: last.PIDs,
	}, nil
}

// observe looks again after a while.
func (n *Node) observe(first *gather.Reclaimable, opt ReclaimOptions, seen *explain.Observed) (*gather.Reclaimable, error) {
	descriptors := explain.Descriptors(first.Snapshot)
	before := gather.Positions(n.Source, descriptors)
	start := time.Now()
	if opt.Progress != nil {
		opt.Progress(n.words.Say("watching which files are used for %s (--observe)", opt.Observe))
	}
	select {
	case <-n.ctx.Done():
		return nil, n.ctx.Err()
	case <-time.After(opt.Observe):
	}
	last, err := gather.ForReclaim(n.recount(), first.Target().Path, n.opt)
	if err != nil {
		return nil, err
	}
	if last.ID != first.ID {
		return nil, fmt.Errorf("%s was removed and made again meanwhile", first.Target().Path)
	}
	seen.Before, seen.Window, seen.Moved = first.Census.Value, time.Since(start), map[snapshot.Descriptor]bool{}
	for d, at := range gather.Positions(n.Source, descriptors) {
		if was, ok := before[d]; ok && was != at {
			seen.Moved[d] = true
		}
	}
	return last, nil
}

// recount is the same node, whose pages are counted once more.
func (n *Node) recount() kernel.Source {
	c, ok := n.Source.(*counting)
	if !ok {
		return n.Source
	}
	return c.anew()
}

// runtimes are units whose memory is that of the runtimes, not of containers.
var runtimes = []string{
	"containerd.service", "docker.service", "crio.service", "kubelet.service", "podman.service", "cri-docker.service", "dockerd", "containerd", "kubelet",
}

// refused says why a target is not touched.
func refused(typed string, r *gather.Reclaimable, really bool) error {
	if r.Replayed {
		return ErrReplayed
	}
	t := r.Target()
	who := identity.Of(t.Path, r.Names)
	for _, id := range []string{who.ID, who.PodUID} {
		if id != "" && typed != id && strings.HasPrefix(id, typed) {
			return fmt.Errorf("%w: %s is only the beginning of %s", ErrInexact, typed, id)
		}
	}
	if really {
		return nil
	}
	base := path.Base(t.Path)
	guarded := func(why string) error { return fmt.Errorf("%w: %s", ErrGuarded, why) }
	switch {
	case t.Root():
		return guarded("the root is the whole node")
	case who.Kind == identity.Pod:
		return guarded("a pod: its containers are targets of their own")
	case strings.HasPrefix(base, "kubepods"):
		return guarded("all pods of a class are in it")
	case slices.Contains([]string{"system.slice", "user.slice", "machine.slice", "init.scope"}, base):
		return guarded("the services of the node are in it")
	case slices.Contains(runtimes, base):
		return guarded("a container runtime, or the kubelet")
	case r.Own != "" && (r.Own == t.Path || strings.HasPrefix(r.Own, strings.TrimSuffix(t.Path, "/")+"/")):
		return guarded("memwhy itself runs in it")
	}
	return nil
}

// Empty reports a plan without steps.
func (r *Reclaiming) Empty() bool { return len(r.decision.Steps) == 0 }

// Apply does what was planned, and looks again after opt.Verify.
func (r *Reclaiming) Apply(ctx context.Context) error {
	opt := r.opt
	res, err := actuate.Run(ctx, &r.decision.Plan, actuate.Options{
		Root: opt.Root, State: opt.State, Journal: opt.Journal, Meter: actuate.NewMeter(r.node.Source, r.node.opt.ForeignRoot),
		Guardian: opt.Guardian, Writer: opt.Writer, Why: opt.Why,
	})
	if err != nil {
		return err
	}
	r.Report.Result = r.result(res)
	if opt.Verify > 0 && res.Stopped == "" {
		r.verify(ctx)
	}
	return nil
}

func (r *Reclaiming) result(res *actuate.Result) *report.ReclaimResult {
	out := &report.ReclaimResult{
		AskedBytes: res.Asked, Steps: len(res.Steps), Stopped: res.Stopped, Because: r.node.words.Tell(res.Why), Restored: res.Restored,
		Left: []string{}, Failures: []report.ReclaimFailure{}, Blind: []report.ReclaimBlind{},
	}
	for _, left := range res.Left {
		out.Left = append(out.Left, r.node.words.Tell(left))
	}
	if v, ok := res.Before.Usage.Get(); ok {
		out.UsageBeforeBytes = &v
	}
	if v, ok := res.After.Usage.Get(); ok {
		out.UsageAfterBytes = &v
	}
	if out.UsageBeforeBytes != nil && out.UsageAfterBytes != nil {
		out.FreedBytes = &res.Freed
	}
	for i := range res.Steps {
		d := &res.Steps[i]
		out.DroppedBytes += d.Dropped.Value
		if d.Err != nil {
			fail(out, d)
		}
	}
	for _, b := range res.Blind {
		out.Blind = append(out.Blind, report.ReclaimBlind{Guard: b.Guard, Source: b.Source, State: b.State.String(), Why: b.Err})
	}
	if res.RecordErr != nil {
		out.RecordError = res.RecordErr.Error()
	}
	p := &r.decision.Plan
	got := max(out.DroppedBytes, res.Freed)
	out.Met = res.Stopped == "" && res.Restored && got+p.Error >= p.Want
	return out
}

// fail counts a step that failed.
func fail(out *report.ReclaimResult, d *actuate.Done) {
	why := d.Err.Error()
	i := slices.IndexFunc(out.Failures, func(f report.ReclaimFailure) bool { return f.Because == why })
	if i < 0 {
		i = len(out.Failures)
		f := report.ReclaimFailure{Because: why}
		if d.Step.File != nil {
			f.Example = strings.ToValidUTF8(d.Step.File.Path, "\ufffd")
		}
		out.Failures = append(out.Failures, f)
	}
	out.Failures[i].Steps++
	out.Failures[i].Bytes += d.Step.Bytes
}

// verify looks what of the files is in memory again.
func (r *Reclaiming) verify(ctx context.Context) {
	if r.opt.Progress != nil {
		r.opt.Progress(r.node.words.Say("watching what is read again for %s (--verify)", r.opt.Verify))
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(r.opt.Verify):
	}
	c, ok := kernel.Census(r.node.recount(), r.pids).Get()
	if !ok {
		return
	}
	now := map[snapshot.FileID]int64{}
	for i := range c.Files {
		if in := c.Files[i].Inode; in >= 0 {
			now[c.Inodes[in].ID()] += c.Files[i].Bytes
		}
	}
	var sum int64
	for i, p := range r.decision.Picked {
		n := now[snapshot.FileID{Device: p.Open.Device, Number: p.Open.Inode, Generation: p.Open.Generation}]
		sum += n
		if i < len(r.Report.Plan.Files) {
			r.Report.Plan.Files[i].RereadBytes = &n
		}
	}
	r.Report.Result.RereadBytes, r.Report.Result.VerifyMs = &sum, r.opt.Verify.Milliseconds()
}

// Where a reclaim notes what it does.
const (
	DefaultState   = actuate.DefaultState
	DefaultJournal = actuate.DefaultJournal
)

// Pending says which settings an earlier reclaim left changed.
func Pending(say words.Printer, journal string) []string {
	var lines []string
	for _, p := range actuate.Pending(journal) {
		if p.Setting == "" {
			lines = append(lines, p.Err)
			continue
		}
		lines = append(lines, say.Say("%s of %s is %s, and was %s before", p.Setting, p.Group.Path, p.Set, p.Was))
	}
	return lines
}

// Recover puts them back, and says what became of each.
func Recover(say words.Printer, journal string) (lines []string, failed bool, err error) {
	all, err := actuate.Recover(journal)
	for _, p := range all {
		line := say.Say("%s of %s, %s: %s", p.Setting, p.Group.Path, p.Was, p.Outcome)
		if p.Err != "" {
			line += " (" + p.Err + ")"
		}
		lines = append(lines, line)
		failed = failed || p.Outcome == actuate.Failing
	}
	return lines, failed, err
}

// History is the record of what was done, the oldest first.
func History(state string) ([]actuate.Record, error) { return actuate.History(state) }

// Acting errors, for exit codes.
var (
	ErrBusy    = actuate.ErrBusy
	ErrPending = actuate.ErrPending
	ErrJournal = actuate.ErrJournal
	ErrRecord  = actuate.ErrRecord
)
