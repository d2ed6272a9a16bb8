package diagnose

import (
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
)

var oomAncestor = Rule{
	Code:    codeAncestor,
	Title:   "killed at the limit of a cgroup above it",
	NoBytes: "the counters do not say how much was charged",
	find:    ancestorKills,
	Doc: Doc{
		Means:  `Not the container's limit was reached but one above it: the pod's, the class's (kubepods, node allocatable) or that of a slice. All that is below shares that limit, and the kernel kills the process with the highest score among all of it; a container far from its own limit can be the victim.`,
		Grades: `warning: a process of the target was killed. notice: one of a sibling was, under a limit that the target shares. info: it was in an earlier cgroup of the same path.`,
		Needs:  []string{"the kernel's log; without it memory.events.local (v2) or failcnt (v1) of the cgroups above"},
		Verify: []string{"dmesg | grep -E 'killed as a result of limit of|oom_memcg='   # the two paths differ", "cat /sys/fs/cgroup/<ancestor>/memory.{max,current,events.local}   # v2"},
		Do: []string{
			"pod: the sum of what its containers and its tmpfs volumes hold has to fit; memwhy explain /<the pod> -o wide",
			"kubepods: the node has promised more than it has: system-reserved, kube-reserved, fewer pods",
			"a slice: raise its limit, or give the service one of its own",
		},
		Owner:   "platform",
		Stories: `"It was killed at 12 % of its limit" is no kernel fault: look whose limit the log names. tmpfs volumes of a pod are charged to the container that wrote them, or after its restart to the pod alone.`,
	},
}

func ancestorKills(f *facts) []report.Finding {
	var mine, siblings []*snapshot.LogRecord
	for _, l := range f.kills.ancestor {
		if f.victimHere(l) == here {
			mine = append(mine, l)
		} else {
			siblings = append(siblings, l)
		}
	}
	var all []report.Finding
	now, earlier := f.split(mine)
	switch {
	case len(now) > 0:
		all = append(all, f.finding(codeAncestor, now, warning))
	case len(siblings) > 0:
		r := f.finding(codeAncestor, siblings, notice)
		r.Severity = notice
		r.Title = "not this cgroup's process, but under the same limit: " + r.Title
		all = append(all, r)
	case len(earlier) > 0:
		r := f.finding(codeAncestor, earlier, info)
		r.Severity = info
		r.Title = "before this cgroup was made, in one of the same path: " + r.Title
		all = append(all, r)
	}
	for i := range all {
		all[i].Remedies = append(all[i].Remedies, report.Remedy{
			Kind: "look", Command: "memwhy explain on the owner of the limit: what is below it shares it", Cost: "none",
		})
	}
	return append(all, f.countersOnly(codeAncestor)...)
}
