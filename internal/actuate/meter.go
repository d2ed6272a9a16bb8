package actuate

import (
	"fmt"
	"path"
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

	mu    sync.Mutex
	found map[uint64]*cgroupfs.Activity
}

// NewMeter is a Meter of the files of cgroups, as src answers. With a foreign root
// the mount table is that of the node's first process.
func NewMeter(src kernel.Source, foreignRoot bool) Meter {
	return &files{src: src, foreign: foreignRoot, page: max(src.Origin().PageSize, 1), found: map[uint64]*cgroupfs.Activity{}}
}

// Node implements Meter.
func (f *files) Node() (NodeSample, error) {
	p := kernel.Value(f.src, "/proc/pressure/memory", maxFile, cgroupfs.ParsePressure)
	return NodeSample{At: time.Now(), Stall: some(p)}, nil
}

// some is the time of some pressure since boot, or since the cgroup was made.
func some(p snapshot.Reading[snapshot.Pressure]) snapshot.Reading[time.Duration] {
	return snapshot.Reading[time.Duration]{Value: p.Value.Some.Total, State: p.State, Source: p.Source, At: p.At, Err: p.Err}
}

// Read implements Meter.
func (f *files) Read(g remedy.Group) (Sample, error) {
	names := map[snapshot.Version]string{snapshot.V1: "memory.usage_in_bytes", snapshot.V2: "memory.current"}
	s := Sample{At: time.Now()}
	stat := kernel.Value(f.src, path.Join(g.Dir, "memory.stat"), maxFile, func(b []byte) (*snapshot.Stat, error) {
		st := &snapshot.Stat{}
		return st, cgroupfs.ParseStat(b, st)
	})
	if g.Version == snapshot.V2 && g.Path == "/" {
		s.Usage = rootUsage(&stat)
	} else {
		s.Usage = kernel.Value(f.src, path.Join(g.Dir, names[g.Version]), maxFile, cgroupfs.ParseNumber)
	}
	if s.Usage.State != snapshot.Present {
		return s, fmt.Errorf("%s: %s", s.Usage.Source, s.Usage.Err)
	}
	f.fill(&s, &stat, g.Version)
	a := f.activity(g)
	s.Stall = some(a.Pressure(f.src))
	io := a.IO(f.src)
	s.ReadBytes = snapshot.Reading[int64]{Value: io.Value.Read, State: io.State, Source: io.Source, At: io.At, Err: io.Err}
	return s, nil
}

// rootUsage stands for memory.current, which the root of version 2 has not.
func rootUsage(stat *snapshot.Reading[*snapshot.Stat]) snapshot.Reading[int64] {
	r := snapshot.Reading[int64]{State: stat.State, Source: stat.Source, At: stat.At, Err: stat.Err}
	if stat.State != snapshot.Present {
		return r
	}
	for _, key := range []string{"anon", "file"} {
		n, ok := stat.Value.Get(key)
		if !ok || n < 0 {
			r.State, r.Err = snapshot.Absent, "no "+key
		}
		r.Value += n
	}
	parts := []string{"kernel", "sock"}
	if _, ok := stat.Value.Get("kernel"); !ok { // before 5.18
		parts = []string{"slab", "kernel_stack", "pagetables", "percpu", "sock"}
	}
	for _, key := range parts {
		n, _ := stat.Value.Get(key)
		r.Value += max(0, n)
	}
	return r
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

// activity is where the target's tasks are counted, found once for each cgroup: as soon
// as it has a process that tells.
func (f *files) activity(g remedy.Group) *cgroupfs.Activity {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.found[g.ID]; a != nil {
		return a
	}
	member := 0
	if g.Version == snapshot.V1 {
		if pids := cgroupfs.ReadProcs(f.src, g.Dir); len(pids.Value) > 0 {
			member = pids.Value[0]
		}
	}
	a := cgroupfs.FindActivity(f.src, g.Version, g.Dir, g.Path, f.foreign, member)
	if member > 0 || g.Version == snapshot.V2 {
		f.found[g.ID] = &a
	}
	return &a
}
