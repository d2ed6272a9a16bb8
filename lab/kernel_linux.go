package lab

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var pageTables = Scenario{
	Name:    "page-tables",
	Summary: "a huge mapping, read in few places: page tables only",
	Finding: "kernel.pagetables",
	plant: func(j job, t *Truth) error {
		// One table of the lowest level maps so much. A read maps the shared page
		// of zeros, which costs nothing.
		span := pageSize * (pageSize / 8)
		n := j.Bytes / pageSize
		before, err := keyed("/proc/self/status", "VmPTE")
		if err != nil {
			return err
		}
		mem, err := unix.Mmap(-1, 0, int(n*span), unix.PROT_READ, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
		if err != nil {
			return fmt.Errorf("map %d bytes of address space: %w", n*span, err)
		}
		if err := unix.Madvise(mem, unix.MADV_NOHUGEPAGE); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("madvise: %w", err)
		}
		var sum byte
		for i := int64(0); i < int64(len(mem)); i += span {
			sum += mem[i]
		}
		runtime.KeepAlive(sum)
		after, err := keyed("/proc/self/status", "VmPTE")
		if err != nil {
			return err
		}
		t.add("kernel/pagetables", after-before, withinKernel...)
		t.process("kernel/pagetables", after-before)
		t.cause("kernel.pagetables", after-before)
		return nil
	},
}

var threads = Scenario{
	Name:    "threads",
	Summary: "up to 2000 threads that do nothing: kernel stacks",
	Finding: "kernel.stacks",
	plant: func(j job, t *Truth) error {
		n := max(256, min(2000, j.Bytes/(16<<10)))
		before, err := keyed("/proc/meminfo", "KernelStack")
		if err != nil {
			return err
		}
		if n, err = startThreads(n); err != nil {
			return err
		}
		after, err := keyed("/proc/meminfo", "KernelStack")
		if err != nil {
			return err
		}
		// A stack is a power of two; the node's counter says which one, whatever
		// few threads come and go elsewhere.
		stack := int64(1) << bits.Len64(uint64(max(1, after-before)/n)*2/3)
		if stack < 4<<10 || stack > 64<<10 {
			return fmt.Errorf("%d threads have %d bytes of kernel stacks", n, after-before)
		}
		task, err := slabSize("task_struct")
		if err != nil {
			return err
		}
		pid, err := slabSize("pid")
		if err != nil {
			return err
		}
		t.add("kernel/stacks", n*stack, withinKernel...)
		t.add("kernel/slab-unreclaimable", n*(task+pid+2*objectPointer), withinSlab...)
		t.process("kernel/stacks", n*stack)
		t.ToleranceBytes = smallTolerance(t.planted())
		t.counted("kernel.stacks", t.planted())
		return nil
	},
}

// startThreads returns when this process has n more threads, or on a slow machine
// as many as it made in time.
func startThreads(n int64) (made int64, err error) {
	ready := make(chan struct{})
	for enough := slow(); made < n && !enough(made*(16<<10)); made++ {
		go func() {
			runtime.LockOSThread()
			ready <- struct{}{}
			select {}
		}()
		<-ready
	}
	for range 100 {
		dir, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return 0, err
		}
		if int64(len(dir)) >= made {
			return made, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return 0, fmt.Errorf("there are no %d threads", made)
}

var bpfMap = Scenario{
	Name:    "bpf-map",
	Summary: "a BPF map, an array, that this process made",
	Finding: "kernel.bpf",
	plant: func(j job, t *Truth) error {
		fd, charged, err := makeMap(j.Bytes)
		if err != nil {
			t.NotHere = fmt.Sprintf("BPF is not for this process, or not in this kernel: %v", err)
			return nil
		}
		if !charged {
			unix.Close(fd)
			t.NotHere = notCharged
			return nil
		}
		t.add("kernel/vmalloc", j.Bytes, withinKernel...)
		t.process("kernel/vmalloc", j.Bytes)
		t.cause("kernel.bpf", j.Bytes)
		t.Also = []Cause{*t.Cause} // its descriptor tells, where no account does
		return nil
	},
}

const notCharged = "this kernel counts BPF maps against RLIMIT_MEMLOCK of their user, and charges no cgroup"

// makeMap makes an array map. The kernel charges it to the cgroup when it does
// not count it against the limit of locked memory (it did before 5.11).
func makeMap(bytes int64) (fd int, charged bool, err error) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &old); err != nil {
		return 0, false, err
	}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 0, Max: old.Max}); err != nil {
		return 0, false, err
	}
	if fd, err = bpfArray(bytes); err == nil {
		return fd, true, nil
	}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}); err != nil {
		return 0, false, err
	}
	fd, err = bpfArray(bytes)
	return fd, false, err
}

func bpfArray(bytes int64) (int, error) {
	const value = 4096
	attr := struct{ kind, keySize, valueSize, entries, flags uint32 }{unix.BPF_MAP_TYPE_ARRAY, 4, value, uint32(bytes / value), 0}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_MAP_CREATE, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return 0, fmt.Errorf("bpf(BPF_MAP_CREATE): %w", errno)
	}
	return int(fd), nil
}
