package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var pageSize = int64(os.Getpagesize())

// wholePages rounds up: the kernel charges no less than a page.
func wholePages(bytes int64) int64 { return (bytes + pageSize - 1) / pageSize * pageSize }

// Where the kernel's own memory is on kernels that do not divide it further.
var (
	withinKernel = []string{"kernel/other", "kernel/undivided"}
	withinSlab   = []string{"kernel/slab", "kernel/undivided"}
)

// anonymous maps memory with huge pages neither asked for nor given.
func anonymous(bytes int64, flags int) ([]byte, error) {
	mem, err := unix.Mmap(-1, 0, int(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|flags)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", bytes, err)
	}
	if err := unix.Madvise(mem, unix.MADV_NOHUGEPAGE); err != nil && !errors.Is(err, unix.EINVAL) { // a kernel without huge pages
		return nil, fmt.Errorf("madvise: %w", err)
	}
	return mem, nil
}

// touch writes into every page, something else into each.
func touch(mem []byte) {
	for i := 0; i < len(mem); i += int(pageSize) {
		mem[i] = byte(i/int(pageSize)) | 1
	}
}

// touched maps private memory and touches all of it.
func touched(bytes int64) ([]byte, error) {
	mem, err := anonymous(bytes, unix.MAP_PRIVATE)
	if err == nil {
		touch(mem)
	}
	return mem, err
}

func (t *Truth) process(account string, bytes int64) {
	t.Holders = append(t.Holders, Holder{Kind: "process", Name: "memwhy", Account: account, Bytes: bytes, PID: os.Getpid()})
}

// file notes a file as holder of its bytes.
func (t *Truth) file(account, path string, bytes int64) *Holder {
	t.Holders = append(t.Holders, Holder{Kind: "file", Name: filepath.Base(path), Account: account, Bytes: bytes, Path: path})
	return &t.Holders[len(t.Holders)-1]
}

// fill writes bytes into f.
func fill(f *os.File, bytes int64) error {
	buf := make([]byte, 64<<10)
	for i := range buf {
		buf[i] = byte(i)
	}
	for left := bytes; left > 0; left -= int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), left)]
		if _, err := f.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

// mapped maps so much of a file, for as long as the process lives, and touches every page.
func mapped(f *os.File, bytes int64) error {
	mem, err := unix.Mmap(int(f.Fd()), 0, int(bytes), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", f.Name(), err)
	}
	var sum byte
	for i := 0; i < len(mem); i += int(pageSize) {
		sum += mem[i]
	}
	runtime.KeepAlive(sum)
	return nil
}

// resident is how much of a file is in memory.
func resident(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, fmt.Errorf("map %s: %w", path, err)
	}
	defer unix.Munmap(mem) //nolint:errcheck // nothing is lost
	pages := make([]byte, wholePages(st.Size())/pageSize)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mem[0])), uintptr(len(mem)), uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		return 0, fmt.Errorf("mincore %s: %w", path, errno)
	}
	var n int64
	for _, p := range pages {
		n += int64(p & 1)
	}
	return n * pageSize, nil
}

// slabSize is the size of an object of a slab cache, as the kernel lists it.
func slabSize(cache string) (int64, error) {
	b, err := os.ReadFile("/proc/slabinfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		var name string
		var active, all, size int64
		if n, _ := fmt.Sscan(line, &name, &active, &all, &size); n == 4 && name == cache {
			return size, nil
		}
	}
	return 0, fmt.Errorf("/proc/slabinfo has no %s: %w", cache, fs.ErrNotExist)
}

// A charged slab object costs a pointer more than its size, to what it is
// charged to (linux mm/memcontrol.c obj_full_size).
const objectPointer = 8

// slow says when a scenario that makes many small things should make do with
// what it has: on an emulated machine the whole amount would take minutes.
func slow() func(planted int64) bool {
	start := time.Now()
	return func(planted int64) bool { return planted >= 4<<20 && time.Since(start) > 1500*time.Millisecond }
}

// smallTolerance is for amounts that are counted by the object: the names and the
// few objects that come with them are all there is to be wrong.
func smallTolerance(bytes int64) int64 { return max(bytes/12, 1<<20) }
