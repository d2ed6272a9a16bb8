package kernel

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/kernel/heaps"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
)

var (
	memoryFile  = regexp.MustCompile(`^/proc/[0-9]+/mem$`)
	environFile = regexp.MustCompile(`^/proc/[0-9]+/environ$`)
)

// environ reads an environment and forgets what is not about memory.
func (l *Live) environ(q Question) ([]byte, error) {
	if !environFile.MatchString(q.Path) {
		return nil, errors.New("only asked of /proc/PID/environ")
	}
	b, err := l.read(q)
	return identity.MemoryEnviron(b), err
}

// heaps looks into the memory of a process: what the kernel lets debuggers do,
// but without stopping it, and without writing.
func (l *Live) heaps(q Question) ([]byte, error) {
	if !memoryFile.MatchString(q.Path) {
		return nil, errors.New("only asked of /proc/PID/mem")
	}
	dir := strings.TrimSuffix(q.Path, "mem")
	b, err := l.read(Question{Op: Read, Path: dir + "maps", Max: q.Max})
	if err != nil {
		return nil, err
	}
	maps, err := procfs.ParseSmaps(b)
	if err != nil {
		return nil, err
	}
	exe := Question{Op: BuildInfo, Path: dir + "exe", Max: 64}
	version := ""
	if info, err := l.buildInfo(exe); err == nil {
		if version, err = procfs.ParseGoBuild(info); err != nil {
			version = ""
		}
	}
	m := memory{page: uint64(os.Getpagesize())}
	for _, f := range []struct {
		name string
		file **os.File
	}{{"mem", &m.mem}, {"pagemap", &m.pages}} {
		if *f.file, err = l.open(dir + f.name); err != nil {
			return nil, err
		}
		defer (*f.file).Close()
	}
	h := heaps.Read(&m, maps.Maps, version)
	h.Exports = l.exports(exe)
	return json.Marshal(h)
}

// exports are the known functions of allocators and runtimes that are within an
// executable itself, not in a library; none where that cannot be told.
func (l *Live) exports(exe Question) []string {
	f, err := l.executable(exe)
	if err != nil {
		return nil
	}
	defer f.Close()
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM)
	found, err := elfExports(f, heaps.Functions())
	if err != nil {
		return nil
	}
	return found
}

// memory is that of a process, as far as it is resident.
type memory struct {
	mem, pages *os.File
	page       uint64
	buf        []byte
}

// Read implements heaps.Memory. A page that is not resident is not asked for:
// that would bring it in.
func (m *memory) Read(at uint64, b []byte) bool {
	first, last := at&^(m.page-1), (at+uint64(len(b))+m.page-1)&^(m.page-1)
	if n, ok := m.Resident(first, last); !ok || uint64(n) != last-first || at>>63 != 0 {
		return false
	}
	n, err := unix.Pread(int(m.mem.Fd()), b, int64(at))
	return err == nil && n == len(b)
}

// present is the bit of a page in RAM in /proc/PID/pagemap (linux
// fs/proc/task_mmu.c, PM_PRESENT).
const present = 1 << 63

// Resident implements heaps.Memory.
func (m *memory) Resident(start, end uint64) (bytes int64, ok bool) {
	const most = 64 << 10 // of pagemap at once
	if m.buf == nil {
		m.buf = make([]byte, most)
	}
	start, end = start&^(m.page-1), (end+m.page-1)&^(m.page-1)
	for start < end {
		b := m.buf[:min(most, (end-start)/m.page*8)]
		n, err := unix.Pread(int(m.pages.Fd()), b, int64(start/m.page*8))
		if err != nil || n < len(b) || n == 0 {
			return 0, false
		}
		for i := 0; i < n; i += 8 {
			if binary.NativeEndian.Uint64(b[i:])&present != 0 {
				bytes += int64(m.page)
			}
		}
		start += uint64(n) / 8 * m.page
	}
	return bytes, true
}
