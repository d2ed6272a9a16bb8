package ledger

import (
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

var lruLists = []string{"inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable"}

// memory adds the accounts of user pages: anon, swap cache, file, shmem.
func (b *balance) memory() {
	b.readLRU()
	anon, haveAnon := b.get("anon")
	file, haveFile := b.get("file")
	shmem, haveShmem := b.get("shmem")
	shmem = min(shmem, file)

	if haveAnon {
		lazy, known := b.lazyFree(anon, file-shmem, haveFile && haveShmem)
		if known {
			b.add(AnonLazyFree, lazy, Free, nil)
		}
		cost := Pinned
		if b.env.SwapLeft > 0 {
			cost = Swap
		}
		b.add(AnonOther, anon-lazy, cost, b.anonState())
	} else {
		b.miss(AnonOther, "anon", words.Later("anonymous memory: heaps, stacks"))
	}
	b.unmapped(anon, file, haveAnon && haveFile)
	if !haveFile {
		b.miss(File, "file", words.Later("page cache"))
		return
	}
	b.fileAndShmem(file, shmem, haveShmem)
}

func (b *balance) anonState() map[string]int64 {
	st := b.state("active", "active_anon", "inactive", "inactive_anon", "thp", "anon_thp")
	if v, ok := b.c.SwapUsage.Get(); ok {
		st["swap"] = v
	} else if v, ok := b.keys.Get("swap"); ok && size.Plausible(v) { // a v1 key
		st["swap"] = v
	}
	return st
}

func (b *balance) readLRU() {
	b.lru = map[string]int64{}
	for _, key := range lruLists {
		if v, ok := b.get(key); ok {
			b.lru[key] = v
		}
	}
}

func (b *balance) wholeLRU() bool { return len(b.lru) == len(lruLists) }

// lazyFree estimates MADV_FREEd memory: it is anonymous but moves to the
// inactive file list (linux mm/swap.c lru_lazyfree), so the file lists are
// longer than the page cache without shmem. A lower bound, since mlocked file
// pages are on neither list.
func (b *balance) lazyFree(anon, pureFile int64, haveFile bool) (bytes int64, known bool) {
	if !b.env.LazyFree {
		return 0, false
	}
	if !haveFile || !b.wholeLRU() {
		b.miss(AnonLazyFree, "shmem", words.Later("memory that its owner gave back with MADV_FREE"))
		return 0, false
	}
	return min(anon, max(0, b.lru["active_file"]+b.lru["inactive_file"]-pureFile)), true
}

// unmapped is what is on the LRU lists, yet neither mapped anonymous memory nor
// page cache. Up to the kernel's own count it is swap cache; the rest are parts
// of huge pages that their process gave back: they stay charged until the page
// is split, which waits for reclaim (linux mm/huge_memory.c
// deferred_split_folio). Seen on 6.1: 2.3 MiB of an idle Go program.
func (b *balance) unmapped(anon, file int64, known bool) {
	upper, haveKey := b.get("swapcached")
	if !known || !b.wholeLRU() {
		if b.env.SwapOn || haveKey {
			b.miss(SwapCached, "swapcached", words.Later("swap cache that no process maps"))
		}
		return
	}
	var total int64
	for _, v := range b.lru {
		total += v
	}
	rest := max(0, total-anon-file)
	if b.env.SwapOn || haveKey {
		if !haveKey { // before 5.15; v1 before 6.12
			upper = rest
		}
		b.add(SwapCached, min(upper, rest), Mixed, nil)
		rest -= min(upper, rest)
	}
	if rest > 0 {
		b.add(AnonUnmapped, rest, Unknown, nil)
		b.undivided += rest
	}
}

func (b *balance) fileAndShmem(file, shmem int64, haveShmem bool) {
	st := b.state("active", "active_file", "inactive", "inactive_file", "mapped", "file_mapped",
		"dirty", "file_dirty", "writeback", "file_writeback", "unevictable", "unevictable", "thp", "file_thp")
	if !haveShmem {
		// Before 4.19 (and on el7) the kernel does not tell tmpfs from files.
		b.add(File, file, Mixed, st)
		if anonLists, known := b.shmemOnAnonLists(); known {
			b.l.Accounts[len(b.l.Accounts)-1].State["onAnonLists"] = min(anonLists, file)
		}
		b.miss(Shmem, "shmem", words.Later("tmpfs and shared memory apart from file cache; here it is inside `file`"))
		return
	}
	b.add(File, file-shmem, fileCost(file-shmem, st), st)
	cost := Pinned
	if b.env.SwapLeft > 0 {
		cost = Swap
	}
	b.add(Shmem, shmem, cost, b.state("thp", "shmem_thp"))
}

// shmemOnAnonLists is how much of `cache` must be tmpfs or shared memory: it
// lives on the anon lists, beyond what anonymous memory explains.
func (b *balance) shmemOnAnonLists() (int64, bool) {
	anon, ok := b.get("anon")
	if !ok || !b.wholeLRU() {
		return 0, false
	}
	return max(0, b.lru["active_anon"]+b.lru["inactive_anon"]-anon), true
}

// fileCost needs the margins to agree: they overlap, so only the extremes are
// certain.
func fileCost(bytes int64, st map[string]int64) Reclaim {
	_, a := st["active"]
	_, m := st["mapped"]
	_, d := st["dirty"]
	_, w := st["writeback"]
	switch {
	case !a || !m || !d || !w:
		return Mixed
	case st["dirty"]+st["writeback"] > 0:
		if st["dirty"]+st["writeback"] >= bytes {
			return Writeback
		}
		return Mixed
	case st["active"]+st["mapped"] == 0:
		return Free
	case st["inactive"] == 0 || st["mapped"] >= bytes:
		return Reread
	}
	return Mixed
}

// kernelV1 adds the kernel's own memory on version 1, where one counter covers
// all of it. TCP buffers have a counter of their own that usage does not hold.
func (b *balance) kernelV1() {
	if b.c.Root() {
		return // linux mm/memcontrol.c mem_cgroup_usage: the root's usage is file + anon
	}
	kmem, ok := b.c.KmemUsage.Get()
	if !ok || !size.Plausible(kmem) {
		b.l.Missing = append(b.l.Missing, Missing{
			"accounts/" + KernelUndivided, b.c.KmemUsage.Source, b.c.KmemUsage.State,
			words.Later("%s", b.c.KmemUsage.Err), words.Later("the kernel's own memory: slab, stacks, page tables"),
		})
		return
	}
	table, haveTable := b.c.Slabs.Get()
	// The table is this cgroup's alone, the counter covers its children too.
	if haveTable && len(table) > 0 && b.c.Descendants.State == snapshot.Present && b.c.Descendants.Value == 0 {
		var slab int64
		for _, row := range table {
			slab += row.Bytes
		}
		if size.Plausible(slab) {
			slab = min(slab, kmem)
			b.undivided += slab
			b.add(Slab, slab, Unknown, nil)
			b.add(KernelOther, kmem-slab, Pinned, nil)
			return
		}
	}
	if b.counted(kmem) {
		return
	}
	b.undivided += kmem
	b.add(KernelUndivided, kmem, Unknown, nil)
	if kmem > 0 {
		b.l.Missing = append(b.l.Missing, Missing{
			"accounts/" + SlabReclaimable, b.c.Slabs.Source, missState(b.c.Slabs.State), b.whyUndivided(),
			words.Later("which part of the kernel's memory is slab, and which of that can be taken back"),
		})
	}
}

func (b *balance) whyUndivided() words.Text {
	switch table, ok := b.c.Slabs.Get(); {
	case !ok && b.c.Slabs.Err != "":
		return words.Later("%s", b.c.Slabs.Err)
	case len(table) > 0:
		return words.Later("the slab table is this cgroup's alone, the counter holds its children too")
	}
	return words.Later("cgroup v1 has no counter for it, and its slab table is empty since kernel 5.10")
}

// kernelV2 adds the kernel's own memory and sockets on version 2.
//
// `kernel` arrived with a8c49af3be5f "memcg: add per-memcg total kernel memory
// stat" (v5.18); before it only parts have keys.
func (b *balance) kernelV2() {
	if b.c.Root() {
		return // the root's usage is anon + file, see usage
	}
	before := b.sum
	leaf := func(path string, cost Reclaim, keys ...string) {
		var sum int64
		found := false
		for _, key := range keys {
			if v, ok := b.get(key); ok {
				sum, found = sum+v, true
			}
		}
		if found {
			b.add(path, sum, cost, nil)
		}
	}
	leaf(SlabReclaimable, Free, "slab_reclaimable")
	leaf(SlabPinned, Pinned, "slab_unreclaimable")
	leaf(Stacks, Pinned, "kernel_stack")
	leaf(PageTables, Pinned, "pagetables", "sec_pagetables")
	leaf(Percpu, Pinned, "percpu")
	leaf(Vmalloc, Pinned, "vmalloc")
	leaf(Zswap, Writeback, "zswap")
	if kernel, ok := b.get("kernel"); ok {
		b.add(KernelOther, max(0, kernel-(b.sum-before)), Pinned, nil)
	} else {
		b.noKernel = b.c.Stat.State == snapshot.Present
		b.miss(KernelOther, "kernel", words.Later("kernel memory that has no key of its own; here it is what nothing else explains"))
	}
	leaf(Sock, Pinned, "sock")
	leaf(HugeTLB, Pinned, "hugetlb")
	for _, want := range []struct {
		path, key string
		shows     words.Text
	}{
		{SlabReclaimable, "slab_reclaimable", words.Later("dentries, inodes and other slab that can shrink")},
		{SlabPinned, "slab_unreclaimable", words.Later("slab that cannot shrink")},
		{Sock, "sock", words.Later("network buffers")},
	} {
		if _, ok := b.keys.Get(want.key); !ok {
			b.miss(want.path, want.key, want.shows)
		}
	}
}

// reclaimable says what of usage can be taken back, by the kernel's own lists.
func (b *balance) reclaimable() {
	l := b.l
	if !b.wholeLRU() {
		l.UnreclaimableMax = l.Usage
		l.Missing = append(l.Missing, Missing{
			"numbers/reclaimableBytes", b.c.Stat.Source, missState(b.c.Stat.State),
			words.Later("%s", b.c.Stat.Err), words.Later("what of the usage can be taken back"),
		})
		return
	}
	l.ReclaimKnown = true
	left := l.Usage
	take := func(n int64) int64 {
		n = max(0, min(n, left))
		left -= n
		return n
	}
	l.ReclaimableFile = take(b.lru["active_file"] + b.lru["inactive_file"])
	if slab, ok := l.Account(SlabReclaimable); ok {
		l.ReclaimableSlab = take(slab.Bytes)
	}
	l.ReclaimableSwap = take(min(b.env.SwapLeft, b.lru["active_anon"]+b.lru["inactive_anon"]))
	l.Reclaimable = l.ReclaimableFile + l.ReclaimableSlab + l.ReclaimableSwap
	l.UnreclaimableMax = left
	l.UnreclaimableMin = left - min(left, b.undivided)
}

func missState(s snapshot.State) snapshot.State {
	if s == snapshot.Present {
		return snapshot.Absent
	}
	return s
}
