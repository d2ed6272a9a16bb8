package gather

import (
	"path"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Reclaimable is what a plan to give memory back needs to know of a target.
type Reclaimable struct {
	*snapshot.Snapshot
	ID         uint64         // inode number of the cgroup's directory; 0 when not known
	HasReclaim snapshot.State // whether there is a memory.reclaim; Absent also for version 1
	Own        string         // memwhy's own cgroup, empty when not known
}

// ForReclaim reads it, and who on the whole node uses the target's files.
func ForReclaim(src kernel.Source, target string, opt Options) (*Reclaimable, error) {
	s, err := Files(src, &target, true, opt)
	if err != nil {
		return nil, err
	}
	r := &Reclaimable{Snapshot: s, HasReclaim: snapshot.Absent}
	s.Node.Swaps = kernel.Value(src, "/proc/swaps", maxFile, procfs.ParseSwaps)
	t := s.Target()
	r.ID = inode(src, t.Dir).Value
	if t.Version == snapshot.V2 { // it cannot be read: what matters is how that fails
		r.HasReclaim = src.Ask(kernel.Question{Op: kernel.Read, Path: path.Join(t.Dir, "memory.reclaim"), Max: maxFile}).State
	}
	if h, err := find(src, opt); err == nil {
		if lines, ok := kernel.Value(src, "/proc/self/cgroup", maxFile, cgroupfs.ParseMembership).Get(); ok {
			r.Own, _ = h.Membership(lines)
		}
	}
	return r, nil
}

// Positions says where in their files descriptors are. What cannot be read is left
// out.
func Positions(src kernel.Source, of []snapshot.Descriptor) map[snapshot.Descriptor]int64 {
	at := map[snapshot.Descriptor]int64{}
	for _, d := range of {
		a := src.Ask(kernel.Question{Op: kernel.Read, Path: procFile(d.PID, "fdinfo/"+d.FD), Max: maxFile})
		if n, _, err := procfs.ParseFDInfo(a.Data); a.State == snapshot.Present && err == nil {
			at[d] = n
		}
	}
	return at
}
