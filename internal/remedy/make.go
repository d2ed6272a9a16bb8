package remedy

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Candidate is a file that the target is charged for.
type Candidate struct {
	ID     snapshot.FileID
	Path   string // as the container sees it, or a label
	Kind   string // of mounts.Kind
	Open   *File  // how it is opened; nil when it cannot be
	Cannot string // why not
	State  snapshot.PageState
	Before *snapshot.PageState // at an earlier look; nil when it had no cache then, or there was none

	Others  int64    // bytes of it that other cgroups are charged for
	Outside []string // cgroups outside of the target with processes that have it open or mapped
	Opened  []string // who of the target has it open: "pid 12 fd 3"
	Moved   string   // whose position in it moved between the looks
	Sharers int      // containers that have the image layer, or mount the volume, that it is in
	Near    []string // cgroups outside of the target that are charged for some of it, or use it
	Graves  []Grave  // of a file of removed cgroups: what each is charged for of it
}

// Situation is what a plan is made of.
type Situation struct {
	words.Printer // says why

	Target      Group
	Usage       int64
	Cache       int64 // on the lists of file pages; snapshot.Unknown when not known
	Slab        int64 // that can be shrunk, as far as known
	CPUs        int
	PageSize    int64
	Candidates  []Candidate // the largest first
	Window      time.Duration
	MGLRU       bool
	Neighbours  []Group        // who share files with the target
	HasReclaim  snapshot.State // of memory.reclaim; Absent: the kernel has none
	Since       [3]int         // the kernel's version
	Swap        bool           // the target can swap
	Swappiness0 bool           // v1: its own swappiness is 0
	PositionsOf int            // descriptors of which the position was looked at twice
}

// Selection says what is wanted back, and what may be done for it.
type Selection struct {
	Files           []string // patterns or paths, as the container sees them
	All             bool     // all page cache
	To              *int64   // usage to come down to
	IncludeShared   bool
	Sync            bool
	AllowLimit      bool
	AllowForceEmpty bool
	AllowSwap       bool
	AllowAncestor   bool // of removed cgroups: also by a knob that living ones lose by
}

// Pick is a candidate with what was decided of it.
type Pick struct {
	*Candidate
	Why    string
	cold   bool // picked because nobody uses it, not because somebody wants it back
	reason string
}

// Reason is Why without whom it names, so that files can be counted by it.
func (p *Pick) Reason() string { return cmp.Or(p.reason, p.Why) }

// reason is why a file is left alone; empty: it is not.
type reason struct {
	text string
	kind string // without whom it names; empty: text names nobody
}

// Decision is a plan with its reasons.
type Decision struct {
	Plan
	words.Printer

	Knobs   []KnobUse
	Cost    Cost
	Picked  []Pick
	Spared  []Pick
	Goes    []uint64 // removed cgroups that hold nothing besides what the steps give back
	Losers  []Loser  // living cgroups that may lose by it, when removed ones are released
	Offers  []string // what else could be done, and by which flag
	Doubts  []string
	Reaches int64 // the lowest usage that any of this can come down to, roughly: without file cache and known slab
}

// KnobUse is one knob of a plan, with all its steps.
type KnobUse struct {
	Knob  Knob
	Steps int
	Bytes int64
	Why   string
	Undo  string
}

// Cost is what the steps take from, and what that may cost.
type Cost struct {
	File  int64 // of page cache: as much is read from disks again if all of it is used again
	Slab  int64 // of shrinkable slab, as the kernel's choice is expected to be
	Write int64 // written to disks first
}

// Errors of Make.
var (
	ErrPattern = words.Errorf("not a pattern of files of the container")
	ErrNoMatch = words.Errorf("no file that the container is charged for matches")
	ErrAmount  = words.Errorf("not an amount that can be asked for")
)

const (
	maxSteps   = 20000 // files
	squeeze    = 16 << 20
	maxBytes   = 1 << 56
	grain      = 64 << 10 // two counts of one file may differ by so much
	leastGuard = squeeze
	pause      = 100 * time.Millisecond // between two steps of a knob by which the kernel chooses
	pauses     = time.Minute            // of a plan, in all
)

// Make plans. A plan without steps is an answer too: Offers and Spared say why.
func Make(s *Situation, sel Selection) (*Decision, error) {
	if err := sel.Check(); err != nil {
		return nil, err
	}
	d := &Decision{Printer: s.Printer, Plan: Plan{Target: s.Target, Usage: s.Usage, To: sel.To, Drift: s.drift()}, Reaches: max(0, s.Usage-max(0, s.Cache)-s.Slab)}
	if sel.To != nil {
		d.Want = max(0, s.Usage-*sel.To)
	}
	rest := d.pick(s, sel)
	if len(sel.Files) > 0 && len(d.Picked)+len(d.Spared) == 0 {
		return nil, words.Errorf("%w %s", ErrNoMatch, strings.Join(sel.Files, ", "))
	}
	d.files(sel)
	if sel.To == nil {
		d.Want = d.Expect + rest
	} else {
		rest = max(0, d.Want-d.Expect)
	}
	if rest > 0 && len(sel.Files) == 0 {
		d.byKnob(s, sel, rest)
	}
	if len(sel.Files) > 0 && d.Expect == 0 { // asked for by name, and all of it has to stay
		for i := range d.Spared {
			d.Want += d.Spared[i].State.Bytes
		}
	}
	d.Error = max(d.Expect/50, s.drift())
	d.price(s)
	d.guard(s)
	d.doubt(s, sel)
	return d, nil
}

// Check refuses what no plan is made of, without a look at anything.
func (sel *Selection) Check() error {
	if sel.To != nil && (*sel.To < 0 || *sel.To > maxBytes) {
		return words.Errorf("%w: %d", ErrAmount, *sel.To)
	}
	for _, p := range sel.Files {
		if !strings.HasPrefix(p, "/") || slices.Contains(strings.Split(p, "/"), "..") || strings.ContainsRune(p, 0) {
			return words.Errorf("%w: %q has to begin with / and stay below it", ErrPattern, p)
		}
		if _, err := path.Match(p, "/"); err != nil {
			return words.Errorf("%w: %q: %w", ErrPattern, p, err)
		}
	}
	return nil
}

// matches: a pattern, a path, or a directory above.
func matches(patterns []string, file string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if ok, _ := path.Match(p, file); ok || p == file {
			return true
		}
		return strings.HasPrefix(file, strings.TrimSuffix(p, "/")+"/")
	})
}

// pick decides of every candidate; rest is cache that is wanted too and that no
// single file gives back.
func (d *Decision) pick(s *Situation, sel Selection) (rest int64) {
	left := d.Want
	for i := range s.Candidates {
		c := &s.Candidates[i]
		if len(sel.Files) > 0 && !matches(sel.Files, c.Path) {
			continue
		}
		spare := func(why reason) { d.Spared = append(d.Spared, Pick{Candidate: c, Why: why.text, reason: why.kind}) }
		use, why := c.use(s)
		wanted := len(sel.Files) > 0 || sel.All
		switch blocked := c.blocked(s.Printer, sel); {
		case c.State.Mapped > 0:
			spare(reason{text: s.Say("mapped: what is mapped stays, whatever is advised")})
		case !wanted && use.text != "":
			spare(use)
		case blocked.text != "":
			spare(blocked)
			if c.Cannot != "" && c.Others == 0 && len(c.Outside) == 0 && clean(c, sel) > 0 && reclaimable(c) {
				rest += clean(c, sel)
			}
		case clean(c, sel) <= 0:
			spare(reason{text: s.Say("dirty: only --sync writes it to disk first")})
		case len(d.Picked) == maxSteps:
			spare(reason{text: s.Say("beyond the first files of a plan")})
		case sel.To != nil && left <= 0:
			spare(reason{text: s.Say("not needed for what was asked")})
		default:
			if wanted && use.text != "" {
				why = s.Say("asked for, though: %s", use.text)
			}
			d.Picked = append(d.Picked, Pick{Candidate: c, Why: why, cold: !wanted})
			left -= clean(c, sel)
		}
	}
	return rest
}

// reclaimable reports whether the kernel's own reclaim could take it.
func reclaimable(c *Candidate) bool { return c.State.Unevictable <= 0 && c.Kind != "memfd" }

// clean is what dropping the file gives back.
func clean(c *Candidate, sel Selection) int64 {
	n := c.State.Bytes - max(0, c.State.Writeback)
	if !sel.Sync {
		n -= max(0, c.State.Dirty)
	}
	return n
}

// use says why a file counts as used, or else why it does not.
func (c *Candidate) use(s *Situation) (use reason, why string) {
	if c.Moved != "" {
		return reason{s.Say("read or written during the window by %s", c.Moved), s.Say("read or written during the window")}, ""
	}
	if s.Window == 0 {
		if len(c.Opened) > 0 {
			return reason{
				s.Say("open by %s: whether it is read was not observed (--observe)", c.Opened[0]),
				s.Say("open: whether it is read was not observed (--observe)"),
			}, ""
		}
		return reason{}, s.Say("nobody has it open or mapped; whether somebody reads and closes it was not observed (--observe)")
	}
	window := s.Window.Round(time.Second).String()
	if c.Before == nil {
		return reason{text: s.Say("its cache appeared during the window of %s", window)}, ""
	}
	b, a := c.Before, &c.State
	switch {
	case a.Bytes > b.Bytes:
		return reason{text: s.Say("its cache grew during the window of %s", window)}, ""
	case more(b.Active, a.Active) || more(b.Referenced, a.Referenced) || more(b.Marks, a.Marks):
		return reason{text: s.Say("its pages were used during the window of %s", window)}, ""
	case s.saturated(a):
		return reason{text: s.Say("undecided: most of its pages are marked as used already, so that use would not show (--file, --all-cache)")}, ""
	}
	return reason{}, s.Say("no page of it was marked as used during %s", window)
}

// saturated reports whether most pages bear all the marks of use that they can: one more
// use would not show.
func (s *Situation) saturated(m *snapshot.PageState) bool {
	switch {
	case !s.MGLRU:
		return 2*min(m.Referenced, m.Active) > m.Bytes
	case m.Marks == snapshot.Unknown:
		return 2*m.Referenced > m.Bytes
	}
	return 2*m.Marks > snapshot.MaxMarks*m.Bytes
}

func more(before, after int64) bool {
	return before != snapshot.Unknown && after != snapshot.Unknown && after > before
}

// blocked says why the file is left alone even when it is wanted.
func (c *Candidate) blocked(w words.Printer, sel Selection) reason {
	switch {
	case c.Cannot != "":
		return reason{text: c.Cannot}
	case sel.IncludeShared:
	case c.Others > 0:
		return reason{text: w.Say("other cgroups are charged for part of it (--include-shared)")}
	case len(c.Outside) > 0:
		return reason{w.Say("used by %s (--include-shared)", c.Outside[0]), w.Say("used by processes outside of the target (--include-shared)")}
	case c.Sharers > 1 && c.Kind == "image-layer":
		return reason{text: w.Say("of an image layer that %d containers have (--include-shared)", c.Sharers)}
	case c.Sharers > 1:
		return reason{text: w.Say("on a volume that %d containers mount (--include-shared)", c.Sharers)}
	}
	return reason{}
}

// files makes a step of every picked file.
func (d *Decision) files(sel Selection) {
	u := KnobUse{
		Knob: FileCache, Why: d.Say("file by file: only these files lose their cache, whoever else is charged for nothing of them"),
		Undo: d.Say("nothing is changed that has to be put back; reading a file again brings it back"),
	}
	for i := range d.Picked {
		p := &d.Picked[i]
		n := clean(p.Candidate, sel)
		open := *p.Open
		if p.cold && p.Others == 0 {
			open.Most = p.State.Bytes + max(p.State.Bytes/100, grain)
		}
		d.Steps = append(d.Steps, Step{Knob: FileCache, Group: d.Target, Bytes: n, File: &open, Sync: sel.Sync && p.State.Dirty > 0})
		u.Steps, u.Bytes = u.Steps+1, u.Bytes+n
	}
	d.Expect += u.Bytes
	if u.Steps > 0 {
		d.Knobs = append(d.Knobs, u)
	}
}

// price says what is taken of what: of the kernel's choice as much as there is of each.
func (d *Decision) price(s *Situation) {
	for i := range d.Knobs {
		u := &d.Knobs[i]
		slab := int64(0)
		if lists := max(0, s.Cache) + s.Slab; u.Knob != FileCache && lists > 0 {
			slab = int64(float64(u.Bytes) * float64(s.Slab) / float64(lists))
		}
		d.Cost.File, d.Cost.Slab = d.Cost.File+u.Bytes-slab, d.Cost.Slab+slab
	}
	for i := range d.Steps {
		if f := d.Steps[i].File; f != nil && d.Steps[i].Sync {
			d.Cost.Write += f.Dirty
		}
	}
}

func (d *Decision) offer(text string) { d.Offers = append(d.Offers, text) }

// byKnob asks the cgroup's own knob for what files alone do not give.
func (d *Decision) byKnob(s *Situation, sel Selection, rest int64) {
	shared := s.Shared()
	there := rest
	if s.Cache != snapshot.Unknown {
		there = min(rest, max(0, s.Cache+s.Slab-d.Expect))
	}
	switch {
	case there < s.PageSize:
		d.offer(d.Say("%s more were asked for, and nothing is left that can be freed without swap", size.Text(rest)))
		return
	case shared > 0 && !sel.IncludeShared:
		d.offer(d.Say("%s more by a knob of the cgroup, for which the kernel chooses: it may take some of the %s that others use too (--include-shared)", size.Text(there), size.Text(shared)))
		return
	}
	if s.Target.Version == snapshot.V2 {
		d.v2(s, sel, there)
		return
	}
	d.v1(s, sel, there)
}

func since(s *Situation, major, minor int) bool {
	return s.Since[0] > major || s.Since[0] == major && s.Since[1] >= minor
}

func (d *Decision) v2(s *Situation, sel Selection, there int64) {
	if s.HasReclaim == snapshot.Absent {
		if s.Swap && !sel.AllowSwap {
			d.offer(d.Say("%s more by lowering memory.high for a moment: this kernel has no memory.reclaim, and lowering may swap (--allow-swap)", size.Text(there)))
			return
		}
		d.steps(KnobUse{
			Knob: High, Why: d.Say("this kernel has no memory.reclaim (since 5.19); memory.high is lowered in small steps and put back, tasks that allocate meanwhile are throttled"),
			Undo: d.Say("%s is put back after every step, by a guardian when memwhy dies", "memory.high"),
		}, Step{Knob: High, Group: s.Target}, there, squeeze)
		return
	}
	step := Step{Knob: Reclaim, Group: s.Target}
	why := d.Say("memory.reclaim: the kernel takes the coldest of its lists")
	switch {
	case since(s, 6, 11):
		if !sel.AllowSwap {
			zero := 0
			step.Swappiness, why = &zero, why+d.Say(", file pages only (swappiness=0)")
		}
	case s.Swap && !sel.AllowSwap:
		step.KeepSwap, why = true, why+d.Say("; memory.swap.max is held at what is swapped already, for this kernel takes no swappiness")
	}
	if min(there, squeeze) > s.Cache+s.Slab && s.Cache != snapshot.Unknown {
		d.offer(d.Say("less than one step of %s is on the lists: nothing is asked for", size.Text(squeeze)))
		return
	}
	undo := d.Say("nothing is changed that has to be put back")
	if step.KeepSwap {
		undo = d.Say("%s is put back after every step, by a guardian when memwhy dies", "memory.swap.max")
	}
	d.steps(KnobUse{Knob: Reclaim, Why: why, Undo: undo}, step, there, squeeze)
}

func (d *Decision) v1(s *Situation, sel Selection, there int64) {
	swaps := s.Swap && !s.Swappiness0 && !sel.AllowSwap
	switch {
	case swaps && (sel.AllowLimit || sel.AllowForceEmpty):
		d.offer(d.Say("%s more by a knob of version 1, which would swap: memory.swappiness of the cgroup is not 0 (--allow-swap)", size.Text(there)))
	case sel.AllowLimit:
		d.steps(KnobUse{
			Knob: Limit, Why: d.Say("memory.limit_in_bytes is lowered by at most 16 MiB below usage and put back, step by step: cgroup v1 has no memory.reclaim. A burst inside of a step can be OOM-killed"),
			Undo: d.Say("%s is put back after every step, by a guardian when memwhy dies", "memory.limit_in_bytes"),
		}, Step{Knob: Limit, Group: s.Target}, there, squeeze)
	case sel.AllowForceEmpty:
		all := there
		if s.Cache != snapshot.Unknown {
			all = max(there, s.Cache-d.Expect)
		}
		d.steps(KnobUse{
			Knob: ForceEmpty, Why: d.Say("memory.force_empty: all page cache goes, hot and mapped too"),
			Undo: d.Say("nothing is changed that has to be put back; what is used faults back from disk"),
		}, Step{Knob: ForceEmpty, Group: s.Target}, all, all)
	default:
		d.offer(d.Say("%s more by lowering the limit for moments: a burst meanwhile can be OOM-killed (--allow-limit)", size.Text(there)))
		d.offer(d.Say("all page cache, hot and mapped too, by memory.force_empty (--allow-force-empty)"))
	}
}

func (d *Decision) steps(u KnobUse, step Step, bytes, each int64) {
	for left := bytes; left > 0; left -= step.Bytes {
		step.Bytes = min(left, each)
		d.Steps = append(d.Steps, step)
		u.Steps++
	}
	u.Bytes = bytes
	d.Expect += bytes
	d.Knobs = append(d.Knobs, u)
}

// guard bounds what the steps may cost. The kernel takes what is used when nothing else
// is left: between its steps there is time for that to come back, and to show.
func (d *Decision) guard(s *Situation) {
	cost := max(leastGuard, d.Expect/8)
	d.Guards = Guards{
		Floor: max(0, s.Usage-d.Expect-d.Error-squeeze), Time: time.Minute, StepTime: 10 * time.Second, Stall: 10,
		Refaults: cost, Returns: squeeze / 8, MajorFaults: 2000, ReadBytes: max(64<<20, d.Expect/4), Growth: max(squeeze/8, s.drift()),
		Neighbours: d.near(s), NeighbourLoss: squeeze,
	}
	d.rests()
}

// near are the neighbours that may lose by the plan: of single files those that have to do
// with them, of what the kernel chooses all that share a file.
func (d *Decision) near(s *Situation) []Group {
	if slices.ContainsFunc(d.Knobs, func(u KnobUse) bool { return u.Knob != FileCache }) {
		return s.Neighbours
	}
	var list []Group
	for _, g := range s.Neighbours {
		if slices.ContainsFunc(d.Picked, func(p Pick) bool { return slices.Contains(p.Near, g.Path) }) {
			list = append(list, g)
		}
	}
	return list
}

// rests leaves time between steps.
func (d *Decision) rests() {
	for _, u := range d.Knobs {
		if u.Knob.Chooses() && u.Steps > 1 {
			d.Guards.Pause = min(pause, pauses/time.Duration(u.Steps))
			d.Guards.Time += d.Guards.Pause * time.Duration(u.Steps)
		}
	}
}

// drift is by how much usage is off for what processors keep charged in advance.
func (s *Situation) drift() int64 { return int64(max(s.CPUs, 1)) * 64 * s.PageSize }

func (d *Decision) doubt(s *Situation, sel Selection) {
	doubt := func(text string) { d.Doubts = append(d.Doubts, text) }
	if len(d.Picked) > 0 {
		doubt(s.Say("a program that opens, reads and closes a file between two looks is not seen"))
	}
	if s.Window == 0 && !sel.All && len(sel.Files) == 0 && len(d.Picked) > 0 {
		doubt(s.Say("nothing was observed over time: cold means that nobody has it open or mapped"))
	}
	for _, u := range d.Knobs {
		if u.Knob != FileCache {
			doubt(s.Say("by %s the kernel chooses the pages: about %s of what it takes is file cache, the rest slab", u.Knob, size.Percent(max(0, s.Cache), max(1, max(0, s.Cache)+s.Slab))))
		}
	}
	if sel.To != nil && *sel.To < d.Reaches {
		doubt(s.Say("a usage of %s is out of reach: at least %s stay, whatever is done without swap", size.Text(*sel.To), size.Text(d.Reaches)))
	}
	if s.Cache == snapshot.Unknown {
		doubt(s.Say("what is on the lists of file pages is not known"))
	}
}
