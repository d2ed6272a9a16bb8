package ledger

import "github.com/memwhy/memwhy/internal/snapshot"

// Bounds are the least and the most that something may be, in bytes.
type Bounds struct{ Least, Most int64 }

func (b *Bounds) add(o Bounds) {
	b.Least += o.Least
	b.Most += o.Most
}

// Cold bounds the file cache that is inactive, clean and not mapped, of every living
// group of a census with what is below it, by the path of the group. A census tells
// of each file how much of it is in which state, not how the states overlap: where a
// file is all in one state, as nearly all are, the bounds meet. There are none of a
// census that does not know who is charged, or that looked at a part only.
func Cold(c *snapshot.Census) map[string]Bounds {
	if c.Engine == snapshot.EngineFiles || c.Sampled > 0 || c.Dropped.Any() {
		return nil
	}
	cold := make([]Bounds, len(c.Groups))
	rest := make([]snapshot.PageState, len(c.Groups)) // what is in no file of the list
	shmem := make([]int64, len(c.Groups))             // the part of the rest that may be shared memory
	for i := range c.Groups {
		rest[i], shmem[i] = c.Groups[i].File, c.Groups[i].Shmem
	}
	for i := range c.Files {
		f := &c.Files[i]
		take(&rest[f.Group], f.PageState)
		switch {
		case f.Inode < 0: // it may be either
			cold[f.Group].add(coldOf(f.PageState, f.Bytes))
		case c.Inodes[f.Inode].Magic == snapshot.MagicTmpfs:
			shmem[f.Group] -= f.Bytes
		default:
			cold[f.Group].add(coldOf(f.PageState, 0))
		}
	}
	for i := range cold {
		cold[i].add(coldOf(&rest[i], max(0, shmem[i])))
	}
	return upwards(c, cold)
}

// coldOf bounds what is cold of pages that are in these states, of which shmem may be
// shared memory. A state that is not known may be that of all or of none.
func coldOf(m *snapshot.PageState, shmem int64) Bounds {
	if m.Bytes <= 0 || m.Inactive <= 0 {
		return Bounds{}
	}
	b := Bounds{Least: m.Inactive - shmem, Most: m.Inactive}
	for _, n := range []int64{m.Dirty, m.Writeback, m.Mapped} {
		if n == snapshot.Unknown {
			b.Least = 0
			continue
		}
		b.Least -= n
		b.Most = min(b.Most, m.Bytes-n)
	}
	return Bounds{max(0, b.Least), max(0, b.Most)}
}

// take subtracts o from m.
func take(m, o *snapshot.PageState) {
	m.Bytes -= o.Bytes
	for _, n := range []struct {
		from *int64
		part int64
	}{{&m.Inactive, o.Inactive}, {&m.Dirty, o.Dirty}, {&m.Writeback, o.Writeback}, {&m.Mapped, o.Mapped}} {
		if *n.from == snapshot.Unknown || n.part == snapshot.Unknown {
			*n.from = snapshot.Unknown
			continue
		}
		*n.from = max(0, *n.from-n.part)
	}
}

// upwards adds to each living group what is below it. Parents may stand anywhere in
// the list.
func upwards(c *snapshot.Census, own []Bounds) map[string]Bounds {
	sums := make([]Bounds, len(own))
	for i := range own {
		for at, depth := i, 0; at >= 0 && at < len(sums) && depth < 1<<10; at, depth = c.Groups[at].Parent, depth+1 {
			sums[at].add(own[i])
		}
	}
	all := make(map[string]Bounds, len(sums))
	for i := range sums {
		if g := &c.Groups[i]; i > 0 && !g.Dying {
			all[g.Path] = sums[i]
		}
	}
	return all
}
