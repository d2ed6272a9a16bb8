package wire

import (
	"context"
	"errors"
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
	Dying     bool          // not the target, but removed cgroups below it
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
	ErrGuarded  = words.Errorf("this cgroup is not touched without --really")
	ErrNoLimit  = words.Errorf("there is no limit that a percentage could be of")
	ErrReplayed = words.Errorf("a capture cannot be acted on")
)

// Reclaiming is a plan that can be applied.
type Reclaiming struct {
	Report   *report.Reclaim
	node     *Node
	opt      ReclaimOptions
	sel      remedy.Selection
	decision *remedy.Decision
	seen     *seen
	plan     planner
}

// seen is a look at a target, or two, before a plan is made.
type seen struct {
	*gather.Reclaimable
	explain.Observed
	src     kernel.Source // its census is that of the last look
	counted time.Time     // when that was taken
}

// planner makes a situation of a look: of what a target is charged for, or of what
// removed cgroups below it are, with those above them.
type planner func(words.Printer, *snapshot.Snapshot, explain.Observed) (*remedy.Situation, []remedy.Ancestor, error)

func charged(w words.Printer, s *snapshot.Snapshot, o explain.Observed) (*remedy.Situation, []remedy.Ancestor, error) {
	situation, err := explain.Situation(w, s, o)
	return situation, nil, err
}

// PlanReclaim looks at the target, twice with opt.Observe, and plans.
func (n *Node) PlanReclaim(target string, opt ReclaimOptions) (*Reclaiming, error) {
	at, err := n.see(target, opt)
	if err != nil {
		return nil, err
	}
	situation, err := explain.Situation(n.words, at.Snapshot, at.Observed)
	if err != nil {
		return nil, err
	}
	sel := opt.Selection
	if opt.ToPercent > 0 {
		limit, ok := at.Target().Limit.Get()
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
		Report: explain.Reclaim(n.words, at.Snapshot, d, at.Window), node: n, opt: opt, sel: sel, decision: d, seen: at, plan: charged,
	}, nil
}

// see looks at a target that may be acted on, and again after opt.Observe.
func (n *Node) see(target string, opt ReclaimOptions) (*seen, error) {
	if err := opt.Check(); err != nil {
		return nil, err
	}
	n.askNames()
	if c, ok := n.Source.(*counting); ok && opt.Observe+opt.Verify > 0 {
		c.keep.expect(true)
	}
	first, err := gather.ForReclaim(n.Source, target, n.opt)
	if err != nil {
		return nil, n.late(err)
	}
	if err := refused(target, first, opt); err != nil {
		return nil, err
	}
	at := &seen{
		Reclaimable: first, src: n.Source, counted: time.Now(),
		Observed: explain.Observed{ID: first.ID, HasReclaim: first.HasReclaim, Opens: knob.Droppable},
	}
	if opt.Observe > 0 && first.Census.State == snapshot.Present {
		at.src = n.recount()
		if at.Reclaimable, err = n.observe(at.src, first, opt, &at.Observed); err != nil {
			return nil, n.late(err)
		}
		at.counted = time.Now()
	}
	return at, nil
}

// observe looks again after a while, at src.
func (n *Node) observe(src kernel.Source, first *gather.Reclaimable, opt ReclaimOptions, seen *explain.Observed) (*gather.Reclaimable, error) {
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
	last, err := n.again(src, first.Target().Path, first.ID)
	if err != nil {
		return nil, err
	}
	seen.Before, seen.Window = first.Census.Value, time.Since(start)
	seen.Moved = moved(before, gather.Positions(n.Source, descriptors))
	return last, nil
}

// again reads a cgroup that was read before, and who uses its files, from src.
func (n *Node) again(src kernel.Source, cgroup string, id uint64) (*gather.Reclaimable, error) {
	g, err := gather.ForReclaim(src, cgroup, n.opt)
	if err != nil {
		return nil, err
	}
	if g.ID != id {
		return nil, words.Errorf("%s was removed and made again meanwhile", cgroup)
	}
	return g, nil
}

// moved are the descriptors that are elsewhere in their files than they were.
func moved(before, now map[snapshot.Descriptor]int64) map[snapshot.Descriptor]bool {
	list := map[snapshot.Descriptor]bool{}
	for d, at := range now {
		if was, ok := before[d]; ok && was != at {
			list[d] = true
		}
	}
	return list
}

// recount is the same node, whose pages are counted once more.
func (n *Node) recount() kernel.Source {
	c, ok := n.Source.(*counting)
	if !ok {
		return n.Source
	}
	return c.anew()
}

// guards says why what is in a cgroup belongs together with others.
var guards = map[identity.Common]string{
	identity.Node:     words.Key("the root is the whole node"),
	identity.OfPod:    words.Key("a pod: its containers are targets of their own"),
	identity.OfClass:  words.Key("all pods of a class are in it"),
	identity.Services: words.Key("the services of the node are in it"),
	identity.Runtimes: words.Key("a container runtime, or the kubelet"),
}

// refused says why a target is not touched.
func refused(typed string, r *gather.Reclaimable, opt ReclaimOptions) error {
	if r.Replayed {
		return ErrReplayed
	}
	t := r.Target()
	who := identity.Of(t.Path, r.Names)
	if err := spelledOut(typed, t.Path, r.Names, r.PIDs); err != nil {
		return err
	}
	if why := guarded(r, t.Path, who.Kind); why != "" && !opt.Really && !opt.Dying {
		return words.Errorf("%w: %s", ErrGuarded, words.Text{Format: why})
	}
	return nil
}

// guarded says why the knobs of a cgroup are not turned by mistake.
func guarded(r *gather.Reclaimable, cgroup string, kind identity.Kind) string {
	id := identity.Identity{Kind: kind}
	switch why := id.Together(cgroup); {
	case why != "":
		return guards[why]
	case r.Own != "" && (r.Own == cgroup || strings.HasPrefix(r.Own, strings.TrimSuffix(cgroup, "/")+"/")):
		return words.Key("memwhy itself runs in it")
	}
	return ""
}

// Empty reports a plan without steps.
func (r *Reclaiming) Empty() bool { return len(r.decision.Steps) == 0 }

// Missed says what a plan without steps misses; empty: nothing has to be done.
func (r *Reclaiming) Missed() words.Text {
	switch p := &r.decision.Plan; {
	case p.To != nil && p.Usage > *p.To+p.Drift:
		return words.Later("usage is more than was asked for")
	case p.To == nil && len(r.sel.Files) > 0 && p.Want > 0:
		return words.Later("nothing of what was asked for can be given back as asked")
	}
	return words.Text{}
}

// Apply does what was planned, and looks again after opt.Verify.
func (r *Reclaiming) Apply(ctx context.Context) error {
	opt := r.opt
	res, err := r.run(ctx)
	if err != nil {
		return err
	}
	r.Report.Result = r.result(res)
	if opt.Dying {
		r.released(ctx)
	} else if after, err := r.again(r.seen.src); err == nil {
		explain.Changed(r.seen.Snapshot, after.Snapshot, r.Report.Result)
	}
	if opt.Verify > 0 && res.Stopped == "" {
		r.verify(ctx)
	}
	return nil
}

// run runs the steps.
func (r *Reclaiming) run(ctx context.Context) (*actuate.Result, error) {
	opt := &r.opt
	check := newRecheck(r)
	return actuate.Run(ctx, &r.decision.Plan, actuate.Options{
		Root: opt.Root, State: opt.State, Journal: opt.Journal, Meter: actuate.NewMeter(r.node.Source, r.node.opt.ForeignRoot),
		Guardian: opt.Guardian, Writer: opt.Writer, Why: opt.Why, Check: check.before, Gone: check.gone,
	})
}

func (r *Reclaiming) result(res *actuate.Result) *report.ReclaimResult {
	out := &report.ReclaimResult{
		AskedBytes: res.Asked, Steps: len(res.Steps), Met: res.Met, GoneBytes: res.Gone, Stopped: res.Stopped, Because: r.node.words.Tell(res.Why), Restored: res.Restored,
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
		if d.Err != nil && !errors.Is(d.Err, actuate.ErrGone) {
			r.fail(out, d)
		}
	}
	for _, b := range res.Blind {
		out.Blind = append(out.Blind, blindOf(b))
	}
	if res.RecordErr != nil {
		out.RecordError = res.RecordErr.Error()
	}
	return out
}

func blindOf(b actuate.Blind) report.ReclaimBlind {
	return report.ReclaimBlind{Guard: b.Guard, Source: b.Source, State: b.State.String(), Why: b.Err}
}

// fail counts a step that failed.
func (r *Reclaiming) fail(out *report.ReclaimResult, d *actuate.Done) {
	why := d.Err.Error()
	var not notNow
	if errors.As(d.Err, &not) {
		why = r.node.words.Say("left alone at the last look: %s", string(not))
	}
	i := slices.IndexFunc(out.Failures, func(f report.ReclaimFailure) bool { return f.Because == why })
	if i < 0 {
		i = len(out.Failures)
		f := report.ReclaimFailure{Because: why, Skipped: not != "" || errors.Is(d.Err, knob.ErrGrown)}
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
	c, ok := kernel.Census(r.node.recount(), r.seen.PIDs).Get()
	if !ok {
		return
	}
	now := c.ByFile(nil)
	var sum int64
	for i, p := range r.decision.Picked {
		n := now[p.ID].Bytes
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
