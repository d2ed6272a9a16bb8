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

// Activity is where it is counted what the tasks of a cgroup do: in its own directory
// on version 2, in other hierarchies on version 1, each of which may have none.
type Activity struct {
	v2                bool
	cpu, io, pressure place
	top               string // of the hierarchy that io is in, on version 1
}

// place is a directory, or why there is none.
type place struct{ dir, why string }

// FindActivity finds the counters of cgroup, whose directory is dir. On version 1 another
// hierarchy counts for it only if a process of it, member, is in the cgroup of that same
// path there: else its counters are those of other processes.
func FindActivity(src kernel.Source, v snapshot.Version, dir, cgroup string, foreignRoot bool, member int) Activity {
	if v == snapshot.V2 {
		at := place{dir: dir}
		return Activity{v2: true, cpu: at, io: at, pressure: at}
	}
	in, ok := memberships(src, member)
	if !ok {
		none := place{why: "no process of it tells its cgroups"}
		return Activity{cpu: none, io: none, pressure: none}
	}
	mounts := mountsOf(src, foreignRoot)
	a := Activity{}
	a.cpu, _ = beside(mounts, in, "cpuacct", cgroup)
	a.io, a.top = beside(mounts, in, "blkio", cgroup)
	a.pressure, _ = beside(mounts, in, unified, cgroup)
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

// unified stands for the hierarchy of version 2 beside those of version 1.
const unified = ""

// beside finds the directory of cgroup in the hierarchy of another controller, and where
// that is mounted.
func beside(mounts []Mount, in []Membership, controller, cgroup string) (at place, top string) {
	which := "the controller " + controller
	lists := func(all []string) bool { return slices.Contains(all, controller) }
	version := snapshot.V1
	if controller == unified {
		which, version = "version 2", snapshot.V2
	}
	i := slices.IndexFunc(in, func(m Membership) bool { return version == snapshot.V2 && m.Hierarchy == 0 || lists(m.Controllers) })
	if i < 0 {
		return place{why: which + " is in no hierarchy beside"}, ""
	}
	if in[i].Path != cgroup {
		return place{why: "its processes are in another cgroup of " + which}, ""
	}
	for _, m := range mounts {
		if m.Version != version || version == snapshot.V1 && !lists(m.Controllers) {
			continue
		}
		if dir, ok := (Hierarchy{Mount: m}).Dir(cgroup); ok {
			return place{dir: dir}, m.Point
		}
	}
	return place{why: which + " is not mounted"}, ""
}

// Files of version 1. The recursive one came with 4.13; before, the other was about the
// cgroup alone.
const (
	blkio     = "blkio.throttle.io_service_bytes_recursive"
	blkioFlat = "blkio.throttle.io_service_bytes"
)

// CPU is how long its tasks ran, in nanoseconds.
func (a *Activity) CPU(src kernel.Source) snapshot.Reading[int64] {
	switch {
	case a.cpu.dir == "":
		return snapshot.Reading[int64]{State: snapshot.Absent, Source: "cpuacct.usage", Err: a.cpu.why}
	case a.v2:
		return kernel.Value(src, path.Join(a.cpu.dir, "cpu.stat"), maxFile, parseCPUStat)
	}
	return kernel.Value(src, path.Join(a.cpu.dir, "cpuacct.usage"), maxFile, ParseNumber)
}

// IO is what went to and came from block devices; a stacked device counts at each level.
// On version 1 a kernel may count where something is throttled alone (seen on 6.18): a
// zero there is none, unless some other cgroup has a count.
func (a *Activity) IO(src kernel.Source) snapshot.Reading[snapshot.IO] {
	switch {
	case a.io.dir == "":
		return snapshot.Reading[snapshot.IO]{State: snapshot.Absent, Source: blkio, Err: a.io.why}
	case a.v2:
		return kernel.Value(src, path.Join(a.io.dir, "io.stat"), maxFile, ParseIOStat)
	}
	r := serviceBytes(src, a.io.dir)
	if n, ok := r.Get(); ok && n == (snapshot.IO{}) && !counts(src, a.top) {
		r.State, r.Err = snapshot.Absent, "the kernel counts nothing there: nothing is throttled"
	}
	return r
}

func serviceBytes(src kernel.Source, dir string) snapshot.Reading[snapshot.IO] {
	r := kernel.Value(src, path.Join(dir, blkio), maxFile, ParseBlkio)
	if r.State == snapshot.Absent && !r.Gone() {
		r = kernel.Value(src, path.Join(dir, blkioFlat), maxFile, ParseBlkio)
	}
	return r
}

// counts reports whether anything was ever counted in a hierarchy.
func counts(src kernel.Source, top string) bool {
	n, ok := serviceBytes(src, top).Get()
	return ok && n != (snapshot.IO{})
}

// Pressure is how its tasks waited for memory.
func (a *Activity) Pressure(src kernel.Source) snapshot.Reading[snapshot.Pressure] {
	if a.pressure.dir == "" {
		return snapshot.Reading[snapshot.Pressure]{State: snapshot.Absent, Source: "memory.pressure", Err: a.pressure.why}
	}
	return kernel.Value(src, path.Join(a.pressure.dir, "memory.pressure"), maxFile, ParsePressure)
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

var errNoDevices = errors.New("expected lines of a device and bytes")

// ParseIOStat sums io.stat, lines of "MAJOR:MINOR rbytes=N wbytes=N ...", over the
// devices. An empty file is no I/O so far.
func ParseIOStat(b []byte) (sum snapshot.IO, err error) {
	for line := range bytes.Lines(b) {
		columns := bytes.Fields(line)
		if len(columns) == 0 {
			continue
		}
		if !bytes.ContainsRune(columns[0], ':') {
			return snapshot.IO{}, errNoDevices
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

// ParseBlkio sums blkio.throttle.io_service_bytes, lines of "MAJOR:MINOR Read N" and a
// last one of "Total N".
func ParseBlkio(b []byte) (sum snapshot.IO, err error) {
	for line := range bytes.Lines(b) {
		columns := bytes.Fields(line)
		if len(columns) != 3 || !bytes.ContainsRune(columns[0], ':') {
			if len(columns) == 0 || len(columns) == 2 && string(columns[0]) == "Total" {
				continue
			}
			return snapshot.IO{}, errNoDevices
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
