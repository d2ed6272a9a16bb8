package diagnose

import "github.com/memwhy/memwhy/internal/report"

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
	all := f.byVictim(codeAncestor, f.kills.ancestor, func(r *report.Finding) {
		r.Title = f.Say("not this cgroup's process, but under the same limit: %s", r.Title)
	})
	for i := range all {
		all[i].Remedies = append(all[i].Remedies, report.Remedy{
			Kind: "look", Command: f.Say("memwhy explain on the owner of the limit: what is below it shares it"), Cost: f.Say("none"),
		})
	}
	return append(all, f.countersOnly(codeAncestor)...)
}
