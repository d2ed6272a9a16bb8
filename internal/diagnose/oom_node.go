package diagnose

import "github.com/memwhy/memwhy/internal/report"

var oomNode = Rule{
	Code:    codeNode,
	Title:   "killed because the node had no memory",
	NoBytes: "it was no limit of a cgroup that was reached",
	find:    nodeKills,
	Doc: Doc{
		Means:  `No limit was reached: the node itself (or a cpuset, or a memory policy of it) was out of memory, and the kernel killed the process with the highest score of all. Limits that together promise more than the node has, memory outside of containers, or the kernel's own make it so.`,
		Grades: `warning: the victim was of the target, or the target is the whole node. notice, with low confidence: the log does not say of which cgroup the victim was (el7 never does). info: it was in an earlier cgroup of the same path. Nothing when it was elsewhere.`,
		Needs:  []string{"the kernel's log; without it the counters of every cgroup on the path"},
		Verify: []string{"dmesg | grep -A60 'invoked oom-killer'   # 'Mem-Info:', 'global_oom', no 'limit of'", "dmesg | grep 'Killed process'   # pid and name; task_memcg= where it is printed"},
		Do: []string{
			"see what held the node's memory: memwhy explain /",
			"reserve for what is not in pods (system-reserved, kube-reserved, eviction thresholds)",
			"requests near real use, so that the scheduler does not overbook",
		},
		Owner:   "platform",
		Stories: `The kubelet shows such a kill as OOMKilled too, as if the container's limit had been reached. A kill out of a page fault with gfp_mask=0x0 while gigabytes are free is a failed charge for kernel memory on kernels before 5.16, not a full node.`,
	},
}

func nodeKills(f *facts) []report.Finding {
	all := f.byVictim(codeNode, f.kills.node, func(r *report.Finding) {
		r.Confidence = low
		r.Title += f.Say("; of which cgroup it was the log does not say")
	})
	for i := range all {
		all[i].Bytes = nil
		all[i].Remedies = append(all[i].Remedies, report.Remedy{Kind: "look", Command: "memwhy explain /", Cost: f.Say("none")})
	}
	return append(all, f.countersOnly(codeNode)...)
}
