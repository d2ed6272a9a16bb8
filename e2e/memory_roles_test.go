package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"
)

func number(s string) int {
	n, err := strconv.Atoi(s)
	must(err)
	return n
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// mapAnon maps private anonymous memory that has no neighbours, so that it stays
// a mapping of its own.
func mapAnon(bytes, advice int) []byte {
	const apart = 1 << 20
	b, err := syscall.Mmap(-1, 0, bytes+2*apart, syscall.PROT_NONE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	must(err)
	b = b[apart : apart+bytes]
	must(syscall.Mprotect(b, syscall.PROT_READ|syscall.PROT_WRITE))
	must(syscall.Madvise(b, advice))
	return b
}

func touch(b []byte) {
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
}

// makeMappings makes that many mappings, every second one with a page in it.
func makeMappings(n int) {
	for range n / 2 {
		b, err := syscall.Mmap(-1, 0, 2*4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
		must(err)
		b[0] = 1
		must(syscall.Mprotect(b[4096:], syscall.PROT_NONE))
	}
}

// What plantKinds plants, in bytes.
const (
	plantedBrk, plantedPlain, plantedCopies = 12 << 20, 40 << 20, 4 << 20
	plantedLazy, plantedGo, plantedHuge     = 16 << 20, 24 << 20, 8 << 20
	plantedMemfd, plantedDeleted            = 6 << 20, 3 << 20
)

var kept []byte

// plantKinds plants anonymous memory of every kind that a program without a C
// library can make, and deleted files in dir.
func plantKinds(dir string) {
	brk(plantedBrk)
	touch(mapAnon(plantedPlain, syscall.MADV_NOHUGEPAGE))
	lazy := mapAnon(plantedLazy, syscall.MADV_NOHUGEPAGE)
	touch(lazy)
	must(syscall.Madvise(lazy, 8 /* MADV_FREE */))
	touch(mapAnon(plantedHuge, syscall.MADV_HUGEPAGE))
	kept = make([]byte, plantedGo)
	touch(kept)

	copied := create(filepath.Join(dir, "copied"), plantedCopies)
	b, err := syscall.Mmap(copied, 0, plantedCopies, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE)
	must(err)
	touch(b)
	must(syscall.Close(copied))

	create(filepath.Join(dir, "deleted\n\x1b[31m"), plantedDeleted)
	must(os.Remove(filepath.Join(dir, "deleted\n\x1b[31m")))
	create(filepath.Join(dir, "kept (deleted)"), plantedDeleted) // only named like that
	name := append([]byte("planted"), 0)
	memfdCreate := map[string]uintptr{"amd64": 319, "arm64": 279}[runtime.GOARCH]
	fd, _, e := syscall.Syscall(memfdCreate, uintptr(unsafe.Pointer(&name[0])), 0, 0)
	if e != 0 {
		panic(e)
	}
	fill(int(fd), plantedMemfd)
	_, err = syscall.Dup(int(fd))
	must(err)
}

func brk(bytes uintptr) {
	now, _, _ := syscall.RawSyscall(syscall.SYS_BRK, 0, 0, 0)
	end, _, _ := syscall.RawSyscall(syscall.SYS_BRK, now+bytes, 0, 0)
	if end != now+bytes {
		panic("brk")
	}
	touch(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nil), now)), bytes))
}

func create(name string, bytes int) (fd int) {
	fd, err := syscall.Open(name, syscall.O_RDWR|syscall.O_CREAT|syscall.O_CLOEXEC, 0o600)
	must(err)
	fill(fd, bytes)
	return fd
}

func fill(fd, bytes int) {
	_, err := syscall.Pwrite(fd, make([]byte, bytes), 0)
	must(err)
}

// forkAfter touches memory and forks children that share it.
func forkAfter(bytes, children int) {
	runtime.LockOSThread() // children die with this thread
	touch(mapAnon(bytes, syscall.MADV_NOHUGEPAGE))
	for range children {
		pid, _, e := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		if e != 0 {
			panic(e)
		}
		if pid == 0 { // only raw system calls from here on
			syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0)
			for {
				syscall.RawSyscall6(syscall.SYS_PPOLL, 0, 0, 0, 0, 0, 0) // nothing, for ever
			}
		}
	}
}

// churn starts processes that end at once, for as long as it lives.
func churn() {
	for {
		quit := exec.Command(os.Args[0])
		quit.Env = []string{"MEMWHY_E2E_ROLE=quitter"}
		_ = quit.Run()
	}
}

// plantApart keeps a deleted file open on a tmpfs that nobody else sees.
func plantApart() {
	must(syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	must(syscall.Mount("none", "/mnt", "tmpfs", 0, ""))
	create("/mnt/apart", plantedDeleted)
	must(os.Remove("/mnt/apart"))
	if os.Getpid() != 1 || os.Getuid() != 0 {
		panic(fmt.Sprintf("pid %d, uid %d", os.Getpid(), os.Getuid()))
	}
}

// What plantLayers plants, in bytes, and how it calls a file.
const (
	plantedLower, plantedUpper, plantedPrivate, plantedVolume = 2 << 20, 3 << 20, 1 << 20, 4 << 20

	hostileFile = "v\n\x1b[31m\xff<script>"
)

// plantLayers lives as a container does: on an overlay where the kernel has one,
// with a volume and a tmpfs of its own.
func plantLayers(dir string, overlay bool) {
	in := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	for _, d := range []string{"lower/vol", "lower/own", "lower/proc", "lower/old", "upper", "work", "root", "volume"} {
		must(os.MkdirAll(in(d), 0o755))
	}
	create(in("lower", "base"), plantedLower)
	create(in("volume", hostileFile), plantedVolume)
	must(syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	if overlay {
		must(syscall.Mount("overlay", in("root"), "overlay", 0, "lowerdir="+in("lower")+",upperdir="+in("upper")+",workdir="+in("work")))
	} else {
		must(syscall.Mount(in("lower"), in("root"), "", syscall.MS_BIND, ""))
	}
	must(syscall.Mount(in("volume"), in("root", "vol"), "", syscall.MS_BIND, ""))
	must(syscall.Mount("none", in("root", "own"), "tmpfs", 0, ""))
	must(syscall.PivotRoot(in("root"), in("root", "old")))
	must(os.Chdir("/"))
	must(syscall.Unmount("/old", syscall.MNT_DETACH))
	create("/new", plantedUpper)
	create("/own/private", plantedPrivate)
	read("/base")
	read("/vol/" + hostileFile)
}

// read maps a file and touches it, and keeps it.
func read(name string) {
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	must(err)
	var st syscall.Stat_t
	must(syscall.Fstat(fd, &st))
	b, err := syscall.Mmap(fd, 0, int(st.Size), syscall.PROT_READ, syscall.MAP_SHARED)
	must(err)
	sum := byte(0)
	for i := 0; i < len(b); i += 4096 {
		sum += b[i]
	}
	kept = append(kept, sum)
}
