package census

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// Scan makes one pass. Its errors are a Refusal or the context's.
func (e *Engine) Scan(ctx context.Context) (*snapshot.Census, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.loaded == nil {
		return nil, &Refusal{ErrKernel, "engine", "not closed", nil}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	start := time.Now()
	ranges, strict, err := ram()
	if err != nil {
		return nil, err
	}
	own, _, base, err := e.look(e.self)
	if err != nil {
		return nil, err
	}
	if base != e.vmemmap {
		return nil, failed("array of struct page", fmt.Sprintf("%#x as before", e.vmemmap), fmt.Sprintf("%#x", base))
	}
	if err := e.refit(); err != nil {
		return nil, err
	}
	lists, err := e.listCounters(ctx)
	if err != nil {
		return nil, err
	}
	before, used, gensBefore := node(), e.usage(), e.gens
	if err := e.reset(); err != nil {
		return nil, &Refusal{ErrKernel, "run", "empty tables", err}
	}
	if err := e.walk(ctx, ranges); err != nil {
		return nil, err
	}
	complete, err := e.tour(ctx)
	if err != nil {
		return nil, err
	}
	walked := time.Now()
	after := node()
	c, st, err := e.readOut()
	if err != nil {
		return nil, err
	}
	c.Walked = complete && c.Dropped.Groups == 0
	c.Start, c.Frames, c.Slices = start, int64(total(ranges)), e.summary()
	if err := e.check(c, st, own, strict, before, after); err != nil {
		return nil, err
	}
	if complete && lists != nil {
		checkGenerations(c, st.Gens, gensBefore, e.gens)
	}
	e.checkLists(c, lists, int(st.Used[tableGroup]))
	e.checkList(c, used, e.usage())
	c.Wall, c.ReadOut = time.Since(start), time.Since(walked)
	return c, nil
}

// refit loads the program with larger tables when the node has outgrown those of
// before.
func (e *Engine) refit() error {
	if e.sizes.covers(wantedSizes(max(e.walkers, 1))) {
		return nil
	}
	e.unload()
	return e.load()
}

// ram is where memory is. strict says that every frame of it must be readable.
func ram() (ranges []frames, strict bool, err error) {
	b, err := os.ReadFile("/proc/iomem")
	if err == nil {
		if ranges, err = parseIomem(b, uint64(os.Getpagesize())); err == nil && len(ranges) > 0 {
			return ranges, true, nil
		}
	}
	if b, zerr := os.ReadFile("/proc/zoneinfo"); zerr == nil {
		if ranges = parseZoneinfo(b); len(ranges) > 0 {
			return ranges, false, nil
		}
	}
	return nil, false, &Refusal{ErrPrivilege, "ranges of memory", "/proc/iomem or /proc/zoneinfo", err}
}

// node is what the kernel's own counters say, in pages and, of meminfo, in KiB.
func node() map[string]int64 {
	vm, _ := os.ReadFile("/proc/vmstat")
	mem, _ := os.ReadFile("/proc/meminfo")
	counters := parseCounters(vm)
	for name, n := range parseCounters(mem) {
		counters[name] = n
	}
	return counters
}

// check holds the sums of a census against the node's counters. What cannot be
// believed at all is an error; what only spoils a part is a doubt, and that part
// becomes Unknown.
func (e *Engine) check(c *snapshot.Census, st *state, own selfState, strict bool, before, after map[string]int64) error {
	if c.Frames == 0 || st.Sum[sumSteps] == 0 {
		return failed("whole walk", "page frames", "0")
	}
	if strict && st.Sum[sumFaults] > 0 {
		return failed("whole walk", "every frame of RAM to have a struct page", fmt.Sprintf("%d without", st.Sum[sumFaults]))
	}
	if seen := (c.Frames - int64(st.Sum[sumFaults])) * c.PageSize; seen < after["MemTotal"]*1024/100*98 {
		return failed("whole walk", fmt.Sprintf("MemTotal, %d KiB", after["MemTotal"]), fmt.Sprintf("%d KiB", seen/1024))
	}
	// A folio that is split or joined under the walk shows a few stray tails.
	if tails := st.Sum[sumTails]; tails > 1024+st.Sum[sumSteps]/1000 {
		return failed("whole walk", "no tail page at the end of a folio", fmt.Sprint(tails))
	}
	page := c.PageSize
	// Much comes and goes on a busy node. What is decoded wrong is off by more.
	bound := func(amount int64) int64 { return amount/8 + 4096*page + c.Dropped.Bytes }
	off := func(seen int64, counter string) (int64, bool) {
		a, b := before[counter]*page, after[counter]*page
		low, high := min(a, b), max(a, b)
		slack := bound(high) + high - low
		return high, seen < low-slack || seen > high+slack
	}
	if want, bad := off(c.Node.File, "nr_file_pages"); bad {
		return failed("whole walk", fmt.Sprintf("nr_file_pages, %d bytes", want), fmt.Sprint(c.Node.File))
	}
	for i, counter := range []string{"nr_active_anon", "nr_inactive_anon", "nr_active_file", "nr_inactive_file"} {
		seen := int64(st.Sum[sumActiveAnon+i]) * page
		if want, bad := off(seen, counter); bad {
			withoutLists(c, fmt.Sprintf("%s is %d bytes, %d were seen: active and inactive are unknown", counter, want, seen))
			break
		}
	}
	e.checkSlab(c, st, after["Slab"]*1024, before["Slab"]*1024)
	checkReclaim(c)
	if e.layout["folio_has_objcg"] == 1 && own.Charge&^7 != own.NodeObjcg {
		withoutInherited(c, "an own page looks inherited: what came from removed children is unknown")
	}
	return nil
}

// usage is what this process's cgroup has charged, by its own file.
func (e *Engine) usage() int64 {
	b, err := os.ReadFile(e.ownUsage)
	if err != nil {
		return snapshot.Unknown
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return snapshot.Unknown
	}
	return n
}

// checkList holds the list of cgroups against this process's own.
func (e *Engine) checkList(c *snapshot.Census, before, after int64) {
	if !c.Walked {
		c.Doubts = append(c.Doubts, "cgroups came and went faster than they could be listed, or there were too many: the list may lack some")
		return
	}
	for _, g := range c.Groups {
		if g.ID != e.ownID {
			continue
		}
		if g.Parent < 0 || before == snapshot.Unknown || after == snapshot.Unknown {
			return
		}
		// It moves; a counter at the wrong place is off by more.
		if slack := 16<<20 + after/4; g.Usage >= min(before, after)-slack && g.Usage <= max(before, after)+slack {
			return
		}
		withoutUsage(c, fmt.Sprintf("the own cgroup's usage is %d bytes, %d was seen: what cgroups use is unknown", after, g.Usage))
		return
	}
	c.Walked = false
	withoutUsage(c, "the own cgroup is not in the list of all: the list may lack others")
}

func withoutUsage(c *snapshot.Census, why string) {
	c.Doubts = append(c.Doubts, why)
	for i := range c.Groups {
		c.Groups[i].Usage, c.Groups[i].MemoryID = snapshot.Unknown, snapshot.Unknown
	}
}

// listCounters is the kernel's own count of the lists of every cgroup, by its id;
// nothing where it is not known where it is.
func (e *Engine) listCounters(ctx context.Context) (map[uint64][4]uint64, error) {
	if !e.listsKnown() {
		return nil, nil
	}
	if err := e.reset(); err != nil {
		return nil, &Refusal{ErrKernel, "run", "empty tables", err}
	}
	if _, err := e.tour(ctx); err != nil {
		return nil, err
	}
	st, err := e.state()
	if err != nil {
		return nil, err
	}
	counters := map[uint64][4]uint64{}
	for i := range e.maps.groups[:st.Used[tableGroup]] {
		g := &e.maps.groups[i]
		counters[g.id] = g.lists
	}
	return counters, nil
}

// checkLists holds what was counted of each cgroup that is listed against the kernel's own count of
// its lists, where that stayed the same during the walk. One that was decoded wrong,
// as where generations are elsewhere, is off by most of it.
func (e *Engine) checkLists(c *snapshot.Census, before map[uint64][4]uint64, listed int) {
	if before == nil || c.Groups[0].File.Active == snapshot.Unknown {
		return
	}
	seen := make([][4]int64, len(c.Groups))
	known := func(n int64) int64 { return max(n, 0) }
	for i, g := range c.Groups {
		seen[i][0], seen[i][1] = known(g.Anon.Inactive)+known(g.KSM), known(g.Anon.Active)
	}
	for _, f := range c.Files {
		at := 2
		if f.Inode >= 0 && c.Inodes[f.Inode].Magic == snapshot.MagicTmpfs {
			at = 0
		}
		seen[f.Group][at] += known(f.Inactive)
		seen[f.Group][at+1] += known(f.Active)
	}
	bad, first := map[int]bool{}, ""
	for i := 1; i < listed; i++ {
		g := &e.maps.groups[i]
		was, ok := before[g.id]
		if ok && g.listed > 0 && quiet(was, g.lists) && listsDiffer(seen[i], g.lists, c.PageSize, c.Groups[i].KSM) {
			if len(bad) == 0 {
				first = fmt.Sprintf("%q: %d bytes seen, %d pages counted", c.Groups[i].Path, seen[i], g.lists)
			}
			bad[i] = true
		}
	}
	if len(bad) == 0 {
		return
	}
	c.Doubts = append(c.Doubts, fmt.Sprintf("the kernel counts other lists for %d cgroups, active and inactive are unknown there: %s", len(bad), first))
	for i := range c.Files {
		if bad[c.Files[i].Group] {
			withoutList(&c.Files[i])
		}
	}
	for i := range c.Groups {
		if bad[i] {
			g := &c.Groups[i]
			g.Anon.Active, g.Anon.Inactive, g.File.Active, g.File.Inactive = snapshot.Unknown, snapshot.Unknown, snapshot.Unknown, snapshot.Unknown
		}
	}
}

// checkGenerations holds the pages of each generation, of the whole node, against the
// kernel's own count before and after. Without the multi-generation LRU all are 0.
func checkGenerations(c *snapshot.Census, seen, before, after [gens]uint64) {
	for i := range seen {
		low, high := min(before[i], after[i]), max(before[i], after[i])
		if slack := high/8 + 4096; seen[i] > high+slack || seen[i]+slack < low {
			kind := [2]string{"anon", "file"}[i%2]
			withoutLists(c, fmt.Sprintf("generation %d of %s has %d pages by the kernel's count, %d were seen: active and inactive are unknown", i/2, kind, after[i], seen[i]))
			return
		}
	}
}

func (e *Engine) listsKnown() bool { return e.layout["zones"] > 0 && possibleNodes() > 0 }

// quiet reports whether lists hardly changed.
func quiet(before, after [4]uint64) bool {
	for i := range before {
		if max(before[i], after[i])-min(before[i], after[i]) > max(before[i], after[i])/16+256 {
			return false
		}
	}
	return true
}

// listsDiffer compares bytes that were seen with pages that the kernel counts.
func listsDiffer(seen [4]int64, counted [4]uint64, page, ksm int64) bool {
	for i := 0; i < 4; i += 2 {
		inactive, active := int64(counted[i])*page, int64(counted[i+1])*page
		slack := max(seen[i]+seen[i+1], inactive+active)/4 + 1024*page + ksm
		if d := seen[i] - inactive; d > slack || -d > slack {
			return true
		}
		if d := seen[i+1] - active; d > slack || -d > slack {
			return true
		}
	}
	return false
}

func (e *Engine) checkSlab(c *snapshot.Census, st *state, after, before int64) {
	low, high := min(before, after), max(before, after)
	slack := high/50 + high - low + 8<<20 + c.Dropped.Bytes
	if c.Node.Slab < low-slack || c.Node.Slab > high+slack {
		withoutSlab(c, fmt.Sprintf("Slab is %d bytes, %d were seen: slab is unknown", high, c.Node.Slab))
		return
	}
	if bad := st.Sum[sumBadObjcg]; bad > 1024 {
		withoutSlab(c, fmt.Sprintf("%d owners of slab objects are no pointers: slab is unknown", bad))
		return
	}
	for i, g := range c.Groups {
		if g.ID != e.ownID || g.Parent < 0 {
			continue
		}
		missing := ownCaches(c, i)
		if len(missing) > 0 {
			withoutSlab(c, fmt.Sprintf("what this process holds of %v is not among the objects of its cgroup: slab is unknown", missing))
		}
		return
	}
}

// ownCaches are the kernel caches that the own cgroup has to have objects of, and
// has not: this process has a file in memory, and files open. Caches of like size
// may share one name.
func ownCaches(c *snapshot.Census, group int) (missing []string) {
	for _, names := range [][]string{{"shmem_inode_cache"}, {"filp", "file"}} {
		found, exists := false, false
		for _, s := range c.Slabs {
			if !slices.Contains(names, s.Cache) {
				continue
			}
			exists = true
			found = found || s.Group == group && s.Objects > 0
		}
		if !found && (exists || names[0] == "shmem_inode_cache") {
			missing = append(missing, names[0])
		}
	}
	return missing
}

// checkReclaim looks at caches of which it is known whether they can be reclaimed.
func checkReclaim(c *snapshot.Census) {
	want := map[string]bool{"dentry": true, "inode_cache": true, "filp": false, "task_struct": false, "kmalloc-1k": false}
	for _, s := range c.Slabs {
		if reclaimable, known := want[s.Cache]; known && reclaimable != s.Reclaimable {
			c.Doubts = append(c.Doubts, fmt.Sprintf("kernel cache %s looks reclaimable: %v; which are is unknown", s.Cache, s.Reclaimable))
			for i := range c.Slabs {
				c.Slabs[i].Reclaimable = false
			}
			return
		}
	}
}

func withoutLists(c *snapshot.Census, why string) {
	c.Doubts = append(c.Doubts, why)
	for i := range c.Files {
		withoutList(&c.Files[i])
	}
	for i := range c.Groups {
		for _, m := range []*snapshot.PageState{&c.Groups[i].Anon, &c.Groups[i].File} {
			m.Active, m.Inactive = snapshot.Unknown, snapshot.Unknown
		}
	}
}

func withoutList(f *snapshot.CensusFile) {
	state := *f.PageState
	state.Active, state.Inactive = snapshot.Unknown, snapshot.Unknown
	f.PageState = &state
}

func withoutSlab(c *snapshot.Census, why string) {
	c.Doubts = append(c.Doubts, why)
	c.Slabs = nil
	for i := range c.Groups {
		c.Groups[i].Slab = snapshot.Unknown
	}
}

func withoutInherited(c *snapshot.Census, why string) {
	c.Doubts = append(c.Doubts, why)
	for i := range c.Groups {
		c.Groups[i].Inherited = snapshot.Unknown
	}
}
