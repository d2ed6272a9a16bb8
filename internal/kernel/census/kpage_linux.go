package census

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// kpage is the node's page frames as two files show them, 8 bytes a frame each.
// There is no readahead and no cache of such a file.
type kpage struct {
	flags, owners *os.File
	buf           []byte
	a, b          []uint64
}

const (
	flagsFile  = "/proc/kpageflags"
	ownersFile = "/proc/kpagecgroup"
)

func openKpage() (*kpage, error) {
	k := &kpage{buf: make([]byte, 8*blockFrames), a: make([]uint64, blockFrames), b: make([]uint64, blockFrames)}
	var err error
	for _, f := range []struct {
		name string
		into **os.File
	}{{flagsFile, &k.flags}, {ownersFile, &k.owners}} {
		if *f.into, err = os.Open(f.name); err != nil {
			k.close()
			return nil, kpageRefusal(f.name, err)
		}
		if _, err := (*f.into).ReadAt(k.buf[:8], 8); err != nil {
			k.close()
			return nil, kpageRefusal(f.name, err)
		}
	}
	return k, nil
}

func kpageRefusal(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return &Refusal{ErrPrivilege, name, "needs root of the node's own user namespace; it would show classes of memory by live cgroup", nil}
	case errors.Is(err, fs.ErrNotExist) && name == ownersFile:
		return &Refusal{ErrKernel, name, "this kernel was built without CONFIG_MEMCG, or /proc hides it", nil}
	case errors.Is(err, fs.ErrNotExist):
		return &Refusal{ErrKernel, name, "this kernel was built without CONFIG_PROC_PAGE_MONITOR, or /proc hides it", nil}
	}
	return &Refusal{ErrKernel, name, "readable", err}
}

func (k *kpage) close() {
	for _, f := range []*os.File{k.flags, k.owners} {
		if f != nil {
			f.Close()
		}
	}
}

// TryKpage says why Kpage would be refused here, or nothing.
func TryKpage() error {
	k, err := openKpage()
	if err != nil {
		return err
	}
	k.close()
	if _, _, err := ram(); err != nil {
		return err
	}
	return nil
}

// Kpage takes a census from /proc/kpageflags and /proc/kpagecgroup: what each
// live cgroup is charged for, by class and state, without any file and without
// slab. It takes at most half of the time that ctx leaves; when not every frame
// could be looked at in that time, the amounts are estimates, with their errors.
// Its errors are a Refusal or the context's.
func Kpage(ctx context.Context, src kernel.Source, foreignRoot bool) (*snapshot.Census, error) {
	k, err := openKpage()
	if err != nil {
		return nil, err
	}
	defer k.close()
	ranges, _, err := ram()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	until := time.Time{}
	if d, ok := ctx.Deadline(); ok {
		until = start.Add(d.Sub(start) / 2)
	}
	before := node()
	t, err := k.walk(ctx, ranges, until)
	if err != nil {
		return nil, err
	}
	walked := time.Now()
	after := node()
	c := kpageCensus(t, int64(total(ranges)), blocks(ranges), ksmShared(t.page))
	c.Start = start
	if err := checkKpage(c, before, after); err != nil {
		return nil, err
	}
	kpageNames(src, c, foreignRoot)
	c.Wall, c.ReadOut = time.Since(start), time.Since(walked)
	return c, nil
}

func blocks(ranges []frames) (n int64) {
	for _, r := range ranges {
		n += int64((r.end+blockFrames-1)/blockFrames - r.start/blockFrames)
	}
	return n
}

// leastBlocks is how many blocks an estimate needs, 2 GiB with pages of 4 KiB:
// some 60 ms.
const leastBlocks = 64

// walk makes passes until all are made or the time is over.
func (k *kpage) walk(ctx context.Context, ranges []frames, until time.Time) (*tally, error) {
	page := int64(os.Getpagesize())
	t := newTally(page)
	for i := range passes {
		pass := newTally(page)
		done, err := k.pass(ctx, ranges, passOrder(i), pass, func() bool { return t.blocks >= leastBlocks && !until.IsZero() && time.Now().After(until) })
		if err != nil {
			return nil, err
		}
		if !done {
			break
		}
		t.merge(pass)
	}
	return t, nil
}

// pass reads one block in passes. It reports whether it came to the end.
func (k *kpage) pass(ctx context.Context, ranges []frames, which uint64, t *tally, late func() bool) (bool, error) {
	for _, r := range ranges {
		for block := r.start / blockFrames; block*blockFrames < r.end; block++ {
			if block%passes != which {
				continue
			}
			if err := ctx.Err(); err != nil {
				return false, err
			}
			if late() {
				return false, nil
			}
			first, end := max(r.start, block*blockFrames), min(r.end, (block+1)*blockFrames)
			n, err := k.read(first, int(end-first))
			if err != nil {
				return false, err
			}
			t.add(k.a[:n], k.b[:n])
		}
	}
	return true, nil
}

// read reads what there is of n frames. What the kernel has no struct page for is
// short of it.
func (k *kpage) read(first uint64, n int) (int, error) {
	for _, f := range []struct {
		file *os.File
		into []uint64
	}{{k.flags, k.a}, {k.owners, k.b}} {
		got, err := f.file.ReadAt(k.buf[:8*n], int64(first)*8)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, &Refusal{ErrKernel, f.file.Name(), "readable to its end", err}
		}
		n = got / 8
		for i := range n {
			f.into[i] = binary.NativeEndian.Uint64(k.buf[8*i:])
		}
	}
	return n, nil
}

func kpageCensus(t *tally, frames, all, ksm int64) *snapshot.Census {
	c := &snapshot.Census{Engine: snapshot.EngineKpage, PageSize: t.page, Frames: t.frames}
	c.Doubts = append(c.Doubts, "memory of removed cgroups is counted as that of the nearest one above them that still exists")
	if t.blocks < all {
		c.Sampled = float64(t.frames) / float64(max(1, frames))
		t.scale(all)
	}
	if !t.merged(ksm) && ksm != 0 {
		c.Doubts = append(c.Doubts, "more pages are marked as merged (KSM) than there are: they are counted as anonymous")
	}
	c.Node = t.node
	c.Node.Unowned = snapshot.Unknown
	nobody := t.group(0).g
	nobody.Parent = -1
	c.Groups = append(c.Groups, nobody)
	for id, g := range t.groups {
		if id != 0 {
			g.g.Parent = -1
			c.Groups = append(c.Groups, g.g)
		}
	}
	for i := range c.Groups { // kpageflags does not have all of them
		c.Groups[i].Anon.Marks, c.Groups[i].File.Marks = snapshot.Unknown, snapshot.Unknown
	}
	slices.SortFunc(c.Groups[1:], func(a, b snapshot.CensusGroup) int { return cmp.Compare(a.ID, b.ID) })
	if c.Sampled > 0 {
		c.Doubts = append(c.Doubts, sampleDoubt(c))
	}
	return c
}

func sampleDoubt(c *snapshot.Census) string {
	largest, share := &c.Groups[0], ""
	for i := range c.Groups {
		if charged(&c.Groups[i]) > charged(largest) {
			largest = &c.Groups[i]
		}
	}
	if n := charged(largest); n > 0 {
		share = fmt.Sprintf(", for the largest cgroup by up to %.1f %%", 100*float64(largest.Error)/float64(n))
	}
	return fmt.Sprintf("time was short: %.1f %% of the page frames were looked at, amounts are estimates that may be off%s", 100*c.Sampled, share)
}

// checkKpage holds the sums against the node's counters, as Engine.check does.
func checkKpage(c *snapshot.Census, before, after map[string]int64) error {
	if c.Frames == 0 {
		return failed("whole walk", "page frames", "0")
	}
	if seen := c.Frames * c.PageSize; c.Sampled == 0 && seen < after["MemTotal"]*1024/100*98 {
		return failed("whole walk", fmt.Sprintf("MemTotal, %d KiB", after["MemTotal"]), fmt.Sprintf("%d KiB", seen/1024))
	}
	var slack int64 // of an estimate
	active, inactive := int64(0), int64(0)
	for i := range c.Groups {
		g := &c.Groups[i]
		slack += g.Error
		active += g.Anon.Active + g.File.Active
		inactive += g.Anon.Inactive + g.File.Inactive
	}
	off := func(seen int64, from, to int64) bool {
		low, high := min(from, to), max(from, to)
		room := high/50 + 1024*c.PageSize + high - low + slack
		return seen < low-room || seen > high+room
	}
	pages := func(counters map[string]int64, names ...string) (n int64) {
		for _, name := range names {
			n += counters[name] * c.PageSize
		}
		return n
	}
	cached := func(counters map[string]int64) int64 {
		return pages(counters, "nr_file_pages") - pages(counters, "nr_swapcached")
	}
	switch {
	case !off(c.Node.File, cached(before), cached(after)):
	case c.Sampled > 0:
		c.Doubts = append(c.Doubts, fmt.Sprintf("the node has %d bytes of file pages, %d were estimated", cached(after), c.Node.File))
	default:
		return failed("whole walk", fmt.Sprintf("%d bytes of file pages", cached(after)), fmt.Sprint(c.Node.File))
	}
	if off(c.Node.Slab, before["Slab"]*1024, after["Slab"]*1024) {
		c.Doubts = append(c.Doubts, fmt.Sprintf("Slab is %d bytes, %d were seen", after["Slab"]*1024, c.Node.Slab))
	}
	switch {
	case generations():
		withoutLists(c, "this kernel reclaims by generations, which /proc/kpageflags does not show: active and inactive are unknown")
	case off(active, pages(before, "nr_active_anon", "nr_active_file"), pages(after, "nr_active_anon", "nr_active_file")),
		off(inactive, pages(before, "nr_inactive_anon", "nr_inactive_file"), pages(after, "nr_inactive_anon", "nr_inactive_file")):
		withoutLists(c, "the lists do not sum to the node's counters: active and inactive are unknown")
	}
	return nil
}

// ksmShared is how much memory KSM has for merged pages.
func ksmShared(page int64) int64 {
	b, err := os.ReadFile("/sys/kernel/mm/ksm/pages_shared")
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	n, err2 := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || err2 != nil {
		return snapshot.Unknown
	}
	return n * page
}

// generations reports whether the multi-generation LRU is in charge (linux
// mm/vmscan.c, enabled_show): bit 0 of a hexadecimal number.
func generations() bool {
	b, err := os.ReadFile("/sys/kernel/mm/lru_gen/enabled")
	var mask uint64
	if err == nil {
		_, _ = fmt.Sscanf(strings.TrimSpace(string(b)), "0x%x", &mask)
	}
	return mask&1 != 0
}

// kpageNames finds the directories of the cgroups by their inode numbers, and
// lists those above them too.
func kpageNames(src kernel.Source, c *snapshot.Census, foreignRoot bool) {
	byID := map[uint64]int{}
	for i := 1; i < len(c.Groups); i++ {
		byID[c.Groups[i].ID] = i
	}
	at := map[string]int{}
	if h, err := cgroupfs.Find(src, foreignRoot); err == nil {
		named, complete, err := cgroupfs.Identify(src, h)
		if err != nil || !complete {
			c.Doubts = append(c.Doubts, "the directories of the cgroups could not all be listed")
		}
		for _, d := range named {
			i, ok := byID[d.ID]
			if !ok {
				c.Groups = append(c.Groups, emptyGroup(d.ID))
				i = len(c.Groups) - 1
				byID[d.ID] = i
			}
			c.Groups[i].Path = d.Path
			at[d.Path] = i
			if up, ok := at[parent(d.Path)]; ok && d.Path != "/" {
				c.Groups[i].Parent = up
			}
		}
	}
	var lost, bytes int64
	for i := 1; i < len(c.Groups); i++ {
		if c.Groups[i].Path == "" {
			lost++
			bytes += charged(&c.Groups[i])
		}
	}
	if lost > 0 {
		c.Doubts = append(c.Doubts, fmt.Sprintf(
			"%d cgroups with %d bytes have no directory here: they came or went meanwhile, or this cgroup namespace does not show them", lost, bytes))
	}
}

// emptyGroup is a cgroup that no frame was seen of.
func emptyGroup(id uint64) snapshot.CensusGroup {
	return snapshot.CensusGroup{ID: id, Parent: -1, Usage: snapshot.Unknown, MemoryID: snapshot.Unknown, Slab: snapshot.Unknown, Inherited: snapshot.Unknown}
}

func parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}
