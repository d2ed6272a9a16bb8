package advisory

import (
	"fmt"
	"strconv"

	"github.com/memwhy/memwhy/internal/kversion"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// predicates look for signs in a snapshot, by advisory. An advisory without one
// is judged by version alone.
var predicates = map[string]func(*Facts) (outcome, []Evidence){
	"el7-kmem-slab-leak":          slabLeak,
	"el7-memcg-id-exhaustion":     idExhaustion,
	"el7-proc-cgroups-hides-leak": hiddenLeak,
	"el7-kmem-not-reclaimable":    notReclaimable,
	"el7-nokmem-param-ignored":    nokmemIgnored,
	"el7-1160-total-events-wrong": wrongTotals,
	"runc-kmem-default-on":        kmemDefault,
	"nokmem-side-effects":         nokmemEffects,
	"pagecache-pins-dying-memcg":  dying,
	"slab-pins-dying-memcg":       dyingInRange,
	"percpu-growth-ubuntu-5.15":   percpu,
}

// proved appends how accounting was found to be off, and by what.
func (f *Facts) proved() []Evidence {
	e := append([]Evidence{}, f.kmemOn.evidence...)
	if given, _ := f.nokmem(); given {
		b := f.bootOption()
		b.Statement += f.Say(" and in effect")
		e = append(e, b)
	}
	return e
}

func slabLeak(f *Facts) (outcome, []Evidence) {
	if !f.old() {
		return nothing, nil
	}
	e := append([]Evidence{}, f.dead.evidence...)
	if n, ok := f.kmemCaches(); ok {
		e = append(e, n)
	}
	switch {
	case f.dead.leak():
		return biting, append(e, f.kmemOn.evidence...)
	case f.kmemOn.off:
		return held, append(e, f.proved()...)
	case !f.dead.known:
		e = append(e, f.notCounted())
	}
	return nothing, append(e, f.kmemOn.evidence...)
}

func (f *Facts) kmemCaches() (Evidence, bool) {
	for _, c := range f.s.Node.Slabs.Value {
		if c.Name == "kmem_cache" && f.s.Node.Slabs.State == snapshot.Present {
			return Evidence{
				f.Say("every clone that is no other name of one is an active object of kmem_cache, as every cache of the node is"), f.s.Node.Slabs.Source,
				fmt.Sprintf("kmem_cache: %d active objects", c.ActiveObjects),
			}, true
		}
	}
	return Evidence{}, false
}

func (f *Facts) notCounted() Evidence {
	return Evidence{f.Say("removed cgroups could not be counted"), f.s.Kmem.Clones.Source, f.s.Kmem.Clones.Err}
}

func idExhaustion(f *Facts) (outcome, []Evidence) {
	if !f.old() {
		return nothing, nil
	}
	ids := f.IDs()
	e := append(append([]Evidence{}, f.dead.evidence...), ids.Evidence...)
	switch {
	case !ids.Known:
		return hidden, append(e, f.notCounted())
	case f.dead.leak() || ids.Used > MaxIDs/2:
		return biting, e
	case f.kmemOn.off:
		return held, append(e, f.proved()...)
	case !f.dead.known:
		e = append(e, f.notCounted())
	}
	return nothing, e
}

func hiddenLeak(f *Facts) (outcome, []Evidence) {
	n, e, ok := f.counted()
	if !ok || !f.old() || !f.dead.leak() {
		return nothing, nil
	}
	if live, all := f.listed(); all && n-live >= f.dead.seen/2 {
		return nothing, nil
	}
	e.Statement = f.Say("num_cgroups says %d, as many as live, although %s still own slab: it hides the leak", n, f.Count(f.dead.seen, "1 removed cgroup", "%d removed cgroups"))
	return biting, append([]Evidence{e}, f.dead.evidence...)
}

// notReclaimable looks for containers whose limit is filled by what the limit
// cannot reclaim.
func notReclaimable(f *Facts) (outcome, []Evidence) {
	if !f.old() {
		return nothing, nil
	}
	var e []Evidence
	for _, p := range f.probes() {
		limit, ok1 := p.Limit.Get()
		kmem, ok2 := p.Kmem.Get()
		if ok1 && ok2 && limit > 0 && limit < size.Unlimited && size.Plausible(kmem) && kmem >= limit/10*3 && len(e) < 5 {
			e = append(e, Evidence{
				f.Say("kernel memory takes %s of the limit %s of this container, and the limit cannot reclaim it", size.Percent(kmem, limit), size.Text(limit)),
				p.Kmem.Source, strconv.FormatInt(kmem, 10),
			})
		}
		if n, ok := p.KmemFail.Get(); ok && n > 0 && len(e) < 5 {
			e = append(e, Evidence{f.Say("charges of kernel memory failed: the program got ENOMEM"), p.KmemFail.Source, strconv.FormatInt(n, 10)})
		}
	}
	switch {
	case len(e) > 0:
		return biting, e
	case f.kmemOn.off:
		return held, f.proved()
	}
	return nothing, f.kmemOn.evidence
}

// probes are the containers looked at, and the target, be it what it may.
func (f *Facts) probes() []snapshot.KmemProbe {
	list := f.s.Kmem.Probes
	if len(f.s.Path) == 0 || f.s.Path[0].Version != snapshot.V1 {
		return list
	}
	t := &f.s.Path[0]
	for _, p := range list {
		if p.Cgroup == t.Path {
			return list
		}
	}
	own := snapshot.KmemProbe{Cgroup: t.Path, Limit: t.Limit, Kmem: t.KmemUsage, KmemFail: t.KmemFailcnt}
	if n, ok := t.Descendants.Get(); ok && n == 0 {
		own.Stat = t.Stat
	}
	return append([]snapshot.KmemProbe{own}, list...)
}

func nokmemIgnored(f *Facts) (outcome, []Evidence) {
	given, known := f.nokmem()
	switch {
	case !known:
		return hidden, []Evidence{f.bootOption()}
	case !given:
		return gone, []Evidence{f.bootOption()}
	case !f.old():
		return nothing, []Evidence{f.bootOption()}
	case f.kmemOn.off:
		return gone, f.proved()
	case f.kmemOn.on:
		return biting, append([]Evidence{f.bootOption()}, f.kmemOn.evidence...)
	}
	return hidden, append([]Evidence{f.bootOption()}, f.kmemOn.evidence...)
}

// wrongTotals compares the totals of cgroups without children with their own
// counters: equal, but for events in between.
func wrongTotals(f *Facts) (outcome, []Evidence) {
	if f.kernel.Vendor != kversion.EL7 {
		return nothing, nil
	}
	for _, p := range f.probes() {
		st, ok := p.Stat.Get()
		own, ok1 := st.Get("pgfault")
		total, ok2 := st.Get("total_pgfault")
		if ok && ok1 && ok2 && own > 100 && total < own-own/16 {
			return biting, []Evidence{{
				f.Say("total_pgfault is %d, less than the cgroup's own %d", total, own), p.Stat.Source,
				fmt.Sprintf("pgfault %d, total_pgfault %d", own, total),
			}}
		}
	}
	return nothing, nil
}

func kmemDefault(f *Facts) (outcome, []Evidence) {
	if !f.old() {
		return nothing, nil
	}
	switch {
	case f.kmemOn.on:
		return biting, f.kmemOn.evidence
	case f.kmemOn.off:
		return held, f.proved()
	}
	return hidden, f.kmemOn.evidence
}

func nokmemEffects(f *Facts) (outcome, []Evidence) {
	given, known := f.nokmem()
	switch {
	case !known:
		return hidden, []Evidence{f.bootOption()}
	case !given:
		return gone, []Evidence{f.bootOption()}
	case f.kmemOn.off:
		return biting, f.proved()
	case f.kmemOn.on: // the option is without effect
		return gone, append([]Evidence{f.bootOption()}, f.kmemOn.evidence...)
	}
	return nothing, []Evidence{f.bootOption()}
}

// manyDying is from how many dying cgroups on they are a matter.
const manyDying = 1000

// dyingGroups is how many removed cgroups the kernel still keeps, where it
// counts them.
func (f *Facts) dyingGroups() (int64, Evidence, bool) {
	root := f.s.Kmem.Root
	for _, key := range []string{"nr_dying_subsys_memory", "nr_dying_descendants"} {
		if n, ok := root.Value.Get(key); ok && root.State == snapshot.Present {
			return n, Evidence{Source: root.Source, Value: fmt.Sprintf("%s %d", key, n)}, true
		}
	}
	n, e, ok := f.counted()
	live, all := f.listed()
	if !ok || !all || f.old() || f.cgroup() != snapshot.V1 {
		return 0, e, false
	}
	e.Value += fmt.Sprintf(", %d directories", live)
	return n - live, e, true
}

func dying(f *Facts) (outcome, []Evidence) {
	n, e, ok := f.dyingGroups()
	if !ok {
		return nothing, nil
	}
	e.Statement = f.Say("the kernel still keeps %s", f.Count(n, "1 removed cgroup", "%d removed cgroups"))
	if n > manyDying {
		return biting, []Evidence{e}
	}
	return nothing, []Evidence{e}
}

// dyingInRange is dying for a pin that is one of several: elsewhere it is
// another one.
func dyingInRange(f *Facts) (outcome, []Evidence) {
	a, err := Load("slab-pins-dying-memcg")
	if err != nil {
		return nothing, nil
	}
	if effect, _ := f.version(a); effect != affected || !f.known {
		return nothing, nil
	}
	return dying(f)
}

func percpu(f *Facts) (outcome, []Evidence) {
	if f.kernel.Vendor != kversion.Ubuntu && f.kernel.Vendor != kversion.EL9 {
		return nothing, nil
	}
	mem := f.s.Node.Meminfo
	n, ok1 := mem.Value.Get("Percpu")
	total, ok2 := mem.Value.Get("MemTotal")
	if mem.State != snapshot.Present || !ok1 || !ok2 {
		return nothing, nil
	}
	e := Evidence{f.Say("per-CPU memory of the node"), mem.Source, "Percpu " + size.Text(n)}
	if dead, _, ok := f.dyingGroups(); n > max(1<<30, total/100) && ok && dead > manyDying {
		return biting, []Evidence{e}
	}
	return nothing, []Evidence{e}
}
