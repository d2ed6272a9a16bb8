package ledger

import (
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Counted is what a census says that a cgroup and those below it are charged for.
// What the engine cannot tell is snapshot.Unknown.
type Counted struct {
	Anon, File, Shmem, PageTables int64 // File without Shmem
	SlabReclaimable, SlabPinned   int64 // Pinned with large kmalloc, which is in no cache, and all of it when Reclaimable is unknown
	Kernel                        int64 // pages of neither
	Inherited                     int64 // part of the above, from removed cgroups
	DyingBytes, DyingGroups       int64 // part of the above, of removed cgroups that still hold it
}

// Count sums a census over the subtree of cgroup. known is false when the census
// has never heard of it.
func Count(c *snapshot.Census, cgroup string, alone bool) (n Counted, known bool) {
	within := Within(c, cgroup, alone)
	for i := range c.Groups {
		if !within[i] {
			continue
		}
		known = true
		g := &c.Groups[i]
		n.Anon = plus(n.Anon, g.Anon.Bytes, g.KSM)
		n.File = plus(n.File, g.File.Bytes, -g.Shmem)
		n.Shmem = plus(n.Shmem, g.Shmem)
		n.PageTables = plus(n.PageTables, g.Tables)
		n.SlabPinned = plus(n.SlabPinned, g.Slab)
		n.Kernel = plus(n.Kernel, g.Kernel)
		n.Inherited = plus(n.Inherited, g.Inherited)
		if g.Dying {
			n.DyingGroups++
			n.DyingBytes = plus(n.DyingBytes, Held(g))
		}
	}
	if n.SlabPinned == snapshot.Unknown {
		n.SlabReclaimable = snapshot.Unknown
		return n, known
	}
	told := false // some cache of every kernel can shrink
	for i := range c.Slabs {
		s := &c.Slabs[i]
		told = told || s.Reclaimable
		if within[s.Group] && s.Reclaimable {
			n.SlabReclaimable += s.Bytes
		}
	}
	if !told {
		n.SlabReclaimable = snapshot.Unknown
		return n, known
	}
	n.SlabPinned = max(0, n.SlabPinned-n.SlabReclaimable)
	return n, known
}

// Held is all that one group alone is charged for, as far as a census tells.
func Held(g *snapshot.CensusGroup) (sum int64) {
	for _, n := range []int64{g.Anon.Bytes, g.KSM, g.File.Bytes, g.Tables, g.Slab, g.Kernel, g.Hugetlb, g.Other} {
		sum += max(0, n)
	}
	return sum
}

// Within says of each group of a census whether it is cgroup, or below it. A
// removed group may have had the name of a living one: parents tell.
func Within(c *snapshot.Census, cgroup string, alone bool) []bool {
	in := make([]bool, len(c.Groups))
	for i := 1; i < len(c.Groups); i++ {
		at := i
		for range 1 << 10 { // deeper than any hierarchy
			if g := &c.Groups[at]; g.Path == cgroup && !g.Dying {
				in[i] = true
			}
			if at = c.Groups[at].Parent; in[i] || alone || at <= 0 {
				break
			}
		}
	}
	return in
}

// plus adds amounts of which none may be unknown.
func plus(sum int64, terms ...int64) int64 {
	for _, n := range terms {
		if sum == snapshot.Unknown || n == snapshot.Unknown {
			return snapshot.Unknown
		}
		sum += n
	}
	return sum
}

// counted splits the kernel memory of version 1, for which there is one counter,
// as a census found it. The counter holds: what the census found beyond it was
// charged between the two.
func (b *balance) counted(kmem int64) bool {
	n := b.env.Counted
	if n == nil || n.SlabPinned == snapshot.Unknown || n.PageTables == snapshot.Unknown {
		return false
	}
	parts := []Account{
		{Path: SlabReclaimable, Bytes: n.SlabReclaimable, Reclaim: Free},
		{Path: SlabPinned, Bytes: n.SlabPinned, Reclaim: Pinned},
		{Path: PageTables, Bytes: n.PageTables, Reclaim: Pinned},
	}
	if n.SlabReclaimable == snapshot.Unknown {
		parts = []Account{{Path: Slab, Bytes: n.SlabPinned, Reclaim: Unknown}, parts[2]}
		b.undivided += min(n.SlabPinned, kmem)
	}
	left := kmem
	for _, a := range parts {
		if !size.Plausible(a.Bytes) {
			return false
		}
	}
	for _, a := range parts {
		a.Bytes, a.Counted = min(a.Bytes, left), true
		left -= a.Bytes
		b.l.Accounts = append(b.l.Accounts, a)
		b.sum += a.Bytes
	}
	b.add(KernelOther, left, Pinned, nil)
	if over := max(0, n.SlabReclaimable) + n.SlabPinned + n.PageTables - kmem; over > max(b.bound(), 1<<20) {
		b.l.Doubts = append(b.l.Doubts, words.Later("the census found %s of kernel memory, %s more than %s: it was taken at another moment",
			size.Text(over+kmem), size.Text(over), b.c.KmemUsage.Source))
	}
	return true
}
