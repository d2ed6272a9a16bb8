package gather

import (
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Listed is every memory cgroup that holds processes, each as a snapshot of its
// path to the root with what a ranking needs; processes and causes are not
// read.
type Listed struct {
	Base      *snapshot.Snapshot // the host and the node alone
	Snapshots []*snapshot.Snapshot
	Complete  bool // false when the tree was too large or could not all be listed
}

// List reads all memory cgroups.
func List(src kernel.Source, opt Options) (*Listed, error) {
	h, err := find(src, opt)
	if err != nil {
		return nil, err
	}
	all, complete, err := cgroups(src, h)
	if err != nil {
		return nil, &TargetError{Kind: Unreadable, Err: err}
	}
	o := src.Origin()
	base := snapshot.Snapshot{Host: host(src, h), Generated: o.Generated, Replayed: o.Replay}
	base.Node.Meminfo = kernel.Value(src, "/proc/meminfo", maxFile, procfs.ParseMeminfo)
	base.Node.Vmstat = kernel.Value(src, "/proc/vmstat", maxFile, procfs.ParseVmstat)
	l := &Listed{Base: &base, Complete: complete}
	read := map[string]snapshot.Cgroup{}
	for _, cgroup := range all {
		dir, _ := h.Dir(cgroup)
		procs := cgroupfs.ReadProcs(src, dir)
		if len(procs.Value) == 0 {
			continue
		}
		s := base
		for _, p := range h.Ancestors(cgroup) {
			c, ok := read[p]
			if !ok {
				c = cgroupfs.ReadCore(src, h, p)
				read[p] = c
			}
			s.Path = append(s.Path, c)
		}
		s.Path[0].Procs = procs
		s.PIDs = procs.Value
		if s.Path[0].Usage.State == snapshot.Absent && !s.Path[0].Root() {
			continue // it vanished meanwhile
		}
		l.Snapshots = append(l.Snapshots, &s)
	}
	return l, nil
}
