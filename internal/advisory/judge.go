package advisory

import (
	"cmp"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/kversion"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Verdict is what an advisory means for a node.
type Verdict string

// The verdicts, what matters most first.
const (
	VersionAndEvidence     Verdict = "version-and-evidence"
	EvidenceDespiteVersion Verdict = "evidence-despite-version"
	Mitigated              Verdict = "mitigated"
	VersionOnly            Verdict = "version-only"
	Unknown                Verdict = "unknown"
	NotAffected            Verdict = "not-affected"
)

// Verdicts are all of them, in that order.
func Verdicts() []Verdict {
	return []Verdict{VersionAndEvidence, EvidenceDespiteVersion, Mitigated, VersionOnly, Unknown, NotAffected}
}

// Evidence is one statement, where the user can read it again, and what stood
// there.
type Evidence struct{ Statement, Source, Value string }

// Judgement is one advisory applied to a node.
type Judgement struct {
	*Advisory
	Verdict  Verdict
	Evidence []Evidence
}

// Bites reports that something is seen to be wrong.
func (j Judgement) Bites() bool {
	return j.Verdict == VersionAndEvidence || j.Verdict == EvidenceDespiteVersion
}

// Judge applies advisories to the snapshot; what matters most comes first. The
// only error is a catalogue that its tests would have refused.
func (f *Facts) Judge(ids []string) ([]Judgement, error) {
	list := make([]Judgement, 0, len(ids))
	for _, id := range ids {
		a, err := Load(id)
		if err != nil {
			return nil, err
		}
		list = append(list, f.judge(a))
	}
	order := Verdicts()
	slices.SortStableFunc(list, func(x, y Judgement) int {
		return cmp.Or(
			cmp.Compare(slices.Index(order, x.Verdict), slices.Index(order, y.Verdict)),
			cmp.Compare(slices.Index(classes, x.Class), slices.Index(classes, y.Class)),
		)
	})
	return list, nil
}

// story are the three of the product's origin: what cannot be said of them is
// told too.
var story = []string{"el7-kmem-slab-leak", "el7-memcg-id-exhaustion", "runc-kmem-default-on"}

// ForTarget are the advisories that an explanation of one target tells: those
// with evidence, and of the three of the origin story also what is mitigated or
// unknown.
func (f *Facts) ForTarget() ([]Judgement, error) {
	ids := []string{}
	for _, id := range IDs() {
		if predicates[id] != nil {
			ids = append(ids, id)
		}
	}
	all, err := f.Judge(ids)
	return slices.DeleteFunc(all, func(j Judgement) bool {
		told := slices.Contains(story, j.ID) && (j.Verdict == Mitigated || j.Verdict == Unknown)
		return !j.Bites() && !told
	}), err
}

// outcome is what a predicate found.
type outcome int

const (
	nothing outcome = iota // no sign of it
	biting
	held   // what it needs is proved to be off
	gone   // what it is about is not there at all
	hidden // it cannot be told
)

// release is where the kernel says what it is.
const release = "/proc/sys/kernel/osrelease"

func (f *Facts) judge(a *Advisory) Judgement {
	j := Judgement{Advisory: a}
	if e, lacks := f.lacks(a.Needs); lacks {
		j.Verdict, j.Evidence = NotAffected, []Evidence{e}
		return j
	}
	effect, e := f.version(a)
	j.Evidence = []Evidence{e}
	found := nothing
	if p := predicates[a.ID]; p != nil {
		var more []Evidence
		found, more = p(f)
		j.Evidence = append(j.Evidence, more...)
	}
	j.Verdict = verdict(effect, found)
	return j
}

func verdict(effect string, found outcome) Verdict {
	switch {
	case found == gone:
		return NotAffected
	case found == biting && (effect == affected || effect == mitigated):
		return VersionAndEvidence
	case found == biting:
		return EvidenceDespiteVersion
	case effect == free:
		return NotAffected
	case found == held || effect == mitigated:
		return Mitigated
	case found == hidden || effect == unknown:
		return Unknown
	}
	return VersionOnly
}

// lacks reports a need that the node is known not to meet.
func (f *Facts) lacks(n Needs) (Evidence, bool) {
	if v := f.cgroup(); n.Cgroup != "" && v != 0 && v.String() != n.Cgroup {
		return Evidence{f.Say("the memory controller is of cgroup %s; this is about %s", v.String(), n.Cgroup), "/proc/self/mountinfo", v.String()}, true
	}
	r := f.s.Host.MGLRU
	if on, ok := r.Get(); n.LRU == "mglru" && (r.State == snapshot.Absent || ok && !on) {
		return Evidence{f.Say("the multi-generational LRU is not in charge"), r.Source, cmp.Or(r.Err, "off")}, true
	}
	return Evidence{}, false
}

func (f *Facts) cgroup() snapshot.Version {
	if len(f.s.Path) > 0 {
		return f.s.Path[0].Version
	}
	return f.s.Kmem.Version
}

// version says what the release of the kernel means.
func (f *Facts) version(a *Advisory) (effect string, e Evidence) {
	e = Evidence{Source: cmp.Or(f.source, release), Value: f.release}
	if a.Unmatched != "" {
		e.Statement = f.Say("not a matter of the kernel's version: %s", f.Of(a.Unmatched))
		return unknown, e
	}
	if !f.known {
		e.Statement = cmp.Or(f.noRelease, f.Say("this is no release of a kernel that memwhy knows"))
		return unknown, e
	}
	for _, r := range a.Ranges {
		if r.holds(f.kernel) {
			e.Statement = f.Say("in the range %s%s", r.String(), map[string]string{
				affected: f.Say(", which has it"), mitigated: f.Say(", where it is less"), free: f.Say(", which is without it"), unknown: f.Say(", where it is not known"),
			}[r.Effect])
			if r.Because != "" {
				e.Statement = f.Say("%s: %s", e.Statement, f.Of(r.Because))
			}
			return r.Effect, e
		}
	}
	return f.outside(a, e)
}

// outside is about a kernel in none of the ranges.
func (f *Facts) outside(a *Advisory, e Evidence) (string, Evidence) {
	k := f.kernel
	own, upstream, latest := false, false, kversion.Version{}
	for _, r := range a.Ranges {
		upstream = upstream || r.Vendor == string(kversion.Upstream) && r.Effect == affected && r.holds(k.Origin())
		own = own || kversion.Vendor(r.Vendor) == k.Vendor
		if m, ok := kversion.Mark(kversion.Upstream, r.Fixed); ok && r.Vendor == string(kversion.Upstream) && m.Compare(latest) > 0 {
			latest = m
		}
	}
	switch {
	case k.Vendor == kversion.Custom:
		e.Statement = f.Say("a kernel that somebody built: its version does not say what is in it")
		return unknown, e
	case a.Only || own && !upstream || k.Vendor == kversion.Upstream:
		e.Statement = f.Say("outside of the ranges that have it: %s", f.ranges(a))
		return free, e
	case latest.Base != [3]int{} && k.Origin().Compare(latest) >= 0:
		e.Statement = f.Say("based on a later kernel than the first without it, %s", lastFixed(a))
		return free, e
	}
	e.Statement = f.Say("a kernel of %s, of which it is not known: upstream it is %s", string(k.Vendor), f.ranges(a))
	return unknown, e
}

func (f *Facts) ranges(a *Advisory) string {
	var out []string
	for _, r := range a.Ranges {
		if r.Effect == affected || r.Effect == mitigated {
			out = append(out, r.String())
		}
	}
	return cmp.Or(strings.Join(out[:min(len(out), 3)], ", "), f.Say("not known"))
}

func lastFixed(a *Advisory) string {
	last := ""
	for _, r := range a.Ranges {
		if r.Vendor == string(kversion.Upstream) && r.Effect != free {
			last = cmp.Or(r.Fixed, last)
		}
	}
	return last
}
