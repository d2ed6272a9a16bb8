package cgroupfs

import (
	"bytes"
	"errors"
	"math"
	"path"
	"slices"
	"strconv"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Activity is where the processor time and the block I/O of a cgroup are counted:
// in its own directory on version 2, in other hierarchies on version 1.
type Activity struct {
	v2      bool
	cpu, io string // directories; empty where there are none
	noCPU   string // why not
	noIO    string
}

// FindActivity finds the counters of cgroup. On version 1 a hierarchy counts for it
// only if a process of it is in the cgroup of that same path there.
func FindActivity(src kernel.Source, h Hierarchy, cgroup string, foreignRoot bool, member int) Activity {
	dir, _ := h.Dir(cgroup)
	if h.Version == snapshot.V2 {
		return Activity{v2: true, cpu: dir, io: dir}
	}
	a := Activity{}
	in, ok := memberships(src, member)
	if !ok {
		a.noCPU, a.noIO = "no process of it tells its cgroups", "no process of it tells its cgroups"
		return a
	}
	mounts := mountsOf(src, foreignRoot)
	a.cpu, a.noCPU = beside(mounts, in, "cpuacct", cgroup)
	a.io, a.noIO = beside(mounts, in, "blkio", cgroup)
	return a
}

func mountsOf(src kernel.Source, foreignRoot bool) []Mount {
	table := "/proc/self/mountinfo"
	if foreignRoot {
		table = "/proc/1/mountinfo"
	}
	return kernel.Value(src, table, 16<<20, func(b []byte) ([]Mount, error) { return ParseMountinfo(b), nil }).Value
}

func memberships(src kernel.Source, pid int) ([]Membership, bool) {
	if pid <= 0 {
		return nil, false
	}
	return kernel.Value(src, "/proc/"+strconv.Itoa(pid)+"/cgroup", maxFile, ParseMembership).Get()
}

// beside finds the directory of cgroup in the hierarchy of another controller.
func beside(mounts []Mount, in []Membership, controller, cgroup string) (dir, why string) {
	i := slices.IndexFunc(in, func(m Membership) bool { return slices.Contains(m.Controllers, controller) })
	if i < 0 {
		return "", "the controller " + controller + " is in no hierarchy of version 1"
	}
	if in[i].Path != cgroup {
		return "", "its processes are in another cgroup of the controller " + controller
	}
	for _, m := range mounts {
		if m.Version != snapshot.V1 || !slices.Contains(m.Controllers, controller) {
			continue
		}
		if dir, ok := (Hierarchy{Mount: m}).Dir(cgroup); ok {
			return dir, ""
		}
	}
	return "", "the controller " + controller + " is not mounted"
}

// Read reads the counters.
func (a Activity) Read(src kernel.Source) (cpu snapshot.Reading[int64], io snapshot.Reading[snapshot.IO]) {
	switch {
	case a.cpu == "":
		cpu = snapshot.Reading[int64]{State: snapshot.Absent, Source: "cpuacct.usage", Err: a.noCPU}
	case a.v2:
		cpu = kernel.Value(src, path.Join(a.cpu, "cpu.stat"), maxFile, parseCPUStat)
	default:
		cpu = kernel.Value(src, path.Join(a.cpu, "cpuacct.usage"), maxFile, ParseNumber)
	}
	switch {
	case a.io == "":
		io = snapshot.Reading[snapshot.IO]{State: snapshot.Absent, Source: "blkio.throttle.io_service_bytes", Err: a.noIO}
	case a.v2:
		io = kernel.Value(src, path.Join(a.io, "io.stat"), maxFile, ParseIOStat)
	default:
		// The recursive one came with 4.13; before, the other was about the cgroup alone.
		io = kernel.Value(src, path.Join(a.io, "blkio.throttle.io_service_bytes_recursive"), maxFile, ParseBlkio)
		if io.State == snapshot.Absent && !io.Gone() {
			io = kernel.Value(src, path.Join(a.io, "blkio.throttle.io_service_bytes"), maxFile, ParseBlkio)
		}
	}
	return cpu, io
}

// parseCPUStat takes the time that all tasks ran, in nanoseconds. The file is there
// without the cpu controller too: linux kernel/cgroup/rstat.c.
func parseCPUStat(b []byte) (int64, error) {
	s, err := parseStat(b)
	if err != nil {
		return 0, err
	}
	us, ok := s.Get("usage_usec")
	if !ok || us < 0 || us > math.MaxInt64/1000 {
		return 0, errors.New("no key usage_usec")
	}
	return us * 1000, nil
}

// ParseIOStat sums io.stat, lines of "MAJOR:MINOR rbytes=N wbytes=N ...", over the
// devices. An empty file is no I/O so far.
func ParseIOStat(b []byte) (sum snapshot.IO, err error) {
	for line := range bytes.Lines(b) {
		columns := bytes.Fields(line)
		if len(columns) == 0 {
			continue
		}
		for _, c := range columns[1:] {
			key, value, _ := bytes.Cut(c, []byte("="))
			var into *int64
			switch string(key) {
			case "rbytes":
				into = &sum.Read
			case "wbytes":
				into = &sum.Written
			default:
				continue
			}
			if err := addUp(into, value); err != nil {
				return snapshot.IO{}, err
			}
		}
	}
	return sum, nil
}

// ParseBlkio sums blkio.throttle.io_service_bytes, lines of "MAJOR:MINOR Read N".
func ParseBlkio(b []byte) (sum snapshot.IO, err error) {
	for line := range bytes.Lines(b) {
		columns := bytes.Fields(line)
		if len(columns) != 3 {
			continue // the total
		}
		var into *int64
		switch string(columns[1]) {
		case "Read":
			into = &sum.Read
		case "Write":
			into = &sum.Written
		default:
			continue
		}
		if err := addUp(into, columns[2]); err != nil {
			return snapshot.IO{}, err
		}
	}
	return sum, nil
}

func addUp(into *int64, digits []byte) error {
	n, ok := snapshot.Number(digits)
	if !ok || n < 0 || *into > math.MaxInt64-n {
		return errors.New("expected bytes")
	}
	*into += n
	return nil
}
