package knob

import (
	"encoding/binary"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A page that was just touched waits in the batch of its processor, on no list, until
// that is filled.
func TestSettle(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("kpageflags is root's")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var was unix.CPUSet
	if err := unix.SchedGetaffinity(0, &was); err != nil {
		t.Fatal(err)
	}
	waited := false
	for range 20 {
		page, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			t.Fatal(err)
		}
		page[0] = 1
		before := onList(t, page)
		if err := Settle(); err != nil {
			t.Fatal(err)
		}
		if !onList(t, page) {
			t.Error("it is on no list")
		}
		if err := unix.Munmap(page); err != nil {
			t.Fatal(err)
		}
		waited = waited || !before
	}
	if !waited {
		t.Error("no page waited: nothing was seen")
	}
	var is unix.CPUSet
	if err := unix.SchedGetaffinity(0, &is); err != nil || is != was {
		t.Errorf("the processors of this thread were %v, are %v, %v", was, is, err)
	}
}

// onList reports whether a page is on a list of the LRU (linux
// include/uapi/linux/kernel-page-flags.h, KPF_LRU).
func onList(t *testing.T, page []byte) bool {
	t.Helper()
	word := func(file string, n uint64) uint64 {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var b [8]byte
		if _, err := f.ReadAt(b[:], int64(8*n)); err != nil {
			t.Fatal(err)
		}
		return binary.NativeEndian.Uint64(b[:])
	}
	frame := word("/proc/self/pagemap", uint64(uintptr(unsafe.Pointer(&page[0])))/uint64(len(page)))
	if frame>>63 == 0 || frame&(1<<55-1) == 0 {
		t.Fatalf("no frame: %x", frame)
	}
	return word("/proc/kpageflags", frame&(1<<55-1))>>5&1 == 1
}
