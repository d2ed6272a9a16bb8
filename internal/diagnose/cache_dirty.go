package diagnose

import (
	"github.com/memwhy/memwhy/internal/report"
)

var cacheDirty = Rule{
	Code:    codeDirty,
	Title:   "page cache that waits to be written to disk",
	Noun:    "page cache that waits to be written to disk",
	NoBytes: "this kernel does not count dirty pages of a cgroup",
	find:    dirty,
	Doc: Doc{
		Means: `A program wrote files faster than the disk, or the kernel has not begun yet: it waits for 10 % of memory or 30 seconds. ` +
			`Such pages cannot be dropped before they are written; at a limit everybody waits for the disk. ` +
			`On cgroup v1 the kernel slows writers down by the node's numbers only, so a small container can be full of dirty pages.`,
		Grades: "info: some. notice: half of the deciding limit or more, where reclaim has to wait for the disk.",
		Needs:  []string{"memory.stat: file_dirty, file_writeback (v1: dirty, writeback, since 4.2), or a census"},
		Verify: []string{"grep -E 'dirty|writeback' /sys/fs/cgroup/<cgroup>/memory.stat", "cat /proc/sys/vm/dirty_{background_,}ratio /proc/sys/vm/dirty_expire_centisecs", "memwhy files <cgroup> --sort dirty"},
		Do: []string{
			"the program: sync_file_range or fdatasync as it writes, in pieces; O_DIRECT for large streams",
			"the platform: vm.dirty_bytes and vm.dirty_background_bytes bound it on the node; cgroup v2 bounds it in each container",
			"a slow disk: look at io.pressure",
		},
		Owner:   "app, platform",
		Stories: `Dropping caches does not touch dirty pages. "The disk is idle, so nothing is dirty" is wrong: the kernel waits on purpose.`,
	},
}

func dirty(f *facts) []report.Finding {
	d := f.divide()
	if !f.matters(d.dirty) {
		return nil
	}
	r := f.cause(codeDirty, d.dirty, high, f.Say("page cache that has to be written to disk before it can go%s", f.most(codeDirty, d.dirty)),
		f.counters(f.Say("waiting to be written, and being written"), "file_dirty", "file_writeback"))
	if l, ok := f.w.Deciding(true); ok && 2*d.dirty >= l.Bytes {
		r.Severity = notice
		r.Title += f.Say("; it fills half of the limit")
	}
	r.Evidence = append(r.Evidence, f.files(codeDirty)...)
	r.Remedies = []report.Remedy{
		f.lookAtFiles(f.Say(" --sort dirty")),
		{Kind: "app", Command: f.Say("fdatasync or sync_file_range in pieces while writing"), Cost: f.Say("the writer waits for the disk")},
		{Kind: "configure", Command: f.Say("vm.dirty_background_bytes, vm.dirty_bytes: lower"), Cost: f.Say("writers on the whole node wait earlier")},
	}
	return []report.Finding{r}
}
