package advisory

import (
	"fmt"
	"path"
	"strconv"

	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Removed are the removed cgroups that an old kernel's slab caches keep.
type Removed struct {
	Known    bool
	Leak     bool  // more than are on their way out
	Seen     int64 // at least so many
	ByIndex  int64 // rather so many, by the largest index; 0 without
	Exact    bool  // by comparing names, not by reckoning
	Evidence []Evidence
}

// Removed counts them.
func (f *Facts) Removed() Removed {
	d := f.dead
	_, listed := f.listed()
	return Removed{
		Known: d.known, Leak: d.leak(), Seen: d.seen, ByIndex: d.byIndex, Evidence: d.evidence,
		Exact: listed && f.s.Kmem.Clones.State == snapshot.Present,
	}
}

// Old reports an el7 kernel, or one that may be.
func (f *Facts) Old() bool { return f.old() }

// Accounting says whether kernel memory of containers is accounted on an old
// kernel; neither: it cannot be told.
func (f *Facts) Accounting() (on, off bool, evidence []Evidence) {
	return f.kmemOn.on, f.kmemOn.off, f.kmemOn.evidence
}

// BootOption says whether cgroup.memory=nokmem was given, and where.
func (f *Facts) BootOption() (given bool, e Evidence) {
	given, _ = f.nokmem()
	return given, f.bootOption()
}

// MaxIDs is how many ids of memory cgroups there are: 1 to 65534.
const MaxIDs = 65534

// Taken are the ids of memory cgroups that are taken.
type Taken struct {
	Known       bool
	Live        int64
	Dead        int64 // that removed cgroups hold, at least
	DeadByIndex int64 // rather so many; 0 without
	Used        int64 // at least
	Evidence    []Evidence
}

// IDs counts ids. Since 4.8 a removed cgroup gives its id back, but for what it
// has in swap.
func (f *Facts) IDs() Taken {
	var ids Taken
	if !f.old() {
		return f.liveIDs()
	}
	ids.Live, ids.Known = f.listed()
	if n, num, ok := f.counted(); ok {
		ids.Live, ids.Known = n, true
		num.Statement = f.Say("live cgroups; on el7 the dead are not in this number")
		ids.Evidence = append(ids.Evidence, num)
	}
	if !ids.Known {
		return ids
	}
	live, dead := ids.Live, f.dead.seen
	ids.Dead, ids.Used = dead, min(live+dead, MaxIDs)
	ids.Evidence = append(ids.Evidence, Evidence{
		f.Say("at least %d of %d ids are taken (%d live and at least %d dead, up to one more a dead pod): at most %d are left", ids.Used, MaxIDs, live, dead, MaxIDs-ids.Used),
		f.s.Kmem.Clones.Source, fmt.Sprintf("%d + %d = %d, %.1f%%", live, dead, live+dead, 100*float64(ids.Used)/MaxIDs),
	})
	if n := f.dead.byIndex; n > dead {
		ids.DeadByIndex = n
		ids.Evidence = append(ids.Evidence, Evidence{
			f.Say("by the largest index rather %d, dead pods included", min(live+n, MaxIDs)),
			f.s.Kmem.Clones.Source, fmt.Sprintf("%d + %d = %d, %.1f%%", live, n, live+n, 100*float64(min(live+n, MaxIDs))/MaxIDs),
		})
	}
	return ids
}

func (f *Facts) liveIDs() Taken {
	var ids Taken
	if n, ok := f.s.Kmem.Root.Value.Get("nr_descendants"); ok && f.s.Kmem.Root.State == snapshot.Present {
		ids.Live, ids.Known = n, true
		ids.Evidence = []Evidence{{f.Say("live cgroups, of which each with the memory controller has an id"), f.s.Kmem.Root.Source, "nr_descendants " + strconv.FormatInt(n, 10)}}
	} else if n, ok := f.listed(); ok && f.cgroup() == snapshot.V1 {
		ids.Live, ids.Known = n, true
		ids.Evidence = []Evidence{{f.Say("live memory cgroups, each with an id"), f.s.Kmem.Groups.Source, strconv.FormatInt(n, 10) + " directories"}}
	}
	ids.Used = min(ids.Live, MaxIDs)
	return ids
}

// Pinned is what removed cgroups are still charged for kernel memory, at least:
// where a directory that is no container has no process, its charge is the sum of
// those below it, and what is more belongs to the dead. The same sum without a rest proves nothing,
// for a dead cgroup need not hold a page.
func (f *Facts) Pinned() (bytes int64, evidence []Evidence, known bool) {
	below := map[string]int64{}
	for _, h := range f.s.Kmem.Held {
		n, ok := h.Kmem.Get()
		if !ok || !size.Plausible(n) {
			return 0, nil, false
		}
		below[path.Dir(h.Cgroup)] += n
	}
	for _, h := range f.s.Kmem.Held {
		procs, ok := h.Procs.Get()
		rest := h.Kmem.Value - below[h.Cgroup]
		if !ok || len(procs) > 0 || h.Own || rest <= 0 {
			continue
		}
		bytes += rest
		if len(evidence) < 3 {
			evidence = append(evidence, Evidence{
				f.Say("%s has no process and is charged %s more of kernel memory than the cgroups below it: removed ones hold that", h.Cgroup, size.Text(rest)),
				h.Kmem.Source, fmt.Sprintf("%d - %d = %d", h.Kmem.Value, below[h.Cgroup], rest),
			})
		}
	}
	return bytes, evidence, len(f.s.Kmem.Held) > 0
}

// Dying is how many removed cgroups a later kernel still keeps, where it counts
// them.
func (f *Facts) Dying() (int64, Evidence, bool) { return f.dyingGroups() }

// ChargesBPF says whether this kernel charges BPF maps to the cgroup of who makes
// them: since 5.11 (linux kernel/bpf/syscall.c bpf_map_save_memcg). Before, they are
// counted against RLIMIT_MEMLOCK of a user.
func (f *Facts) ChargesBPF() bool {
	return f.known && (f.kernel.Base[0] > 5 || f.kernel.Base[0] == 5 && f.kernel.Base[1] >= 11)
}
