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
	"github.com/memwhy/memwhy/internal/words"
)

// notSeen lists what could not be had: accounts and numbers first, then sources
// that refused or failed. Every null of the report has an entry.
func notSeen(p words.Printer, s *snapshot.Snapshot, w *ledger.Whole, r *report.Report) []report.NotSeen {
	l := &missingList{Printer: p}
	for _, m := range append(w.Missing, w.Unknown...) {
		l.add(strings.ReplaceAll(m.Key, "numbers/", "numbers."), m.Source, m.State, p.Tell(m.Err), p.Tell(m.WouldShow))
	}
	l.nulls(s, r)
	l.sources(s)
	l.rivals(s, r.Findings)
	l.names(s, isContainer(r.Target))
	l.processes(s, found(r.Findings, "kernel.other"))
	return l.rows
}

type missingList struct {
	words.Printer
	rows []report.NotSeen
}

// add adds a row. Of what readers say why, only what has no numbers or names in it is
// in the catalogue.
func (l *missingList) add(key, source string, st snapshot.State, why, wouldShow string) {
	source, _ = name(source)
	why, _ = name(l.Of(why))
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
	null(l, "unexplained.boundBytes", r.Unexplained.BoundBytes == nil, s.Host.CPUs, "", l.Say("how far usage and accounts may differ"))
	null(l, "numbers.workingSetBytes", n.WorkingSetBytes == nil, t.Stat, "", l.Say("the working set"))
	null(l, "numbers.rssBytes", n.RSSBytes == nil, t.Stat, l.Say("no usable counter"), l.Say("anonymous memory"))
	for _, key := range []string{"unreclaimableBytes", "unreclaimableMinBytes", "unreclaimableMaxBytes", "reclaimableBytes"} {
		null(l, "numbers."+key, n.ReclaimableBytes == nil, t.Stat, l.Say("the LRU lists are not all there"), l.Say("what of the usage can be taken back"))
	}
	null(l, "numbers.limitBytes", n.LimitBytes == nil, t.Limit, l.Say("no limit on the path to the root"), l.Say("the deciding limit"))
	null(l, "numbers.peakBytes", n.PeakBytes == nil, t.Peak, l.Say("implausible"), l.Say("the highest usage so far"))
	for i, row := range r.Says {
		null(l, fmt.Sprintf("says[%d].bytes", i), row.Bytes == nil, t.Stat, row.Formula, l.Say("what %s shows", row.Tool))
		for j := range row.Reported {
			null(l, fmt.Sprintf("says[%d].reported[%d].differenceBytes", i, j), row.Reported[j].DifferenceBytes == nil, t.Stat, row.Formula, l.Say("how far %s is from the kernel's files", row.Tool))
		}
	}
	for i, f := range r.Findings {
		rule, _ := diagnose.Of(f.Code)
		null(l, fmt.Sprintf("findings[%d].bytes", i), f.Bytes == nil, snapshot.Reading[int]{State: snapshot.Absent, Source: f.Code}, l.Of(rule.NoBytes), l.Say("how many bytes %s explains", f.Code))
	}
	null(l, "risks.kill.marginBytes", r.Risks.Kill.MarginBytes == nil, t.Limit, r.Risks.Kill.Because, l.Say("how far from being killed"))
	null(l, "risks.evict.marginBytes", r.Risks.Evict.MarginBytes == nil, snapshot.Reading[int]{State: snapshot.Absent, Source: "kubelet"},
		r.Risks.Evict.Because, l.Say("how far from being evicted"))
	null(l, "risks.throttle.marginBytes", r.Risks.Throttle.MarginBytes == nil, t.High, r.Risks.Throttle.Because, l.Say("how far from being throttled"))
}

func (l *missingList) hostNulls(s *snapshot.Snapshot, generated *time.Time, h report.Host) {
	tree := snapshot.Reading[int]{State: snapshot.Absent, Source: "--from", Err: l.Say("a directory tree does not say when it was taken")}
	null(l, "generated", generated == nil, tree, "", l.Say("when the node was read"))
	null(l, "host.cpus", h.CPUs == nil, s.Host.CPUs, "", l.Say("how far usage and accounts may differ"))
	null(l, "host.memTotalBytes", h.MemTotalBytes == nil, s.Node.Meminfo, l.Say("no key %s", "MemTotal"), l.Say("the size of the node"))
}

// listNulls does the same for the rows of a list, once for each column.
func (l *missingList) listNulls(rows []report.Listed) {
	for _, v := range []struct {
		key    string
		isNull func(*report.Listed) bool
		why    string
	}{
		{"numbers.workingSetBytes", func(r *report.Listed) bool { return r.Numbers.WorkingSetBytes == nil }, l.Say("memory.stat could not be read")},
		{"numbers.rssBytes", func(r *report.Listed) bool { return r.Numbers.RSSBytes == nil }, l.Say("memory.stat has no usable counter")},
		{"numbers.unreclaimableBytes", func(r *report.Listed) bool { return r.Numbers.UnreclaimableBytes == nil }, l.Say("the LRU lists are not all there")},
		{"numbers.unreclaimableMinBytes", func(r *report.Listed) bool { return r.Numbers.UnreclaimableMinBytes == nil }, l.Say("the LRU lists are not all there")},
		{"numbers.unreclaimableMaxBytes", func(r *report.Listed) bool { return r.Numbers.UnreclaimableMaxBytes == nil }, l.Say("the LRU lists are not all there")},
		{"numbers.reclaimableBytes", func(r *report.Listed) bool { return r.Numbers.ReclaimableBytes == nil }, l.Say("the LRU lists are not all there")},
		{"numbers.limitBytes", func(r *report.Listed) bool { return r.Numbers.LimitBytes == nil }, l.Say("no limit on the path to the root")},
		{"numbers.peakBytes", func(r *report.Listed) bool { return r.Numbers.PeakBytes == nil }, l.Say("a list does not read it")},
		{"coldMaxBytes", func(r *report.Listed) bool { return r.ColdMaxBytes == nil }, l.Say("no list of inactive file cache")},
		{"risk.marginBytes", func(r *report.Listed) bool { return r.Risk.MarginBytes == nil }, l.Say("no limit on the path to the root")},
	} {
		i := slices.IndexFunc(rows, func(r report.Listed) bool { return v.isNull(&r) })
		if i >= 0 {
			l.add("containers[]."+v.key, rows[i].Target.Cgroup, snapshot.Absent, v.why, l.Say("the column for rows where it is null"))
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
		l.add("", c.Source, c.State, c.Err, l.Of(snapshot.CensusGain))
	}
}

func (l *missingList) sources(s *snapshot.Snapshot) {
	t := s.Target()
	source(l, t.Procs, l.Say("its processes"))
	source(l, t.Descendants, l.Say("the cgroups below it and their processes"))
	source(l, t.Events, l.Say("how often limits were hit and processes killed"))
	source(l, t.OOMControl, l.Say("whether processes were OOM-killed"))
	source(l, t.SwapUsage, l.Say("how much of it is swapped out"))
	source(l, t.Pressure, l.Say("how long its tasks waited for memory"))
	if !inactiveKmem(t) {
		source(l, t.Slabs, l.Say("the kernel's memory by slab cache"))
	}
	if diagnose.LRU(s) == "unknown" {
		source(l, s.Host.MGLRU, l.Say("which page reclaim engine is in charge"))
	}
	l.census(s)
	if c, ok := s.Census.Get(); ok && c != nil {
		for _, r := range c.Refused {
			l.add("", snapshot.CensusSource+" ("+string(r.Engine)+")", r.State, r.Why, l.Of(snapshot.CensusGain))
		}
	}
	source(l, s.Host.Kernel, l.Say("the kernel's release"))
	source(l, s.Host.Distro, l.Say("the distribution"))
	source(l, s.Node.Meminfo, l.Say("the node's memory and swap"))
	source(l, s.Node.Vmstat, l.Say("what the node's reclaim does"))
	source(l, s.Node.Zones, l.Say("the node's watermarks"))
	source(l, s.Node.Buddy, l.Say("whether the node's free memory is fragmented"))
	source(l, s.Node.Slabs, l.Say("the node's slab by cache"))
	source(l, s.Node.Swaps, l.Say("the node's swap areas"))
	source(l, s.Node.Controllers, l.Say("how many memory cgroups the kernel keeps"))
	source(l, s.Node.Pressure, l.Say("how long tasks of the node waited for memory"))
	source(l, s.Node.BootArgs, l.Say("boot options such as cgroup.memory=nokmem"))
	source(l, s.Node.Version, l.Say("the kernel's build"))
	if source(l, s.Log, l.Say("what the kernel said when it killed")); s.Log.State == snapshot.Absent {
		l.add("", s.Log.Source, s.Log.State, s.Log.Err, l.Say("what the kernel said when it killed"))
	}
	if inside, ok := s.Host.Nested.Get(); ok && inside && s.Log.State == snapshot.Present && !strings.HasPrefix(s.Target().Path, "/..") {
		l.add("", s.Log.Source, snapshot.Denied, l.Say("it names cgroups as the node does, and this process is in a cgroup namespace"), l.Say("which kills were of this cgroup"))
	}
}

// rivals lists what would have told what was found from something nearer to the cause.
func (l *missingList) rivals(s *snapshot.Snapshot, all []report.Finding) {
	if found(all, "slab.dentry") {
		source(l, s.Node.Dentries, l.Say("how many remembered names are of files that do not exist"))
	}
	if s.Users.Source == "" || !found(all, "cache.cold") && !found(all, "cache.hot") {
		return
	}
	source(l, s.Users, l.Say("other processes that use the files"))
	if s.Unasked > 0 {
		l.add("", "/proc", snapshot.Failed, l.Say("%d more processes than are asked", s.Unasked), l.Say("whether they use the files"))
	}
}

func found(all []report.Finding, code string) bool {
	return slices.ContainsFunc(all, func(f report.Finding) bool { return f.Code == code })
}

// inactiveKmem tells the EIO of a slab table of a cgroup without kmem
// accounting, which is how kernels before 5.10 say that it is off (linux
// mm/memcontrol.c mem_cgroup_slabinfo_read), from a failure.
func inactiveKmem(c *snapshot.Cgroup) bool {
	return c.Slabs.State == snapshot.Failed && strings.Contains(strings.ToLower(c.Slabs.Err), "input/output error") && c.KmemUsage.State == snapshot.Present
}

// processes adds one entry for each kind of trouble, not one for each process.
func (l *missingList) processes(s *snapshot.Snapshot, kernelRest bool) {
	if s.Outside > 0 {
		l.add("", s.Target().Procs.Source, snapshot.Absent,
			l.Say("%d processes live outside this PID namespace and are listed as 0", s.Outside), l.Say("their names and sizes"))
	}
	if n := len(s.PIDs) - len(s.Processes); n > 0 {
		l.add("", s.Target().Procs.Source, snapshot.Failed, l.Say("%d more processes than are read", n), l.Say("their names and sizes"))
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
		note(p.PID, l.Say("names and sizes"), p.Status.Source, p.Status.Err, p.Status.State)
		note(p.PID, l.Say("command lines"), p.Command.Source, p.Command.Err, p.Command.State)
		note(p.PID, l.Say("executables"), p.Exe.Source, p.Exe.Err, p.Exe.State)
		l.mappings(p, note)
		note(p.PID, l.Say("the Go heap"), p.GoVersion.Source, p.GoVersion.Err, p.GoVersion.State)
		note(p.PID, l.Say("what runtimes and allocators hold and do not use"), p.Heaps.Source, p.Heaps.Err, p.Heaps.State)
		note(p.PID, l.Say("settings in the environment"), p.Environ.Source, p.Environ.Err, p.Environ.State)
		note(p.PID, l.Say("deleted open files"), p.OpenFiles.Source, p.OpenFiles.Err, p.OpenFiles.State)
		if kernelRest {
			note(p.PID, l.Say("what waits in pipes"), p.Pipes.Source, p.Pipes.Err, p.Pipes.State)
			note(p.PID, l.Say("BPF maps"), p.BPF.Source, p.BPF.Err, p.BPF.State)
		}
		if s.Watch != nil {
			note(p.PID, l.Say("which files are in use, and who fills the cache"), p.Positions.Source, p.Positions.Err, p.Positions.State)
		}
		for _, f := range p.OpenFiles.Value {
			note(p.PID, l.Say("sizes of deleted open files"), f.Stat.Source, f.Stat.Err, f.Stat.State)
		}
	}
	for _, key := range order {
		g := groups[key]
		why := g.why
		if n := len(g.pids) - 1; n > 0 {
			why = l.Say("%s (and %d more)", l.Of(g.why), n)
		}
		l.add("", g.source, g.state, why, l.Say("%s of processes", g.what))
	}
}

// notAsked begins the reasons for what could have been read and was not.
const notAsked = "not asked: "

// mappings notes what is coarse of a process and what is not known at all: one
// entry, for whatever stood in did its part.
func (l *missingList) mappings(p *snapshot.Process, note func(pid int, what, src, why string, st snapshot.State)) {
	if p.Smaps.State == snapshot.Present || p.Smaps.Gone() || p.Rollup.Gone() {
		return
	}
	if p.Rollup.State == snapshot.Present {
		note(p.PID, l.Say("kinds of the anonymous memory"), p.Smaps.Source, p.Smaps.Err, p.Smaps.State)
		return
	}
	why, state := p.Smaps.Err, p.Smaps.State
	if !strings.HasPrefix(why, notAsked) && state != snapshot.Absent || p.Rollup.Source == "" {
		note(p.PID, l.Say("kinds and shares of the anonymous memory"), p.Smaps.Source, why, state)
		return
	}
	note(p.PID, l.Say("kinds and shares of the anonymous memory"), p.Rollup.Source, p.Rollup.Err, p.Rollup.State)
}

type group struct {
	what, source, why string
	state             snapshot.State
	pids              []int
}

// told says what the ledger had to say.
func told(p words.Printer, list []words.Text) []string {
	var all []string
	for _, t := range list {
		all = append(all, p.Tell(t))
	}
	return all
}
