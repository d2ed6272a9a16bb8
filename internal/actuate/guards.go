package actuate

import (
	"fmt"
	"time"

	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

const (
	// stallWindow is the least time over which a share of stalls is told: over less, one
	// short stall would be most of it.
	stallWindow = 250 * time.Millisecond
	// settling is how long usage is watched before a limit is lowered for the first time.
	settling = 100 * time.Millisecond
	// fresh is how old a look may be to be one just before a step.
	fresh = 5 * time.Millisecond
)

// look is what guards see at one moment.
type look struct {
	at     time.Time
	target Sample
	node   NodeSample
	near   []Sample // of remedy.Guards.Neighbours
}

// watch looks at guards. first is the state before anything was done, mark the beginning
// of the window over which stalls are counted.
type watch struct {
	meter  Meter
	target remedy.Group
	g      remedy.Guards

	first, mark, now look
	lately           []snapshot.Reading[int64] // refaults before each of the last two steps of a knob that chooses
	blind            map[string]Blind
	order            []string // of blind
}

// see looks once.
func (w *watch) see() error {
	l := look{at: time.Now()}
	var err error
	if l.target, err = w.meter.Read(w.target); err != nil {
		return err
	}
	if l.node, err = w.meter.Node(); err != nil {
		l.node.Stall = snapshot.Reading[time.Duration]{State: snapshot.Failed, Err: err.Error()}
	}
	for _, g := range w.g.Neighbours {
		s, err := w.meter.Read(g)
		if err != nil && s.Cache.State == snapshot.Present {
			s.Cache = snapshot.Reading[int64]{State: snapshot.Failed, Source: g.Path, Err: err.Error()}
		}
		l.near = append(l.near, s)
	}
	if w.first.at.IsZero() {
		w.first, w.mark = l, l
	}
	w.now = l
	return nil
}

// unseen notes that a guard is blind, the first time.
func (w *watch) unseen(guard, source string, state snapshot.State, why string) {
	if w.blind == nil {
		w.blind = map[string]Blind{}
	}
	if _, known := w.blind[guard]; !known {
		w.blind[guard] = Blind{guard, source, state, why}
		w.order = append(w.order, guard)
	}
}

// grown is by how much a counter grew. A counter that shrank is another one: its process,
// or the cgroup, is new.
func grown[T int64 | time.Duration](w *watch, guard string, from, to snapshot.Reading[T]) (T, bool) {
	for _, r := range []snapshot.Reading[T]{from, to} {
		if r.State != snapshot.Present {
			w.unseen(guard, r.Source, r.State, r.Err)
			return 0, false
		}
	}
	return max(0, to.Value-from.Value), true
}

// check reports which guard stops the plan now, and why.
func (w *watch) check() (guard string, why words.Text) {
	g, first, now := &w.g, &w.first, &w.now
	if g.Time > 0 && time.Since(first.at) >= g.Time {
		return ByTime, words.Later("%s are over", g.Time)
	}
	if now.target.Usage.State != snapshot.Present {
		return ByBlindness, words.Later("usage cannot be read: %s", now.target.Usage.Err)
	}
	if guard, why := w.stalls(); guard != "" {
		return guard, why
	}
	for _, c := range []struct {
		guard    string
		most     int64
		from, to snapshot.Reading[int64]
		text     func(int64) string
		format   string
	}{
		{ByRefaults, g.Refaults, first.target.Refaults, now.target.Refaults, size.Text, words.Key("it read %s again that had been evicted, more than %s")},
		{ByMajorFaults, g.MajorFaults, first.target.MajorFaults, now.target.MajorFaults, count, words.Key("it had %s major faults, more than %s")},
		{ByReads, g.ReadBytes, first.target.ReadBytes, now.target.ReadBytes, size.Text, words.Key("it read %s from disks, more than %s")},
	} {
		if c.most <= 0 {
			continue
		}
		if n, ok := grown(w, c.guard, c.from, c.to); ok && n > c.most {
			return c.guard, words.Text{Format: c.format, Args: []any{c.text(n), c.text(c.most)}}
		}
	}
	return w.neighbours()
}

// returns looks at what came back of the last two steps: little of it, but at once, is
// in use.
func (w *watch) returns() (guard string, why words.Text) {
	if w.g.Returns <= 0 {
		return "", why
	}
	now := w.now.target.Refaults
	w.lately = append(w.lately, now)
	from := w.lately[0]
	if len(w.lately) > 2 {
		w.lately = w.lately[1:]
	}
	if n, ok := grown(w, ByRefaults, from, now); ok && n > w.g.Returns {
		return ByRefaults, words.Later("it read %s again as soon as that was taken, more than %s", size.Text(n), size.Text(w.g.Returns))
	}
	return "", why
}

func count(n int64) string { return fmt.Sprint(n) }

// stalls looks at the share of time that the target, or the node, stalled since mark.
// memory.reclaim is no stall of anybody; before 5.10 lowering a limit was one of the
// writer's, and so of the node (linux 5.4 mm/vmscan.c, try_to_free_mem_cgroup_pages).
func (w *watch) stalls() (guard string, why words.Text) {
	if w.g.Stall <= 0 {
		return "", words.Text{}
	}
	past := w.now.at.Sub(w.mark.at)
	over := max(past, stallWindow)
	for _, c := range []struct {
		guard    string
		from, to snapshot.Reading[time.Duration]
		format   string
	}{
		{ByStall, w.mark.target.Stall, w.now.target.Stall, words.Key("it stalled on memory for %s of %s, more than %g percent")},
		{ByNodeStall, w.mark.node.Stall, w.now.node.Stall, words.Key("the node stalled on memory for %s of %s, more than %g percent")},
	} {
		d, ok := grown(w, c.guard, c.from, c.to)
		if ok && float64(d) > float64(over)*w.g.Stall/100 {
			return c.guard, words.Text{Format: c.format, Args: []any{d.Round(100 * time.Microsecond), over.Round(time.Millisecond), w.g.Stall}}
		}
	}
	if past >= stallWindow {
		w.mark = w.now
	}
	return "", words.Text{}
}

// neighbours looks at what each of them lost of its file cache.
func (w *watch) neighbours() (guard string, why words.Text) {
	if w.g.NeighbourLoss <= 0 {
		return "", words.Text{}
	}
	for i, group := range w.g.Neighbours {
		lost, ok := grown(w, ByNeighbour, w.now.near[i].Cache, w.first.near[i].Cache)
		if ok && lost > w.g.NeighbourLoss {
			return ByNeighbour, words.Later("%s lost %s of its file cache, more than %s", group.Path, size.Text(lost), size.Text(w.g.NeighbourLoss))
		}
	}
	return "", words.Text{}
}

// blinds are the guards that could not look.
func (w *watch) blinds() []Blind {
	var all []Blind
	for _, g := range w.order {
		all = append(all, w.blind[g])
	}
	return all
}
