package judge

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// Evictions tells whether somebody else than memwhy and the test took page cache that was
// planted in a cgroup. Then what was planted is not there to be found, and no report of it
// is wrong.
type Evictions struct {
	dir      string
	refaults int64
}

// WatchEvictions begins to look at the cgroup whose directory is dir.
func WatchEvictions(dir string) Evictions {
	return Evictions{dir, stat(dir, "workingset_refault_file")}
}

// Since says what was taken, empty when nothing was: only where a thread of DAMON runs,
// which evicts what it finds cold while memory is free, and only of a cgroup that never met
// its own limit. planted are files with how much of them was in memory.
func (e Evictions) Since(planted map[string]int64) string {
	if !Kdamond() || e.metLimit() {
		return ""
	}
	var missing int64
	for file, bytes := range planted {
		if n, err := Resident(file); err == nil {
			missing += max(0, bytes-n)
		}
	}
	again := (stat(e.dir, "workingset_refault_file") - e.refaults) * int64(os.Getpagesize())
	if missing+max(0, again) < 1<<20 {
		return ""
	}
	return fmt.Sprintf("DAMON of this host evicted what was planted: %d bytes are not in memory, %d were read again", missing, again)
}

// Kdamond reports a thread of DAMON (linux mm/damon/core.c, kdamond_fn).
func Kdamond() bool {
	threads, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, comm := range threads {
		if b, err := os.ReadFile(comm); err == nil && bytes.HasPrefix(b, []byte("kdamond.")) {
			return true
		}
	}
	return false
}

// metLimit reports a cgroup that took of its own cache at some time, or may have.
func (e Evictions) metLimit() bool {
	if b, err := os.ReadFile(filepath.Join(e.dir, "memory.failcnt")); err == nil {
		return strings.TrimSpace(string(b)) != "0"
	}
	return keyed(filepath.Join(e.dir, "memory.events"), "max") != 0 || keyed(filepath.Join(e.dir, "memory.events"), "high") != 0
}

func stat(dir, key string) int64 { return max(0, keyed(filepath.Join(dir, "memory.stat"), key)) }

// keyed is the number of a line, -1 without one.
func keyed(file, key string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == key {
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}

// Resident is how much of a file is in memory, by mincore.
func Resident(file string) (int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return 0, err
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, int(st.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	defer syscall.Munmap(b) //nolint:errcheck // nothing is lost
	page := os.Getpagesize()
	pages := make([]byte, (len(b)+page-1)/page)
	if _, _, errno := syscall.Syscall(syscall.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		return 0, errno
	}
	var n int64
	for _, p := range pages {
		n += int64(p&1) * int64(page)
	}
	return min(n, st.Size()), nil
}
