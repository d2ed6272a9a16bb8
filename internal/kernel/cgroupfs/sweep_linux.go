package cgroupfs

import (
	"errors"
	"path"
	"slices"
	"syscall"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Sweep reads the statistics and the usage of many cgroups over and over, with
// their files kept open: two descriptors and about 9 KiB of kernel memory a
// cgroup. A pass allocates nothing once every cgroup has been read.
type Sweep struct {
	groups []group
	buf    []byte
}

// Sample is one cgroup in one pass. It is valid until the next pass.
type Sample struct {
	Path  string
	Usage int64
	Stat  *snapshot.Stat
	Gone  bool // the cgroup was removed; it is dropped after this pass
	Err   error
}

type group struct {
	path        string
	stat, usage *kernel.Kept
	parsed      snapshot.Stat
	gone        bool
}

// NewSweep opens the files of the cgroups. Those that are gone are left out.
func NewSweep(live *kernel.Live, h Hierarchy, cgroups []string) (*Sweep, error) {
	s := &Sweep{buf: make([]byte, 64<<10)}
	for _, c := range cgroups {
		dir, ok := h.Dir(c)
		if !ok {
			continue
		}
		g := group{path: c}
		var err1, err2 error
		g.stat, err1 = live.Keep(path.Join(dir, "memory.stat"))
		g.usage, err2 = live.Keep(path.Join(dir, pick(h.Version, core[0].v1, core[0].v2)))
		if err := errors.Join(err1, err2); err != nil {
			g.close()
			if state, _ := kernel.Fault(err); state == snapshot.Absent {
				continue
			}
			s.Close()
			return nil, err
		}
		s.groups = append(s.groups, g)
	}
	return s, nil
}

// Pass reads every cgroup once and calls each with it.
func (s *Sweep) Pass(each func(Sample)) {
	gone := false
	for i := range s.groups {
		sample := s.groups[i].read(s.buf)
		gone = gone || sample.Gone
		each(sample)
	}
	if gone {
		s.groups = slices.DeleteFunc(s.groups, func(g group) bool {
			if g.gone {
				g.close()
			}
			return g.gone
		})
	}
}

func (g *group) read(buf []byte) Sample {
	n, err := g.stat.Read(buf)
	if err == nil {
		err = ParseStat(buf[:n], &g.parsed)
	}
	var usage int64
	if err == nil {
		if n, err = g.usage.Read(buf); err == nil {
			usage, err = ParseNumber(buf[:n])
		}
	}
	g.gone = errors.Is(err, syscall.ENODEV)
	return Sample{Path: g.path, Usage: usage, Stat: &g.parsed, Gone: g.gone, Err: err}
}

// Len is the number of cgroups.
func (s *Sweep) Len() int { return len(s.groups) }

// Close closes all files.
func (s *Sweep) Close() {
	for i := range s.groups {
		s.groups[i].close()
	}
	s.groups = nil
}

func (g *group) close() {
	for _, k := range []*kernel.Kept{g.stat, g.usage} {
		if k != nil {
			k.Close()
		}
	}
}
