package diagnose

import (
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
)

var oomContainer = Rule{
	Code:    codeContainer,
	Title:   "killed at its own limit",
	NoBytes: "the counters do not say how much was charged",
	find:    ownKills,
	Doc: Doc{
		Means: `The cgroup was at its own limit, reclaim found nothing more, and the kernel killed one of its processes (exit code 137, "OOMKilled"). The evidence says what it was full of at that moment: ` +
			`anonymous memory is the program's, tmpfs and kernel memory are not freed by killing anybody, so the next kill is near.`,
		Grades: `warning: a process was killed at the cgroup's own limit; critical where the kernel's own memory or tmpfs filled it, which no kill frees, and it is as full now. notice: it was in a cgroup below this one. ` +
			`info: it was in an earlier cgroup of the same path, by the kernel's counter.`,
		Needs:  []string{"the kernel's log (/dev/kmsg: root or CAP_SYSLOG); without it memory.events, memory.oom_control and failcnt"},
		Verify: []string{"dmesg | grep -A40 'invoked oom-killer'   # 'as a result of limit of', or oom_memcg=", "cat /sys/fs/cgroup/<cgroup>/memory.events.local   # v2: oom, oom_kill", "cat /sys/fs/cgroup/memory/<cgroup>/memory.{oom_control,failcnt}   # v1"},
		Do: []string{
			"anonymous memory: give it the limit that its peak needs, or find what grows (memwhy explain -o wide)",
			"kernel memory: see which slab cache or socket it is, and on el7 kmem.accounting",
			"tmpfs: bound it (sizeLimit, size=), it counts to the container that wrote it",
		},
		Owner: "app; platform for the limit",
		Stories: `The process that is named first ("invoked oom-killer") asked for memory, it need not be the victim. The victim is the largest by its score, not the guilty one. ` +
			`The working set decides nothing here: the kernel kills at usage, when reclaim fails. A killed child process need not end the container, so a container can be OOM-killed and running.`,
	},
}

func ownKills(f *facts) []report.Finding {
	var all []report.Finding
	if now, earlier := f.split(f.kills.own); len(now) > 0 {
		all = append(all, f.finding(codeContainer, now, warning))
	} else if len(earlier) > 0 {
		r := f.finding(codeContainer, earlier, info)
		r.Severity = info
		r.Title = f.Say("before this cgroup was made, in one of the same path: %s", r.Title)
		all = append(all, r)
	}
	if len(all) == 0 && len(f.kills.below) > 0 {
		r := f.finding(codeContainer, f.kills.below, notice)
		r.Severity = notice
		all = append(all, r)
	}
	for i := range all {
		all[i].Remedies = append(all[i].Remedies, report.Remedy{
			Kind: "limit", Command: f.Say("a limit above what it cannot free at its peak"), Cost: f.Say("memory of the node"),
		})
	}
	return append(all, f.countersOnly(codeContainer)...)
}

// split tells kills in this cgroup from those in an earlier one of the same path.
func (f *facts) split(list []*snapshot.LogRecord) (now, earlier []*snapshot.LogRecord) {
	for _, l := range list {
		if f.before(l) {
			earlier = append(earlier, l)
		} else {
			now = append(now, l)
		}
	}
	return now, earlier
}
