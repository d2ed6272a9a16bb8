package gather

import (
	"time"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// What the kernel takes to print what a process has mapped, while it keeps that
// process from mapping anything: measured with `go run ./procs -costs` in bench
// (2 cores, Linux 6.18), rounded up. A huge page costs as little as a small one.
const (
	costFile   = 40 * time.Microsecond  // to open, read and hand over a small file
	costMaps   = 300 * time.Nanosecond  // a mapping, in maps
	costRollup = 250 * time.Nanosecond  // a mapping, in smaps_rollup
	costSmaps  = 3200 * time.Nanosecond // a mapping, in smaps
	costPage   = 36 * time.Nanosecond   // a resident page, in both
	usualMaps  = 100                    // mappings, where nobody counted them
	hugePage   = int64(2 << 20)         // bytes
	smapsBytes = 1500                   // of one mapping, at most: with a long name
)

// Budgets of one explanation. They are predictions; budgetWall stops what took
// far longer than predicted, by the times that the answers carry: a replay stops
// at the same place.
const (
	maxSmaps     = 50                     // processes, the largest: as many as a report lists
	maxMaps      = 4 << 20                // bytes of maps
	longMaps     = maxMaps / 50           // mappings, where maps was longer: a line has 50 bytes at least
	maxSmapsFile = 24 << 20               // bytes of smaps
	budgetSmaps  = 100 * time.Millisecond // for smaps of all processes
	budgetPages  = 40 * time.Millisecond  // for the pages of one process: about 4 GiB, its mmap lock is held meanwhile
	budgetAll    = 150 * time.Millisecond // with maps and smaps_rollup
	budgetWall   = 600 * time.Millisecond
	rollups      = 16 // asked for together
)

// Reasons for what was not asked. The first is no failure: it is as intended.
const (
	notLargest   = "not asked: mappings are read of the 50 largest processes"
	tooManyPages = "not asked: too many resident pages; its mmap lock would be held for more than 40 ms"
	tooManyMaps  = "not asked: so many mappings that listing them would take more than 100 ms"
	overSmaps    = "not asked: mappings of all processes would take more than 100 ms"
	overAll      = "not asked: the time for processes' memory was used up"
)

// mappingReader spends the budgets on processes.
type mappingReader struct {
	src        kernel.Source
	huge       float64 // the part of anonymous memory that is huge pages
	pageSize   int64
	smaps, all time.Duration // left
	spent      time.Duration // by the times of the answers
	last       time.Time     // of the last one
}

// readMappings reads smaps of the largest processes, by size, and smaps_rollup
// of those that are too many or would cost too much.
func readMappings(src kernel.Source, s *snapshot.Snapshot, bySize []*snapshot.Process) {
	r := &mappingReader{src: src, huge: hugeShare(s.Target()), pageSize: max(s.Host.PageSize, 1), smaps: budgetSmaps, all: budgetAll}
	var rest, read []*snapshot.Process
	for _, p := range bySize {
		if _, user := p.Status.Value.Fields.Get("VmSize"); !user {
			continue // a kernel thread, a zombie, or it ended
		}
		why := notLargest
		if len(read)+len(rest) < maxSmaps {
			why = r.one(p)
		}
		if p.Smaps.State == snapshot.Present {
			read = append(read, p)
			continue
		}
		if why != "" {
			p.Smaps = refused[snapshot.Smaps](p, "smaps", why)
		}
		rest = append(rest, p)
	}
	r.rollups(rest)
	goVersions(src, read)
}

// one reads smaps of a process, or returns why not.
func (r *mappingReader) one(p *snapshot.Process) (why string) {
	if r.late() || r.all < costFile {
		return overAll
	}
	p.Mappings = kernel.Value(r.src, procFile(p.PID, "maps"), maxMaps, procfs.CountMaps)
	r.clock(p.Mappings.At, p.Mappings.State)
	n, ok := p.Mappings.Get()
	if !ok {
		if p.Mappings.State == snapshot.Failed { // longer than is read, or no answer
			r.all -= longMaps * costMaps
		}
		p.Smaps = snapshot.Reading[snapshot.Smaps]{State: p.Mappings.State, Source: p.Mappings.Source, Err: p.Mappings.Err, At: p.Mappings.At}
		return ""
	}
	r.all -= costFile + time.Duration(n)*costMaps
	pages := r.pages(p)
	cost := costFile + time.Duration(n)*costSmaps + pages
	switch {
	case pages > budgetPages:
		return tooManyPages
	case cost > budgetSmaps:
		return tooManyMaps
	case r.late() || cost > r.all:
		return overAll
	case cost > r.smaps:
		return overSmaps
	}
	r.smaps, r.all = r.smaps-cost, r.all-cost
	p.Smaps = kernel.Value(r.src, procFile(p.PID, "smaps"), min(maxSmapsFile, 64<<10+n*smapsBytes), procfs.ParseSmaps)
	r.clock(p.Smaps.At, p.Smaps.State)
	return ""
}

// rollups reads smaps_rollup, some at a time.
func (r *mappingReader) rollups(ps []*snapshot.Process) {
	for len(ps) > 0 {
		var qs []kernel.Question
		var asked []*snapshot.Process
		for len(ps) > 0 && len(qs) < rollups {
			p := ps[0]
			ps = ps[1:]
			n, counted := p.Mappings.Get()
			if !counted {
				n = usualMaps
				if p.Mappings.Source != "" && p.Mappings.State == snapshot.Failed {
					n = longMaps
				}
			}
			pages := r.pages(p)
			cost := costFile + time.Duration(n)*costRollup + pages
			switch {
			case pages > budgetPages:
				p.Rollup = refused[snapshot.Stat](p, "smaps_rollup", tooManyPages)
			case r.late() || cost > r.all:
				p.Rollup = refused[snapshot.Stat](p, "smaps_rollup", overAll)
			default:
				r.all -= cost
				qs = append(qs, kernel.Question{Op: kernel.Read, Path: procFile(p.PID, "smaps_rollup"), Max: 64 << 10})
				asked = append(asked, p)
			}
		}
		for i, a := range kernel.AskAll(r.src, qs) {
			asked[i].Rollup = kernel.Parsed(a, qs[i].Path, procfs.ParseSmapsRollup)
			r.clock(a.At, a.State)
		}
	}
}

// goVersions asks the executables of those whose mappings are known whether Go
// made them: without that nothing tells the Go heap from other memory where the
// kernel does not name it.
func goVersions(src kernel.Source, ps []*snapshot.Process) {
	qs := make([]kernel.Question, len(ps))
	for i, p := range ps {
		qs[i] = kernel.Question{Op: kernel.BuildInfo, Path: procFile(p.PID, "exe"), Max: 64}
	}
	for i, a := range kernel.AskAll(src, qs) {
		ps[i].GoVersion = kernel.Parsed(a, qs[i].Path, procfs.ParseGoBuild)
	}
}

// pages predicts what the resident pages of a process cost.
func (r *mappingReader) pages(p *snapshot.Process) time.Duration {
	bytes := rss(p)
	huge := int64(r.huge * float64(bytes))
	return time.Duration((bytes-huge)/r.pageSize+huge/hugePage) * costPage
}

// clock adds the time since the last answer. What was waited for in vain does
// not count: one process that does not answer must not hide the others.
func (r *mappingReader) clock(at time.Time, st snapshot.State) {
	if !r.last.IsZero() && !at.IsZero() && st != snapshot.Failed {
		r.spent += at.Sub(r.last)
	}
	r.last = at
}

func (r *mappingReader) late() bool { return r.spent > budgetWall }

func refused[T any](p *snapshot.Process, file, why string) snapshot.Reading[T] {
	st := snapshot.Failed
	if why == notLargest {
		st = snapshot.Absent
	}
	return snapshot.Reading[T]{State: st, Source: procFile(p.PID, file), Err: why}
}

// hugeShare is the part of the anonymous memory of c that is huge pages, 0 when
// it does not say.
func hugeShare(c *snapshot.Cgroup) float64 {
	for _, keys := range [][2]string{{"anon", "anon_thp"}, {"total_rss", "total_rss_huge"}} {
		anon, ok1 := c.Stat.Value.Get(keys[0])
		huge, ok2 := c.Stat.Value.Get(keys[1])
		if ok1 && ok2 && anon > 0 && huge > 0 && huge <= anon && size.Plausible(anon) {
			return float64(huge) / float64(anon)
		}
	}
	return 0
}
