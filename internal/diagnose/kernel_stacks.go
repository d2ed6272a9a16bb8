package diagnose

import (
	"fmt"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
)

var kernelStacks = Rule{
	Code:    codeStacks,
	Title:   "what the kernel keeps for threads",
	Noun:    "kernel memory for threads",
	NoBytes: "the cgroup's counters could not be read",
	find:    stacks,
	Doc: Doc{
		Means: `Each thread has a stack in the kernel (16 KiB on 64 bit) and some objects of about 6 KiB: a program with ten thousand threads, or thousands of sleeping processes, pays some 200 MiB before it does anything. ` +
			`Thread pools without a bound, a thread for each connection, and zombies that nobody waits for make them.`,
		Grades: "info always.",
		Needs:  []string{"cgroup v2: memory.stat kernel_stack; v1: /proc/PID/status Threads, times the size of a stack; with a census the objects too"},
		Verify: []string{"grep kernel_stack /sys/fs/cgroup/<cgroup>/memory.stat", "grep Threads /proc/<pid>/status", "grep KernelStack /proc/meminfo   # of the node", "cat /sys/fs/cgroup/pids/<cgroup>/pids.current"},
		Do:     []string{"the program: a bound for its pools; wait for children", "the platform: a limit of pids for the pod"},
		Owner:  "app", Stories: `Stacks of threads in user space are anonymous memory and not in this; what counts there is what was touched, not the 8 MiB of address space.`,
	},
}

// stackBytes is a thread's stack in the kernel on 64 bit, not less than a page
// (linux arch/x86/include/asm/page_64_types.h, arch/arm64/include/asm/memory.h).
func (f *facts) stackBytes() int64 { return max(16<<10, f.s.Host.PageSize) }

// kernelStacks is by the counter of version 2, or by the number of threads where
// the node's counter allows so much and something undivided can hold it.
func (f *facts) kernelStacks() (bytes int64, confidence string, e []report.Evidence) {
	if a, ok := f.w.Account(ledger.Stacks); ok {
		return a.Bytes, high, []report.Evidence{f.counters(f.Say("stacks of threads in the kernel"), "kernel_stack")}
	}
	var threads int64
	for i := range f.s.Processes {
		n, _ := f.s.Processes[i].Status.Value.Fields.Get("Threads")
		threads += max(0, min(n, 1<<22))
	}
	room := f.account(ledger.KernelOther) + f.account(ledger.KernelUndivided)
	bytes = threads * f.stackBytes()
	node, ok := f.s.Node.Meminfo.Value.Get("KernelStack")
	if !ok || bytes > node || bytes > room+fewBytes {
		return 0, low, nil
	}
	confidence = medium
	if 4*bytes < 3*room {
		confidence = low
	}
	return min(bytes, room), confidence, []report.Evidence{
		{Statement: f.Say("threads of its processes"), Source: "/proc/PID/status", Value: fmt.Sprintf("Threads, together %d, times %d", threads, f.stackBytes())},
		{Statement: f.Say("stacks of the whole node"), Source: f.s.Node.Meminfo.Source, Value: fmt.Sprintf("KernelStack %d", node)},
	}
}

func stacks(f *facts) []report.Finding {
	bytes, confidence, e := f.kernelStacks()
	objects, _, named, _ := f.slabs(slabTasks)
	if !f.matters(bytes + objects) {
		return nil
	}
	r := f.cause(codeStacks, bytes+objects, confidence, f.Say("kernel memory for threads: their stacks and task structures"), append(e, named...)...)
	r.Remedies = []report.Remedy{
		{Kind: "look", Command: f.Say("ps -eLo pid,nlwp,comm | sort -k2 -n | tail: who has so many threads"), Cost: f.Say("none")},
		{Kind: "app", Command: f.Say("bound the thread pools; wait for children that ended"), ExpectBytes: ptr(bytes + objects), Cost: f.Say("none")},
	}
	return []report.Finding{r}
}
