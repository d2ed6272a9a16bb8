package actuate

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/kernel/knob"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/snapshot"
)

func known[T any](v T) snapshot.Reading[T] {
	return snapshot.Reading[T]{Value: v, State: snapshot.Present}
}

// world is a cgroup that does what it is told: a Meter, and a writer.
type world struct {
	target, near Sample
	node         NodeSample
	gone         bool
	orders       []knob.Order
	due          []time.Time                                   // when 8 MiB are read again
	reply        func(n int, o knob.Order) (knob.Reply, error) // nil: what was asked goes
}

func newWorld() *world {
	s := Sample{
		Usage: known(int64(1 << 30)), Cache: known(int64(1 << 29)), Reclaimable: known(int64(1 << 29)), Refaults: known(int64(0)),
		MajorFaults: known(int64(10)), ReadBytes: known(int64(100)), Stall: known(time.Second),
	}
	return &world{target: s, near: s, node: NodeSample{Stall: known(time.Minute)}}
}

func (w *world) Read(g remedy.Group) (Sample, error) {
	if w.gone {
		return Sample{}, errors.New("vanished")
	}
	if g.ID == 2 {
		return w.near, nil
	}
	for len(w.due) > 0 && time.Now().After(w.due[0]) {
		w.due = w.due[1:]
		w.target.Refaults.Value += 8 * mib
	}
	return w.target, nil
}

func (w *world) Node() (NodeSample, error) { return w.node, nil }

func (w *world) write(o knob.Order, _ time.Duration) (knob.Reply, error) {
	w.orders = append(w.orders, o)
	if w.reply != nil {
		return w.reply(len(w.orders), o)
	}
	w.give(o)
	return knob.Reply{}, nil
}

func (w *world) give(o knob.Order) {
	if w.target.Usage.Value -= o.Bytes; o.Squeeze != nil {
		w.target.Usage.Value = o.Squeeze.Set
	}
}

func (w *world) get(_ knob.Group, name string) (int64, error) {
	if strings.Contains(name, "usage") || strings.Contains(name, "current") {
		return w.target.Usage.Value, nil
	}
	return 1 << 40, nil
}

var target = remedy.Group{Path: "/t", Dir: "/nowhere", Version: snapshot.V2, ID: 1}

const mib = 1 << 20

func plan(n int, knob remedy.Knob, g remedy.Guards) *remedy.Plan {
	p := &remedy.Plan{Target: target, Want: int64(n) * 16 * mib, Guards: g}
	for range n {
		p.Steps = append(p.Steps, remedy.Step{Knob: knob, Group: target, Bytes: 16 * mib})
	}
	return p
}

func (w *world) run(ctx context.Context, t *testing.T, p *remedy.Plan, o Options) *Result {
	t.Helper()
	r := &runner{p: p, o: o, get: w.get, write: w.write, failed: map[string]error{}}
	r.watch = watch{meter: w, target: p.Target, g: p.Guards}
	dir, err := openDir(private(t), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	r.journal = &journal{dir, "1.journal"}
	res, err := r.run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func private(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAllSteps(t *testing.T) {
	w := newWorld()
	var told int
	r := w.run(t.Context(), t, plan(4, remedy.Reclaim, remedy.Guards{}), Options{Each: func(Done) { told++ }})
	if r.Stopped != "" || r.Freed != 64*mib || r.Asked != 64*mib || len(r.Steps) != 4 || told != 4 || !r.Restored || len(r.Blind) > 0 {
		t.Errorf("%+v", r)
	}
}

// Every guard stops the plan after the step in which its signal moved, and not before.
func TestGuards(t *testing.T) {
	neighbour := []remedy.Group{{Path: "/n", ID: 2}}
	for _, c := range []struct {
		want   string
		knob   remedy.Knob
		g      remedy.Guards
		happen func(*world)
	}{
		{ByRefaults, remedy.Reclaim, remedy.Guards{Refaults: mib}, func(w *world) { w.target.Refaults.Value += 2 * mib }},
		{ByMajorFaults, remedy.Reclaim, remedy.Guards{MajorFaults: 5}, func(w *world) { w.target.MajorFaults.Value += 6 }},
		{ByReads, remedy.Reclaim, remedy.Guards{ReadBytes: mib}, func(w *world) { w.target.ReadBytes.Value += 2 * mib }},
		{ByStall, remedy.Reclaim, remedy.Guards{Stall: 10}, func(w *world) { w.target.Stall.Value += 26 * time.Millisecond }},
		{ByNodeStall, remedy.Reclaim, remedy.Guards{Stall: 10}, func(w *world) { w.node.Stall.Value += time.Second }},
		{ByNeighbour, remedy.Reclaim, remedy.Guards{Neighbours: neighbour, NeighbourLoss: mib}, func(w *world) { w.near.Cache.Value -= 2 * mib }},
		{ByGrowth, remedy.High, remedy.Guards{Growth: mib}, func(w *world) { w.target.Usage.Value += 64 * mib }},
		{ByTarget, remedy.Reclaim, remedy.Guards{}, func(w *world) { w.gone = true }},
		{ByBlindness, remedy.Reclaim, remedy.Guards{}, func(w *world) { w.target.Usage = snapshot.Reading[int64]{State: snapshot.Denied} }},
	} {
		w := newWorld()
		w.reply = func(n int, o knob.Order) (knob.Reply, error) {
			w.give(o)
			if n == 2 {
				c.happen(w)
			}
			return knob.Reply{}, nil
		}
		r := w.run(t.Context(), t, plan(4, c.knob, c.g), Options{})
		if r.Stopped != c.want || r.Why.String() == "" || len(r.Steps) != 2 || !r.Restored {
			t.Errorf("%s: %q (%s) after %d steps, %v", c.want, r.Stopped, r.Why, len(r.Steps), r.Left)
		}
		if w := newWorld(); w.run(t.Context(), t, plan(4, c.knob, c.g), Options{}).Stopped != "" {
			t.Errorf("%s stops what is calm", c.want)
		}
	}
}

func TestFloor(t *testing.T) {
	w := newWorld()
	r := w.run(t.Context(), t, plan(4, remedy.Reclaim, remedy.Guards{Floor: 1<<30 - 24*mib}), Options{})
	if r.Stopped != ByFloor || r.Freed != 24*mib || w.orders[1].Bytes != 8*mib {
		t.Errorf("%+v", r)
	}
	p := plan(1, remedy.FileCache, remedy.Guards{Floor: 1<<30 - mib})
	p.Steps[0].File = &remedy.File{}
	if r := newWorld().run(t.Context(), t, p, Options{}); r.Stopped != "" || len(r.Steps) != 1 {
		t.Errorf("a file ends at its own size: %+v", r)
	}
}

func TestTime(t *testing.T) {
	r := newWorld().run(t.Context(), t, plan(4, remedy.Reclaim, remedy.Guards{Time: 1}), Options{})
	if r.Stopped != ByTime || len(r.Steps) > 0 {
		t.Errorf("%+v", r)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	w := newWorld()
	w.reply = func(n int, o knob.Order) (knob.Reply, error) {
		if w.give(o); n == 2 {
			stop()
		}
		return knob.Reply{}, nil
	}
	if r := w.run(ctx, t, plan(4, remedy.Reclaim, remedy.Guards{}), Options{}); r.Stopped != ByInterrupt || len(r.Steps) != 2 || r.Freed != 32*mib {
		t.Errorf("%+v", r)
	}
}

// What is taken and used comes back a moment later: steps by which the kernel chooses
// wait for that, single files do not.
func TestPause(t *testing.T) {
	for by, want := range map[remedy.Knob]string{remedy.Reclaim: ByRefaults, remedy.High: ByRefaults, remedy.FileCache: ""} {
		w := newWorld()
		w.reply = func(_ int, o knob.Order) (knob.Reply, error) {
			w.give(o)
			w.due = append(w.due, time.Now().Add(10*time.Millisecond))
			return knob.Reply{}, nil
		}
		p := plan(4, by, remedy.Guards{Refaults: 12 * mib, Pause: 50 * time.Millisecond})
		for i := range p.Steps {
			if by == remedy.FileCache {
				p.Steps[i].File = &remedy.File{}
			}
		}
		if by == remedy.Reclaim { // however large the whole plan is
			p.Guards.Refaults, p.Guards.Returns = 0, 12*mib
		}
		if r := w.run(t.Context(), t, p, Options{}); r.Stopped != want || want != "" && len(r.Steps) != 2 {
			t.Errorf("%s: stopped %q after %d steps", by, r.Stopped, len(r.Steps))
		}
	}
}

// A signal that is not there is told, and is no zero.
func TestBlind(t *testing.T) {
	w := newWorld()
	w.target.Refaults = snapshot.Reading[int64]{State: snapshot.Absent, Source: "memory.stat", Err: "no workingset_refault_file"}
	w.target.Stall = snapshot.Reading[time.Duration]{State: snapshot.Denied, Source: "memory.pressure", Err: "permission denied"}
	r := w.run(t.Context(), t, plan(2, remedy.Reclaim, remedy.Guards{Refaults: mib, Stall: 1, ReadBytes: mib}), Options{})
	if r.Stopped != "" || len(r.Blind) != 2 || r.Blind[0] != (Blind{ByStall, "memory.pressure", snapshot.Denied, "permission denied"}) || r.Blind[1].Guard != ByRefaults {
		t.Errorf("%+v", r)
	}
}

// What failed once for good is not tried again; what another way gives is.
func TestFailedKnob(t *testing.T) {
	p := plan(3, remedy.Reclaim, remedy.Guards{})
	p.Steps[2].Knob = remedy.ForceEmpty
	w := newWorld()
	w.reply = func(_ int, o knob.Order) (knob.Reply, error) {
		if !o.Empty {
			return knob.Reply{Kind: "less"}, nil
		}
		return knob.Reply{}, nil
	}
	r := w.run(t.Context(), t, p, Options{})
	if len(r.Steps) != 3 || !errors.Is(r.Steps[0].Err, knob.ErrLess) || !errors.Is(r.Steps[1].Err, ErrSkipped) || r.Steps[1].Asked != 0 || r.Steps[2].Err != nil || r.Stopped != "" {
		t.Errorf("%+v", r)
	}
}

func TestFilesGoOn(t *testing.T) {
	p := plan(3, remedy.FileCache, remedy.Guards{})
	for i := range p.Steps {
		p.Steps[i].File = &remedy.File{Inode: uint64(i)}
	}
	w := newWorld()
	w.reply = func(n int, _ knob.Order) (knob.Reply, error) {
		if n == 1 {
			return knob.Reply{Kind: "changed"}, nil
		}
		return knob.Reply{}, nil
	}
	check := func(s remedy.Step) error {
		if s.File.Inode == 1 {
			return errors.New("somebody has it open")
		}
		return nil
	}
	r := w.run(t.Context(), t, p, Options{Check: check})
	if len(r.Steps) != 3 || !errors.Is(r.Steps[0].Err, knob.ErrChanged) || r.Steps[1].Err == nil || r.Steps[1].Asked != 0 || r.Steps[2].Err != nil || len(w.orders) != 2 {
		t.Errorf("%+v", r)
	}
}

// Where the kernel gives a little more each time, the last step asks for less.
func TestLastStepAsksForTheRest(t *testing.T) {
	w := newWorld()
	w.reply = func(_ int, o knob.Order) (knob.Reply, error) {
		w.target.Usage.Value -= o.Bytes * 5 / 4
		return knob.Reply{}, nil
	}
	r := w.run(t.Context(), t, plan(4, remedy.Reclaim, remedy.Guards{}), Options{})
	if len(r.Steps) != 4 || r.Steps[3].Asked != 4*mib || r.Freed != 65*mib || r.Stopped != "" {
		t.Errorf("%+v", r)
	}
}

// Where the kernel gives more than it was asked, that is enough.
func TestEnough(t *testing.T) {
	w := newWorld()
	w.reply = func(_ int, o knob.Order) (knob.Reply, error) {
		w.target.Usage.Value -= 3 * o.Bytes
		return knob.Reply{}, nil
	}
	if r := w.run(t.Context(), t, plan(4, remedy.Reclaim, remedy.Guards{}), Options{}); len(r.Steps) != 2 || r.Freed != 96*mib || r.Stopped != "" {
		t.Errorf("%+v", r)
	}
}

// With anonymous memory left alone no more is asked than there is of files.
func TestNotMoreThanThereIs(t *testing.T) {
	w := newWorld()
	w.target.Reclaimable = known(int64(5 * mib))
	p := plan(1, remedy.Reclaim, remedy.Guards{})
	zero := 0
	p.Steps[0].Swappiness = &zero
	w.run(t.Context(), t, p, Options{})
	if w.orders[0].Bytes != 5*mib || w.orders[0].Swappiness == nil {
		t.Errorf("%+v", w.orders[0])
	}
	w.target.Reclaimable = known(int64(100))
	if r := w.run(t.Context(), t, p, Options{}); !errors.Is(r.Steps[0].Err, knob.ErrLess) || len(w.orders) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestKeepSwap(t *testing.T) {
	w := newWorld()
	p := plan(1, remedy.Reclaim, remedy.Guards{})
	p.Steps[0].KeepSwap = true
	if r := w.run(t.Context(), t, p, Options{}); r.Steps[0].Err != nil || w.orders[0].Hold == nil || *w.orders[0].Hold != (knob.Setting{Name: knob.SwapMax, Was: 1 << 40, Set: 1 << 30}) {
		t.Errorf("%+v, %+v", r, w.orders)
	}
}

// What is stuck in the kernel may write when nobody looks: that stays in the journal.
func TestStuckWriter(t *testing.T) {
	w := newWorld()
	w.reply = func(int, knob.Order) (knob.Reply, error) { return knob.Reply{}, errStuck }
	p := plan(2, remedy.High, remedy.Guards{})
	r := &runner{p: p, get: w.get, write: w.write, failed: map[string]error{}, watch: watch{meter: w, target: p.Target}}
	state := private(t)
	dir, err := openDir(state, false)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	r.journal = &journal{dir, "1.journal"}
	res, err := r.run(t.Context())
	if err != nil || res.Stopped != ByRestore || res.Restored || len(res.Left) != 1 || len(w.orders) != 1 || len(Pending(state)) != 1 {
		t.Errorf("%+v, %v", res, err)
	}
}

// Plans that are none do nothing at all.
func TestValidate(t *testing.T) {
	good := func() *remedy.Plan { return plan(1, remedy.Reclaim, remedy.Guards{}) }
	o := Options{Meter: newWorld(), Writer: []string{"/bin/false"}}
	for name, spoil := range map[string]func(*remedy.Plan){
		"no target":     func(p *remedy.Plan) { p.Target.ID = 0 },
		"no amount":     func(p *remedy.Plan) { p.Steps[0].Bytes = 0 },
		"negative":      func(p *remedy.Plan) { p.Steps[0].Bytes = -5 },
		"absurd":        func(p *remedy.Plan) { p.Steps[0].Bytes = math.MaxInt64 },
		"no cgroup":     func(p *remedy.Plan) { p.Steps[0].Group.ID = 0 },
		"no file":       func(p *remedy.Plan) { p.Steps[0].Knob = remedy.FileCache },
		"no such knob":  func(p *remedy.Plan) { p.Steps[0].Knob = "drop_caches" },
		"large squeeze": func(p *remedy.Plan) { p.Steps[0].Knob, p.Steps[0].Bytes = remedy.Limit, 17*mib },
		"swap held":     func(p *remedy.Plan) { p.Steps[0].Knob, p.Steps[0].KeepSwap = remedy.High, true },
		"NaN":           func(p *remedy.Plan) { p.Guards.Stall = math.NaN() },
		"negative goal": func(p *remedy.Plan) { p.Want = -1 },
	} {
		p := good()
		spoil(p)
		if _, err := Run(t.Context(), p, o); !errors.Is(err, ErrPlan) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := plan(1, remedy.High, remedy.Guards{})
	if _, err := Run(t.Context(), p, o); !errors.Is(err, ErrJournal) {
		t.Errorf("no journal: %v", err)
	}
}

// Directories that others may write to are no place for a journal.
func TestDirectories(t *testing.T) {
	dir := private(t)
	link := filepath.Join(private(t), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{link, open, file} {
		o := Options{Meter: newWorld(), Writer: []string{"/bin/false"}, Journal: d}
		if _, err := Run(t.Context(), plan(1, remedy.Reclaim, remedy.Guards{}), o); !errors.Is(err, ErrJournal) {
			t.Errorf("journal in %s: %v", d, err)
		}
		o.Journal, o.State = "", d
		if _, err := Run(t.Context(), plan(1, remedy.Reclaim, remedy.Guards{}), o); err == nil {
			t.Errorf("record in %s", d)
		}
	}
}

// Journals that are garbled, of another boot, or of a cgroup that is another one now.
func TestForeignJournals(t *testing.T) {
	dir := private(t)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1.journal", "{")
	write("2.journal", strings.Repeat("x", maxJournal+10))
	write("3.journal", `{"schema":"memwhy.journal/v1","boot":"another","group":{"root":"Lw==","dir":"L3N5cw==","version":2,"id":7},"settings":[{"name":"memory.high","was":2,"set":1}]}`)
	write("4.journal", `{"schema":"memwhy.journal/v1","boot":"`+bootID()+`","group":{"root":"Lw==","dir":"L3N5cw==","version":2,"id":99999999},"settings":[{"name":"memory.high","was":2,"set":1}]}`)
	write("5.lock", "")
	write("6.journal.new", "{")
	if got := Pending(dir); len(got) != 3 {
		t.Errorf("pending: %+v", got)
	}
	all, err := Recover(dir)
	if err == nil || len(all) != 2 || slices.ContainsFunc(all, func(r Recovered) bool { return r.Outcome != Vanished }) {
		t.Errorf("%+v, %v", all, err)
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) != 2 {
		t.Errorf("left: %v", left)
	}
}

func TestHistoryBadLines(t *testing.T) {
	dir := private(t)
	good := `{"schema":"memwhy.reclaimed/v1","kind":"begin","id":"A","path":"/a\u001b[31m"}` + "\n"
	text := good + "garbage\n\x00\xff\n" + strings.Repeat("y", maxLine+100) + "\n" +
		`{"schema":"memwhy.reclaimed/v1","kind":"begin","id":""}` + "\n" + `{"schema":"other","kind":"begin","id":"B"}` + "\n" + `[1]` + "\n\n" +
		`{"schema":"memwhy.reclaimed/v1","kind":"end","id":"A","ended":"2026-01-01T00:00:00Z","freed":5}` + "\n" +
		`{"schema":"memwhy.reclaimed/v1","kind":"begin","id":"C","pa`
	if err := os.WriteFile(filepath.Join(dir, recordFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := History(dir)
	if !errors.Is(err, ErrGarbled) || len(h) != 1 || h[0].ID != "A" || h[0].Ended.IsZero() || *h[0].Freed != 5 {
		t.Errorf("%+v, %v", h, err)
	}
	fifo := private(t)
	if err := os.Symlink("/dev/zero", filepath.Join(fifo, recordFile)); err != nil {
		t.Fatal(err)
	}
	if h, err := History(fifo); err == nil || len(h) > 0 {
		t.Errorf("a link: %+v, %v", h, err)
	}
	if h, err := History(filepath.Join(dir, "none")); err != nil || len(h) > 0 {
		t.Errorf("nothing there: %+v, %v", h, err)
	}
}

func FuzzHistory(f *testing.F) {
	f.Add([]byte(`{"schema":"memwhy.reclaimed/v1","kind":"begin","id":"A"}` + "\n"))
	f.Add([]byte(`{"schema":"memwhy.reclaimed/v1","kind":"recovered","id":"A","recovered":["x"]}` + "\n{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h history
		if err := h.read(strings.NewReader(string(b))); err != nil || len(h.all) > len(b) {
			t.Errorf("%d records, %v", len(h.all), err)
		}
	})
}

func FuzzEntry(f *testing.F) {
	f.Add([]byte(`{"schema":"memwhy.journal/v1","boot":"b","group":{"root":"Lw==","dir":"L3N5cw==","version":2,"id":7},"settings":[{"name":"memory.high","was":2,"set":1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := parseEntry(b); err == nil && (e.Boot == "" || e.Group.ID == 0 || len(e.each()) != len(e.Settings)) {
			t.Errorf("%+v", e)
		}
	})
}
