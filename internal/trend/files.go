package trend

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// FileMove is what became of one file's cache, of that which the target is charged
// for.
type FileMove struct {
	Inode         *snapshot.CensusInode // of the last look
	Cgroup        string                // that is charged for it, or one of several
	Before, After int64
	Used          int64 // at least so much of what is left was read again
	Readers       []*snapshot.Process
	Writers       []*snapshot.Process
	Guess         *snapshot.Process // who read or wrote enough to have made it grow, and nobody else did; nil when Readers or Writers tell
}

// Grew is by how much there is more of it.
func (m *FileMove) Grew() int64 { return m.After - m.Before }

// moves compares the censuses of the first look and the last, and then finds who
// went on in which file.
func (t *Trend) moves(s *snapshot.Snapshot) {
	now, ok := exact(s)
	if !ok || s.Watch.First == nil {
		return
	}
	was, ok := exact(s.Watch.First)
	if !ok {
		return
	}
	alone := !s.Target().Hierarchical()
	wasIn, nowIn := ledger.Within(was, s.Target().Path, alone), ledger.Within(now, s.Target().Path, alone)
	t.slabs(was, wasIn, now, nowIn)
	before, after := was.ByFile(wasIn), now.ByFile(nowIn)
	inodes, by := inodesOf(now, nowIn)
	byNumber := map[uint64][]*FileMove{}
	t.Compared = true
	for id, st := range after {
		m := &FileMove{Inode: inodes[id], Cgroup: by[id], After: st.Bytes}
		if old, ok := before[id]; ok {
			m.Before = old.Bytes
			m.Used = touched(old, st)
		}
		byNumber[id.Number] = append(byNumber[id.Number], m)
	}
	t.follow(s, byNumber)
	for _, list := range byNumber {
		for _, m := range list {
			if m.Grew() != 0 || m.Used > 0 || len(m.Writers) > 0 {
				t.guess(m)
				t.Files = append(t.Files, *m)
			}
		}
	}
	slices.SortFunc(t.Files, func(a, b FileMove) int {
		return cmp.Or(cmp.Compare(b.Grew(), a.Grew()), cmp.Compare(b.Used, a.Used), cmp.Compare(a.Inode.Path, b.Inode.Path), cmp.Compare(a.Inode.Number, b.Inode.Number))
	})
}

// SlabMove is by how much one of the kernel's caches grew, of that which the target is
// charged for.
type SlabMove struct {
	Cache string
	Grew  int64
}

func (t *Trend) slabs(was *snapshot.Census, wasIn []bool, now *snapshot.Census, nowIn []bool) {
	grew := map[string]int64{}
	add := func(c *snapshot.Census, within []bool, sign int64) {
		for i := range c.Slabs {
			if row := &c.Slabs[i]; row.Group > 0 && within[row.Group] {
				grew[row.Cache] += sign * row.Bytes
			}
		}
	}
	add(was, wasIn, -1)
	add(now, nowIn, 1)
	for cache, n := range grew {
		if n > 0 {
			t.Slabs = append(t.Slabs, SlabMove{cache, n})
		}
	}
	slices.SortFunc(t.Slabs, func(a, b SlabMove) int { return cmp.Or(cmp.Compare(b.Grew, a.Grew), cmp.Compare(a.Cache, b.Cache)) })
}

// exact is a census that counted every file.
func exact(s *snapshot.Snapshot) (*snapshot.Census, bool) {
	c, ok := s.Census.Get()
	return c, ok && c.Complete && c.Sampled == 0 && (c.Engine == snapshot.EngineBPF || c.Engine == snapshot.EngineKcore)
}

// inodesOf are the files that groups are charged for, and a group that is.
func inodesOf(c *snapshot.Census, within []bool) (inodes map[snapshot.FileID]*snapshot.CensusInode, by map[snapshot.FileID]string) {
	inodes, by = map[snapshot.FileID]*snapshot.CensusInode{}, map[snapshot.FileID]string{}
	for i := range c.Files {
		row := &c.Files[i]
		if row.Inode < 0 || !within[row.Group] {
			continue
		}
		in := &c.Inodes[row.Inode]
		inodes[in.ID()], by[in.ID()] = in, c.Groups[row.Group].Path
	}
	return inodes, by
}

// touched is what the kernel's marks say was used again: pages become referenced and
// then active by that alone, but new ones may begin so.
func touched(old, now snapshot.PageState) int64 {
	grew := max(0, now.Bytes-old.Bytes)
	var most int64
	for _, x := range [][2]int64{{old.Active, now.Active}, {old.Referenced, now.Referenced}} {
		if x[0] >= 0 && x[1] >= 0 {
			most = max(most, x[1]-x[0]-grew)
		}
	}
	return min(most, now.Bytes)
}

// follow finds the processes whose position in a file is another now, or that opened
// it meanwhile. Of one that reads, as much was used again as it read in all.
func (t *Trend) follow(s *snapshot.Snapshot, byNumber map[uint64][]*FileMove) {
	before := byPID(s.Watch.First)
	for i := range s.Processes {
		p := &s.Processes[i]
		old := before[p.PID]
		if old != nil && !same(old, p) {
			old = nil
		}
		left, known := since(old, p, snapshot.IORead)
		for _, o := range p.Positions.Value {
			m := find(byNumber[uint64(o.Inode)], &o)
			from, was := position(old, &o)
			if m == nil || o.Offset == from && was || o.Offset == 0 && !was {
				continue
			}
			if o.Writes {
				m.Writers = append(m.Writers, p)
				continue
			}
			m.Readers = append(m.Readers, p)
			n := max(0, o.Offset-from)
			if known {
				n = min(left, m.After)
				left -= n
			}
			m.Used = max(m.Used, min(n-max(0, m.Grew()), m.After))
		}
	}
}

// find is the file of a position. On an overlay its device is another than the
// census says, and the name tells.
func find(list []*FileMove, o *snapshot.Position) *FileMove {
	base := path.Base(strings.TrimSuffix(o.Path, " (deleted)"))
	for _, m := range list {
		if m.Inode.Device == snapshot.KernelDevice(uint64(o.Device)) || path.Base(m.Inode.Path) == base {
			return m
		}
	}
	return nil
}

func position(p *snapshot.Process, o *snapshot.Position) (int64, bool) {
	if p == nil {
		return 0, false
	}
	i := slices.IndexFunc(p.Positions.Value, func(x snapshot.Position) bool { return x.FD == o.FD && x.Inode == o.Inode && x.Device == o.Device })
	if i < 0 {
		return 0, false
	}
	return p.Positions.Value[i].Offset, true
}

// since is by how much a counter of a process went on, from its begin when it was not
// there at the first look.
func since(old, p *snapshot.Process, key string) (int64, bool) {
	n, ok := field(key)(p)
	if !ok || old == nil {
		return n, ok
	}
	was, ok := field(key)(old)
	return n - was, ok && was <= n
}

// guess names who can have made a file grow, when positions do not tell.
func (t *Trend) guess(m *FileMove) {
	grew := m.Grew()
	if grew <= 0 || len(m.Readers)+len(m.Writers) > 0 {
		return
	}
	for i := range t.Movers {
		switch x := &t.Movers[i]; {
		case x.Calls < 0: // it may have been this one
			m.Guess = nil
			return
		case x.Calls < grew/2:
		case m.Guess != nil:
			m.Guess = nil
			return
		default:
			m.Guess = x.Process
		}
	}
	if len(t.Ended) > 0 {
		m.Guess = nil
	}
}
