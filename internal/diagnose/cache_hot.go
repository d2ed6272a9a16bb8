package diagnose

import (
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
			`and pages that came back after they were evicted, and that the kernel took for part of the working set (workingset_activate_file): the cache is smaller than what is used. Reads that leave no trace (pread, sendfile of a page that is active already) are not seen.`,
		Grades: "info always.",
		Needs:  []string{"memory.stat: file_mapped (mapped_file), shmem; exact with a census", "for use: --watch with a census, /proc/PID/fdinfo, /proc/PID/io; memory.stat: workingset_activate_file, workingset_refault_file (v2)"},
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
	title, e := f.Say("page cache of files that processes have mapped%s", f.most(codeHot, bytes)), []report.Evidence{f.counters(f.Say("mapped by processes, shared memory included"), "file_mapped", "shmem")}
	if d.used > 0 {
		title = f.Say("page cache of files that processes have mapped, or that were read again within %s%s", f.window(), f.most(codeHot, bytes))
		if f.matters(d.used) && 10*d.mapped < bytes {
			title = f.Say("page cache of files that were read again within %s%s", f.window(), f.most(codeHot, bytes))
			confidence = high
		}
		e = append(e, f.users()...)
	}
	if back, seen, known := f.refaults(); known && back > 0 {
		e = append(e, seen)
		if d.used > 0 && f.matters(back) {
			title += f.Say("; %s had been evicted and came back: what is used is more than what fits", size.Text(back))
		}
	}
	r := f.cause(codeHot, bytes, confidence, title, e...)
	r.Evidence = append(r.Evidence, f.files(codeHot)...)
	r.Remedies = []report.Remedy{
		f.lookAtFiles(f.Say(" --sort mapped")),
		{Kind: "app", Command: f.Say("madvise(MADV_DONTNEED) or munmap what is not needed any more, and posix_fadvise(POSIX_FADV_DONTNEED) then"), ExpectBytes: ptr(bytes), Cost: f.Say("reading it again goes to the disk")},
	}
	if d.used > d.mapped { // read, not mapped
		r.Remedies = []report.Remedy{
			f.lookAtFiles(""),
			{Kind: "app", Command: f.Say("nothing: it is in use; O_DIRECT only where the program keeps the same data in its own memory"), Cost: f.Say("reading it again goes to the disk")},
		}
		if back, _, _ := f.refaults(); f.matters(back) {
			r.Remedies = append(r.Remedies, report.Remedy{Kind: "limit", Command: f.Say("a higher limit, where reads are slow: what is used does not fit"), Cost: f.Say("memory of the node")})
		}
	}
	return []report.Finding{r}
}
