package gather

import (
	"slices"
	"sync"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// maxReaders is how many cgroups of a list are read at a time.
const maxReaders = 4

// Listed is memory cgroups that hold processes, each as a snapshot of its path
// to the root with what a ranking needs; processes and causes are not read.
type Listed struct {
	Base      *snapshot.Snapshot // the host and the node alone
	Snapshots []*snapshot.Snapshot
	Complete  bool // false when the tree was too large or could not all be listed
	All       bool // every cgroup with processes of its own; else containers with what is below them
}

// Want says what a list is to have.
type Want struct {
	All    bool // every cgroup with processes of its own
	Census bool // of all, taken before
}

// List reads the containers, without the sandboxes of pods. Where there is none,
// or when all are wanted, it reads every cgroup that has processes.
func List(src kernel.Source, opt Options, want Want) (*Listed, error) {
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
	base.Census = snapshot.Reading[*snapshot.Census]{State: snapshot.Absent, Source: snapshot.CensusSource, Err: snapshot.CensusOff}
	if want.Census {
		base.Census = kernel.Census(src, nil) // first: it takes long
	}
	base.Names = Names(src)
	t := &tree{src: src, h: h, base: base, read: map[string]snapshot.Cgroup{}}
	l := &Listed{Base: base, Complete: complete, All: want.All}
	if !want.All {
		l.Snapshots = t.snapshots(t.containers(paths))
		l.All = len(l.Snapshots) == 0
	}
	if l.All {
		list := make([]wanted, len(paths))
		for i, p := range paths {
			list[i] = wanted{p, []string{p}, false}
		}
		l.Snapshots = t.snapshots(list)
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

// wanted is one cgroup of a list, and those whose processes are its own.
type wanted struct {
	path      string
	within    []string
	container bool
}

// containers finds every container, with what is below it.
func (t *tree) containers(paths []string) []wanted {
	within := map[string][]string{}
	for _, p := range paths {
		if id := identity.Parse(p); id.Kind == identity.Container {
			within[id.Dir] = append(within[id.Dir], p)
		}
	}
	var list []wanted
	for _, p := range paths {
		if len(within[p]) == 0 {
			continue
		}
		if w := identity.Of(p, t.base.Names); w.Kind == identity.Container && w.Dir == p && !w.Sandbox() {
			list = append(list, wanted{p, within[p], true})
		}
	}
	return list
}

// snapshots reads those that hold a process, several at a time. One that
// vanished meanwhile is left out.
func (t *tree) snapshots(list []wanted) []*snapshot.Snapshot {
	for _, w := range list {
		for _, up := range t.h.Ancestors(w.path)[1:] {
			if _, ok := t.read[up]; !ok {
				t.read[up] = cgroupfs.ReadCore(t.src, t.h, up)
			}
		}
	}
	found := make([]*snapshot.Snapshot, len(list))
	next := make(chan int, len(list))
	for i := range list {
		next <- i
	}
	close(next)
	var readers sync.WaitGroup
	for range min(maxReaders, len(list)) {
		readers.Go(func() {
			for i := range next {
				found[i] = t.snapshot(list[i])
			}
		})
	}
	readers.Wait()
	return slices.DeleteFunc(found, func(s *snapshot.Snapshot) bool { return s == nil })
}

// snapshot reads one; nil when it is empty or gone.
func (t *tree) snapshot(w wanted) *snapshot.Snapshot {
	s := *t.base
	s.Census = snapshot.Reading[*snapshot.Census]{} // it is of all: looked through once, not for each
	c, known := t.read[w.path]
	if !known && w.container { // hardly one is empty
		c, known = cgroupfs.ReadCoreProcs(t.src, t.h, w.path), true
	}
	for _, p := range w.within {
		procs := c.Procs
		if p != w.path || procs.Source == "" {
			dir, _ := t.h.Dir(p)
			procs = cgroupfs.ReadProcs(t.src, dir)
		}
		if p == w.path {
			c.Procs = procs
		}
		s.PIDs = append(s.PIDs, procs.Value...)
	}
	if len(s.PIDs) == 0 {
		return nil
	}
	if !known {
		procs := c.Procs
		c = cgroupfs.ReadCore(t.src, t.h, w.path)
		c.Procs = procs
	}
	if c.Usage.State == snapshot.Absent && !c.Root() {
		return nil
	}
	s.Path = append(make([]snapshot.Cgroup, 0, 8), c)
	for _, up := range t.h.Ancestors(w.path)[1:] {
		s.Path = append(s.Path, t.read[up])
	}
	return &s
}
