package census

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/memwhy/memwhy/internal/snapshot"
)

const kcoreFile = "/proc/kcore"

// kcore is the kernel's memory as /proc/kcore shows it: an ELF core file, whose
// segments say what is where (linux fs/proc/kcore.c).
type kcore struct {
	f        *os.File
	segments []segment
}

type segment struct{ address, size, offset uint64 }

func openKcore() (*kcore, error) {
	f, err := os.Open(kcoreFile)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, &Refusal{ErrPrivilege, kcoreFile, "needs CAP_SYS_RAWIO, and no lockdown", nil}
	case errors.Is(err, fs.ErrNotExist):
		return nil, &Refusal{ErrKernel, kcoreFile, "this kernel was built without CONFIG_PROC_KCORE", nil}
	case err != nil:
		return nil, &Refusal{ErrKernel, kcoreFile, "readable", err}
	}
	k := &kcore{f: f}
	e, err := elf.NewFile(f)
	if err != nil { // masked in containers: an empty file
		f.Close()
		return nil, &Refusal{ErrPrivilege, kcoreFile, "an ELF core file; /proc may be masked", err}
	}
	for _, p := range e.Progs {
		if p.Type == elf.PT_LOAD && p.Vaddr>>56 == 0xff {
			k.segments = append(k.segments, segment{p.Vaddr, p.Memsz, p.Off})
		}
	}
	slices.SortFunc(k.segments, func(a, b segment) int {
		if a.address < b.address {
			return -1
		}
		return 1
	})
	return k, nil
}

func (k *kcore) Close() error { return k.f.Close() }

// read implements memory.
func (k *kcore) read(a uint64, b []byte) bool {
	i, _ := slices.BinarySearchFunc(k.segments, a, func(s segment, a uint64) int {
		switch {
		case a < s.address:
			return 1
		case a-s.address >= s.size:
			return -1
		}
		return 0
	})
	if i == len(k.segments) || a < k.segments[i].address {
		return false
	}
	s := k.segments[i]
	if in := a - s.address; uint64(len(b)) > s.size-in {
		return false
	}
	n, err := k.f.ReadAt(b, int64(s.offset+a-s.address))
	return err == nil && n == len(b)
}

// TryKcore says why Kcore would be refused here, or nothing.
func TryKcore() error {
	k, err := openKcore()
	if err != nil {
		return err
	}
	defer k.Close()
	_, err = k.start()
	return err
}

// start makes a walker that has proved on a page of its own that it reads this
// kernel right.
func (k *kcore) start() (*walker, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, &Refusal{ErrKernel, "type information", "needs /sys/kernel/btf/vmlinux", err}
	}
	l, err := layoutOf(spec, os.Getpagesize())
	if err != nil {
		return nil, &Refusal{ErrKernel, "layout", "every name that the walk needs", err}
	}
	ranges, _, err := ram()
	if err != nil {
		return nil, err
	}
	w := newWalker(l, k, int64(os.Getpagesize()))
	if err := k.locate(w, ranges); err != nil {
		return nil, err
	}
	return w, nil
}

// locate finds the array of struct page: the segment of it that belongs to a
// range of RAM begins with the struct page of its first frame, cut to whole
// pages. Which segment and which range that is, an own page tells.
func (k *kcore) locate(w *walker, ranges []frames) error {
	self, err := newSelfPage()
	if err != nil {
		return &Refusal{ErrKernel, "own page", "a memfd of one page", err}
	}
	defer self.close()
	pfn, err := self.frame()
	if err != nil {
		return &Refusal{ErrPrivilege, "frame numbers", "needs CAP_SYS_ADMIN", err}
	}
	tried := map[uint64]bool{}
	for _, s := range k.segments {
		for _, r := range ranges {
			base := s.address - r.start*pageStruct&^(uint64(w.page)-1)
			if tried[base] || base>>56 != 0xff {
				continue
			}
			tried[base] = true
			if w.seems(base, pfn, self.ino) == nil {
				return w.prove(pfn, self)
			}
		}
	}
	return failed("array of struct page", "a segment of "+kcoreFile+" with an own page in it", fmt.Sprintf("none in %d places", len(tried)))
}

// prove walks over the one page and demands what is known of it.
func (w *walker) prove(pfn uint64, self *selfPage) error {
	charge := w.word(pfn, w.l["pg_charge"]) &^ 7
	memcg := charge
	if w.l["folio_has_objcg"] == 1 {
		memcg = w.fresh(charge + w.l["oc_memcg"])
	}
	w.subsystem = w.fresh(memcg + w.l["mc_css"] + w.l["css_ss"])
	if !pointer(charge) || !pointer(memcg) || !pointer(w.subsystem) {
		return failed("charge", "the page to lead to a memory cgroup", fmt.Sprintf("%#x, %#x of subsystem %#x", charge, memcg, w.subsystem))
	}
	w.chunk(pfn, pfn+1, w.pages)
	w.conclude()
	if len(w.c.Files) != 1 || w.c.Files[0].Inode < 0 || w.c.Files[0].Bytes != w.page {
		return failed("own file", "one file of one page", fmt.Sprintf("%d files", len(w.c.Files)))
	}
	if i := w.c.Inodes[w.c.Files[0].Inode]; i.Number != self.ino || i.Magic != snapshot.MagicTmpfs || i.Path != "memfd:"+selfName || !i.Pseudo || i.Size != w.page {
		return failed("own file", fmt.Sprintf("inode %d, tmpfs, memfd:%s", self.ino, selfName), fmt.Sprintf("%d, %#x, %q", i.Number, i.Magic, i.Path))
	}
	return (&Engine{}).proveGroup(w.c.Groups[w.c.Files[0].Group])
}

// Kcore takes a census from /proc/kcore: all that the program in the kernel would
// tell, with nothing held still meanwhile. Its errors are a Refusal or the
// context's.
func Kcore(ctx context.Context) (*snapshot.Census, error) {
	start := time.Now()
	k, err := openKcore()
	if err != nil {
		return nil, err
	}
	defer k.Close()
	proved, err := k.start()
	if err != nil {
		return nil, err
	}
	ranges, _, err := ram()
	if err != nil {
		return nil, err
	}
	w := newWalker(proved.l, k, proved.page)
	w.vmemmap, w.subsystem = proved.vmemmap, proved.subsystem
	before := node()
	if err := w.walk(ctx, ranges); err != nil {
		return nil, err
	}
	walked := time.Now()
	w.conclude()
	after := node()
	w.c.Start, w.c.Frames = start, int64(total(ranges))
	if err := w.check(before, after); err != nil {
		return nil, err
	}
	w.c.Wall, w.c.ReadOut = time.Since(start), time.Since(walked)
	return w.c, nil
}

func (w *walker) walk(ctx context.Context, ranges []frames) error {
	pages := make([]byte, chunkFrames*pageStruct)
	missing := uint64(0)
	for _, r := range ranges {
		for pfn := r.start; pfn < r.end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			end := min(r.end, pfn&^(chunkFrames-1)+chunkFrames)
			b := pages[:(end-pfn)*pageStruct]
			if !w.mem.read(w.vmemmap+pfn*pageStruct, b) {
				missing += end - pfn
				pfn = end
				continue
			}
			clear(w.blocks) // no older than the pages that led there
			pfn = w.chunk(pfn, end, b)
		}
	}
	if missing*100 > total(ranges) {
		return failed("whole walk", "every frame of RAM to have a struct page", fmt.Sprintf("%d without", missing))
	}
	return nil
}

// check holds the sums against the node's counters, as Engine.check does.
func (w *walker) check(before, after map[string]int64) error {
	c := w.c
	off := func(seen, from, to int64) bool {
		low, high := min(from, to), max(from, to)
		room := high/50 + 1024*w.page + high - low
		return seen < low-room || seen > high+room
	}
	if off(c.Node.File, before["nr_file_pages"]*w.page, after["nr_file_pages"]*w.page) {
		return failed("whole walk", fmt.Sprintf("nr_file_pages, %d bytes", after["nr_file_pages"]*w.page), fmt.Sprint(c.Node.File))
	}
	for i, counter := range []string{"nr_active_anon", "nr_inactive_anon", "nr_active_file", "nr_inactive_file"} {
		if off(w.sums[i]*w.page, before[counter]*w.page, after[counter]*w.page) {
			withoutLists(c, fmt.Sprintf("%s is %d bytes, %d were seen: active and inactive are unknown", counter, after[counter]*w.page, w.sums[i]*w.page))
			break
		}
	}
	if off(c.Node.Slab, before["Slab"]*1024-8<<20, after["Slab"]*1024) || w.bad > 1024 {
		withoutSlab(c, fmt.Sprintf("Slab is %d bytes, %d were seen: slab is unknown", after["Slab"]*1024, c.Node.Slab))
	}
	return nil
}
