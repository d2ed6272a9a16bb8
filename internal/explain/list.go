package explain

import (
	"cmp"
	"slices"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Sort orders a list.
type Sort string

// The orders, all but by name with the largest first.
const (
	ByUsage         Sort = "usage"
	ByWorkingSet    Sort = "working_set"
	ByUnreclaimable Sort = "unreclaimable"
	ByRisk          Sort = "risk" // unreclaimable against the deciding limit
	ByName          Sort = "name"
)

// Sorts lists the orders, the default first.
func Sorts() []Sort { return []Sort{ByUnreclaimable, ByUsage, ByWorkingSet, ByRisk, ByName} }

// List ranks the cgroups of snaps, which were read on the host of base. Those
// whose usage could not be read are listed in notSeen.
func List(base *snapshot.Snapshot, snaps []*snapshot.Snapshot, complete bool, order Sort) *report.List {
	l := &report.List{
		Schema: report.ListSchema, Generated: generated(base), Host: host(base),
		Containers: []report.Listed{}, NotSeen: []report.NotSeen{},
	}
	missing := &missingList{rows: l.NotSeen}
	if !complete {
		missing.add("", "the cgroup tree", snapshot.Failed, "not all of its directories could be listed", "the other cgroups")
	}
	for _, s := range snaps {
		w, err := ledger.Explain(s)
		if err != nil {
			missing.add("containers", s.Target().Usage.Source, s.Target().Usage.State, err.Error(), "cgroup "+s.Target().Path)
			continue
		}
		c := largest(w.Ledger)
		l.Containers = append(l.Containers, report.Listed{
			Target: target(s), Numbers: numbers(s, w), Risk: risk(w, true),
			Largest: report.Largest{Account: c.name, Bytes: c.bytes},
		})
	}
	slices.SortStableFunc(l.Containers, func(a, b report.Listed) int {
		if order == ByName {
			return cmp.Compare(a.Target.Cgroup, b.Target.Cgroup)
		}
		return cmp.Or(cmp.Compare(rank(b, order), rank(a, order)), cmp.Compare(a.Target.Cgroup, b.Target.Cgroup))
	})
	missing.hostNulls(base, l.Generated, l.Host)
	missing.listNulls(l.Containers)
	l.NotSeen = missing.rows
	return l
}

// rank is what a row is ordered by. Unknown numbers come last.
func rank(r report.Listed, order Sort) float64 {
	n := r.Numbers
	pick := map[Sort]*int64{ByUsage: &n.UsageBytes, ByWorkingSet: n.WorkingSetBytes, ByUnreclaimable: n.UnreclaimableBytes}[order]
	if order == ByRisk {
		if n.LimitBytes == nil || r.Risk.MarginBytes == nil {
			return -1
		}
		return 1 - float64(*r.Risk.MarginBytes)/float64(max(*n.LimitBytes, 1))
	}
	if pick == nil {
		return -1
	}
	return float64(*pick)
}
