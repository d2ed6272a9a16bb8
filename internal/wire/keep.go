package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/memwhy/memwhy/internal/actuate"
	"github.com/memwhy/memwhy/internal/explain"
	"github.com/memwhy/memwhy/internal/gather"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// KeepOptions say what usage shall be kept at, and for how long.
type KeepOptions struct {
	Every, For time.Duration
}

// restful is how many times as long as a look took the next one waits at least.
const restful = 4

// keeper keeps the usage of a target at what its plan came down to.
type keeper struct {
	*Reclaiming
	out   *report.ReclaimKeep
	meter actuate.Meter
	pace  *remedy.Pace
	began time.Time

	last    actuate.Sample
	census  snapshot.Reading[*snapshot.Census] // of the look before
	moved   map[snapshot.Descriptor]int64      // where descriptors were then
	dropped map[snapshot.FileID]int64          // what had been given back, and what of it was in memory then
	freed   int64                              // by the turn before
	guard   string                             // that stopped it
	took    time.Duration                      // the look
	ends    string                             // the guard that ends it all
	why     string
	saved   float64 // byte seconds
}

// Keep does what was planned, little by little, and goes on with it for a while. When
// ctx ends it is over after the step that is under way. The report has the summary.
func (r *Reclaiming) Keep(ctx context.Context, opt KeepOptions) error {
	r.Report.Keep = keeping(*r.sel.To, r.decision.Usage, opt)
	k := &keeper{
		Reclaiming: r, out: r.Report.Keep, meter: actuate.NewMeter(r.node.Source, r.node.opt.ForeignRoot), began: time.Now(),
		pace:   remedy.NewPace(r.node.words, remedy.Keep{To: *r.sel.To, Every: opt.Every}),
		census: r.seen.Census, dropped: map[snapshot.FileID]int64{},
	}
	first, err := k.meter.Read(r.decision.Target)
	if err != nil {
		return err
	}
	k.last, k.out.UsageFirstBytes = first, first.Usage.Value
	k.moved = gather.Positions(r.node.Source, explain.Descriptors(r.seen.Snapshot))
	end := k.began.Add(opt.For)
	for wait := opt.Every; ctx.Err() == nil && k.ends == ""; {
		left := time.Until(end)
		if left <= 0 {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(max(wait, restful*k.took), left)):
			if wait, err = k.turn(ctx); err != nil {
				return err
			}
		}
	}
	k.conclude(ctx)
	return nil
}

// PlanKeep plans what Keep would begin with.
func (n *Node) PlanKeep(target string, opt ReclaimOptions, keep KeepOptions) (*Reclaiming, error) {
	r, err := n.PlanReclaim(target, opt)
	if err == nil {
		r.Report.Keep = keeping(*r.sel.To, r.decision.Usage, keep)
	}
	return r, err
}

func keeping(to, usage int64, opt KeepOptions) *report.ReclaimKeep {
	return &report.ReclaimKeep{
		KeepBytes: to, UsageFirstBytes: usage, UsageLastBytes: usage, Restored: true, EveryMs: opt.Every.Milliseconds(), ForMs: opt.For.Milliseconds(),
		Turns: []report.KeepTurn{}, Blind: []report.ReclaimBlind{},
	}
}

// turn looks, decides and acts once, and says how long to wait then.
func (k *keeper) turn(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	src := k.node.recount()
	g, err := k.again(src)
	if err != nil {
		k.ends, k.why = actuate.ByTarget, err.Error()
		return 0, nil
	}
	now, err := k.meter.Read(k.decision.Target)
	if err != nil {
		k.ends, k.why = actuate.ByTarget, err.Error()
		return 0, nil
	}
	k.took = time.Since(start)
	felt := k.feel(&now, g)
	t := k.pace.Next(felt)
	row := report.KeepTurn{AfterMs: time.Since(k.began).Milliseconds(), UsageBytes: now.Usage.Value, Because: t.Hurt}
	if t.Hurt != "" {
		k.out.Backoffs++
	}
	k.freed, k.guard = 0, ""
	open := explain.Descriptors(g.Snapshot)
	if t.Bytes > 0 {
		if err := k.give(ctx, &seen{Reclaimable: g, src: src, counted: g.Census.At}, open, now.Usage.Value-t.Bytes, &row); err != nil {
			return 0, err
		}
	}
	k.census, k.last = g.Census, now
	k.moved = gather.Positions(k.node.Source, open)
	k.note(row)
	return t.Wait, nil
}

// feel compares a look with the one before.
func (k *keeper) feel(now *actuate.Sample, g *gather.Reclaimable) remedy.Felt {
	past := now.At.Sub(k.last.At)
	f := remedy.Felt{
		Past: past, Usage: now.Usage.Value, Freed: k.freed, Guard: k.guard, Stall: -1,
		Reread:   k.reread(&g.Census),
		Refaults: since(k.last.Refaults, now.Refaults), MajorFaults: since(k.last.MajorFaults, now.MajorFaults), ReadBytes: since(k.last.ReadBytes, now.ReadBytes),
	}
	if n := since(k.last.Stall, now.Stall); n != snapshot.Unknown {
		f.Stall = time.Duration(n)
	}
	add(&k.out.RereadBytes, f.Reread)
	add(&k.out.RefaultBytes, f.Refaults)
	add(&k.out.MajorFaults, f.MajorFaults)
	add(&k.out.ReadBytes, f.ReadBytes)
	if f.Stall >= 0 {
		add(&k.out.StallMs, f.Stall.Milliseconds())
	}
	reread := int64(0)
	if k.out.RereadBytes != nil {
		reread = *k.out.RereadBytes
	}
	k.saved += float64(max(0, k.out.FreedBytes-reread)) * past.Seconds()
	return f
}

// add sums what is known.
func add(sum **int64, n int64) {
	if n == snapshot.Unknown {
		return
	}
	if *sum == nil {
		*sum = new(int64)
	}
	**sum += n
}

// since is by how much a counter grew; a smaller one is another counter.
func since[T int64 | time.Duration](from, to snapshot.Reading[T]) int64 {
	a, ok1 := from.Get()
	b, ok2 := to.Get()
	if !ok1 || !ok2 {
		return snapshot.Unknown
	}
	return max(0, int64(b-a))
}

// reread is what of the files that were given back came into memory since the last look.
func (k *keeper) reread(census *snapshot.Reading[*snapshot.Census]) int64 {
	c, ok := census.Get()
	if !ok {
		return snapshot.Unknown
	}
	now := c.ByFile(nil)
	var sum int64
	for id, was := range k.dropped {
		bytes := now[id].Bytes
		sum += max(0, bytes-was)
		k.dropped[id] = bytes
	}
	return sum
}

// give gives some bytes back, down to a usage. open are descriptors of its files.
func (k *keeper) give(ctx context.Context, at *seen, open []snapshot.Descriptor, to int64, row *report.KeepTurn) error {
	g := at.Reclaimable
	o := explain.Observed{ID: g.ID, HasReclaim: g.HasReclaim, Opens: k.seen.Opens, Moved: moved(k.moved, gather.Positions(k.node.Source, open))}
	if c, ok := k.census.Get(); ok {
		o.Before, o.Window = c, g.Census.At.Sub(k.census.At)
	}
	situation, err := explain.Situation(k.node.words, g.Snapshot, o)
	if err != nil {
		return err
	}
	one := *k.Reclaiming
	at.Observed, one.seen = o, at
	one.sel.To = &to
	if one.decision, err = remedy.Make(situation, one.sel); err != nil {
		return err
	}
	if one.Empty() {
		row.Because = k.spared(one.decision)
		return nil
	}
	res, err := one.run(ctx)
	switch {
	case errors.Is(err, actuate.ErrBusy):
		row.Because = err.Error()
		return nil
	case err != nil:
		return err
	}
	var dropped int64
	for i := range res.Steps {
		d := &res.Steps[i]
		if f := d.Step.File; f != nil && d.Err == nil {
			left := int64(0)
			if n, ok := d.Dropped.Get(); ok {
				dropped += n
				left = max(0, f.Bytes-n)
			}
			k.dropped[snapshot.FileID{Device: f.Device, Number: f.Inode, Generation: f.Generation}] = left
		}
	}
	k.freed = max(0, res.Freed, dropped)
	row.AskedBytes, row.FreedBytes = res.Asked, res.Freed
	k.out.FreedBytes += max(0, res.Freed)
	k.out.Restored = k.out.Restored && res.Restored
	k.stopped(res, row)
	k.blind(res)
	return nil
}

// spared says why nothing is given back: the reason for which most is left alone.
func (k *keeper) spared(d *remedy.Decision) string {
	sums, most := map[string]int64{}, ""
	for i := range d.Spared {
		p := &d.Spared[i]
		why := p.Reason()
		if sums[why] += p.State.Bytes; most == "" || sums[why] > sums[most] {
			most = why
		}
	}
	if most == "" {
		return k.node.words.Say("nothing of it is cold, or may be taken")
	}
	return k.node.words.Say("nothing is given back: %s of files are left alone: %s", size.Text(sums[most]), most)
}

// stopped tells guards that end it all from those that only slow it down.
func (k *keeper) stopped(res *actuate.Result, row *report.KeepTurn) {
	why := k.node.words.Tell(res.Why)
	switch res.Stopped {
	case "", actuate.ByFloor, actuate.ByInterrupt, actuate.ByTime:
	case actuate.ByTarget, actuate.ByRestore, actuate.ByGuardian, actuate.ByBlindness:
		k.ends, k.why = res.Stopped, why
	default:
		k.guard = fmt.Sprintf("%s (%s)", why, res.Stopped)
	}
	row.Stopped = res.Stopped
	row.Because = cmp.Or(row.Because, why)
}

// blind notes which signals are missing, each once.
func (k *keeper) blind(res *actuate.Result) {
	known := map[string]bool{}
	for _, b := range k.out.Blind {
		known[b.Guard] = true
	}
	for _, b := range res.Blind {
		if !known[b.Guard] {
			k.out.Blind = append(k.out.Blind, blindOf(b))
		}
	}
}

// note keeps the last turns, and tells of each.
func (k *keeper) note(row report.KeepTurn) {
	k.out.TurnCount++
	if row.FreedBytes > 0 {
		k.out.Acted++
	}
	k.out.Turns = append(k.out.Turns, row)
	if n := len(k.out.Turns); n > report.MaxTurns {
		k.out.Turns = k.out.Turns[n-report.MaxTurns:]
	}
	if k.opt.Progress == nil {
		return
	}
	text := fmt.Sprintf("after %s: usage %s", (time.Duration(row.AfterMs) * time.Millisecond).Round(time.Second), size.Text(row.UsageBytes))
	if row.AskedBytes > 0 {
		text += ", gave back " + size.Text(row.FreedBytes)
	}
	if row.Because != "" {
		text += ": " + row.Because
	}
	k.opt.Progress(text)
}

// conclude looks a last time, and sums up.
func (k *keeper) conclude(ctx context.Context) {
	k.out.TookMs = time.Since(k.began).Milliseconds()
	k.out.Interrupted, k.out.Stopped, k.out.Because = ctx.Err() != nil, k.ends, k.why
	usage := k.last.Usage.Value
	if g, err := k.again(k.node.recount()); err == nil {
		if now, err := k.meter.Read(k.decision.Target); err == nil {
			k.feel(&now, g)
			usage = now.Usage.Value
		}
	}
	k.out.UsageLastBytes = usage
	if took := time.Since(k.began).Seconds(); took > 0 {
		k.out.SavedBytes = int64(k.saved / took)
	}
	k.out.Met = k.ends == "" && k.out.Restored && usage <= k.out.KeepBytes+k.decision.Error
}
