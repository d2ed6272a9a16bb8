package diagnose

import (
	"fmt"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// How many dying cgroups of a node a later kernel may have before they matter, and
// what they may hold of the target.
const (
	manyDying     = 1_000
	veryManyDying = 10_000
	dyingBytes    = 4 << 20
	dyingNoise    = 1 << 20 // counters of a cgroup and of those below lag behind each other
)

var cgroupDying = Rule{
	Code:    codeDying,
	Title:   "removed cgroups are still charged",
	NoBytes: "no file of this kernel tells what removed cgroups hold",
	find:    dying,
	Doc: Doc{
		Means: `A container is gone, its directory too, and yet the kernel keeps its memory cgroup: something is still charged to it. ` +
			`On kernels since 4.x it is page cache of files that others may still use, tmpfs, or slab; the bytes are inside the counters of the cgroups above, so a pod or a slice shows more than its children together. ` +
			`On el7 page cache moves to the parent at once, and what keeps the dead is kernel memory accounting: slab caches that were cloned for the container, with or without an object in them.`,
		Grades: `info: some below the target. notice: they hold a tenth of its usage and 4 MiB, or the node has more than 1000, or el7 shows 10. ` +
			`warning: 10000 of the node, or on el7, where they never go, 100 or more than live. critical: 10000 on el7.`,
		Needs: []string{
			"cgroup v2: cgroup.stat (nr_dying_subsys_memory, nr_dying_descendants)",
			"cgroup v1: memory.stat with and without total_, /proc/cgroups and the list of directories",
			"el7: the names in /sys/kernel/slab and the list of directories; bytes by memory.kmem.usage_in_bytes",
		},
		Verify: []string{
			"cat /sys/fs/cgroup/<cgroup>/cgroup.stat   # v2: nr_dying_descendants",
			"grep -E '^(total_)?cache' /sys/fs/cgroup/memory/<cgroup>/memory.stat   # v1: without children the difference is theirs",
			"grep memory /proc/cgroups; find /sys/fs/cgroup/memory -type d | wc -l   # v1 since 4.x: the difference is dying; not on el7",
			`ls /sys/kernel/slab | grep -o '(.*)' | sort -u | wc -l   # el7: owners; those without a directory are dead`,
		},
		Do: []string{
			"page cache: it goes when the memory is needed; memwhy reclaim --dying drops the files that nobody else uses, and the cgroups go; memory.reclaim (v2) or memory.force_empty (v1) of the parent takes the cache of its living children too",
			"tmpfs and files: delete them, or restart who holds them",
			"el7: only a reboot gives the dead back; then switch accounting off, see kmem.accounting",
			"fewer short-lived cgroups: cron jobs, health checks and restart loops make most of them",
		},
		Owner: "kernel; platform for how many cgroups are made",
		Stories: `drop_caches does not bring them back: on el7 it frees slab pages and not one clone, cgroup or id. ` +
			`num_cgroups in /proc/cgroups does not count the dead on el7. A dying cgroup is no leak by itself: a few hundred come and go on every busy node.`,
	},
}

func dying(f *facts) []report.Finding {
	if f.node.Old() {
		return dyingOnOld(f)
	}
	r := report.Finding{Severity: info, Confidence: high}
	below, e := f.dyingBelow()
	r.Evidence = append(r.Evidence, e...)
	held, e := f.heldByDying()
	r.Evidence = append(r.Evidence, e...)
	node, onNode, known := f.node.Dying()
	if known && node > manyDying {
		onNode.Statement = f.Say("removed cgroups that the kernel keeps on the whole node")
		r.Evidence = append(r.Evidence, report.Evidence{Statement: onNode.Statement, Source: onNode.Source, Value: onNode.Value})
		r.Severity = notice
		if node > veryManyDying {
			r.Severity = warning
		}
	}
	if held > 0 {
		r.Bytes = &held
		if held >= max(dyingBytes, f.w.Usage/10) {
			r.Severity = worse(r.Severity, notice)
		}
	}
	switch {
	case below > 0 && held > 0:
		r.Title = f.Say("%s below this one are still charged %s", f.Count(below, "1 removed cgroup", "%d removed cgroups"), size.Text(held))
	case below > 0:
		r.Title = f.Say("%s below this one are still charged", f.Count(below, "1 removed cgroup", "%d removed cgroups"))
	case held > 0:
		r.Title = f.Say("removed cgroups below this one are still charged %s of its usage", size.Text(held))
	case r.Severity != info:
		r.Title = f.Say("the kernel keeps %s of this node", f.Count(node, "1 removed cgroup", "%d removed cgroups"))
	default:
		return nil
	}
	r.Code = codeDying
	if left := f.leftInMemory(); held > 0 && 2*left > held { // deleting the files is the cure
		r.PartOf = codeTmpfs
	}
	if r.PartOf == "" {
		release := f.giveBack()
		release.Command = "memwhy reclaim --dying"
		if below > 0 || held > 0 {
			release.Command += " " + f.typed()
		}
		r.Remedies = append(r.Remedies, release)
	}
	r.Remedies = append(r.Remedies, report.Remedy{Kind: "look", Command: "memwhy advisories", Cost: f.Say("none")})
	return []report.Finding{r}
}

// leftInMemory is what of memory files removed cgroups below the target are still
// charged for.
func (f *facts) leftInMemory() (bytes int64) {
	c, within, ok := f.census()
	if !ok {
		return 0
	}
	for i := range c.Groups {
		if g := &c.Groups[i]; within[i] && g.Dying && g.Shmem > 0 {
			bytes = min(bytes+g.Shmem, maxSum)
		}
	}
	return bytes
}

// dyingBelow is the kernel's count for the target, which version 2 has.
func (f *facts) dyingBelow() (int64, []report.Evidence) {
	st := f.target().CgroupStat
	for _, key := range []string{"nr_dying_subsys_memory", "nr_dying_descendants"} {
		if n, ok := st.Value.Get(key); ok && st.State == snapshot.Present {
			if n <= 0 {
				return 0, nil
			}
			return n, []report.Evidence{{Statement: f.Say("removed cgroups below this one that the kernel keeps"), Source: st.Source, Value: fmt.Sprintf("%s %d", key, n)}}
		}
	}
	return 0, nil
}

// heldByDying is what a census found. Without one it compares, on version 1, what
// is charged to the target and those below with what is charged to itself: without
// live ones below the rest belongs to the dead.
func (f *facts) heldByDying() (held int64, e []report.Evidence) {
	t := f.target()
	if c, _, ok := f.census(); ok {
		if n, known := ledger.Count(c, t.Path, !t.Hierarchical()); known && n.DyingGroups > 0 && n.DyingBytes > 0 {
			return n.DyingBytes, []report.Evidence{{
				Statement: f.Say("%s below this one found page by page, and what they hold", f.Count(n.DyingGroups, "1 removed cgroup", "%d removed cgroups")), Source: snapshot.CensusSource, Value: fmt.Sprint(n.DyingBytes),
			}}
		}
	}
	st, ok := t.Stat.Get()
	below, known := t.Descendants.Get()
	if t.Version != snapshot.V1 || !ok || !known || below != 0 || !t.Hierarchical() {
		return 0, nil
	}
	for _, key := range []string{"cache", "rss"} {
		own, ok1 := st.Get(key)
		all, ok2 := st.Get("total_" + key)
		if !ok1 || !ok2 || !size.Plausible(own) || !size.Plausible(all) || all-own < dyingNoise {
			continue
		}
		held += all - own
		e = append(e, report.Evidence{
			Statement: f.Say("charged to cgroups below this one, of which none is left"), Source: t.Stat.Source,
			Value: fmt.Sprintf("total_%s %d - %s %d = %d", key, all, key, own, all-own),
		})
	}
	return held, e
}

func dyingOnOld(f *facts) []report.Finding {
	r := f.node.Removed()
	held, e := f.pinned()
	if !r.Known || r.Seen == 0 && r.ByIndex == 0 {
		if held == nil || *held < dyingNoise { // charges that moved while they were read
			return nil
		}
		return []report.Finding{{
			Code: codeDying, Severity: info, Confidence: medium, Bytes: held,
			Title:    f.Say("removed cgroups hold at least %s of kernel memory; how many they are cannot be told", size.Text(*held)),
			Evidence: e,
			Remedies: []report.Remedy{{Kind: "look", Command: f.Say("ls /sys/kernel/slab: the names CACHE(N:CGROUP) whose CGROUP is no directory"), Cost: f.Say("none")}},
		}}
	}
	confidence := medium
	if r.Exact && r.Leak {
		confidence = high
	}
	return []report.Finding{{
		Code: codeDying, Severity: f.leakSeverity(r), Confidence: confidence, Bytes: held, PartOf: f.leakPart(),
		Title:    f.Say("%s are kept by the kernel%s", f.removedText(r), f.holding(held)),
		Evidence: append(evidence(r.Evidence), e...),
		Remedies: []report.Remedy{
			{Kind: "reboot", Command: f.Say("reboot the node: nothing else gives dead cgroups and their ids back"), ExpectBytes: held, Cost: f.Say("all its containers")},
			{Kind: "configure", Command: f.Say("boot with cgroup.memory=nokmem, and see kmem.accounting whether the kernel obeys"), Cost: f.Say("kernel memory of containers is not limited any more")},
		},
	}}
}
