package explain

import (
	"cmp"
	"slices"

	"github.com/memwhy/memwhy/internal/advisory"
	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/mounts"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// countedDying lists what a census that knows every cgroup found.
func countedDying(d *report.Dying, s *snapshot.Snapshot) {
	c := s.Census.Value
	var list []int
	var taken, dead int64
	known := false // of the groups that came or went between the two walks it is not
	for i := 1; i < len(c.Groups); i++ {
		g := &c.Groups[i]
		known = known || g.MemoryID != snapshot.Unknown
		if g.MemoryID > 0 {
			taken++
			if g.Dying {
				dead++
			}
		}
		if g.Dying {
			list = append(list, i)
		}
	}
	if known {
		d.IDs.Taken, d.IDs.Live, d.IDs.Dead, d.IDs.How = &taken, ptr(taken-dead), &dead, "census"
	}
	var held int64
	d.Groups, d.Omitted, held = dyingRows(s, list)
	d.Count, d.Bytes, d.How = ptr(int64(len(list))), &held, "census"
	d.Inherited = inherited(c, nil)
}

func dyingGroup(g *snapshot.CensusGroup, pins []report.Pin, names *snapshot.Names) report.DyingGroup {
	id := identity.Of(g.Path, names)
	row := report.DyingGroup{ID: id.ID, Runtime: id.Runtime, PodUID: id.PodUID, Bytes: ledger.Held(g), Accounts: heldAccounts(g), PinnedBy: pins}
	row.Cgroup, row.CgroupBytes = name(g.Path)
	if id.Named != nil {
		row.Name, _ = name(id.Title)
	}
	if g.Usage != snapshot.Unknown {
		row.UsageBytes = &g.Usage
	}
	if g.MemoryID != snapshot.Unknown {
		row.MemoryID = &g.MemoryID
	}
	return row
}

// heldAccounts are the classes of what a group alone is charged for.
func heldAccounts(g *snapshot.CensusGroup) map[string]int64 {
	m := map[string]int64{}
	for key, n := range map[string]int64{
		"anon": g.Anon.Bytes + g.KSM, ledger.File: g.File.Bytes - g.Shmem, ledger.Shmem: g.Shmem, ledger.Slab: g.Slab, ledger.PageTables: g.Tables,
		ledger.KernelOther: g.Kernel, ledger.HugeTLB: g.Hugetlb,
	} {
		if n > 0 {
			m[key] = n
		}
	}
	return m
}

// pinned finds what holds removed groups.
type pinned struct {
	c     *snapshot.Census
	names *mounts.Names
	files map[int][]int // of a group, in Files
	slabs map[int][]int
}

// index goes through the census once for all of the groups.
func (p *pinned) index(groups []int) {
	p.files, p.slabs = map[int][]int{}, map[int][]int{}
	for _, g := range groups {
		p.files[g] = nil
	}
	for i := range p.c.Files {
		if list, ok := p.files[p.c.Files[i].Group]; ok {
			p.files[p.c.Files[i].Group] = append(list, i)
		}
	}
	for i := range p.c.Slabs {
		if g := p.c.Slabs[i].Group; p.c.Slabs[i].Bytes > 0 {
			if _, ok := p.files[g]; ok {
				p.slabs[g] = append(p.slabs[g], i)
			}
		}
	}
}

// of are the largest pins of a group.
func (p *pinned) of(group int) []report.Pin {
	n := &namer{c: p.c, names: p.names}
	files := p.files[group]
	slices.SortStableFunc(files, func(a, b int) int { return cmp.Compare(p.c.Files[b].Bytes, p.c.Files[a].Bytes) })
	pins := []report.Pin{}
	for _, i := range files[:min(len(files), report.MaxPins)] {
		row := &p.c.Files[i]
		f := cached{sum: *row.PageState, charges: []charge{{group, row.Bytes}}}
		if row.Inode >= 0 {
			f.in = &p.c.Inodes[row.Inode]
		}
		h := n.holder(&f, f.account(), nil)
		pins = append(pins, report.Pin{Kind: "file", Name: h.Name, Path: h.Path, PathBytes: h.PathBytes, Deleted: h.Deleted, Bytes: h.Bytes})
	}
	for _, i := range p.slabs[group] {
		s := &p.c.Slabs[i]
		pin := report.Pin{Kind: "slab-cache", Bytes: s.Bytes}
		pin.Name, _ = name(s.Cache)
		pins = append(pins, pin)
	}
	slices.SortStableFunc(pins, func(a, b report.Pin) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return pins[:min(len(pins), report.MaxPins)]
}

// toldDying is what the kernel's own files say of their number.
func toldDying(p words.Printer, d *report.Dying, look *advisory.Facts) {
	var evidence []advisory.Evidence
	if look.Old() {
		if removed := look.Removed(); removed.Known {
			d.Count, d.How = &removed.Seen, "at-least"
			if removed.ByIndex > removed.Seen {
				d.Count, d.How = &removed.ByIndex, "about"
			}
			evidence = append(evidence, removed.Evidence...)
		}
		if bytes, e, known := look.Pinned(); known {
			d.Bytes = &bytes
			evidence = append(evidence, e...)
		}
	} else if n, e, known := look.Dying(); known {
		d.Count, d.How = &n, "counter"
		e.Statement = p.Say("removed cgroups that the kernel keeps")
		evidence = append(evidence, e)
	}
	if ids := look.IDs(); ids.Known {
		d.IDs.Taken, d.IDs.Live, d.IDs.Dead, d.IDs.How = &ids.Used, &ids.Live, &ids.Dead, "at-least"
		evidence = append(evidence, ids.Evidence...)
	}
	for _, e := range evidence {
		row := report.Evidence{}
		row.Statement, _ = name(e.Statement)
		row.Source, _ = name(e.Source)
		row.Value, _ = name(e.Value)
		d.Evidence = append(d.Evidence, row)
	}
}

func (l *missingList) dying(s *snapshot.Snapshot, r *report.Node) {
	d := &r.Dying
	census := snapshot.Reading[int]{State: s.Census.State, Source: cmp.Or(s.Census.Source, snapshot.CensusSource), Err: s.Census.Err}
	null(l, "dying.count", d.Count == nil, census, "", l.Say("how many removed cgroups the kernel keeps"))
	null(l, "dying.bytes", d.Bytes == nil, census, "", l.Say("what they still hold, and which files and slab caches keep them"))
	for _, id := range []struct {
		key string
		n   *int64
	}{{"taken", d.IDs.Taken}, {"live", d.IDs.Live}, {"dead", d.IDs.Dead}} {
		null(l, "dying.ids."+id.key, id.n == nil, census, l.Say("this kernel keeps them elsewhere"), l.Say("how many of the 65534 ids are taken"))
	}
	for i := range d.Groups {
		at := "dying.groups[]."
		null(l, at+"usageBytes", d.Groups[i].UsageBytes == nil, census, l.Say("the counter of a removed cgroup is stale from kernel 7.1 on"), l.Say("what it is charged for in advance"))
		null(l, at+"memoryId", d.Groups[i].MemoryID == nil, census, l.Say("this kernel keeps it elsewhere"), l.Say("whether it still has its id"))
	}
	if s.Census.State != snapshot.Present && s.Census.Err != snapshot.CensusOff && (d.Bytes != nil || d.Count != nil) {
		l.add("", census.Source, census.State, census.Err, l.Say("the name of each removed cgroup, and what keeps it"))
	}
}
