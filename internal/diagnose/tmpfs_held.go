package diagnose

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
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
			"double buffering: what a database reads into its shared memory is in the page cache too; the cache goes first, and only O_DIRECT, where it has that, keeps one copy",
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
		e = append(e, f.largest(list, f.Say("memory files, as the container sees them, or the kernel's labels")))
		what = f.Say(": %s", f.kinds(list))
		if first := list[0].inode; !first.Pseudo || strings.HasPrefix(first.Path, "memfd:") || 2*list[0].bytes <= bytes { // else the kind says it all
			what += f.where(list, bytes)
		}
	}
	if left := f.leftInMemory(); 2*left > bytes {
		what += f.Say("; removed cgroups wrote %s of it, and it stays without them", size.Text(left))
	}
	who, seen := f.attached(bytes)
	what, e = what+who, append(e, seen...)
	twice, seen := f.twice(bytes)
	what, e = what+twice, append(e, seen...)
	r := f.cause(codeTmpfs, bytes, confidence, f.Say("memory files, which only deleting or swap gives back%s", what), e...)
	r.Remedies = []report.Remedy{
		f.lookAtFiles(""),
		{Kind: "app", Command: f.Say("delete the files, close the memfd, detach and remove the segment"), ExpectBytes: ptr(bytes), Cost: f.Say("the contents are gone")},
		{Kind: "limit", Command: f.Say("emptyDir with medium Memory: set sizeLimit below the container's limit"), Cost: f.Say("writes beyond it fail")},
	}
	if len(list) > 0 && list[0].inode.Pseudo && 2*list[0].bytes > bytes && !strings.HasPrefix(list[0].inode.Path, "memfd:") {
		r.Remedies[1].Command, r.Remedies[2] = f.Say("the setting that sizes it (shared_buffers and the like), lower; a segment that nobody is attached to: ipcrm"), report.Remedy{
			Kind: "limit", Command: f.Say("a limit that holds it beside everything else"), Cost: f.Say("none"),
		}
	}
	return []report.Finding{r}
}

// attached are the processes that have shared memory mapped: most of it, whether they
// used it or not, or much that they used.
func (f *facts) attached(bytes int64) (text string, e []report.Evidence) {
	var who *snapshot.Process
	var most, count int64
	for i := range f.s.Processes {
		p := &f.s.Processes[i]
		used, _ := p.Status.Value.Fields.Get("RssShmem")
		if !hasMapped(p, bytes) {
			continue
		}
		if count++; who == nil || used > most {
			most, who = used, p
		}
	}
	if who == nil {
		return "", nil
	}
	text = f.Say(", which %s has mapped", f.processName(who))
	if count > 1 {
		text = f.Say(", which %s and %s have mapped", f.processName(who), f.Count(count-1, "1 more", "%d more"))
	}
	return text, []report.Evidence{{Statement: f.Say("shared memory that %s has used", f.processName(who)), Source: fmt.Sprintf("/proc/%d/status", who.PID), Value: fmt.Sprintf("RssShmem %d", most)}}
}

// hasMapped reports a process that has mapped half of so much shared memory, or used it.
func hasMapped(p *snapshot.Process, bytes int64) bool {
	used, _ := p.Status.Value.Fields.Get("RssShmem")
	return 2*used >= bytes || 2*sharedSpace(p) >= bytes
}

// twice finds the cache of files that those who have the shared memory mapped have open:
// a database whose buffers are full of what it read has both.
func (f *facts) twice(bytes int64) (text string, e []report.Evidence) {
	open := map[uint64]string{}
	var who *snapshot.Process
	for i := range f.s.Processes {
		if p := &f.s.Processes[i]; hasMapped(p, bytes) {
			for _, o := range p.Positions.Value {
				open[uint64(o.Inode)] = path.Base(o.Path)
				who = p
			}
		}
	}
	if who == nil {
		return "", nil
	}
	var sum int64
	for _, code := range []string{codeCold, codeDirty, codeHot} {
		for _, s := range f.divide().parts[code] {
			if name, ok := open[s.inode.Number]; ok && name == path.Base(s.inode.Path) {
				sum = min(sum+s.bytes, maxSum)
			}
		}
	}
	if !f.matters(sum) || 4*sum < bytes {
		return "", nil
	}
	return f.Say("; of the files that they have open %s is in the page cache: the same data may be in memory twice", size.Text(sum)),
		[]report.Evidence{{Statement: f.Say("page cache of files that they have open"), Source: fmt.Sprintf("/proc/%d/fdinfo", who.PID), Value: fmt.Sprint(sum)}}
}

// sharedSpace is the largest shared mapping of memory without a disk behind it.
func sharedSpace(p *snapshot.Process) (most int64) {
	for i := range p.Smaps.Value.Maps {
		m := &p.Smaps.Value.Maps[i]
		if n := m.End - m.Start; m.Perms[3] == 's' && n < maxSum && (strings.HasPrefix(m.Name, "/dev/zero") || strings.HasPrefix(m.Name, "/SYSV") || strings.HasPrefix(m.Name, "/memfd:") || strings.HasPrefix(m.Name, "/dev/shm/")) {
			most = max(most, int64(n))
		}
	}
	return most
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
	sums, by := map[int]int64{}, map[int]string{}
	for i := range c.Files {
		if row := &c.Files[i]; within[row.Group] && row.Inode >= 0 && c.Inodes[row.Inode].Magic == snapshot.MagicTmpfs {
			sums[row.Inode] += row.Bytes
			by[row.Inode] = c.Groups[row.Group].Path
		}
	}
	var list []share
	for i, n := range sums {
		if n > 0 {
			list = append(list, share{bytes: n, inode: &c.Inodes[i], cgroup: by[i]})
		}
	}
	order(list)
	return list
}

// kinds says what the files are, by the labels that the kernel gives to those
// without a name.
func (f *facts) kinds(list []share) string {
	var parts []string
	var all int64
	for _, s := range list {
		all += s.bytes
	}
	for _, s := range list { // the largest first
		if 20*s.bytes < all && len(parts) > 0 {
			break
		}
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
