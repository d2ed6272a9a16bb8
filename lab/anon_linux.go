package lab

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const anonOther = "anon/other"

var anonTouched = Scenario{
	Name:    "anon-touched",
	Summary: "private anonymous memory, every page written",
	Finding: "anon.live",
	plant: func(j job, t *Truth) error {
		_, err := touched(j.Bytes)
		t.add(anonOther, j.Bytes)
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
		mem, err := unix.Mmap(-1, 0, int((n+1)*huge), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return fmt.Errorf("map: %w", err)
		}
		mem = mem[-int64(uintptr(unsafe.Pointer(&mem[0])))&(huge-1):] // to a whole huge page
		if err := unix.Madvise(mem, unix.MADV_HUGEPAGE); err != nil {
			return fmt.Errorf("madvise: %w", err)
		}
		const rollup = "/proc/self/smaps_rollup"
		before, err := keyed(rollup, "Anonymous")
		if err != nil {
			return err
		}
		for i := range n {
			mem[i*huge] = 1
		}
		after, err := keyed(rollup, "Anonymous")
		if err != nil {
			return err
		}
		thp, err := keyed(rollup, "AnonHugePages")
		if err != nil {
			return err
		}
		if thp < n*huge/2 {
			t.NotHere = fmt.Sprintf("of %d huge pages asked for the kernel gave %d: transparent huge pages are off, or memory is in pieces", n, thp/huge)
			return nil
		}
		t.add(anonOther, after-before).state("thp", thp)
		t.process(anonOther, after-before)
		return nil
	},
}

var anonSwapped = Scenario{
	Name:    "anon-swapped",
	Summary: "anonymous memory, written, then swapped out",
	Finding: "anon.live",
	plant: func(j job, t *Truth) error {
		room, err := keyed("/proc/meminfo", "SwapFree")
		if err != nil || room == 0 {
			t.NotHere = "this machine has no swap"
			return nil //nolint:nilerr // a kernel without swap
		}
		bytes := wholePages(min(j.Bytes, room/2))
		mem, err := touched(bytes)
		if err != nil {
			return err
		}
		var swapped int64
		for range 20 {
			if err := unix.Madvise(mem, unix.MADV_PAGEOUT); err != nil {
				t.NotHere = fmt.Sprintf("the kernel does not swap out on demand: %v", err)
				return nil
			}
			if swapped, err = keyed("/proc/self/status", "VmSwap"); err != nil {
				return err
			}
			if swapped >= bytes {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if swapped < bytes/2 {
			return fmt.Errorf("of %d bytes only %d went to swap", bytes, swapped)
		}
		t.add(anonOther, max(0, bytes-swapped)).state("swap", swapped)
		t.process(anonOther, max(0, bytes-swapped))
		t.ToleranceBytes = tolerance(bytes)
		return nil
	},
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
		t.process(anonOther, kept)
		return nil
	},
}
