package explain

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
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

// Selection says which rows of a list are wanted, and their order.
type Selection struct {
	Sort      Sort
	Namespace string // of pods; empty: all
	Labels    Selector
}

// Selector is terms that must all hold: KEY=VALUE, KEY!=VALUE, KEY, !KEY. The
// key image stands for the image: its whole name, or that without the registry
// or the tag; * and ? match as in file names.
type Selector []term

type term struct {
	key, value string
	not, has   bool // has: any value will do
}

// ParseSelector reads terms that stand between commas.
func ParseSelector(s string) (Selector, error) {
	var all Selector
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		t := term{key: part, has: true}
		if key, value, ok := strings.Cut(part, "="); ok {
			t = term{key: key, value: strings.TrimPrefix(value, "=")}
			t.key, t.not = strings.CutSuffix(t.key, "!")
		} else {
			t.key, t.not = strings.CutPrefix(part, "!")
		}
		if t.key = strings.TrimSpace(t.key); t.key == "" || strings.ContainsAny(t.key, "!() ") {
			return nil, fmt.Errorf("label selector %.80q: want KEY=VALUE, KEY!=VALUE, KEY or !KEY, with commas between", s)
		}
		t.value = strings.TrimSpace(t.value)
		if _, err := path.Match(t.value, ""); t.key == "image" && err != nil {
			return nil, fmt.Errorf("label selector %.80q: %w", s, err)
		}
		all = append(all, t)
	}
	return all, nil
}

func (sel Selector) match(t *report.Target) bool {
	for _, term := range sel {
		value, ok := t.Labels[term.key]
		held := ok && (term.has || value == term.value)
		if term.key == "image" {
			held = t.Image != "" && (term.has || matchImage(term.value, t.Image))
		}
		if held == term.not {
			return false
		}
	}
	return true
}

func matchImage(pattern, image string) bool {
	forms := []string{image}
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		forms = append(forms, image[:i])
	}
	for _, f := range forms {
		for {
			if ok, _ := path.Match(pattern, f); ok {
				return true
			}
			_, rest, more := strings.Cut(f, "/")
			if !more {
				break
			}
			f = rest
		}
	}
	return false
}

func (sel *Selection) wants(t *report.Target) bool {
	return (sel.Namespace == "" || t.Namespace == sel.Namespace) && sel.Labels.match(t)
}

// List ranks the cgroups of snaps, which were read on the host of base. Those
// whose usage could not be read are listed in notSeen.
func List(p words.Printer, base *snapshot.Snapshot, snaps []*snapshot.Snapshot, complete bool, sel Selection) *report.List {
	l := &report.List{
		Schema: report.ListSchema, Lang: p.Lang(), Generated: generated(base), Host: host(base), Scope: "all",
		Containers: []report.Listed{}, NotSeen: []report.NotSeen{},
	}
	missing := &missingList{Printer: p, rows: l.NotSeen}
	if !complete {
		missing.add("", "the cgroup tree", snapshot.Failed, p.Say("not all of its directories could be listed"), p.Say("the other cgroups"))
	}
	missing.census(base)
	cold := coldness(base)
	containers, above := false, ledger.Shared{}
	for _, s := range snaps {
		t := target(s)
		if containers = containers || isContainer(t); !sel.wants(&t) {
			continue
		}
		w, err := above.Explain(s)
		if err != nil {
			missing.add("containers", s.Target().Usage.Source, s.Target().Usage.State, err.Error(), p.Say("cgroup %s", s.Target().Path))
			continue
		}
		c := largest(w.Ledger)
		row := report.Listed{
			Target: t, Numbers: numbers(s, w), Risk: risk(p, w, true),
			Largest: report.Largest{Account: c.name, Bytes: c.bytes}, ColdMaxBytes: coldMax(w.Ledger),
		}
		if b, ok := cold[s.Target().Path]; ok {
			row.ColdMinBytes, row.ColdMaxBytes = &b.Least, &b.Most
		}
		l.Containers = append(l.Containers, row)
	}
	slices.SortStableFunc(l.Containers, func(a, b report.Listed) int {
		byName := cmp.Or(cmp.Compare(called(a.Target), called(b.Target)), cmp.Compare(a.Target.Cgroup, b.Target.Cgroup))
		if sel.Sort == ByName {
			return byName
		}
		return cmp.Or(cmp.Compare(rank(b, sel.Sort), rank(a, sel.Sort)), cmp.Compare(a.Target.Cgroup, b.Target.Cgroup))
	})
	missing.hostNulls(base, l.Generated, l.Host)
	missing.listNulls(l.Containers)
	missing.names(base, containers || sel.Namespace != "" || len(sel.Labels) > 0)
	l.NotSeen = missing.rows
	return l
}

// coldness is what a census tells of each cgroup; nothing where there is none.
func coldness(base *snapshot.Snapshot) map[string]ledger.Bounds {
	if c, ok := base.Census.Get(); ok && c != nil {
		return ledger.Cold(c)
	}
	return nil
}

// coldMax bounds the file cache that is inactive, clean and not mapped: memory.stat
// tells these three apart, not how they overlap. What is mapped may be shared memory.
func coldMax(l *ledger.Ledger) *int64 {
	bytes := map[string]int64{}
	var st map[string]int64
	for _, a := range l.Accounts {
		bytes[a.Path] = a.Bytes
		if a.Path == ledger.File {
			st = a.State
		}
	}
	cold, ok := st["inactive"]
	if !ok {
		return nil
	}
	file := bytes[ledger.File]
	cold = min(cold, file-st["dirty"]-st["writeback"], file+bytes[ledger.Shmem]-st["mapped"])
	return ptr(max(cold, 0))
}

// called is what a row is called: its name, or its path where it has none.
func called(t report.Target) string { return cmp.Or(t.Name, t.Cgroup) }

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
