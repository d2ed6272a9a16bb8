package actuate

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/snapshot"
)

const maxFile = 1 << 20 // bytes of a file of a cgroup

// files is the Meter of a node's files.
type files struct {
	src     kernel.Source
	foreign bool
	page    int64

	mu      sync.Mutex
	beside  map[uint64]beside
	mounts  []cgroupfs.Mount
	mounted bool
}

// beside is where a cgroup of version 1 has what other hierarchies know of the same
// processes, or why not.
type beside struct{ pressure, reads, noPressure, noReads string }

// NewMeter is a Meter of the files of cgroups, as src answers. With a foreign root
// the mount table is that of the node's first process.
func NewMeter(src kernel.Source, foreignRoot bool) Meter {
	return &files{src: src, foreign: foreignRoot, page: max(src.Origin().PageSize, 1), beside: map[uint64]beside{}}
}

// Node implements Meter.
func (f *files) Node() (NodeSample, error) {
	return NodeSample{At: time.Now(), Stall: f.stall("/proc/pressure/memory")}, nil
}

// stall is the time of some pressure since boot, or since the cgroup was made.
func (f *files) stall(file string) snapshot.Reading[time.Duration] {
	p := kernel.Value(f.src, file, maxFile, cgroupfs.ParsePressure)
	return snapshot.Reading[time.Duration]{Value: p.Value.Some.Total, State: p.State, Source: p.Source, At: p.At, Err: p.Err}
}

// Read implements Meter.
func (f *files) Read(g remedy.Group) (Sample, error) {
	names := map[snapshot.Version]string{snapshot.V1: "memory.usage_in_bytes", snapshot.V2: "memory.current"}
	s := Sample{At: time.Now()}
	s.Usage = kernel.Value(f.src, path.Join(g.Dir, names[g.Version]), maxFile, cgroupfs.ParseNumber)
	if s.Usage.State != snapshot.Present {
		return s, fmt.Errorf("%s: %s", s.Usage.Source, s.Usage.Err)
	}
	stat := kernel.Value(f.src, path.Join(g.Dir, "memory.stat"), maxFile, func(b []byte) (*snapshot.Stat, error) {
		st := &snapshot.Stat{}
		return st, cgroupfs.ParseStat(b, st)
	})
	f.fill(&s, &stat, g.Version)
	if g.Version == snapshot.V2 {
		s.Stall = f.stall(path.Join(g.Dir, "memory.pressure"))
		s.ReadBytes = kernel.Value(f.src, path.Join(g.Dir, "io.stat"), maxFile, cgroupfs.ParseReadBytes)
		return s, nil
	}
	b := f.besides(g)
	s.Stall = snapshot.Reading[time.Duration]{State: snapshot.Absent, Source: "memory.pressure", Err: b.noPressure}
	if b.pressure != "" {
		s.Stall = f.stall(b.pressure)
	}
	s.ReadBytes = snapshot.Reading[int64]{State: snapshot.Absent, Source: readsFile, Err: b.noReads}
	if b.reads != "" {
		s.ReadBytes = kernel.Value(f.src, b.reads, maxFile, cgroupfs.ParseReadBytes)
	}
	return s, nil
}

// fill takes what memory.stat knows. Counters of the workingset are pages in both
// versions (linux mm/memcontrol.c, memcg_page_state_output_unit).
func (f *files) fill(s *Sample, stat *snapshot.Reading[*snapshot.Stat], v snapshot.Version) {
	of := func(unit int64, sum func(get func(string) int64) int64) snapshot.Reading[int64] {
		r := snapshot.Reading[int64]{State: stat.State, Source: stat.Source, At: stat.At, Err: stat.Err}
		if stat.State != snapshot.Present {
			return r
		}
		n := sum(func(key string) int64 {
			got, ok := stat.Value.Get("total_" + key)
			if !ok || v == snapshot.V2 {
				got, ok = stat.Value.Get(key)
			}
			if !ok || got < 0 {
				r.State, r.Err = snapshot.Absent, "no "+key
			}
			return got
		})
		if r.State == snapshot.Present {
			r.Value = unit * n
		}
		return r
	}
	one := func(key string) func(func(string) int64) int64 {
		return func(get func(string) int64) int64 { return get(key) }
	}
	s.Refaults = of(f.page, one("workingset_refault_file"))
	s.Activations = of(f.page, one("workingset_activate_file"))
	if v == snapshot.V2 && s.Refaults.State == snapshot.Absent { // before 5.9, of all kinds
		s.Refaults, s.Activations = of(f.page, one("workingset_refault")), of(f.page, one("workingset_activate"))
	}
	s.MajorFaults = of(1, one("pgmajfault"))
	if v == snapshot.V1 {
		// Shared memory is in cache, and has had a line of its own since 4.2.
		s.Cache = of(1, func(get func(string) int64) int64 { return get("cache") - get("shmem") })
		s.Reclaimable = of(1, func(get func(string) int64) int64 { return get("active_file") + get("inactive_file") })
		return
	}
	s.Cache = of(1, func(get func(string) int64) int64 { return get("file") - get("shmem") })
	s.Reclaimable = of(1, func(get func(string) int64) int64 {
		return get("active_file") + get("inactive_file") + get("slab_reclaimable")
	})
}

// besides finds the files of other hierarchies, once for each cgroup.
func (f *files) besides(g remedy.Group) beside {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.beside[g.ID]
	if !ok {
		b = f.find(g)
		f.beside[g.ID] = b
	}
	return b
}

const (
	readsFile = "blkio.throttle.io_service_bytes_recursive"
	elsewhere = "its processes are elsewhere in that hierarchy"
)

// counts reports whether the hierarchy's counters move at all: newer kernels count only
// where something is throttled (seen on 6.18), and a zero would be none.
func (f *files) counts(m cgroupfs.Mount) bool {
	n, ok := kernel.Value(f.src, path.Join(m.Point, readsFile), maxFile, cgroupfs.ParseReadBytes).Get()
	return ok && n > 0
}

// find believes another hierarchy only when a process of the cgroup is in a cgroup of
// the same path there: else its counters are those of other processes.
func (f *files) find(g remedy.Group) beside {
	in, err := f.membership(g)
	if err != nil {
		return beside{noPressure: err.Error(), noReads: err.Error()}
	}
	b := beside{noPressure: elsewhere, noReads: elsewhere}
	for _, m := range f.table() {
		dir, ok := cgroupfs.Hierarchy{Mount: m}.Dir(g.Path)
		if !ok {
			continue
		}
		same := func(fits func(cgroupfs.Membership) bool) bool {
			i := slices.IndexFunc(in, fits)
			return i >= 0 && in[i].Path == g.Path
		}
		switch {
		case m.Version == snapshot.V2 && same(func(l cgroupfs.Membership) bool { return l.Hierarchy == 0 }):
			b.pressure = path.Join(dir, "memory.pressure")
		case m.Version == snapshot.V1 && slices.Contains(m.Controllers, "blkio") &&
			same(func(l cgroupfs.Membership) bool { return slices.Contains(l.Controllers, "blkio") }):
			if b.reads = path.Join(dir, readsFile); !f.counts(m) {
				b.reads, b.noReads = "", "the kernel counts no reads there: nothing is throttled"
			}
		}
	}
	return b
}

func (f *files) membership(g remedy.Group) ([]cgroupfs.Membership, error) {
	pids, ok := kernel.Value(f.src, path.Join(g.Dir, "cgroup.procs"), maxFile, cgroupfs.ParsePIDs).Get()
	if !ok || len(pids) == 0 {
		return nil, errors.New("no process of its own tells where it is in other hierarchies")
	}
	in := kernel.Value(f.src, "/proc/"+strconv.Itoa(pids[0])+"/cgroup", maxFile, cgroupfs.ParseMembership)
	if in.State != snapshot.Present {
		return nil, fmt.Errorf("%s: %s", in.Source, in.Err)
	}
	return in.Value, nil
}

// table is the node's mounted hierarchies.
func (f *files) table() []cgroupfs.Mount {
	if !f.mounted {
		f.mounted = true
		file := "/proc/self/mountinfo"
		if f.foreign {
			file = "/proc/1/mountinfo"
		}
		f.mounts, _ = kernel.Value(f.src, file, 16<<20, func(b []byte) ([]cgroupfs.Mount, error) { return cgroupfs.ParseMountinfo(b), nil }).Get()
	}
	return f.mounts
}
