package diagnose

import (
	"cmp"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
)

var tmpfsHeld = Rule{
	Code:    codeTmpfs,
	Title:   "memory files: tmpfs, memfd, shared memory",
	Noun:    "memory files (tmpfs, memfd, shared memory)",
	NoBytes: "this kernel does not tell them from page cache",
	find:    held,
	Doc: Doc{
		Means: `Files that are nothing but memory: on tmpfs (/dev/shm, /tmp, an emptyDir with medium Memory), memfd, System V segments, shared anonymous memory such as shared_buffers. ` +
			`The kernel counts them as cache, and yet cannot drop them: there is no disk behind, at best swap. They are charged to whoever wrote them first, and stay when that process or container ends.`,
		Grades: "info always; limit.tight and limit.parent say when it is a danger.",
		Needs:  []string{"memory.stat: shmem (v1: since 4.19); before that a census, or what is on the anonymous lists beyond anonymous memory"},
		Verify: []string{
			"grep shmem /sys/fs/cgroup/<cgroup>/memory.stat", "df -h -t tmpfs; find /dev/shm /tmp -type f -size +1M   # in the container",
			"ipcs -m -p; ls -l /proc/<pid>/fd | grep memfd", "memwhy files <cgroup>",
		},
		Do: []string{
			"delete the files; remove segments with nobody attached (ipcrm)",
			"emptyDir: a sizeLimit below the container's limit, and clean up at the start: the pod keeps it over restarts of its containers",
			"a database: its shared memory has to fit into the limit beside everything else",
		},
		Owner: "app; platform for sizeLimit and for who shares a volume",
		Stories: `"cache can always be taken back" is wrong for this part. free and docker stats up to 19.03 count it as cache, so a container is killed that looked small. ` +
			`Restarting the container gives nothing back while the pod's tmpfs is there.`,
	},
}

func held(f *facts) []report.Finding {
	bytes, confidence, e := f.memoryFiles()
	if !f.matters(bytes) {
		return nil
	}
	list := f.memoryFileList()
	what := ""
	if len(list) > 0 {
		e = append(e, f.largest(list, f.Say("memory files, by their paths in their file systems or the kernel's labels")))
		what = ": " + f.kinds(list)
		if 2*list[0].bytes > bytes {
			what += f.Say("; most of it is %s", list[0].name)
		}
	}
	r := f.cause(codeTmpfs, bytes, confidence, f.Say("memory files, which only deleting or swap gives back%s", what), e...)
	r.Remedies = []report.Remedy{
		f.lookAtFiles(""),
		{Kind: "app", Command: f.Say("delete the files, close the memfd, detach and remove the segment"), ExpectBytes: ptr(bytes), Cost: f.Say("the contents are gone")},
		{Kind: "limit", Command: f.Say("emptyDir with medium Memory: set sizeLimit below the container's limit"), Cost: f.Say("writes beyond it fail")},
	}
	return []report.Finding{r}
}

// memoryFiles is the kernel's counter, or on kernels without one what a census
// found, or what is on the anonymous lists and is not anonymous.
func (f *facts) memoryFiles() (bytes int64, confidence string, e []report.Evidence) {
	if a, ok := f.w.Account(ledger.Shmem); ok {
		return a.Bytes, high, []report.Evidence{f.counters(f.Say("tmpfs, memfd and shared memory"), "shmem")}
	}
	a, _ := f.w.Account(ledger.File)
	if c, _, ok := f.census(); ok {
		if n, known := ledger.Count(c, f.target().Path, !f.target().Hierarchical()); known && n.Shmem != snapshot.Unknown {
			return min(n.Shmem, a.Bytes), high, []report.Evidence{f.counters(f.Say("inside of the page cache: this kernel does not count them apart"), "file")}
		}
	}
	return a.State["onAnonLists"], medium, []report.Evidence{f.counters(f.Say("page cache on the anonymous lists is of memory files"), "active_anon", "inactive_anon", "anon", "file")}
}

// memoryFileList are those that a census found, the largest first.
func (f *facts) memoryFileList() []share {
	c, within, ok := f.census()
	if !ok {
		return nil
	}
	sums := map[int]int64{}
	for i := range c.Files {
		if row := &c.Files[i]; within[row.Group] && row.Inode >= 0 && c.Inodes[row.Inode].Magic == tmpfs {
			sums[row.Inode] += row.Bytes
		}
	}
	var list []share
	for i, n := range sums {
		if n > 0 {
			list = append(list, share{fileName(&c.Inodes[i]), n, &c.Inodes[i]})
		}
	}
	slices.SortFunc(list, func(a, b share) int { return cmp.Or(cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.name, b.name)) })
	return list
}

// kinds says what the files are, by the labels that the kernel gives to those
// without a name.
func (f *facts) kinds(list []share) string {
	var parts []string
	for _, s := range list {
		kind := f.Say("files on tmpfs")
		switch in := s.inode; {
		case !in.Pseudo:
		case strings.HasPrefix(in.Path, "memfd:"):
			kind = "memfd"
		case strings.HasPrefix(in.Path, "SYSV"):
			kind = f.Say("System V segments")
		case in.Path == "dev/zero":
			kind = f.Say("shared anonymous memory")
		}
		if !slices.Contains(parts, kind) {
			parts = append(parts, kind)
		}
	}
	return f.Join(parts)
}
