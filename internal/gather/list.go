package gather

import (
	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Listed is memory cgroups that hold processes, each as a snapshot of its path
// to the root with what a ranking needs; processes and causes are not read.
type Listed struct {
	Base      *snapshot.Snapshot // the host and the node alone
	Snapshots []*snapshot.Snapshot
	Complete  bool // false when the tree was too large or could not all be listed
	All       bool // every cgroup with processes of its own; else containers with what is below them
}

// List reads the containers, without the sandboxes of pods. Where there is none,
// or with all, it reads every cgroup that has processes.
func List(src kernel.Source, opt Options, all bool) (*Listed, error) {
	h, err := find(src, opt)
	if err != nil {
		return nil, err
	}
	paths, complete, err := cgroups(src, h)
	if err != nil {
		return nil, &TargetError{Kind: Unreadable, Err: err}
	}
	o := src.Origin()
	base := &snapshot.Snapshot{Host: host(src, h), Generated: o.Generated, Replayed: o.Replay}
	base.Node.Meminfo = kernel.Value(src, "/proc/meminfo", maxFile, procfs.ParseMeminfo)
	base.Node.Vmstat = kernel.Value(src, "/proc/vmstat", maxFile, procfs.ParseVmstat)
	base.Names = names(src)
	t := &tree{src: src, h: h, base: base, read: map[string]snapshot.Cgroup{}}
	l := &Listed{Base: base, Complete: complete, All: all}
	if !all {
		l.Snapshots = t.containers(paths)
		l.All = len(l.Snapshots) == 0
	}
	if l.All {
		for _, p := range paths {
			if procs := t.procs(p); len(procs.Value) > 0 {
				l.Snapshots = t.add(l.Snapshots, p, procs, procs.Value)
			}
		}
	}
	return l, nil
}

// tree reads cgroups, those that many paths go through once.
type tree struct {
	src  kernel.Source
	h    cgroupfs.Hierarchy
	base *snapshot.Snapshot
	read map[string]snapshot.Cgroup
}

func (t *tree) procs(cgroup string) snapshot.Reading[[]int] {
	dir, _ := t.h.Dir(cgroup)
	return cgroupfs.ReadProcs(t.src, dir)
}

// containers adds every container that holds a process, be it in a cgroup
// below its own.
func (t *tree) containers(paths []string) []*snapshot.Snapshot {
	var list []*snapshot.Snapshot
	within := map[string][]string{}
	for _, p := range paths {
		if id := identity.Parse(p); id.Kind == identity.Container {
			within[id.Dir] = append(within[id.Dir], p)
		}
	}
	for _, dir := range paths {
		w := identity.Of(dir, t.base.Names)
		if w.Kind != identity.Container || w.Dir != dir || w.Sandbox() {
			continue
		}
		var own snapshot.Reading[[]int]
		var pids []int
		for _, p := range within[dir] {
			procs := t.procs(p)
			if p == dir {
				own = procs
			}
			pids = append(pids, procs.Value...)
		}
		if len(pids) > 0 {
			list = t.add(list, dir, own, pids)
		}
	}
	return list
}

// add adds a cgroup, unless it vanished meanwhile.
func (t *tree) add(list []*snapshot.Snapshot, cgroup string, procs snapshot.Reading[[]int], pids []int) []*snapshot.Snapshot {
	s := *t.base
	for _, p := range t.h.Ancestors(cgroup) {
		c, ok := t.read[p]
		if !ok {
			c = cgroupfs.ReadCore(t.src, t.h, p)
			t.read[p] = c
		}
		s.Path = append(s.Path, c)
	}
	s.Path[0].Procs = procs
	s.PIDs = pids
	if s.Path[0].Usage.State == snapshot.Absent && !s.Path[0].Root() {
		return list
	}
	return append(list, &s)
}
