package diagnose

import (
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
)

var kernelOther = Rule{
	Code:    codeKernel,
	Title:   "kernel memory that has no counter of its own",
	Noun:    "kernel memory that has no counter of its own",
	NoBytes: "the cgroup's counters could not be read",
	find:    otherKernel,
	Doc: Doc{
		Means: `Pages that the kernel took for this cgroup and counts in one sum: data in unix sockets, io_uring rings, perf buffers, compressed swap, tables of netfilter; and pipes and BPF maps as far as they were not found behind descriptors of its processes (kernel.pipe, kernel.bpf): those that are pinned, or that others have open. ` +
			`Which it is, no file of a cgroup says; the commands below look at each. On cgroup v1 without a census all kernel memory may be here.`,
		Grades: "info always; limit.tight says when it is a danger.",
		Needs:  []string{"memory.stat: kernel, percpu, vmalloc (v2, since 5.18); v1: memory.kmem.usage_in_bytes"},
		Verify: []string{
			"grep -E 'kernel|percpu|vmalloc|zswap' /sys/fs/cgroup/<cgroup>/memory.stat", "ss -xm   # unix sockets with their queues",
			"ls -l /proc/<pid>/fd | grep -c pipe: ; cat /proc/sys/fs/pipe-user-pages-soft", "bpftool map show   # memlock of each",
		},
		Do: []string{
			"pipes and unix sockets: have somebody read them, or the writer wait",
			"BPF: smaller maps, BPF_F_NO_PREALLOC; a pinned map stays charged to the cgroup that made it",
		},
		Owner:   "app, kernel",
		Stories: `"vmalloc is the kernel's own problem" is wrong: in a container it is nearly always BPF maps of an agent, which count against its limit since 5.11.`,
	},
}

func otherKernel(f *facts) []report.Finding {
	b := f.behind()
	bytes := b.all - b.maps - b.pipes
	if !f.matters(bytes) {
		return nil
	}
	a, _ := f.w.Account(ledger.KernelOther)
	confidence, what := medium, f.Say("kernel memory without a counter of its own: pipes, unix sockets, BPF maps and the like")
	noMaps, noPipes := b.nothing()
	if noMaps && noPipes {
		what = f.Say("kernel memory without a counter of its own: unix sockets, io_uring, pinned BPF maps and the like; next to nothing waits in its pipes, and none of its processes has a BPF map open")
	}
	switch {
	case f.account(ledger.KernelUndivided) > 0:
		confidence, what = low, f.Say("kernel memory that nothing here divides: slab, stacks, page tables and the rest")
	case 2*a.Bytes > bytes && a.Derived:
		confidence, what = low, f.Say("memory that no counter of this kernel names: kernel memory, most likely")
	case 2*(f.account(ledger.Vmalloc)+f.account(ledger.Percpu)) > bytes:
		what = f.Say("kernel memory of vmalloc and percpu: BPF maps, most often")
		if noMaps {
			what = f.Say("kernel memory of vmalloc and percpu, and none of its processes has a BPF map open: perhaps one that is pinned, or that others have open")
		}
	}
	r := f.cause(codeKernel, bytes, confidence, what, f.room())
	r.Remedies = []report.Remedy{
		{Kind: "look", Command: f.Say("ss -xm (unix sockets), bpftool map show (BPF), ls -l /proc/PID/fd (pipes)"), Cost: f.Say("none")},
		{Kind: "app", Command: f.Say("close pipes and sockets that nobody reads; smaller BPF maps, with BPF_F_NO_PREALLOC where they are sparse"), Cost: f.Say("none")},
	}
	return []report.Finding{r}
}
