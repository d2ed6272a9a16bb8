package diagnose

import (
	"github.com/memwhy/memwhy/internal/report"
)

var cacheHot = Rule{
	Code:    codeHot,
	Title:   "files that processes have mapped",
	Noun:    "files that processes have mapped",
	NoBytes: "the cgroup's counters could not be read",
	find:    hot,
	Doc: Doc{
		Means: `Page cache in the page tables of running processes: programs and libraries, and databases that map their files. ` +
			`It is in RSS as RssFile. The kernel can take it, but looks first whether it was touched, and what is used comes back at once.`,
		Grades: "info always.",
		Needs:  []string{"memory.stat: file_mapped (mapped_file), shmem; exact with a census"},
		Verify: []string{"grep mapped /sys/fs/cgroup/<cgroup>/memory.stat", "grep -E 'RssFile' /proc/<pid>/status", "memwhy files <cgroup> --sort mapped"},
		Do: []string{
			"leave it: it is in use, or was a moment ago",
			"a database that maps far more than it needs has a setting for it; alert on what cannot be freed instead of the working set",
		},
		Owner:   "app",
		Stories: `"RSS grows, so it leaks": mapped files are in RSS and can be taken back. Taking them by force makes a program slow for as long as it reads its own code from the disk.`,
	},
}

func hot(f *facts) []report.Finding {
	d := f.divide()
	if !f.matters(d.mapped) {
		return nil
	}
	confidence := medium
	if !d.counted {
		confidence = low
	}
	r := f.cause(codeHot, d.mapped, confidence, f.Say("page cache of files that processes have mapped%s", f.most(codeHot, d.mapped)),
		f.counters(f.Say("mapped by processes, shared memory included"), "file_mapped", "shmem"))
	r.Evidence = append(r.Evidence, f.files(codeHot)...)
	r.Remedies = []report.Remedy{
		f.lookAtFiles(f.Say(" --sort mapped")),
		{Kind: "app", Command: f.Say("madvise(MADV_DONTNEED) or munmap what is not needed any more, and posix_fadvise(POSIX_FADV_DONTNEED) then"), ExpectBytes: ptr(d.mapped), Cost: f.Say("reading it again goes to the disk")},
	}
	return []report.Finding{r}
}
