package diagnose

import (
	"fmt"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
)

var cacheHot = Rule{
	Code:    codeHot,
	Title:   "files that are in use",
	Noun:    "files that processes have mapped or use",
	NoBytes: "the cgroup's counters could not be read",
	find:    hot,
	Doc: Doc{
		Means: `Page cache in the page tables of running processes: programs and libraries, and databases that map their files. ` +
			`It is in RSS as RssFile. The kernel can take it, but looks first whether it was touched, and what is used comes back at once. ` +
			`While it is watched also what was seen to be read again: files in which the position of a process went on, as far as it read; pages that became referenced or active; ` +
			`and pages that came back after they were evicted, which says that the cache is smaller than what is used. Reads that leave no trace (pread, sendfile of a page that is active already) are not seen.`,
		Grades: "info always.",
		Needs:  []string{"memory.stat: file_mapped (mapped_file), shmem; exact with a census", "for use: --watch with a census, /proc/PID/fdinfo, /proc/PID/io; memory.stat: workingset_refault_file"},
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
	bytes := d.mapped + d.used
	if !f.matters(bytes) {
		return nil
	}
	confidence := medium
	if !d.counted {
		confidence = low
	}
	title, e := "page cache of files that processes have mapped", []report.Evidence{f.counters("mapped by processes, shared memory included", "file_mapped", "shmem")}
	if d.used > 0 {
		title = fmt.Sprintf("page cache of files that processes have mapped, or that were read again within %s", f.window())
		if f.matters(d.used) && 10*d.mapped < bytes {
			title = fmt.Sprintf("page cache of files that were read again within %s", f.window())
			confidence = high
		}
		e = append(e, f.users()...)
	}
	title += d.most(codeHot, bytes)
	if back, seen := f.refaults(); back > 0 {
		e = append(e, seen)
		if f.matters(back) {
			title += fmt.Sprintf("; %s of it had been evicted and came back: what is used is more than what fits", size.Text(back))
		}
	}
	r := f.cause(codeHot, bytes, confidence, title, e...)
	r.Evidence = append(r.Evidence, d.files(codeHot)...)
	r.Remedies = []report.Remedy{
		f.lookAtFiles(" --sort mapped"),
		{Kind: "app", Command: "madvise(MADV_DONTNEED) or munmap what is not needed any more, and posix_fadvise(POSIX_FADV_DONTNEED) then", ExpectBytes: ptr(bytes), Cost: "reading it again goes to the disk"},
	}
	return []report.Finding{r}
}
