package diagnose

import (
	"fmt"

	"github.com/memwhy/memwhy/internal/report"
)

var kernelPipe = Rule{
	Code:    codePipe,
	Title:   "data in pipes that nobody reads",
	Noun:    "data in pipes",
	NoBytes: "what waits in its pipes could not be asked",
	find:    pipes,
	Doc: Doc{
		Means: `What was written into pipes and not read yet: pages of the kernel, charged to the cgroup of who wrote it. A pipe holds 64 KiB, up to 1 MiB if its program asks, so it takes hundreds of them: a pipe for each connection of a proxy that splices, children whose output nobody reads, stopped readers. ` +
			`It stays until somebody reads it or both ends are closed.`,
		Grades: "info always; limit.tight says when it is a danger: nothing but reading it takes it back.",
		Needs:  []string{"pidfd_getfd(2) of its processes (since 5.6, CAP_SYS_PTRACE), and FIONREAD", "memory.stat: kernel (v2, since 5.18), or a census; v1: memory.kmem.usage_in_bytes"},
		Verify: []string{
			"ls -l /proc/<pid>/fd | grep -c pipe:", "grep -E '^kernel|slab|percpu|vmalloc' /sys/fs/cgroup/<cgroup>/memory.stat   # what remains of kernel",
			"cat /proc/<pid>/wchan   # pipe_write: it waits for a reader", "cat /proc/sys/fs/pipe-max-size /proc/sys/fs/pipe-user-pages-soft",
		},
		Do: []string{
			"the program: read what its children write, or give them /dev/null; close both ends of pipes that are done with; F_SETPIPE_SZ smaller where there are many",
			"the platform: fs.pipe-user-pages-soft bounds what the pipes of one user hold, but not those of root",
		},
		Owner:   "app",
		Stories: `"Pipes are small" is true of each. They are in no metric: not in RSS, not in sockets, not in slab; memory.stat has them in kernel alone.`,
	},
}

func pipes(f *facts) []report.Finding {
	b := f.behind()
	if b.waiting == nil || !f.matters(b.pipes) {
		return nil
	}
	// Who wrote it is charged, and may be elsewhere.
	confidence := medium
	if b.piped <= b.pipes+fewBytes && 2*b.pipes >= b.all-b.maps {
		confidence = high
	}
	r := f.cause(codePipe, b.pipes, confidence, f.Say("data in %s that nobody has read, the most of it of %s", f.Count(int64(b.count[1]), "1 pipe", "%d pipes"), f.processName(b.waiting)),
		report.Evidence{Statement: f.Say("waiting in pipes of its processes, as FIONREAD tells"), Source: descriptorsOf(b.waiting.PID, "fd"), Value: fmt.Sprint(b.piped)},
		f.room())
	r.Remedies = []report.Remedy{
		{Kind: "look", Command: f.Say("ls -l /proc/PID/fd | grep pipe: and who has the other end"), Cost: f.Say("none")},
		{Kind: "app", Command: f.Say("read what the other end writes, or close both; a smaller F_SETPIPE_SZ where there are many"), ExpectBytes: ptr(b.pipes), Cost: f.Say("writers wait earlier")},
	}
	return []report.Finding{r}
}
