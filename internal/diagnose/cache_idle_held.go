package diagnose

import (
	"github.com/memwhy/memwhy/internal/report"
)

var cacheIdleHeld = Rule{
	Code:    codeIdle,
	Title:   "page cache of a container that does nothing",
	Noun:    "page cache that its processes did not touch while they were watched",
	NoBytes: "the cgroup's counters could not be read",
	find:    idleHeld,
	Doc: Doc{
		Means: `While it was watched its processes ran for less than a hundredth of the time, read, wrote and faulted in less than a hundredth of the cache, and the cache stayed, but for a tenth that others may have taken. ` +
			`The load is over, the files stay: the kernel gives them back when somebody needs the memory, never because time passes. It takes the place of cache.cold. ` +
			`What processes outside of this container do with the same files it does not tell.`,
		Grades: "info always. Medium confidence where block I/O or system calls could not be counted.",
		Needs:  []string{"two looks: --watch, or --from with --since", "processor time: cpu.stat (v2), cpuacct.usage (v1), or /proc/PID/stat of all its processes", "memory.stat: file (cache), pgfault"},
		Verify: []string{
			"cat /sys/fs/cgroup/<cgroup>/cpu.stat; sleep 30; cat /sys/fs/cgroup/<cgroup>/cpu.stat",
			"grep -E '^(total_)?(cache|file|pgfault)' /sys/fs/cgroup/<cgroup>/memory.stat",
			"memwhy files <cgroup>   # which files",
		},
		Do: []string{
			"nothing, where no limit or eviction is near",
			"the program: posix_fadvise(POSIX_FADV_DONTNEED) when a job is done",
			"the platform: memwhy reclaim, which gives back of this container alone; never the caches of the whole node",
		},
		Owner:   "app for what it reads and writes; platform for alerts and limits",
		Stories: `"The load is gone and memory does not fall, so it leaks" is this: idle memory is not freed memory, and cache is not the program's to free.`,
	},
}

func idleHeld(f *facts) []report.Finding {
	confidence, e, ok := f.idle()
	if !ok {
		return nil
	}
	d := f.divide()
	r := f.cause(codeIdle, d.rest, confidence, f.Say("page cache that its processes did not touch within %s%s", f.window(), f.most(codeCold, d.rest)), e...)
	r.Evidence = append(r.Evidence, f.files(codeCold)...)
	r.Remedies = []report.Remedy{
		f.giveBack(),
		f.lookAtFiles(""),
		{Kind: "app", Command: f.Say("posix_fadvise(POSIX_FADV_DONTNEED) when a job is done"), ExpectBytes: ptr(d.rest), Cost: f.Say("reading it again goes to the disk")},
	}
	return []report.Finding{r}
}
