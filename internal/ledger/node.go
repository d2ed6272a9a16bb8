package ledger

import (
	"path"
	"strings"

	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Paths of the leaves of a node that a cgroup does not have.
const (
	FreeBlocks  = "free/blocks"
	FreeOnLists = "free/cpu-lists"
	Anon        = "anon"
	FileCache   = "file/cache"
	FileBuffers = "file/buffers"

	KernelMisc      = "kernel/misc-reclaimable"
	SecPageTables   = "kernel/secondary-pagetables"
	KernelZspages   = "kernel/zspages"
	KernelBounce    = "kernel/bounce"
	KernelWriteback = "kernel/writeback-copies"
	KernelMemmap    = "kernel/memmap"
	KernelGPU       = "kernel/gpu"
)

// firstChunk is about the most that Percpu counts of memory from before the
// page allocator, which MemTotal does not have: the first chunk, of each
// processor (linux mm/percpu.c pcpu_setup_first_chunk; PERCPU_DYNAMIC_RESERVE).
const firstChunk = 256 * size.KiB

// NodeRow is one leaf of a node.
type NodeRow struct {
	Path  string
	Bytes int64
	From  string // the counters, by the kernel's names
}

// Classes is MemTotal by the kernel's own counters: disjoint leaves of which the
// last is Unexplained, memory that no counter has.
type Classes struct {
	Total   int64
	Rows    []NodeRow // sum to Total
	Bound   int64     // how far the counters may be off, all together; -1 when unknown
	Missing []Missing
	Doubts  []words.Text
}

// Sum adds the leaves whose path is one of those or below it.
func (c *Classes) Sum(paths ...string) (sum int64) {
	for _, r := range c.Rows {
		for _, p := range paths {
			if r.Path == p || strings.HasPrefix(r.Path, p+"/") {
				sum += r.Bytes
			}
		}
	}
	return sum
}

// Unexplained is the last leaf.
func (c *Classes) Unexplained() int64 { return c.Rows[len(c.Rows)-1].Bytes }

// NodeClasses cuts MemTotal by class; false when there is no MemTotal.
//
// linux fs/proc/meminfo.c meminfo_proc_show: Cached is NR_FILE_PAGES without
// buffers and swap cache, AnonPages what is mapped.
func NodeClasses(s *snapshot.Snapshot) (*Classes, bool) {
	n := &classes{s: s, c: &Classes{}}
	n.mem, _ = s.Node.Meminfo.Get()
	var ok bool
	if n.c.Total, ok = n.get("MemTotal"); !ok || n.c.Total == 0 {
		return nil, false
	}
	n.row(FreeBlocks, "MemFree")
	n.onLists()
	n.row(Anon, "AnonPages")
	n.swapCache()
	if cached, ok := n.need(FileCache, "Cached"); ok {
		shmem, _ := n.get("Shmem")
		n.add(FileCache, cached-shmem, "Cached - Shmem")
	}
	n.row(FileBuffers, "Buffers")
	n.row(Shmem, "Shmem")
	n.slab()
	n.row(Stacks, "KernelStack")
	n.row(PageTables, "PageTables")
	n.extra(SecPageTables, "SecPageTables")
	n.row(Percpu, "Percpu")
	n.vmalloc()
	n.zspages()
	n.extra(KernelBounce, "Bounce")
	n.extra(KernelWriteback, "WritebackTmp")
	n.gpu()
	if pages, ok := n.vmstat("nr_memmap_pages"); ok && pages > 0 { // of plugged memory; what is from the boot is not in MemTotal
		n.add(KernelMemmap, pages, "nr_memmap_pages")
	}
	n.hugetlb()
	n.close()
	return n.c, true
}

// classes is the cut in the making.
type classes struct {
	s   *snapshot.Snapshot
	c   *Classes
	mem snapshot.Stat
	sum int64
}

func (n *classes) get(key string) (int64, bool) {
	v, ok := n.mem.Get(key)
	if !ok || !size.Plausible(v) {
		return 0, false
	}
	return v, true
}

// vmstat is a counter of pages, in bytes.
func (n *classes) vmstat(key string) (int64, bool) {
	v, ok := n.s.Node.Vmstat.Value.Get(key)
	if !ok || v < 0 || n.s.Host.PageSize <= 0 || v > (1<<56)/n.s.Host.PageSize {
		return 0, false
	}
	return v * n.s.Host.PageSize, true
}

func (n *classes) add(path string, bytes int64, from string) {
	n.c.Rows = append(n.c.Rows, NodeRow{path, bytes, from})
	n.sum += bytes
}

// need is a counter whose absence is told: what it counts is unexplained.
func (n *classes) need(path, key string) (int64, bool) {
	v, ok := n.get(key)
	if !ok {
		n.miss(path, n.s.Node.Meminfo.Source, words.Later("no usable line %s", key))
	}
	return v, ok
}

func (n *classes) miss(path, source string, why words.Text) {
	n.c.Missing = append(n.c.Missing, Missing{
		"ledger.classes/" + path, source, snapshot.Absent, why,
		words.Later("how much is %s: it is in unexplained", path),
	})
}

func (n *classes) row(path, key string) {
	if v, ok := n.need(path, key); ok {
		n.add(path, v, key)
	}
}

// extra is a counter that few kernels have, or few nodes need.
func (n *classes) extra(path, key string) {
	if v, ok := n.get(key); ok && v > 0 {
		n.add(path, v, key)
	}
}

// onLists are free pages that MemFree does not count.
func (n *classes) onLists() {
	zones, ok := n.s.Node.Zones.Get()
	if !ok {
		n.c.Missing = append(n.c.Missing, Missing{
			"ledger.classes/" + FreeOnLists, n.s.Node.Zones.Source, n.s.Node.Zones.State,
			words.Later("%s", n.s.Node.Zones.Err), words.Later("what is free on the lists of processors: it is in unexplained"),
		})
		return
	}
	var lists, free int64
	for i := range zones {
		if size.Plausible(zones[i].OnLists) && size.Plausible(zones[i].Free) {
			lists += zones[i].OnLists
			free += zones[i].Free
		}
	}
	n.add(FreeOnLists, lists, "zoneinfo, count of the pagesets")
	if said, ok := n.get("MemFree"); ok && max(said-free, free-said) > n.c.Total/50 {
		n.c.Doubts = append(n.c.Doubts, words.Later("MemFree says %s, the zones have %s free: a balloon, zones that are not told of, or memory that moved meanwhile", size.Text(said), size.Text(free)))
	}
}

// swapCache is what is in the swap cache and no process maps: it is on the lists
// of anonymous memory, and neither AnonPages nor Shmem.
func (n *classes) swapCache() {
	cached, ok := n.get("SwapCached")
	if !ok || cached == 0 {
		return
	}
	lists, all := int64(0), true
	for _, key := range []string{"Active", "Inactive", "Unevictable"} {
		v, ok := n.get(key)
		lists, all = lists+v, all && ok
	}
	for _, key := range []string{"AnonPages", "Cached", "Buffers"} {
		v, ok := n.get(key)
		lists, all = lists-v, all && ok
	}
	if all {
		n.add(SwapCached, min(max(0, lists), cached), "Active + Inactive + Unevictable - AnonPages - Cached - Buffers, within 0..SwapCached")
	}
}

func (n *classes) slab() {
	n.row(SlabReclaimable, "SReclaimable")
	n.row(SlabPinned, "SUnreclaim")
	all, ok := n.get("KReclaimable")
	if slab, ok2 := n.get("SReclaimable"); ok && ok2 && all > slab {
		n.add(KernelMisc, all-slab, "KReclaimable - SReclaimable")
	}
}

// vmalloc is without the kernel's stacks, which are allocated there. Before 5.3
// VmallocUsed is 0, before 4.4 it is of addresses, and VmallocChunk is not 0.
func (n *classes) vmalloc() {
	used, ok := n.get("VmallocUsed")
	chunk, _ := n.get("VmallocChunk")
	if !ok || used == 0 || chunk != 0 {
		n.miss(Vmalloc, n.s.Node.Meminfo.Source, words.Later("VmallocUsed of this kernel does not count pages"))
		return
	}
	stacks, _ := n.get("KernelStack")
	n.add(Vmalloc, max(0, used-stacks), "VmallocUsed - KernelStack")
}

// zspages hold what zswap and zram compressed.
func (n *classes) zspages() {
	pages, _ := n.vmstat("nr_zspages")
	zswap, _ := n.get("Zswap") // of other allocators too
	switch {
	case pages >= zswap && pages > 0:
		n.add(KernelZspages, pages, "nr_zspages")
	case zswap > 0:
		n.add(KernelZspages, zswap, "Zswap")
	}
}

// gpu is what drivers of GPUs have for their buffers, in use or kept for the next,
// where the kernel counts it (linux drivers/gpu/drm/ttm/ttm_pool.c, 7.0).
func (n *classes) gpu() {
	used, _ := n.get("GPUActive")
	kept, _ := n.get("GPUReclaim")
	if used+kept > 0 {
		n.add(KernelGPU, used+kept, "GPUActive + GPUReclaim")
	}
}

func (n *classes) hugetlb() {
	if all, ok := n.get("Hugetlb"); ok {
		n.add(HugeTLB, all, "Hugetlb")
		return
	}
	count, ok1 := n.mem.Get("HugePages_Total")
	each, ok2 := n.get("Hugepagesize")
	if !ok1 || !ok2 { // a kernel without
		return
	}
	if count < 0 || each > 0 && count > (1<<56)/each {
		n.miss(HugeTLB, n.s.Node.Meminfo.Source, words.Later("no usable line %s", "HugePages_Total"))
		return
	}
	n.add(HugeTLB, count*each, "HugePages_Total x Hugepagesize")
}

func (n *classes) close() {
	n.c.Rows = append(n.c.Rows, NodeRow{Unexplained, n.c.Total - n.sum, "MemTotal - all of the above"})
	n.c.Bound = -1
	cpus, ok := n.s.Host.CPUs.Get()
	if !ok || n.s.Host.PageSize <= 0 {
		return
	}
	threshold := int64(0)
	for _, z := range n.s.Node.Zones.Value {
		threshold = max(threshold, min(z.Threshold, 125*n.s.Host.PageSize)) // linux mm/vmstat.c MAX_THRESHOLD
	}
	if threshold == 0 {
		threshold = 125 * n.s.Host.PageSize
	}
	n.c.Bound = int64(cpus) * (threshold*int64(len(n.c.Rows)) + firstChunk)
}

// Owned is MemTotal by who is charged for it.
type Owned struct {
	Parts []Part // of the shares, in their order, without the root
	Dying int64  // what a census found charged to removed cgroups; taken out of Parts
	// Root is charged to the root: processes of no cgroup, and files that they
	// or the kernel read. Kernel is charged to nobody, as far as a class counts it.
	Root, Kernel, HugeTLB, Free, Unowned int64

	KernelBlurred bool // charged kernel memory is known as one number, of all kinds
	Bound         int64
	Missing       []Missing
	Doubts        []words.Text
}

// Part is what one cgroup is charged for without those that have parts of their own.
type Part struct {
	Share *snapshot.Share
	Bytes int64 // signed: files are read one after the other
}

// Sum is of all that is charged, kept free, or nobody's: MemTotal.
func (o *Owned) Sum() int64 {
	sum := o.Dying + o.Root + o.Kernel + o.HugeTLB + o.Free + o.Unowned
	for _, p := range o.Parts {
		sum += p.Bytes
	}
	return sum
}

// NodeOwners cuts the same memory by owner. What it costs: charged memory is by
// the cgroups' own counters, what is not charged is the rest of each class.
func NodeOwners(s *snapshot.Snapshot, c *Classes) (*Owned, bool) {
	shares := s.Shares.Value
	if len(shares) == 0 || shares[0].Path != "/" || c == nil {
		return nil, false
	}
	if inside, ok := s.Host.Nested.Get(); ok && inside {
		return nil, false // what is seen as the root is not
	}
	n := &owners{s: s, o: &Owned{Bound: -1}, index: map[string]int{}, shares: shares[1:]}
	n.parts()
	n.charged()
	n.o.Free, n.o.HugeTLB = c.Sum("free"), c.Sum(HugeTLB)-n.hugetlb
	n.o.Root = c.Sum(Anon, SwapCached, "file", Shmem) - n.user
	n.o.Kernel = c.Sum("kernel") - n.kernel
	n.dying()
	n.o.Unowned = c.Total - n.o.Sum()
	if cpus, ok := s.Host.CPUs.Get(); ok && c.Bound >= 0 {
		n.o.Bound = c.Bound + stockPages*s.Host.PageSize*int64(cpus)*int64(1+len(n.shares))
	}
	if n.o.Root < -max(n.o.Bound, size.MiB) {
		n.o.Doubts = append(n.o.Doubts, words.Later("cgroups are charged %s more than the classes have: they were read at other moments", size.Text(-n.o.Root)))
	}
	return n.o, true
}

// owners is that cut in the making.
type owners struct {
	s      *snapshot.Snapshot
	o      *Owned
	shares []snapshot.Share
	index  map[string]int // of a path in shares

	user, kernel, hugetlb int64 // charged to cgroups
}

// above is the share that pathname is below of; -1 when that is the root.
func (n *owners) above(pathname string) int {
	for up := path.Dir(pathname); up != "/" && up != "."; up = path.Dir(up) {
		if i, ok := n.index[up]; ok {
			return i
		}
	}
	return -1
}

// parts takes from each share those below it.
func (n *owners) parts() {
	below := make([]int64, len(n.shares)) // charged to shares below
	n.o.Parts = make([]Part, len(n.shares))
	up := make([]int, len(n.shares))
	for i := range n.shares {
		up[i] = n.above(n.shares[i].Path)
		n.index[n.shares[i].Path] = i
	}
	for i := len(n.shares) - 1; i >= 0; i-- {
		c := &n.shares[i]
		usage, ok := c.Usage.Get()
		switch {
		case !ok || !size.Plausible(usage):
			usage = below[i]
			if !c.Usage.Gone() {
				n.o.Missing = append(n.o.Missing, Missing{"", c.Usage.Source, c.Usage.State, words.Later("%s", c.Usage.Err), words.Later("what %s is charged for: it is in what is above it, or unowned", c.Path)})
			}
		case c.Flat:
			usage += below[i]
		}
		n.o.Parts[i] = Part{c, usage - below[i]}
		if up[i] >= 0 {
			below[up[i]] += usage
		}
	}
}

// charged sums by class what cgroups are charged for.
func (n *owners) charged() {
	for i := range n.shares {
		c := &n.shares[i]
		if up := n.above(c.Path); up >= 0 && !n.shares[up].Flat {
			continue
		}
		usage, ok := c.Usage.Get()
		if !ok || !size.Plausible(usage) {
			continue
		}
		user, kernel, hugetlb, ok := n.classesOf(c, usage)
		if !ok {
			n.o.Missing = append(n.o.Missing, Missing{"", c.Stat.Source, c.Stat.State, words.Later("%s", c.Stat.Err), words.Later("how much of %s is kernel memory: it is counted as none", c.Path)})
			user = usage
		}
		n.user, n.kernel, n.hugetlb = n.user+user, n.kernel+kernel, n.hugetlb+hugetlb
	}
}

// classesOf splits the usage of a cgroup into what processes asked for and
// kernel memory of the kinds that classes count.
func (n *owners) classesOf(c *snapshot.Share, usage int64) (user, kernel, hugetlb int64, ok bool) {
	if kmem, known := c.Kmem.Get(); known { // version 1
		n.o.KernelBlurred = n.o.KernelBlurred || kmem > 0
		return usage - min(kmem, usage), min(kmem, usage), 0, size.Plausible(kmem)
	}
	st, known := c.Stat.Get()
	if !known {
		return 0, 0, 0, false
	}
	get := func(keys ...string) (sum int64, all bool) {
		all = true
		for _, key := range keys {
			v, ok := st.Get(key)
			if !ok || !size.Plausible(v) {
				all = false
				continue
			}
			sum += v
		}
		return sum, all
	}
	if user, ok = get("anon", "file"); !ok {
		return 0, 0, 0, false
	}
	hugetlb, _ = get("hugetlb")
	if _, split := get("kernel"); split {
		kernel, _ = get("slab", "kernel_stack", "pagetables", "sec_pagetables", "percpu", "vmalloc", "zswap")
		return user, kernel, hugetlb, true
	}
	sock, _ := get("sock")
	n.o.KernelBlurred = true
	return user, max(0, usage-user-sock-hugetlb), hugetlb, true
}

// dying moves what a census found charged to removed cgroups out of the share
// that counts it, or of what is left of the classes.
func (n *owners) dying() {
	c, ok := n.s.Census.Get()
	if !ok || !c.Walked {
		return
	}
	for i := 1; i < len(c.Groups); i++ {
		g := &c.Groups[i]
		held := Held(g)
		if !g.Dying || held == 0 {
			continue
		}
		n.o.Dying += held
		if at := n.living(c, i); at >= 0 {
			n.o.Parts[at].Bytes -= held
			continue
		}
		kernel := max(0, g.Slab) + max(0, g.Tables) + max(0, g.Kernel)
		n.o.Kernel -= kernel
		n.o.HugeTLB -= max(0, g.Hugetlb)
		n.o.Root -= held - kernel - max(0, g.Hugetlb)
	}
}

// living is the share that counts what a removed group is charged for.
func (n *owners) living(c *snapshot.Census, group int) int {
	for range 1 << 10 { // deeper than any hierarchy
		if group = c.Groups[group].Parent; group <= 0 || group >= len(c.Groups) {
			return -1
		}
		if g := &c.Groups[group]; !g.Dying {
			if i, ok := n.index[g.Path]; ok {
				return i
			}
			return n.above(g.Path)
		}
	}
	return -1
}
