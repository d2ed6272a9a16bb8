package explain

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/memwhy/memwhy/internal/diagnose"
	"github.com/memwhy/memwhy/internal/kversion"
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/mounts"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/says"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Observed is what was seen of a target besides one look at it.
type Observed struct {
	ID         uint64                       // inode number of its directory; 0: the census says
	HasReclaim snapshot.State               // of memory.reclaim
	Before     *snapshot.Census             // of an earlier look; nil when there was none
	Window     time.Duration                // between both
	Moved      map[snapshot.Descriptor]bool // whose position moved between both
	Opens      func(fs string) bool         // whether files of such a file system may be opened
}

// maxNeighbours bounds the cgroups that are watched.
const maxNeighbours = 32

// Situation is what a plan to give back memory of the target of s is made of. The
// only error is ledger.ErrNoUsage.
func Situation(w words.Printer, s *snapshot.Snapshot, o Observed) (*remedy.Situation, error) {
	t := s.Target()
	usage, ok := t.Usage.Get()
	if !ok {
		return nil, words.Errorf("%w: %s: %s", ledger.ErrNoUsage, t.Usage.Source, t.Usage.Err)
	}
	si := common(w, s, &o)
	si.Usage = usage
	keys := ledger.KeysOf(t)
	active, ok1 := keys.Get("active_file")
	inactive, ok2 := keys.Get("inactive_file")
	if ok1 && ok2 {
		si.Cache = active + inactive
	}
	if n, ok := keys.Get("slab_reclaimable"); ok {
		si.Slab = n
	}
	if n, ok := t.Swappiness.Get(); ok {
		si.Swappiness0 = n == 0
	}
	if hasFiles(s) == nil {
		c := s.Census.Value
		alone := !t.Hierarchical()
		v := &visit{s: s, si: si, o: &o, inside: func(cgroup string) bool { return below(cgroup, t.Path) }}
		if o.Before != nil {
			v.before = o.Before.ByFile(ledger.Within(o.Before, t.Path, alone))
		}
		v.files(ledger.Within(c, t.Path, alone), nil)
	}
	return si, nil
}

// common is what is known of the kernel and of whose knobs are turned.
func common(w words.Printer, s *snapshot.Snapshot, o *Observed) *remedy.Situation {
	t := s.Target()
	si := &remedy.Situation{
		Printer: w,
		Target:  remedy.Group{Path: t.Path, Dir: t.Dir, Version: t.Version, ID: o.ID}, Cache: snapshot.Unknown,
		PageSize: max(s.Host.PageSize, 4096), CPUs: max(s.Host.CPUs.Value, 1),
		Window: o.Window, MGLRU: diagnose.LRU(s) == "mglru", HasReclaim: o.HasReclaim, Swap: swaps(s),
	}
	if release, ok := s.Release(); ok {
		v, _ := kversion.Parse(release)
		si.Since = v.Base
	}
	return si
}

// swaps reports whether memory of the target can be swapped; what is not known counts
// as yes.
func swaps(s *snapshot.Snapshot) bool {
	list, ok := s.Node.Swaps.Get()
	if ok && len(list) == 0 {
		return false
	}
	limit, ok := s.Target().SwapLimit.Get()
	return !ok || limit != 0
}

// visit lists the files that some groups are charged for, and who shares them.
type visit struct {
	s      *snapshot.Snapshot
	si     *remedy.Situation
	o      *Observed
	before map[snapshot.FileID]snapshot.PageState
	inside func(cgroup string) bool // whose use of a file is their own
	dead   bool                     // they are removed: whoever has a layer or a volume is another one
}

// files lists the candidates; also is told of each, with what is cached of it.
func (v *visit) files(within []bool, also func(*remedy.Candidate, *cached)) {
	s, si, t := v.s, v.si, v.s.Target()
	c := s.Census.Value
	n := &namer{c: c, names: mounts.New(s.Mounts), within: within, all: true}
	files := cachedFiles(c, n.within)
	users := n.users(s, files)
	near := map[string]bool{}
	for i := range c.Groups {
		if g := &c.Groups[i]; si.Target.ID == 0 && g.Path == t.Path && !g.Dying {
			si.Target.ID = g.ID
		}
	}
	for i := range files {
		f := &files[i]
		if f.in == nil {
			continue
		}
		p := n.place(f)
		cand := remedy.Candidate{ID: f.in.ID(), Kind: string(p.Kind), State: f.sum, Sharers: v.sharers(f, p)}
		if before, ok := v.before[cand.ID]; ok {
			cand.Before = &before
		}
		cand.Path, _ = shown(f, p)
		for _, ch := range f.charges {
			if !n.within[ch.group] {
				cand.Others += ch.bytes
				if g := &c.Groups[ch.group]; ch.group > 0 && !g.Dying {
					cand.Near = append(cand.Near, g.Path)
				}
			}
		}
		v.users(&cand, users[f.in])
		for _, cgroup := range cand.Near {
			near[cgroup] = true
		}
		cand.Open, cand.Cannot = opened(si.Printer, f, p, v.o.Opens)
		if also != nil {
			also(&cand, f)
		}
		si.Candidates = append(si.Candidates, cand)
	}
	for _, cgroup := range slices.Sorted(maps.Keys(near)) {
		if g, ok := neighbour(c, t, cgroup); ok && len(si.Neighbours) < maxNeighbours {
			si.Neighbours = append(si.Neighbours, g)
		}
	}
}

// users tells of those who have a file open or mapped.
func (v *visit) users(cand *remedy.Candidate, list []report.User) {
	for _, u := range list {
		who := fmt.Sprintf("pid %d", u.PID)
		switch fd, open := strings.CutPrefix(u.How, "fd "); {
		case !v.inside(u.Cgroup):
			cand.Outside = append(cand.Outside, strings.TrimSpace(who+" of "+u.Cgroup))
			if u.Cgroup != "" {
				cand.Near = append(cand.Near, u.Cgroup)
			}
		case open:
			cand.Opened = append(cand.Opened, who+" "+u.How)
			if v.o.Moved[snapshot.Descriptor{PID: u.PID, FD: fd}] {
				cand.Moved = who
			}
		}
	}
}

// sharers counts the containers that have the layer, or mount the volume, that a file is
// in.
func (v *visit) sharers(f *cached, p mounts.Place) int {
	n := p.Shared
	if v.dead && n > 0 {
		n++
	}
	if p.Kind != mounts.Volume {
		return n
	}
	n = 1 // themselves
	for i := range v.s.Mounts {
		m := &v.s.Mounts[i]
		if m.Host || v.inside(m.Cgroup) {
			continue
		}
		if slices.ContainsFunc(m.Mounts.Value, func(at snapshot.Mount) bool {
			return at.Device == f.in.Device && at.Root != "/" && below(f.in.Path, at.Root)
		}) {
			n++
		}
	}
	return n
}

// below reports whether a cgroup is the other one or below it.
func below(cgroup, top string) bool {
	return cgroup == top || strings.HasPrefix(cgroup, strings.TrimSuffix(top, "/")+"/")
}

// neighbour is a living cgroup outside of the target, in the same hierarchy.
func neighbour(c *snapshot.Census, t *snapshot.Cgroup, cgroup string) (remedy.Group, bool) {
	root, ok := strings.CutSuffix(t.Dir, strings.TrimSuffix(t.Path, "/"))
	if !ok || below(t.Path, cgroup) { // an ancestor loses what the target does
		return remedy.Group{}, false
	}
	i := slices.IndexFunc(c.Groups, func(g snapshot.CensusGroup) bool { return g.Path == cgroup && !g.Dying })
	if i < 0 {
		return remedy.Group{}, false
	}
	return remedy.Group{Path: cgroup, Dir: path.Join(root, cgroup), Version: t.Version, ID: c.Groups[i].ID}, true
}

// opened is how a file can be opened to drop its cache, or why it cannot.
func opened(w words.Printer, f *cached, p mounts.Place, may func(fs string) bool) (*remedy.File, string) {
	in := f.in
	switch p.Kind {
	case mounts.Tmpfs, mounts.Memfd, mounts.SharedAnon, mounts.SysV:
		return nil, w.Say("kept in memory alone: only deleting it, or swap, gives it back")
	case mounts.BlockDevice:
		return nil, w.Say("of a block device: file system metadata, which is the node's")
	case mounts.NoName:
		return nil, w.Say("the kernel has forgotten its name")
	case mounts.NotInView:
		if p.Host == "" {
			return nil, w.Say("no mount table at hand shows it")
		}
	}
	switch {
	case in.Type == "tmpfs" || in.Type == "hugetlbfs":
		return nil, w.Say("kept in memory alone: only deleting it, or swap, gives it back")
	case in.Deleted:
		return nil, w.Say("deleted: it goes when who has it open closes it")
	case in.Partial:
		return nil, w.Say("only a part of its path is known")
	case may != nil && !may(in.Type):
		return nil, w.Say("on %s, of which no file is ever opened", in.Type)
	}
	file := &remedy.File{
		PID: 0, Path: p.Host, FS: in.Type, Device: in.Device, Inode: in.Number, Generation: in.Generation, Bytes: f.sum.Bytes, Dirty: max(0, f.sum.Dirty),
	}
	if p.Host == "" {
		if p.PID == 0 || p.Path == "" || p.Layer != "" {
			return nil, w.Say("no path of it can be opened")
		}
		file.PID, file.Path = p.PID, p.Path
	}
	return file, ""
}

// Descriptors are the open ones, of anybody, of files that the target is charged for.
func Descriptors(s *snapshot.Snapshot) []snapshot.Descriptor {
	if hasFiles(s) != nil {
		return nil
	}
	t := s.Target()
	n := &namer{c: s.Census.Value, names: mounts.New(s.Mounts), within: ledger.Within(s.Census.Value, t.Path, !t.Hierarchical()), all: true}
	var found []snapshot.Descriptor
	for _, list := range n.users(s, cachedFiles(n.c, n.within)) {
		for _, u := range list {
			if fd, ok := strings.CutPrefix(u.How, "fd "); ok && len(found) < maxDescriptors {
				found = append(found, snapshot.Descriptor{PID: u.PID, FD: fd})
			}
		}
	}
	return found
}

const maxDescriptors = 4096

// Reclaim is the plan as it is shown.
func Reclaim(w words.Printer, s *snapshot.Snapshot, d *remedy.Decision, window time.Duration) *report.Reclaim {
	t := target(s)
	r := &report.Reclaim{
		Schema: report.ReclaimSchema, Lang: w.Lang(), Generated: generated(s), Host: host(s), Target: t,
		Plan: report.ReclaimPlan{
			UsageBytes: d.Usage, WantBytes: d.Want, ToBytes: d.To, ExpectBytes: d.Expect, ErrorBytes: d.Error, ReachableBytes: d.Reaches, WindowMs: window.Milliseconds(),
			Knobs: []report.ReclaimKnob{}, Files: []report.ReclaimFile{}, Spared: []report.ReclaimSpared{},
			Offers: texts(d.Offers), Doubts: texts(append(d.Doubts, censusDoubts(w, s)...)),
			Guards: guards(&d.Guards),
			Cost:   report.ReclaimCost{FileBytes: d.Cost.File, SlabBytes: d.Cost.Slab, RereadBytes: d.Cost.File, WritebackBytes: d.Cost.Write},
		},
		NotSeen: []report.NotSeen{},
	}
	for _, u := range d.Knobs {
		r.Plan.Knobs = append(r.Plan.Knobs, report.ReclaimKnob{Knob: string(u.Knob), Steps: u.Steps, Bytes: u.Bytes, Because: u.Why, Undo: u.Undo})
	}
	for i := range d.Picked[:min(len(d.Picked), report.MaxFiles)] {
		p := &d.Picked[i]
		f := report.ReclaimFile{Kind: p.Kind, Bytes: d.Steps[i].Bytes, DirtyBytes: max(0, p.State.Dirty), Because: text(p.Why), UsedBy: texts(append(p.Outside, p.Opened...))}
		f.Path, f.PathBytes = name(p.Path)
		r.Plan.Files = append(r.Plan.Files, f)
	}
	r.Plan.FileCount = len(d.Picked)
	spared := map[string]*report.ReclaimSpared{}
	for i := range d.Spared {
		p := &d.Spared[i]
		why := p.Reason()
		if spared[why] == nil {
			spared[why] = &report.ReclaimSpared{Because: text(why)}
			spared[why].Example, _ = name(p.Path)
		}
		spared[why].Files++
		spared[why].Bytes += p.State.Bytes
	}
	for _, row := range spared {
		r.Plan.Spared = append(r.Plan.Spared, *row)
	}
	slices.SortFunc(r.Plan.Spared, func(a, b report.ReclaimSpared) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Because, b.Because))
	})
	l := &missingList{Printer: w}
	if err := hasFiles(s); err != nil {
		l.add("", snapshot.CensusSource, s.Census.State, s.Census.Err, l.Say("which files the cache is of, so that single files can be given back"))
	} else {
		for _, ref := range s.Census.Value.Refused {
			l.add("", "census by "+string(ref.Engine), ref.State, ref.Why, l.Of(snapshot.CensusGain))
		}
	}
	source(l, s.Users, l.Say("other processes that use the files"))
	r.NotSeen = append(r.NotSeen, l.rows...)
	return r
}

// Changed holds a later look at the target against the one of the plan: its accounts and
// its working set. Both are of the kernel's own counters: a census is older than they.
func Changed(before, after *snapshot.Snapshot, out *report.ReclaimResult) {
	var looks [2]*ledger.Ledger
	for i, s := range []*snapshot.Snapshot{before, after} {
		one := *s
		one.Census = snapshot.Reading[*snapshot.Census]{State: snapshot.Absent}
		w, err := ledger.Explain(&one)
		if err != nil {
			return
		}
		looks[i] = w.Ledger
		if s.Target().Stat.State == snapshot.Present {
			ws, _, _ := says.WorkingSet(s.Target(), w.Usage)
			*[]**int64{&out.WorkingSetBeforeBytes, &out.WorkingSetAfterBytes}[i] = &ws
		}
	}
	rows := map[string]*report.ReclaimChange{}
	for i, l := range looks {
		for _, a := range l.Accounts {
			row := rows[a.Path]
			if row == nil {
				row = &report.ReclaimChange{Path: a.Path}
				rows[a.Path] = row
			}
			*[]**int64{&row.BeforeBytes, &row.AfterBytes}[i] = &a.Bytes
		}
	}
	for _, path := range slices.Sorted(maps.Keys(rows)) {
		out.Accounts = append(out.Accounts, *rows[path])
	}
}

func texts(list []string) []string {
	out := []string{}
	for _, s := range list {
		out = append(out, text(s))
	}
	return out
}

func guards(g *remedy.Guards) report.ReclaimGuards {
	return report.ReclaimGuards{
		FloorBytes: g.Floor, TimeMs: g.Time.Milliseconds(), StepTimeMs: g.StepTime.Milliseconds(), StallPercent: g.Stall,
		RefaultBytes: g.Refaults, MajorFaults: g.MajorFaults, ReadBytes: g.ReadBytes, GrowthBytes: g.Growth,
		Neighbours: len(g.Neighbours), NeighbourLossBytes: g.NeighbourLoss,
	}
}
