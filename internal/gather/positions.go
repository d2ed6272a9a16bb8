package gather

import (
	"strconv"
	"strings"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Bounds of the search for who is where in which file. A position costs two
// questions, some 10 us each.
const (
	maxPositions = 512 // of all processes
	maxOfOne     = 64
)

const overPositions = "not asked: 512 open files were looked at already, or 64 of this process"

// positions asks processes how far they are in the regular files that they have open.
func positions(src kernel.Source, ps []snapshot.Process) {
	left := maxPositions
	for i := range ps {
		p := &ps[i]
		if _, user := p.Status.Value.Fields.Get("VmSize"); !user {
			continue
		}
		r := &p.Positions
		r.Source = procFile(p.PID, "fdinfo")
		if left <= 0 {
			r.State, r.Err = snapshot.Failed, overPositions
			continue
		}
		fds := procFile(p.PID, "fd")
		a := src.Ask(kernel.Question{Op: kernel.Links, Path: fds, Max: maxFDs})
		r.State, r.At, r.Err = a.State, a.At, a.Err
		var open []snapshot.Position
		for _, l := range a.Links() {
			if fd, err := strconv.Atoi(l.Name); err == nil && onDisk(l.Text) {
				open = append(open, snapshot.Position{FD: fd, Path: l.Text})
			}
		}
		if most := min(left, maxOfOne); len(open) > most {
			r.State, r.Err, open = snapshot.Failed, overPositions, open[:most]
		}
		left -= len(open)
		var refused string
		if r.Value, refused = located(src, p.PID, open); len(r.Value) == 0 && refused != "" {
			r.State, r.Err = snapshot.Failed, refused
		}
	}
}

// onDisk leaves out what is surely no file with cache.
func onDisk(text string) bool {
	for _, p := range []string{"/dev/", "/proc/", "/sys/"} {
		if strings.HasPrefix(text, p) && !strings.HasPrefix(text, "/dev/shm/") {
			return false
		}
	}
	return strings.HasPrefix(text, "/")
}

// located fills in which files they are and where, and drops what is no regular file or
// does not tell; then refused is why.
func located(src kernel.Source, pid int, open []snapshot.Position) (known []snapshot.Position, refused string) {
	qs := make([]kernel.Question, 0, 2*len(open))
	for _, o := range open {
		fd := strconv.Itoa(o.FD)
		qs = append(qs, kernel.Question{Op: kernel.Stat, Path: procFile(pid, "fd/"+fd), Max: 1 << 10},
			kernel.Question{Op: kernel.Read, Path: procFile(pid, "fdinfo/"+fd), Max: 4 << 10})
	}
	answers := kernel.AskAll(src, qs)
	for i, o := range open {
		var st snapshot.Stat
		stat, info := answers[2*i], answers[2*i+1]
		if stat.State != snapshot.Present || info.State != snapshot.Present || st.Parse(stat.Data) != nil {
			if info.State == snapshot.Failed || info.State == snapshot.Denied {
				refused = info.Err
			}
			continue
		}
		var ok1, ok2 bool
		var err error
		o.Device, ok1 = st.Get(snapshot.FileDevice)
		o.Inode, ok2 = st.Get(snapshot.FileInode)
		if o.Offset, o.Writes, err = procfs.ParseFDInfo(info.Data); ok1 && ok2 && err == nil {
			known = append(known, o)
		}
	}
	return known, refused
}
