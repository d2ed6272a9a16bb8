package explain

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/mounts"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// ErrNoDying is why removed cgroups cannot be released.
var ErrNoDying = words.Errorf("what removed cgroups hold is not known here")

// whole reports that every cgroup and file is known.
func whole(s *snapshot.Snapshot) error {
	switch c, ok := s.Census.Get(); {
	case !ok:
		return words.Errorf("%w: %s: %s", ErrNoDying, snapshot.CensusSource, s.Census.Err)
	case !c.Walked || hasFiles(s) != nil:
		return words.Errorf("%w: a census by %s does not tell", ErrNoDying, c.Engine)
	}
	return nil
}

// removedBelow are the removed cgroups below the target of s, and what they hold.
func removedBelow(s *snapshot.Snapshot) (dead []bool, count int, held int64) {
	c := s.Census.Value
	dead = ledger.Within(c, s.Target().Path, false)
	if s.Target().Root() {
		for i := range dead {
			dead[i] = i > 0
		}
	}
	for i := range dead {
		if dead[i] = dead[i] && c.Groups[i].Dying; dead[i] {
			count++
			held += ledger.Held(&c.Groups[i])
		}
	}
	return dead, count, held
}

// Dead is what a plan to release removed cgroups is made of.
type Dead struct {
	*remedy.Situation
	Graves []remedy.Grave // with what each holds
	Above  []remedy.Ancestor
}

// Removed is what a plan to release removed cgroups below the target of s is made of.
func Removed(w words.Printer, s *snapshot.Snapshot, o Observed) (*Dead, error) {
	if err := whole(s); err != nil {
		return nil, err
	}
	dead, _, held := removedBelow(s)
	si := common(w, s, &o)
	si.Usage, si.Cache = held, 0
	d := &Dead{Situation: si}
	groups := s.Census.Value.Groups
	for i := range dead {
		if g := &groups[i]; dead[i] {
			si.Cache += max(0, g.File.Bytes-max(0, g.Shmem))
			d.Graves = append(d.Graves, remedy.Grave{ID: g.ID, Bytes: ledger.Held(g) - onItsWay(g, si)})
		}
	}
	v := &visit{s: s, si: si, o: &o, inside: func(string) bool { return false }, dead: true}
	if o.Before != nil {
		v.before = o.Before.ByFile(nil)
	}
	above := &ancestors{Printer: w, c: s.Census.Value, want: map[int]int64{}, shared: map[int]int64{}, graves: map[int][]remedy.Grave{}}
	v.files(dead, func(cand *remedy.Candidate, f *cached) {
		for _, ch := range f.charges {
			if dead[ch.group] {
				cand.Graves = append(cand.Graves, remedy.Grave{ID: groups[ch.group].ID, Bytes: ch.bytes})
			}
		}
		if cand.Others > 0 || len(cand.Outside) > 0 || cand.Sharers > 1 {
			for _, ch := range f.charges {
				if dead[ch.group] {
					above.shared[above.of(ch.group)] += ch.bytes
				}
			}
		}
		switch {
		case cand.Cannot == "" || cand.Others > 0 || len(cand.Outside) > 0 || cand.State.Mapped > 0 || cand.State.Unevictable > 0:
			return
		case f.account() != ledger.File:
			return
		}
		for _, ch := range f.charges {
			at := above.of(ch.group)
			above.want[at] += ch.bytes
			above.graves[at] = append(above.graves[at], remedy.Grave{ID: groups[ch.group].ID, Bytes: ch.bytes})
		}
	})
	d.Above = above.list(s.Target())
	return d, nil
}

// onItsWay is what a removed cgroup is charged for, of processes that are gone, and loses
// by itself: pages that are in no page table, and in the batch of a processor.
func onItsWay(g *snapshot.CensusGroup, s *remedy.Situation) int64 {
	return max(0, min(g.Anon.Bytes-g.Anon.Mapped, int64(s.CPUs)*snapshot.MaxBatch*s.PageSize))
}

// ancestors finds the living cgroups above removed ones.
type ancestors struct {
	words.Printer
	c    *snapshot.Census
	want map[int]int64 // by ancestor

	shared map[int]int64
	graves map[int][]remedy.Grave
}

// of is the nearest living cgroup above one.
func (a *ancestors) of(group int) int {
	for range 1 << 10 {
		if group <= 0 || !a.c.Groups[group].Dying {
			break
		}
		group = a.c.Groups[group].Parent
	}
	return group
}

func (a *ancestors) list(t *snapshot.Cgroup) []remedy.Ancestor {
	root, ok := strings.CutSuffix(t.Dir, strings.TrimSuffix(t.Path, "/"))
	var list []remedy.Ancestor
	for i, bytes := range a.want {
		row := remedy.Ancestor{Want: bytes, Graves: a.graves[i], Shared: a.shared[i], Cannot: a.Say("no living cgroup is above them")}
		if i > 0 {
			g := &a.c.Groups[i]
			row.Group = remedy.Group{Path: g.Path, Dir: path.Join(root, g.Path), Version: t.Version, ID: g.ID}
			row.Living, row.Cannot = a.living(g.Path), ""
			switch {
			case g.Path == "/":
				row.Cannot = a.Say("a knob of the root is the whole node's")
			case !t.Root() && !t.Hierarchical():
				row.Cannot = a.Say("memory.use_hierarchy is off, so that its knob reaches nobody below it")
			case !ok || g.ID == 0:
				row.Cannot = a.Say("where its directory is is not known")
			}
		}
		list = append(list, row)
	}
	slices.SortFunc(list, func(a, b remedy.Ancestor) int {
		return cmp.Or(cmp.Compare(b.Want, a.Want), cmp.Compare(a.Path, b.Path))
	})
	return list
}

// living are cgroup and those below it that hold file cache.
func (a *ancestors) living(cgroup string) []remedy.Loser {
	var list []remedy.Loser
	for i, in := range ledger.Within(a.c, cgroup, false) {
		g := &a.c.Groups[i]
		if n := g.File.Bytes - max(0, g.Shmem) - max(0, g.File.Unevictable); in && !g.Dying && n > 0 {
			list = append(list, remedy.Loser{Path: g.Path, Most: n})
		}
	}
	slices.SortFunc(list, func(a, b remedy.Loser) int { return cmp.Or(cmp.Compare(b.Most, a.Most), cmp.Compare(a.Path, b.Path)) })
	return list
}

// Release is a plan to release removed cgroups as it is shown.
func Release(w words.Printer, s *snapshot.Snapshot, d *remedy.Decision, window time.Duration) *report.Reclaim {
	r := Reclaim(w, s, d, window)
	c := s.Census.Value
	dead, count, held := removedBelow(s)
	r.Dying = &report.ReclaimDying{Count: count, Bytes: held, Losers: []report.ReclaimLoser{}}
	for _, l := range d.Losers {
		row := report.ReclaimLoser{MostBytes: l.Most, ExpectBytes: l.Expect}
		row.Cgroup, _ = name(l.Path)
		r.Dying.Losers = append(r.Dying.Losers, row)
	}
	var stay []int
	for i := range dead {
		if dead[i] && !slices.Contains(d.Goes, c.Groups[i].ID) {
			stay = append(stay, i)
		}
	}
	r.Dying.Releases = count - len(stay)
	stays(r.Dying, s, stay)
	return r
}

// Released holds a later look against a plan to release removed cgroups: how many of
// those that there were went, and what keeps the rest. before is the census of the plan.
func Released(before, s *snapshot.Snapshot, d *report.ReclaimDying) {
	if whole(s) != nil {
		return
	}
	was, _, _ := removedBelow(before)
	ids := map[uint64]bool{}
	for i, is := range was {
		if is {
			ids[before.Census.Value.Groups[i].ID] = true
		}
	}
	dead, _, _ := removedBelow(s)
	c := s.Census.Value
	var stay []int
	var held int64
	for i, is := range dead {
		if is && ids[c.Groups[i].ID] {
			stay = append(stay, i)
			held += ledger.Held(&c.Groups[i])
		}
	}
	d.Went, d.BytesLeft = ptr(d.Count-len(stay)), &held
	stays(d, s, stay)
}

// stays tells of removed cgroups that are kept, and of those whose memory was handed on.
func stays(d *report.ReclaimDying, s *snapshot.Snapshot, list []int) {
	d.Rest, d.Omitted, _ = dyingRows(s, list)
	var within []bool
	if !s.Target().Root() {
		within = ledger.Within(s.Census.Value, s.Target().Path, false)
	}
	d.Inherited = inherited(s.Census.Value, within)
}

// dyingRows lists removed cgroups, the largest first, with what pins each.
func dyingRows(s *snapshot.Snapshot, list []int) (rows []report.DyingGroup, omitted report.Omitted, sum int64) {
	c := s.Census.Value
	slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(ledger.Held(&c.Groups[b]), ledger.Held(&c.Groups[a])) })
	rows = []report.DyingGroup{}
	pins := &pinned{c: c, names: mounts.New(s.Mounts)}
	pins.index(list[:min(len(list), report.MaxDying)])
	for n, i := range list {
		held := ledger.Held(&c.Groups[i])
		sum += held
		if n >= report.MaxDying {
			omitted.Count++
			omitted.Bytes += held
			continue
		}
		rows = append(rows, dyingGroup(&c.Groups[i], pins.of(i), s.Names))
	}
	return rows, omitted, sum
}

// inherited are living cgroups with memory of removed children; within nil: of all.
func inherited(c *snapshot.Census, within []bool) []report.Charge {
	list := []report.Charge{}
	for i := 1; i < len(c.Groups); i++ {
		if g := &c.Groups[i]; (within == nil || within[i]) && g.Inherited > 0 && !g.Dying {
			row := report.Charge{Bytes: g.Inherited}
			row.Cgroup, _ = name(g.Path)
			list = append(list, row)
		}
	}
	slices.SortStableFunc(list, func(a, b report.Charge) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return list[:min(len(list), report.MaxDying)]
}
