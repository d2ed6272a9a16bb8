package knob

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// batch is more pages than a processor keeps back before it puts them on a list.
const batch = snapshot.MaxBatch + 1

// Settle has each processor put on their lists what it keeps back, by filling its batch
// with pages of this process: pages of processes that are gone are freed by that. It
// reaches whoever is charged for such a page, and frees what nobody uses. Processors that
// this process may not run on are left out.
func Settle() error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here, and its affinity with it
		done <- settle()
	}()
	return <-done
}

func settle() error {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return err
	}
	size := unix.Getpagesize()
	for cpu, left := 0, may.Count(); left > 0; cpu++ {
		if !may.IsSet(cpu) {
			continue
		}
		left--
		var one unix.CPUSet
		one.Set(cpu)
		if unix.SchedSetaffinity(0, &one) != nil {
			continue // it went offline
		}
		b, err := unix.Mmap(-1, 0, batch*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return err
		}
		_ = unix.Madvise(b, unix.MADV_NOHUGEPAGE) // a huge page fills no batch
		for i := 0; i < len(b); i += size {
			b[i] = 1
		}
		if err := unix.Munmap(b); err != nil {
			return err
		}
	}
	return nil
}
