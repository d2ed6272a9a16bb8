package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// play is the life of an actor: a process in an awkward state.
func play(role string) {
	switch role {
	case "sleeper":
	case "quitter":
		return
	case "name": // a hostile process name
		name := append([]byte("a\n\x1b[31m\xff<b>"), 0)
		runtime.LockOSThread()
		if _, _, e := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0); e != 0 {
			panic(e)
		}
	case "zombie":
		child := exec.Command(os.Args[0]) // a test machine has no other program
		child.Env = []string{"MEMWHY_E2E_ROLE=quitter"}
		if err := child.Start(); err != nil {
			panic(err)
		}
		for { // not waited for, on purpose
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child.Process.Pid))
			if strings.Contains(string(b), ") Z ") {
				break
			}
		}
		fmt.Printf("ready %d\n", child.Process.Pid)
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	case "stuck":
		holdMmapLock(os.Args[1])
	case "mappings":
		makeMappings(number(os.Args[1]))
	case "heap":
		touch(mapAnon(number(os.Args[1])<<20, syscall.MADV_NOHUGEPAGE))
	case "go-keeper":
		keepGo()
		return
	case "packet-ring":
		packetRing()
	case "perf-ring":
		perfRings()
	case "kinds":
		plantKinds(os.Args[1])
	case "forks":
		forkAfter(number(os.Args[1])<<20, number(os.Args[2]))
	case "churn":
		go churn()
	case "moving":
		go move(os.Args[1], os.Args[2])
	case "container":
		beContainer(os.Args[1], os.Args[2])
	case "apart":
		plantApart()
	case "layers":
		plantLayers(os.Args[1], os.Args[2] == "overlay")
	case "reader":
		read(os.Args[1])
	case "caches":
		caches(os.Args[1:]...)
	case "writes":
		go writes(os.Args[1], number(os.Args[2]), number(os.Args[3])<<20)
	case "dirties":
		must(os.WriteFile(os.Args[1], make([]byte, number(os.Args[2])<<20), 0o600))
	case "parks":
		parks(os.Args[1])
	case "opens":
		var err error
		held, err = os.Open(os.Args[1])
		must(err)
	case "rereads":
		rereads(os.Args[1], os.Args[2])
	case "keeps-deleted":
		keepsDeleted(os.Args[1])
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// holdMmapLock makes every read of this process's memory from outside wait:
// one thread reads a page that a silent FUSE server will never deliver, through
// /proc/self/mem, which keeps the mmap lock; another one wants it for writing,
// and behind a waiting writer nobody gets in.
func holdMmapLock(file string) {
	f, err := os.Open(file)
	if err != nil {
		panic(err)
	}
	page, err := syscall.Mmap(int(f.Fd()), 0, os.Getpagesize(), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		panic(err)
	}
	at := int64(uintptr(unsafe.Pointer(&page[0])))
	fmt.Println("ready") // from here on nothing in this process may need memory
	go func() { _, _ = mem.ReadAt(make([]byte, 1), at) }()
	time.Sleep(100 * time.Millisecond)
	_, _, _ = syscall.RawSyscall6(syscall.SYS_MMAP, 0, uintptr(os.Getpagesize()), syscall.PROT_READ,
		syscall.MAP_PRIVATE|syscall.MAP_ANON, ^uintptr(0), 0)
}
