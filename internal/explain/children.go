package explain

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/says"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// children tells what a pod consists of: its containers, its sandbox, and what
// is charged to the pod itself. They sum to its usage.
func children(s *snapshot.Snapshot, w *ledger.Whole, missing *missingList) []report.Child {
	all, ok := s.Children.Get()
	if !ok {
		source(missing, s.Children, missing.Say("the containers of the pod"))
		return nil
	}
	rest := report.Child{Kind: "remainder", UsageBytes: w.Usage, Accounts: classes(w.Ledger)}
	rest.Cgroup, rest.CgroupBytes = name(s.Target().Path)
	rest.Name = missing.Say("the pod itself")
	rows := []report.Child{}
	for i := range all {
		c := &all[i]
		one := *s
		one.Path = append([]snapshot.Cgroup{*c}, s.Path...)
		own, err := ledger.Explain(&one)
		if err != nil {
			missing.add("children", c.Usage.Source, c.Usage.State, err.Error(), missing.Say("what %s holds; it is counted as the pod's own", path.Base(c.Path)))
			continue
		}
		row := child(c, own, s.Names)
		rest.UsageBytes -= row.UsageBytes
		for class, bytes := range row.Accounts {
			rest.Accounts[class] -= bytes
		}
		rows = append(rows, row)
	}
	rest.Largest = largestOf(rest.Accounts)
	rows = append(rows, rest)
	slices.SortStableFunc(rows, func(a, b report.Child) int { return cmp.Compare(b.UsageBytes, a.UsageBytes) })
	return rows
}

func child(c *snapshot.Cgroup, own *ledger.Whole, names *snapshot.Names) report.Child {
	w := identity.Of(c.Path, names)
	row := report.Child{
		Kind: kind(&w), Name: text(cmp.Or(w.Title, w.ID, path.Base(c.Path))), ID: w.ID, UsageBytes: own.Usage,
		Accounts: classes(own.Ledger), PIDCount: len(c.Procs.Value),
	}
	if w.Named != nil && w.Named.Name != "" && w.Kind == identity.Container && !w.Sandbox() {
		row.Name = text(w.Named.Name)
	} else if w.Sandbox() {
		row.Name = "sandbox"
	}
	row.Cgroup, row.CgroupBytes = name(c.Path)
	if c.Stat.State == snapshot.Present {
		ws, _, _ := says.WorkingSet(c, own.Usage)
		row.WorkingSetBytes = &ws
	}
	if own.ReclaimKnown {
		row.UnreclaimableBytes = ptr(own.UnreclaimableMax)
	}
	if n, ok := c.Limit.Get(); ok && n < size.Unlimited {
		row.LimitBytes = &n
	}
	row.Largest = largestOf(row.Accounts)
	return row
}

// classes sums the accounts of a ledger by the first part of their paths.
func classes(l *ledger.Ledger) map[string]int64 {
	sums := map[string]int64{}
	for _, a := range l.Accounts {
		class, _, _ := strings.Cut(a.Path, "/")
		sums[class] += a.Bytes
	}
	return sums
}

func largestOf(classes map[string]int64) report.Largest {
	var best report.Largest
	for class, bytes := range classes {
		if best.Account == "" || bytes > best.Bytes || bytes == best.Bytes && class < best.Account {
			best = report.Largest{Account: class, Bytes: bytes}
		}
	}
	return best
}
