package diagnose

import (
	"cmp"
	"fmt"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/trend"
)

var cacheFilling = Rule{
	Code:    codeFilling,
	Title:   "page cache that grows, by which file and process",
	Noun:    "page cache that came within the window",
	NoBytes: "the cgroup's counters could not be read",
	find:    filling,
	Doc: Doc{
		Means: `Between the first and the last look the file cache grew by more than the kernel's counters may be wrong. The bytes are the growth within the window. ` +
			`Two censuses tell which files grew; positions of open files tell who reads or writes them. Where only the I/O of one process is enough for a file's growth, that process is named as the likely one; where several are, nobody is.`,
		Grades: "info always: cache alone kills nothing.",
		Needs:  []string{"two looks: --watch, or --from with --since", "memory.stat: file (cache), shmem", "for the files a census at both ends", "for the processes /proc/PID/fdinfo and /proc/PID/io"},
		Verify: []string{
			"while sleep 5; do grep -E '^(total_)?(cache|file) ' /sys/fs/cgroup/<cgroup>/memory.stat; done",
			"memwhy files <cgroup>   # twice", "grep pos /proc/<pid>/fdinfo/<n>; cat /proc/<pid>/io   # twice",
		},
		Do: []string{
			"nothing, where no limit or eviction is near: what is written once goes first when memory is short",
			"a log, a dump, an archive: posix_fadvise(POSIX_FADV_DONTNEED) behind what was written, RWF_DONTCACHE (since 6.14), O_DIRECT",
			"a job that reads everything once (backup, checksum, tar): O_DIRECT or nocache, outside of the container if it is not its own",
		},
		Owner:   "app for what it reads and writes; platform for jobs that it runs inside of the container",
		Stories: `"Memory rises all night, so the service leaks" is often a backup that reads every file, or a log: what grows is cache, and anonymous memory is flat.`,
	},
}

func filling(f *facts) []report.Finding {
	if f.trend == nil || f.trend.Restarted {
		return nil
	}
	l, ok := f.trend.Line(trend.File)
	if !ok || l.Change() < fewBytes || l.Change() <= l.Noise {
		return nil
	}
	confidence, title, e := low, f.Say("page cache that came within %s", f.window()), []report.Evidence{f.lineEvidence(l)}
	if where := f.where(f.grew(false), l.Change()); where != "" {
		confidence, title = medium, title+where
	}
	shown := 0
	for i := range f.trend.Files {
		m := &f.trend.Files[i]
		if m.Inode.Magic == snapshot.MagicTmpfs {
			continue
		}
		if m.Grew() <= 0 || shown == 3 {
			break
		}
		shown++
		who, sure := f.filler(m)
		if shown == 1 && 2*m.Grew() >= l.Change() {
			title += who
			if sure {
				confidence = high
			}
		}
		e = append(e, report.Evidence{Statement: f.Say("growth of %s%s", f.fileName(m.Inode, m.Cgroup), cmp.Or(who, f.Say("; positions and I/O do not tell by whom"))), Source: snapshot.CensusSource, Value: fmt.Sprint(m.Grew())})
	}
	r := f.cause(codeFilling, l.Change(), confidence, title, e...)
	r.PartOf = codeCold
	if d := f.divide(); !f.matters(d.rest) {
		r.PartOf = codeHot
		if d.dirty > d.mapped+d.used {
			r.PartOf = codeDirty
		}
	}
	r.Remedies = []report.Remedy{
		f.lookAtFiles(""),
		{Kind: "app", Command: f.Say("posix_fadvise(POSIX_FADV_DONTNEED) after use, RWF_DONTCACHE or O_DIRECT for what is read once"), Cost: f.Say("reading it again goes to the disk")},
	}
	return []report.Finding{r}
}

// grew are the files that grew while they were watched, in memory or of a disk.
func (f *facts) grew(memory bool) (list []share) {
	for i := range f.trend.Files {
		if m := &f.trend.Files[i]; m.Grew() > 0 && (m.Inode.Magic == snapshot.MagicTmpfs) == memory {
			list = append(list, share{bytes: m.Grew(), inode: m.Inode, cgroup: m.Cgroup})
		}
	}
	return list
}

// filler says who makes a file grow, and whether that was seen.
func (f *facts) filler(m *trend.FileMove) (who string, sure bool) {
	switch {
	case len(m.Writers) > 0:
		return f.Say(", which %s writes", f.processName(m.Writers[0])), true
	case len(m.Readers) > 0:
		return f.Say(", which %s reads or writes", f.processName(m.Readers[0])), true
	case m.Guess != nil:
		return f.Say(", which %s probably reads or writes: nobody else did so much", f.processName(m.Guess)), false
	case len(f.trend.Started)+len(f.trend.Ended) > 0:
		return f.Say(", by a process that began or ended meanwhile, or by one whose position does not tell"), false
	}
	return "", false
}
