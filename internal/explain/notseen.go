package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/memwhy/memwhy/internal/diagnose"
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// notSeen lists what could not be had: accounts and numbers first, then sources
// that refused or failed. Every null of the report has an entry.
func notSeen(s *snapshot.Snapshot, w *ledger.Whole, r *report.Report) []report.NotSeen {
	l := &missingList{}
	for _, m := range append(w.Missing, w.Unknown...) {
		l.add(strings.ReplaceAll(m.Key, "numbers/", "numbers."), m.Source, m.State, m.Err, m.WouldShow)
	}
	l.nulls(s, r)
	l.sources(s)
	l.names(s, isContainer(r.Target))
	l.processes(s)
	return l.rows
}

type missingList struct{ rows []report.NotSeen }

func (l *missingList) add(key, source string, st snapshot.State, why, wouldShow string) {
	source, _ = name(source)
	why, _ = name(why)
	key, _ = name(key)
	if why == "" {
		why = st.String()
	}
	l.rows = append(l.rows, report.NotSeen{Key: key, Source: source, State: st.String(), Why: why, WouldShow: wouldShow})
}

// null adds an entry for a number that is null in the report.
func null[T any](l *missingList, key string, isNull bool, r snapshot.Reading[T], why, wouldShow string) {
	if !isNull {
		return
	}
	for _, row := range l.rows {
		if row.Key == key {
			return
		}
	}
	st := r.State
	if st == snapshot.Present {
		st = snapshot.Absent
	} else if r.Err != "" {
		why = r.Err
	}
	l.add(key, r.Source, st, why, wouldShow)
}

func (l *missingList) nulls(s *snapshot.Snapshot, r *report.Report) {
	t := s.Target()
	n := r.Numbers
	l.hostNulls(s, r.Generated, r.Host)
	null(l, "unexplained.boundBytes", r.Unexplained.BoundBytes == nil, s.Host.CPUs, "", "how far usage and accounts may differ")
	null(l, "numbers.workingSetBytes", n.WorkingSetBytes == nil, t.Stat, "", "the working set")
	null(l, "numbers.rssBytes", n.RSSBytes == nil, t.Stat, "no usable counter", "anonymous memory")
	for _, key := range []string{"unreclaimableBytes", "unreclaimableMinBytes", "unreclaimableMaxBytes", "reclaimableBytes"} {
		null(l, "numbers."+key, n.ReclaimableBytes == nil, t.Stat, "the LRU lists are not all there", "what of the usage can be taken back")
	}
	null(l, "numbers.limitBytes", n.LimitBytes == nil, t.Limit, "no limit on the path to the root", "the deciding limit")
	null(l, "numbers.peakBytes", n.PeakBytes == nil, t.Peak, "implausible", "the highest usage so far")
	for i, row := range r.Says {
		null(l, fmt.Sprintf("says[%d].bytes", i), row.Bytes == nil, t.Stat, row.Formula, "what "+row.Tool+" shows")
		for j := range row.Reported {
			null(l, fmt.Sprintf("says[%d].reported[%d].differenceBytes", i, j), row.Reported[j].DifferenceBytes == nil, t.Stat, row.Formula, "how far "+row.Tool+" is from the kernel's files")
		}
	}
	for i, f := range r.Findings {
		rule, _ := diagnose.Of(f.Code)
		null(l, fmt.Sprintf("findings[%d].bytes", i), f.Bytes == nil, snapshot.Reading[int]{State: snapshot.Absent, Source: f.Code}, rule.NoBytes, "how many bytes "+f.Code+" explains")
	}
	null(l, "risks.kill.marginBytes", r.Risks.Kill.MarginBytes == nil, t.Limit, r.Risks.Kill.Because, "how far from being killed")
	null(l, "risks.evict.marginBytes", r.Risks.Evict.MarginBytes == nil, snapshot.Reading[int]{State: snapshot.Absent, Source: "kubelet"},
		r.Risks.Evict.Because, "how far from being evicted")
	null(l, "risks.throttle.marginBytes", r.Risks.Throttle.MarginBytes == nil, t.High, r.Risks.Throttle.Because, "how far from being throttled")
}

func (l *missingList) hostNulls(s *snapshot.Snapshot, generated *time.Time, h report.Host) {
	tree := snapshot.Reading[int]{State: snapshot.Absent, Source: "--from", Err: "a directory tree does not say when it was taken"}
	null(l, "generated", generated == nil, tree, "", "when the node was read")
	null(l, "host.cpus", h.CPUs == nil, s.Host.CPUs, "", "how far usage and accounts may differ")
	null(l, "host.memTotalBytes", h.MemTotalBytes == nil, s.Node.Meminfo, "no key MemTotal", "the size of the node")
}

// listNulls does the same for the rows of a list, once for each column.
func (l *missingList) listNulls(rows []report.Listed) {
	for _, v := range []struct {
		key    string
		isNull func(*report.Listed) bool
		why    string
	}{
		{"numbers.workingSetBytes", func(r *report.Listed) bool { return r.Numbers.WorkingSetBytes == nil }, "memory.stat could not be read"},
		{"numbers.rssBytes", func(r *report.Listed) bool { return r.Numbers.RSSBytes == nil }, "memory.stat has no usable counter"},
		{"numbers.unreclaimableBytes", func(r *report.Listed) bool { return r.Numbers.UnreclaimableBytes == nil }, "the LRU lists are not all there"},
		{"numbers.unreclaimableMinBytes", func(r *report.Listed) bool { return r.Numbers.UnreclaimableMinBytes == nil }, "the LRU lists are not all there"},
		{"numbers.unreclaimableMaxBytes", func(r *report.Listed) bool { return r.Numbers.UnreclaimableMaxBytes == nil }, "the LRU lists are not all there"},
		{"numbers.reclaimableBytes", func(r *report.Listed) bool { return r.Numbers.ReclaimableBytes == nil }, "the LRU lists are not all there"},
		{"numbers.limitBytes", func(r *report.Listed) bool { return r.Numbers.LimitBytes == nil }, "no limit on the path to the root"},
		{"numbers.peakBytes", func(r *report.Listed) bool { return r.Numbers.PeakBytes == nil }, "a list does not read it"},
		{"coldMaxBytes", func(r *report.Listed) bool { return r.ColdMaxBytes == nil }, "no list of inactive file cache"},
		{"risk.marginBytes", func(r *report.Listed) bool { return r.Risk.MarginBytes == nil }, "no limit on the path to the root"},
	} {
		i := slices.IndexFunc(rows, func(r report.Listed) bool { return v.isNull(&r) })
		if i >= 0 {
			l.add("containers[]."+v.key, rows[i].Target.Cgroup, snapshot.Absent, v.why, "the column for rows where it is null")
		}
	}
}

// source adds a source that refused or failed. That a kernel does not have a
// file is no news.
func source[T any](l *missingList, r snapshot.Reading[T], wouldShow string) {
	if r.State == snapshot.Denied || r.State == snapshot.Failed && r.Source != "" {
		l.add("", r.Source, r.State, r.Err, wouldShow)
	}
}

// census says why there is none, when somebody wanted one.
func (l *missingList) census(s *snapshot.Snapshot) {
	if c := s.Census; c.State != snapshot.Present && c.Err != snapshot.CensusOff && c.Source != "" {
		l.add("", c.Source, c.State, c.Err, snapshot.CensusGain)
	}
}

func (l *missingList) sources(s *snapshot.Snapshot) {
	t := s.Target()
	source(l, t.Procs, "its processes")
	source(l, t.Descendants, "the cgroups below it and their processes")
	source(l, t.Events, "how often limits were hit and processes killed")
	source(l, t.OOMControl, "whether processes were OOM-killed")
	source(l, t.SwapUsage, "how much of it is swapped out")
	source(l, t.Pressure, "how long its tasks waited for memory")
	if !inactiveKmem(t) {
		source(l, t.Slabs, "the kernel's memory by slab cache")
	}
	if diagnose.LRU(s) == "unknown" {
		source(l, s.Host.MGLRU, "which page reclaim engine is in charge")
	}
	l.census(s)
	if c, ok := s.Census.Get(); ok && c != nil {
		for _, r := range c.Refused {
			l.add("", snapshot.CensusSource+" ("+string(r.Engine)+")", r.State, r.Why, snapshot.CensusGain)
		}
	}
	source(l, s.Host.Kernel, "the kernel's release")
	source(l, s.Host.Distro, "the distribution")
	source(l, s.Node.Meminfo, "the node's memory and swap")
	source(l, s.Node.Vmstat, "what the node's reclaim does")
	source(l, s.Node.Zones, "the node's watermarks")
	source(l, s.Node.Buddy, "whether the node's free memory is fragmented")
	source(l, s.Node.Slabs, "the node's slab by cache")
	source(l, s.Node.Swaps, "the node's swap areas")
	source(l, s.Node.Controllers, "how many memory cgroups the kernel keeps")
	source(l, s.Node.Pressure, "how long tasks of the node waited for memory")
	source(l, s.Node.BootArgs, "boot options such as cgroup.memory=nokmem")
	source(l, s.Node.Version, "the kernel's build")
	if source(l, s.Log, "what the kernel said when it killed"); s.Log.State == snapshot.Absent {
		l.add("", s.Log.Source, s.Log.State, s.Log.Err, "what the kernel said when it killed")
	}
	if inside, ok := s.Host.Nested.Get(); ok && inside && s.Log.State == snapshot.Present && !strings.HasPrefix(s.Target().Path, "/..") {
		l.add("", s.Log.Source, snapshot.Denied, "it names cgroups as the node does, and this process is in a cgroup namespace", "which kills were of this cgroup")
	}
}

// inactiveKmem tells the EIO of a slab table of a cgroup without kmem
// accounting, which is how kernels before 5.10 say that it is off (linux
// mm/memcontrol.c mem_cgroup_slabinfo_read), from a failure.
func inactiveKmem(c *snapshot.Cgroup) bool {
	return c.Slabs.State == snapshot.Failed && strings.Contains(strings.ToLower(c.Slabs.Err), "input/output error") && c.KmemUsage.State == snapshot.Present
}

// processes adds one entry for each kind of trouble, not one for each process.
func (l *missingList) processes(s *snapshot.Snapshot) {
	if s.Outside > 0 {
		l.add("", s.Target().Procs.Source, snapshot.Absent,
			fmt.Sprintf("%d processes live outside this PID namespace and are listed as 0", s.Outside), "their names and sizes")
	}
	if n := len(s.PIDs) - len(s.Processes); n > 0 {
		l.add("", s.Target().Procs.Source, snapshot.Failed, fmt.Sprintf("%d more processes than are read", n), "their names and sizes")
	}
	groups := map[string]*group{}
	var order []string
	note := func(pid int, what, src, why string, st snapshot.State) {
		if st == snapshot.Present || st == snapshot.Absent && why != snapshot.NoCommand && !strings.HasPrefix(why, notAsked) || src == "" {
			return
		}
		key := what + st.String() + why
		if groups[key] == nil {
			groups[key] = &group{what: what, source: src, why: why, state: st}
			order = append(order, key)
		}
		groups[key].pids = append(groups[key].pids, pid)
	}
	for i := range s.Processes {
		p := &s.Processes[i]
		note(p.PID, "names and sizes", p.Status.Source, p.Status.Err, p.Status.State)
		note(p.PID, "command lines", p.Command.Source, p.Command.Err, p.Command.State)
		note(p.PID, "executables", p.Exe.Source, p.Exe.Err, p.Exe.State)
		mappings(p, note)
		note(p.PID, "the Go heap", p.GoVersion.Source, p.GoVersion.Err, p.GoVersion.State)
		note(p.PID, "what runtimes and allocators hold and do not use", p.Heaps.Source, p.Heaps.Err, p.Heaps.State)
		note(p.PID, "settings in the environment", p.Environ.Source, p.Environ.Err, p.Environ.State)
		note(p.PID, "deleted open files", p.OpenFiles.Source, p.OpenFiles.Err, p.OpenFiles.State)
		for _, f := range p.OpenFiles.Value {
			note(p.PID, "sizes of deleted open files", f.Stat.Source, f.Stat.Err, f.Stat.State)
		}
	}
	for _, key := range order {
		g := groups[key]
		why := g.why
		if n := len(g.pids) - 1; n > 0 {
			why = fmt.Sprintf("%s (and %d more)", g.why, n)
		}
		l.add("", g.source, g.state, why, g.what+" of processes")
	}
}

// notAsked begins the reasons for what could have been read and was not.
const notAsked = "not asked: "

// mappings notes what is coarse of a process and what is not known at all: one
// entry, for whatever stood in did its part.
func mappings(p *snapshot.Process, note func(pid int, what, src, why string, st snapshot.State)) {
	if p.Smaps.State == snapshot.Present || p.Smaps.Gone() || p.Rollup.Gone() {
		return
	}
	if p.Rollup.State == snapshot.Present {
		note(p.PID, "kinds of the anonymous memory", p.Smaps.Source, p.Smaps.Err, p.Smaps.State)
		return
	}
	why, state := p.Smaps.Err, p.Smaps.State
	if !strings.HasPrefix(why, notAsked) && state != snapshot.Absent || p.Rollup.Source == "" {
		note(p.PID, "kinds and shares of the anonymous memory", p.Smaps.Source, why, state)
		return
	}
	note(p.PID, "kinds and shares of the anonymous memory", p.Rollup.Source, p.Rollup.Err, p.Rollup.State)
}

type group struct {
	what, source, why string
	state             snapshot.State
	pids              []int
}
