package diagnose

import (
	"fmt"
	"slices"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

var cacheDeletedOpen = Rule{
	Code:    codeDeleted,
	Title:   "page cache of files that were deleted and are still held",
	Noun:    "page cache of deleted files that somebody still holds",
	NoBytes: "how much of them is cached no file tells",
	find:    deletedOpen,
	Doc: Doc{
		Means: `A file on a disk lost its last name while a process has it open or mapped: no directory shows it, du does not find it, and its blocks and its cache stay until the last one closes it. ` +
			`Log files that were rotated away, temporary files that were unlinked on purpose.`,
		Grades: "info always: the kernel can take the cache, but not the disk space.",
		Needs:  []string{"a census; without one /proc/PID/fd, which tells the length on disk and not what is cached"},
		Verify: []string{"ls -l /proc/<pid>/fd | grep deleted", "memwhy files <cgroup>   # marked deleted"},
		Do: []string{
			"have the process close or reopen the file: log rotation needs a signal, or copytruncate",
			"truncate it through the descriptor: : > /proc/<pid>/fd/<n>; what is in it is lost",
			"temporary files on purpose: fine, until the disk is full",
		},
		Owner:   "app",
		Stories: `"I deleted the logs and memory did not go down" is this: rm removes a name, not a file.`,
	},
}

func deletedOpen(f *facts) []report.Finding {
	d := f.divide()
	if !d.counted {
		return f.deletedByDescriptors()
	}
	if !f.matters(d.deleted) {
		return nil
	}
	holders, e := f.whoHolds(d.parts[codeDeleted])
	confidence, held := high, f.Say(", which %s still has open", holders)
	if holders == "" { // the census knows that it is held, else it would be gone
		confidence, held = medium, f.Say(" and are still held")
	}
	r := f.cause(codeDeleted, d.deleted, confidence, f.Say("page cache of files that were deleted%s%s", held, f.most(codeDeleted, d.deleted)), f.files(codeDeleted)...)
	r.Evidence = append(r.Evidence, e...)
	r.Remedies = []report.Remedy{
		f.lookAtFiles(""),
		{Kind: "app", Command: f.Say("close or reopen the file (log rotation: the signal that does it)"), ExpectBytes: ptr(d.deleted), Cost: f.Say("the contents are gone")},
	}
	return []report.Finding{r}
}

// whoHolds finds processes of the target that have one of the files open.
func (f *facts) whoHolds(files []share) (who string, e []report.Evidence) {
	for i := range f.s.Processes {
		p := &f.s.Processes[i]
		for _, open := range p.OpenFiles.Value {
			st, ok := open.Stat.Get()
			ino, _ := st.Get(snapshot.FileInode)
			if !ok || !slices.ContainsFunc(files, func(s share) bool { return s.inode.Number == uint64(ino) }) {
				continue
			}
			if who == "" {
				who = f.processName(p)
			}
			if len(e) < 3 {
				e = append(e, report.Evidence{Statement: f.Say("%s has it open", f.processName(p)), Source: fmt.Sprintf("/proc/%d/fd/%d", p.PID, open.FD), Value: open.Path})
			}
		}
	}
	return who, e
}

// deletedByDescriptors knows what the files take on disk: the most that can be
// cached of them.
func (f *facts) deletedByDescriptors() []report.Finding {
	var sum int64
	var e []report.Evidence
	seen := map[[2]int64]bool{}
	for i := range f.s.Processes {
		p := &f.s.Processes[i]
		for _, open := range p.OpenFiles.Value {
			st, ok := open.Stat.Get()
			links, ok1 := st.Get(snapshot.FileLinks)
			allocated, ok2 := st.Get(snapshot.FileAllocated)
			fs, ok3 := st.Get(snapshot.FileSystem)
			dev, _ := st.Get(snapshot.FileDevice)
			ino, _ := st.Get(snapshot.FileInode)
			id := [2]int64{dev, ino}
			if !ok || !ok1 || !ok2 || !ok3 || links != 0 || fs == snapshot.MagicTmpfs || fs == ramfs || fs == hugetlbfs || !size.Plausible(allocated) || seen[id] {
				continue
			}
			seen[id] = true
			sum = min(sum+allocated, size.TiB)
			if len(e) < 3 {
				e = append(e, report.Evidence{Statement: f.Say("%s has it open; on disk it takes", f.processName(p)), Source: fmt.Sprintf("/proc/%d/fd/%d", p.PID, open.FD), Value: fmt.Sprint(allocated)})
			}
		}
	}
	if sum = min(sum, f.account("file")); !f.matters(sum) {
		return nil
	}
	r := f.cause(codeDeleted, sum, low, f.Say("page cache at most: files that were deleted and are still open"), e...)
	r.PartOf = codeCold
	r.Remedies = []report.Remedy{{Kind: "look", Command: f.Say("memwhy doctor: what a census needs, which tells how much of them is cached"), Cost: f.Say("none")}}
	return []report.Finding{r}
}

// Other file systems whose files are memory.
const (
	ramfs     = 0x858458f6
	hugetlbfs = 0x958458f6
)
