package diagnose

import (
	"fmt"

	"github.com/memwhy/memwhy/internal/report"
)

var kernelBPF = Rule{
	Code:    codeBPF,
	Title:   "BPF maps",
	Noun:    "BPF maps",
	NoBytes: "how large its BPF maps are could not be read",
	find:    bpfMaps,
	Doc: Doc{
		Means: `Maps of BPF programs that processes of the container have open: since 5.11 the kernel charges them to the cgroup of who makes them. Agents of networks, profilers and security tools have gigabytes of them; arrays, and hashes without BPF_F_NO_PREALLOC, take all of it when they are made, full or not. ` +
			`A map is charged once and as a whole: a process that opens a pinned one of another container pays nothing, and who made it pays for as long as it is pinned, after its container is gone too. ` +
			`Maps that are larger than all of the container's nameless kernel memory are therefore left out.`,
		Grades: "info always; limit.tight says when it is a danger: nothing but closing and unpinning it gives it back.",
		Needs:  []string{"/proc/PID/fdinfo of its processes: memlock, map_id", "memory.stat: vmalloc, percpu, kernel (v2, since 5.18); v1: memory.kmem.usage_in_bytes"},
		Verify: []string{"grep -l bpf-map /proc/<pid>/fdinfo/* ; grep memlock /proc/<pid>/fdinfo/<fd>", "bpftool map show   # bytes_memlock, pids", "grep -E 'vmalloc|percpu' /sys/fs/cgroup/<cgroup>/memory.stat", "bpftool map show pinned /sys/fs/bpf/<name>"},
		Do: []string{
			"the program: smaller max_entries; BPF_F_NO_PREALLOC where few elements are in use; per-CPU maps take their size for each possible CPU",
			"a pinned map that nobody needs: unlink it below /sys/fs/bpf, and it goes with its last user",
			"the platform: a limit that holds the maps beside the heap",
		},
		Owner:   "app",
		Stories: `"The agent leaks: RSS 300 MiB, container 3 GiB" is nearly always this. "It is gone after a restart" is no cure: pinned maps stay charged to the removed cgroup of the first run (see cgroup.dying), and the new one opens them for nothing.`,
	},
}

func bpfMaps(f *facts) []report.Finding {
	b := f.behind()
	if b.most == nil || !f.matters(b.maps) {
		return nil
	}
	// That they are charged here no file says. That what is charged here is as much as
	// they take leaves no room for anything else.
	confidence := medium
	switch {
	case b.atMost || b.mapped > b.maps+fewBytes:
		confidence = low
	case 10*b.maps >= 9*b.all, b.own > 0 && 10*b.maps >= 9*b.own && 9*b.maps <= 10*b.own:
		confidence = high
	}
	text := f.Say("BPF maps, which %s has open", f.processName(b.most))
	if b.atMost {
		text = f.Say("BPF maps at most, which %s has open: some take less until they are full", f.processName(b.most))
	}
	r := f.cause(codeBPF, b.maps, confidence, text,
		report.Evidence{Statement: f.Say("%s of its processes, by what they say they take", f.Count(int64(b.count[0]), "1 map", "%d maps")), Source: descriptorsOf(b.most.PID, "fdinfo"), Value: fmt.Sprintf("memlock %d", b.mapped)},
		f.room())
	r.Remedies = []report.Remedy{
		{Kind: "look", Command: f.Say("bpftool map show: bytes_memlock, and pids that have it open"), Cost: f.Say("none")},
		{Kind: "app", Command: f.Say("fewer max_entries; BPF_F_NO_PREALLOC for maps that are mostly empty; unpin and close what nobody reads"), ExpectBytes: ptr(b.maps), Cost: f.Say("a full map refuses new elements")},
		{Kind: "limit", Command: f.Say("a limit that holds it beside everything else"), Cost: f.Say("none")},
	}
	return []report.Finding{r}
}
