package census

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

const (
	selfName  = "memwhy-census"
	magicHuge = 0x958458f6
)

// selfPage is a file of one page in memory, of which everything is known.
type selfPage struct {
	fd   int
	page []byte
	ino  uint64
}

func newSelfPage() (*selfPage, error) {
	fd, err := unix.MemfdCreate(selfName, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	p := &selfPage{fd: fd}
	size := os.Getpagesize()
	var st unix.Stat_t
	if err = unix.Ftruncate(fd, int64(size)); err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err == nil {
		p.ino = st.Ino
		p.page, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	p.page[0] = 1
	return p, nil
}

func (p *selfPage) close() {
	if p.page != nil {
		_ = unix.Munmap(p.page)
	}
	_ = unix.Close(p.fd)
}

// frame is where the page is now, from /proc/self/pagemap (linux
// Documentation/admin-guide/mm/pagemap.rst: bits 0-54, bit 63 present).
func (p *selfPage) frame() (uint64, error) {
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	p.page[0]++
	var b [8]byte
	at := uint64(uintptr(unsafe.Pointer(&p.page[0]))) / uint64(os.Getpagesize()) * 8
	if _, err := f.ReadAt(b[:], int64(at)); err != nil {
		return 0, err
	}
	v := binary.LittleEndian.Uint64(b[:])
	pfn := v & (1<<55 - 1)
	if v>>63 == 0 || pfn == 0 {
		return 0, fmt.Errorf("pagemap says %#x", v)
	}
	return pfn, nil
}

// look asks the kernel about the page: its struct page, its file, this process.
func (e *Engine) look(p *selfPage) (s selfState, pfn, vmemmap uint64, err error) {
	if pfn, err = p.frame(); err != nil {
		return s, 0, 0, &Refusal{ErrPrivilege, "frame numbers", "the frame of an own page", err}
	}
	if _, err = e.loaded.Programs["self_test"].Run(&ebpf.RunOptions{Context: []uint64{uint64(p.fd)}}); err != nil {
		return s, 0, 0, &Refusal{ErrKernel, "run", "the self-test program", err}
	}
	if err = e.loaded.Variables["own"].Get(&s); err != nil {
		return s, 0, 0, &Refusal{ErrKernel, "run", "the self-test's result", err}
	}
	again, err := p.frame()
	if err != nil || again != pfn {
		return s, 0, 0, failed("frame numbers", "the page stays where it is", fmt.Sprintf("%#x, then %#x", pfn, again))
	}
	return s, pfn, s.Folio - pfn*pageStruct, nil
}

func failed(gate, want, got string) error {
	return &Refusal{ErrSelfTest, gate, "expected " + want + ", got " + got, nil}
}

// prove finds the array of struct page by three pages, and demands that the walk
// says of the last one what is known of it.
func (e *Engine) prove(ctx context.Context) error {
	var s selfState
	var pfn uint64
	for range 3 {
		p, err := newSelfPage()
		if err != nil {
			return &Refusal{ErrKernel, "own page", "a memfd of one page", err}
		}
		if e.self != nil {
			defer e.self.close()
		}
		e.self = p
		var base uint64
		if s, pfn, base, err = e.look(p); err != nil {
			return err
		}
		if s.Folio>>56 != 0xff || s.Folio&7 != 0 {
			return failed("array of struct page", "the file's only page in its root", fmt.Sprintf("%#x", s.Folio))
		}
		if base%(2<<20) != 0 || e.vmemmap != 0 && base != e.vmemmap {
			return failed("array of struct page", "one base for three pages, aligned to 2 MiB (SPARSEMEM_VMEMMAP)", fmt.Sprintf("%#x and %#x", e.vmemmap, base))
		}
		e.vmemmap = base
	}
	if err := e.provePage(s); err != nil {
		return err
	}
	e.subsystem = s.Subsystem
	return e.proveWalk(ctx, pfn)
}

// provePage checks words of the page itself.
func (e *Engine) provePage(s selfState) error {
	if s.Host != 1 {
		return failed("own page", "address_space.host to lead back to the inode", "something else")
	}
	if s.Refcount < 2 || s.Refcount > 64 {
		return failed("own page", "a reference count from 2", fmt.Sprint(int32(s.Refcount)))
	}
	if s.Flags>>e.layout["bit_swapbacked"]&1 == 0 {
		return failed("own page", "PG_swapbacked", fmt.Sprintf("flags %#x", s.Flags))
	}
	if s.Memcg>>56 != 0xff || s.Subsystem>>56 != 0xff {
		return failed("own cgroup", "this task's memory cgroup", fmt.Sprintf("%#x of subsystem %#x", s.Memcg, s.Subsystem))
	}
	direct, viaObjcg := s.Charge&^7 == s.Memcg, s.ObjcgMemcg == s.Memcg
	if want := e.layout["folio_has_objcg"] == 1; direct == viaObjcg || viaObjcg != want {
		return failed("charge", fmt.Sprintf("the page to lead to this task's cgroup, by an objcg: %v", want),
			fmt.Sprintf("directly: %v, by an objcg: %v", direct, viaObjcg))
	}
	return nil
}

// proveWalk runs the real walk over the one frame.
func (e *Engine) proveWalk(ctx context.Context, pfn uint64) error {
	if err := e.reset(); err != nil {
		return &Refusal{ErrKernel, "run", "empty tables", err}
	}
	if err := e.walk(ctx, []frames{{pfn, pfn + 1}}); err != nil {
		return err
	}
	c, _, err := e.readOut()
	if err != nil {
		return err
	}
	if len(c.Files) != 1 || c.Files[0].Bytes != int64(os.Getpagesize()) || c.Files[0].Inode < 0 {
		return failed("own file", "one file of one page", fmt.Sprintf("%d files", len(c.Files)))
	}
	i := c.Inodes[c.Files[0].Inode]
	if i.Number != e.self.ino || i.Magic != snapshot.MagicTmpfs || i.Path != "memfd:"+selfName || !i.Pseudo || i.Size != int64(os.Getpagesize()) {
		return failed("own file", fmt.Sprintf("inode %d, tmpfs, memfd:%s", e.self.ino, selfName), fmt.Sprintf("%d, %#x, %q", i.Number, i.Magic, i.Path))
	}
	g := c.Groups[c.Files[0].Group]
	e.ownID = g.ID
	return e.proveGroup(g)
}

// proveGroup compares what was read of this process's cgroup with the files.
func (e *Engine) proveGroup(g snapshot.CensusGroup) error {
	live, err := kernel.OpenLive("/")
	if err != nil {
		return &Refusal{ErrKernel, "own cgroup", "the root directory", err}
	}
	defer live.Close()
	lines, err := cgroupfs.ParseMembership(live.Ask(kernel.Question{Op: kernel.Read, Path: "/proc/self/cgroup", Max: 1 << 20}).Data)
	if err != nil {
		return &Refusal{ErrKernel, "own cgroup", "/proc/self/cgroup", err}
	}
	h, err := cgroupfs.Find(live, false)
	if err != nil {
		return &Refusal{ErrKernel, "own cgroup", "a mounted memory controller", err}
	}
	own, ok := h.Membership(lines)
	if !ok {
		return failed("own cgroup", "a memory cgroup in /proc/self/cgroup", "none")
	}
	want := own
	// On version 2 a cgroup without the controller is charged to one above.
	for _, c := range h.Ancestors(own) {
		dir, _ := h.Dir(c)
		var st unix.Stat_t
		if unix.Stat(dir, &st) != nil {
			continue
		}
		want = c
		if unix.Access(dir+"/memory.stat", unix.F_OK) != nil && c != "/" {
			continue
		}
		if st.Ino != g.ID {
			return failed("own cgroup", fmt.Sprintf("id %d, the inode of %s", st.Ino, dir), fmt.Sprint(g.ID))
		}
		e.ownUsage = dir + "/memory.current"
		if h.Version == snapshot.V1 {
			e.ownUsage = dir + "/memory.usage_in_bytes"
		}
		break
	}
	// In a cgroup namespace the path begins below the real root.
	if !strings.HasSuffix(g.Path, strings.TrimSuffix(want, "/")) {
		return failed("own cgroup", want, fmt.Sprintf("%q", g.Path))
	}
	return nil
}
