package gather

import (
	"bufio"
	"bytes"
	"errors"
	"path"
	"strconv"
	"strings"

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
		file := procFile(d.PID, "fdinfo/"+d.FD)
		if n, ok := kernel.Value(src, file, maxFile, position).Get(); ok {
			at[d] = n
		}
	}
	return at
}

var errNoPosition = errors.New("no line of a position")

// position reads the line "pos:" of fdinfo.
func position(b []byte) (int64, error) {
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		if rest, ok := strings.CutPrefix(sc.Text(), "pos:"); ok {
			return strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
		}
	}
	return 0, errNoPosition
}
