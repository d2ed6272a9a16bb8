package diagnose

import (
	"github.com/memwhy/memwhy/internal/advisory"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
)

// From how many removed cgroups that old kernels keep on they are how grave.
// Below the first they may just be on their way out.
const (
	leakWarning  = 100
	leakCritical = 10_000
)

// slabLeak is the advisory that is the cause of what cgroup.dying, cgroup.ids and
// kmem.accounting find on el7.
const slabLeak = "el7-kmem-slab-leak"

func (f *facts) bites(id string) bool {
	_, ok := f.biting(id)
	return ok
}

func (f *facts) biting(id string) (advisory.Judgement, bool) {
	for _, j := range f.judged {
		if j.ID == id && j.Bites() {
			return j, true
		}
	}
	return advisory.Judgement{}, false
}

// leakPart is the cause to be part of, where the leak is seen.
func (f *facts) leakPart() string {
	if f.bites(slabLeak) {
		return advisoryCode + slabLeak
	}
	return ""
}

// leakSeverity: the dead of a few pods that just ended are fewer than the living.
func (f *facts) leakSeverity(r advisory.Removed) string {
	live := f.node.IDs()
	switch n := max(r.Seen, r.ByIndex); {
	case n >= leakCritical:
		return critical
	case n >= leakWarning, r.Leak && live.Known && n > live.Live:
		return warning
	case r.Leak:
		return notice
	}
	return info
}

// removedText counts them in words: the names that were seen, and the better
// lower bound.
func (f *facts) removedText(r advisory.Removed) string {
	if r.ByIndex > r.Seen {
		return f.Say("%d removed cgroups, by the largest index rather %d,", r.Seen, r.ByIndex)
	}
	return f.Count(r.Seen, "1 removed cgroup", "%d removed cgroups")
}

// pinned is what they are still charged, where directories tell.
func (f *facts) pinned() (*int64, []report.Evidence) {
	n, e, known := f.node.Pinned()
	if !known || n == 0 { // without a rest nothing is proved
		return nil, nil
	}
	return &n, evidence(e)
}

func (f *facts) holding(n *int64) string {
	if n == nil {
		return ""
	}
	return f.Say(" and hold at least %s of kernel memory", size.Text(*n))
}
