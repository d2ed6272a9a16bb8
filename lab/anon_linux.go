package lab

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	anonOther = "anon/other"
	anonLive  = "anon.live"
)

var anonTouched = Scenario{
	Name:    "anon-touched",
	Summary: "private anonymous memory, every page written",
	Finding: anonLive,
	healthy: true,
	plant: func(j job, t *Truth) error {
		_, err := touched(j.Bytes)
		t.add(anonOther, j.Bytes)
		t.cause(anonLive, j.Bytes)
		t.process(anonOther, j.Bytes)
		return err
	},
}

var madvFree = Scenario{
	Name:    "madv-free",
	Summary: "anonymous memory, written, then given back with MADV_FREE",
	Finding: "alloc.lazyfree",
	plant: func(j job, t *Truth) error {
		mem, err := touched(j.Bytes)
		if err != nil {
			return err
		}
		if err := unix.Madvise(mem, unix.MADV_FREE); err != nil {
			t.NotHere = fmt.Sprintf("the kernel has no MADV_FREE: %v", err)
			return nil
		}
		t.add("anon/lazyfree", j.Bytes, anonOther)
		t.process("anon/lazyfree", j.Bytes)
		t.cause("alloc.lazyfree", j.Bytes)
		return nil
	},
}

var thpSparse = Scenario{
	Name:    "thp-sparse",
	Summary: "one byte written in each of many huge pages",
	Finding: "alloc.thp",
	plant: func(j job, t *Truth) error {
		huge, err := number("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
		if err != nil {
			t.NotHere = "the kernel has no transparent huge pages"
			return nil
		}
		n := max(1, j.Bytes/huge)
		if n*huge > 4*j.Bytes {
			t.NotHere = fmt.Sprintf("a huge page has %d bytes here", huge)
			return nil
		}
		all, thp, err := touchHuge(n, huge)
		if err != nil {
			return err
		}
		if thp < n*huge/2 {
			t.NotHere = fmt.Sprintf("of %d huge pages asked for the kernel gave %d: transparent huge pages are off, or memory is in pieces", n, thp/huge)
			return nil
		}
		a := t.add(anonOther, all)
		t.ToleranceBytes = tolerance(all)
		t.process(anonOther, all)
		t.cause(anonLive, all) // how much of it was asked for, nobody can see
		counted, err := j.hugeCounter()
		if err != nil {
			return err
		}
		// Before 5.12 each CPU keeps up to 32 huge pages to itself until it adds them
		// to the counter, as if they were small ones: then there is no margin to see.
		if thp-counted <= t.ToleranceBytes || thp-counted > 32*huge*int64(runtime.NumCPU()) {
			a.state("thp", thp)
			t.Findings = []string{"alloc.thp"}
		} else {
			a.Unseen = map[string]string{"thp": "before 5.12 each CPU keeps up to 32 huge pages to itself until it adds them to the counter"}
		}
		return nil
	},
}

// hugeCounter is the kernel's own count for the cgroup.
func (j job) hugeCounter() (int64, error) {
	key := "rss_huge"
	if j.V2 {
		key = "anon_thp"
	}
	return keyed(filepath.Join(j.CgroupDir, "memory.stat"), key)
}

// touchHuge writes one byte into each of n huge pages. It returns by how much that
// makes the anonymous memory of this process grow, and the huge pages in it.
func touchHuge(n, huge int64) (all, thp int64, err error) {
	smallPages(false)
	defer smallPages(true)
	mem, err := unix.Mmap(-1, 0, int((n+1)*huge), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return 0, 0, fmt.Errorf("map: %w", err)
	}
	mem = mem[-int64(uintptr(unsafe.Pointer(&mem[0])))&(huge-1):] // to a whole huge page
	if err := unix.Madvise(mem, unix.MADV_HUGEPAGE); err != nil {
		return 0, 0, fmt.Errorf("madvise: %w", err)
	}
	for _, sign := range []int64{-1, 1} {
		for key, sum := range map[string]*int64{"Anonymous": &all, "AnonHugePages": &thp} {
			now, err := keyed("/proc/self/smaps_rollup", key)
			if err != nil {
				return 0, 0, err
			}
			*sum += sign * now
		}
		for i := int64(0); i < n && sign < 0; i++ {
			mem[i*huge] = 1
		}
	}
	return all, thp, nil
}

var anonSwapped = Scenario{
	Name:    "anon-swapped",
	Summary: "anonymous memory, written, then swapped out",
	Finding: anonLive,
	plant: func(j job, t *Truth) error {
		bytes, swapped, err := j.inSwap(t, j.Bytes)
		if err != nil || t.NotHere != "" {
			return err
		}
		t.add(anonOther, max(0, bytes-swapped)).state("swap", swapped)
		t.process(anonOther, max(0, bytes-swapped))
		t.ToleranceBytes = tolerance(bytes)
		return nil
	},
}

// inSwap touches memory, at most half of the room in swap, and has it swapped out. Where
// nothing can be the truth says so.
func (j job) inSwap(t *Truth, most int64) (bytes, swapped int64, err error) {
	room, err := keyed("/proc/meminfo", "SwapFree")
	if err != nil || room == 0 {
		t.NotHere = "this machine has no swap"
		return 0, 0, nil //nolint:nilerr // a kernel without swap
	}
	bytes = wholePages(min(most, room/2))
	mem, err := touched(bytes)
	if err != nil {
		return 0, 0, err
	}
	swapped, err = j.swapOut(mem)
	if errors.Is(err, unix.EINVAL) {
		t.NotHere = fmt.Sprintf("the kernel does not swap out on demand: %v", err)
		return 0, 0, nil
	}
	return bytes, swapped, err
}

// swapOut returns how much of mem is in swap, and in the cgroup's usage no more.
func (j job) swapOut(mem []byte) (swapped int64, err error) {
	bytes := int64(len(mem))
	for range 20 {
		if err := unix.Madvise(mem, unix.MADV_PAGEOUT); err != nil {
			return 0, fmt.Errorf("madvise(MADV_PAGEOUT): %w", err)
		}
		if swapped, err = keyed("/proc/self/status", "VmSwap"); err != nil {
			return 0, err
		}
		// Written, a page stays in the swap cache until something reclaims it.
		if err := j.squeeze(); err != nil {
			return 0, err
		}
		usage, err := j.usage()
		if err != nil {
			return 0, err
		}
		if swapped >= bytes*9/10 && usage < bytes/4+1<<20 {
			return swapped, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return 0, fmt.Errorf("of %d bytes %d went to swap, and not out of usage", bytes, swapped)
}

// squeeze has the kernel reclaim what it can of the cgroup.
func (j job) squeeze() error {
	if !j.V2 {
		return write(filepath.Join(j.CgroupDir, "memory.force_empty"), "0")
	}
	high := filepath.Join(j.CgroupDir, "memory.high")
	return errors.Join(write(high, "1M"), write(high, "max"))
}

// goHeap is what a Go program keeps after its garbage collector freed much: the
// runtime returns pages only beyond what it expects to use again, and little by
// little. With the collector's pacing off it expects no less than what it had,
// so what it keeps stays.
var goHeap = Scenario{
	Name:    "go-heap",
	Summary: "a Go program whose large heap was freed, kept by its runtime",
	Finding: "alloc.retained",
	plant: func(j job, t *Truth) error {
		debug.SetGCPercent(-1)
		const piece = 1 << 20
		heap := make([][]byte, 0, j.Bytes/piece+1)
		for left := j.Bytes; left > 0; left -= piece {
			b := make([]byte, min(left, piece))
			touch(b)
			heap = append(heap, b)
		}
		runtime.KeepAlive(heap)
		heap = nil   //nolint:ineffassign,wastedassign // the point
		runtime.GC() // one only: a second would have the scavenger start
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		kept := int64(m.HeapIdle - m.HeapReleased)
		if kept < j.Bytes/2 {
			return fmt.Errorf("of %d bytes the runtime kept only %d", j.Bytes, kept)
		}
		t.add(anonOther, kept)
		t.cause("alloc.retained", kept).Asks = true
		t.process(anonOther, kept)
		return nil
	},
}
