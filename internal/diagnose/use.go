package diagnose

import (
	"fmt"
	"slices"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/trend"
)

// moved is what became of a file while it was watched.
func (f *facts) moved(in *snapshot.CensusInode) *trend.FileMove {
	if f.trend == nil {
		return nil
	}
	if f.moves == nil {
		f.moves = map[snapshot.FileID]*trend.FileMove{}
		for i := range f.trend.Files {
			m := &f.trend.Files[i]
			f.moves[m.Inode.ID()] = m
		}
	}
	return f.moves[in.ID()]
}

// usedAgain is how much of a file was read again at least.
func (f *facts) usedAgain(in *snapshot.CensusInode) int64 {
	if m := f.moved(in); m != nil {
		return max(0, m.Used)
	}
	return 0
}

// cameBack is the page cache that was read again after it had been evicted, and that
// the kernel took for part of the working set: what was evicted long ago, by whomever,
// it counts as refaulted too.
func (f *facts) cameBack() int64 {
	if f.trend == nil {
		return 0
	}
	for _, key := range []string{"workingset_activate_file", "workingset_activate"} {
		if c, ok := f.trend.Count(key); ok {
			return f.pageBytes(c.N)
		}
	}
	return 0
}

func (f *facts) refaults() (bytes int64, e report.Evidence, known bool) {
	if f.trend == nil {
		return 0, e, false
	}
	for _, key := range []string{"workingset_refault_file", "workingset_refault"} {
		if c, ok := f.trend.Count(key); ok {
			return f.pageBytes(c.N), report.Evidence{Statement: f.Say("pages of files that came back after they were evicted, within %s", f.window()), Source: c.Source, Value: fmt.Sprint(c.N)}, true
		}
	}
	return 0, e, false
}

func (f *facts) pageBytes(pages int64) int64 {
	size := max(f.s.Host.PageSize, 1)
	return min(pages, maxSum/size) * size
}

// users are the files that were read again, with who did it, the most first.
func (f *facts) users() (e []report.Evidence) {
	if f.trend == nil {
		return nil
	}
	var list []*trend.FileMove
	for i := range f.trend.Files {
		if m := &f.trend.Files[i]; m.Used > 0 {
			list = append(list, m)
		}
	}
	slices.SortStableFunc(list, func(a, b *trend.FileMove) int { return int(min(1, max(-1, b.Used-a.Used))) })
	for _, m := range list[:min(len(list), 3)] {
		name, source := f.fileName(m.Inode, m.Cgroup), snapshot.CensusSource
		text := f.Say("read again within %s of %s, by the kernel's marks of its pages", f.window(), name)
		if len(m.Readers) > 0 {
			text = f.Say("read again within %s of %s, by %s", f.window(), name, f.processName(m.Readers[0]))
			source = fmt.Sprintf("/proc/%d/fdinfo", m.Readers[0].PID)
		}
		e = append(e, report.Evidence{Statement: text, Source: source, Value: fmt.Sprint(m.Used)})
	}
	return e
}

// busy says that the cache may well be in use, where no look tells which file is: its
// processes read far more than came from the disk.
func (f *facts) busy(rest int64) (words string, e []report.Evidence) {
	t := f.trend
	if t == nil || t.Since || !t.Calls.Known || !t.Read.Known {
		return "", nil
	}
	fresh := t.Read.N // what came for the first time, from the disk or by writing, is read and written too, and passed on
	if l, ok := t.Line(trend.File); ok {
		fresh += max(0, l.Change())
	}
	if t.Calls.N-4*fresh-f.divide().used < max(rest/4, fewBytes) {
		return "", nil
	}
	words = f.Say("page cache: files that were read or written, and are perhaps in use: its processes read and wrote %s within %s, %s of it from the disk", size.Text(t.Calls.N), f.window(), size.Text(t.Read.N))
	return words, []report.Evidence{
		{Statement: f.Say("read and written by system calls within %s, sockets and pipes included", f.window()), Source: t.Calls.Source, Value: fmt.Sprint(t.Calls.N)},
		{Statement: f.Say("read from block devices meanwhile"), Source: t.Read.Source, Value: fmt.Sprint(t.Read.N)},
	}
}
