package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// cutMemory cuts the free memory of the node into single pages: it fills pairs of pipes
// in turn, a page each, until the kernel has to reclaim, and closes one of each pair.
// Pages in pipes cannot be moved. What larger blocks are left it takes for packet rings.
func cutMemory() {
	limit := syscall.Rlimit{Cur: 1 << 16, Max: 1 << 16}
	must(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	const pages = 256 // of a pipe, the most without asking
	page := make([]byte, os.Getpagesize())
	var second [][2]int
	for freePages(0) > int64(160<<20/os.Getpagesize()) {
		var pair [2][2]int
		for i := range pair {
			must(syscall.Pipe(pair[i][:]))
			if _, _, e := syscall.Syscall(syscall.SYS_FCNTL, uintptr(pair[i][1]), syscall.F_SETPIPE_SZ, pages*uintptr(len(page))); e != 0 {
				panic(e)
			}
		}
		for range pages {
			for i := range pair {
				_, err := syscall.Write(pair[i][1], page)
				must(err)
			}
		}
		second = append(second, pair[1])
	}
	for _, p := range second {
		must(syscall.Close(p[0]))
		must(syscall.Close(p[1]))
	}
	// A ring that finds no block takes single pages: what is kept from it stays.
	for least, vain := int64(1<<40), 0; vain < 5; {
		n := freePages(3) / 8
		if n == 0 {
			break
		}
		if vain++; n < least {
			least, vain = n, 0
		}
		s, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0)
		if err != nil { // this kernel has none
			break
		}
		size := uint32(8 * len(page))
		req := [4]uint32{size, uint32(min(n, 128)), 2048, size / 2048 * uint32(min(n, 128))}
		_, _, e := syscall.Syscall6(syscall.SYS_SETSOCKOPT, uintptr(s), syscall.SOL_PACKET, 5, uintptr(unsafe.Pointer(&req)), unsafe.Sizeof(req), 0)
		mustCall(e)
	}
}

// freePages are the free pages in blocks of an order and above.
func freePages(order int) (sum int64) {
	b, err := os.ReadFile("/proc/buddyinfo")
	must(err)
	for line := range strings.Lines(string(b)) {
		for i, word := range strings.Fields(line)[4:] {
			n, err := strconv.ParseInt(word, 10, 64)
			must(err)
			if i >= order {
				sum += n << i
			}
		}
	}
	return sum
}

// wantHuge asks for huge pages, again and again.
func wantHuge() {
	for {
		m, err := syscall.Mmap(-1, 0, 16<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
		must(err)
		must(syscall.Madvise(m, syscall.MADV_HUGEPAGE))
		for i := 0; i < len(m); i += 2 << 20 {
			m[i] = 1
		}
		must(syscall.Munmap(m))
		time.Sleep(20 * time.Millisecond)
	}
}

// Free memory that is cut into pieces is found while somebody compacts it in vain, and
// not by itself. It is the whole node that is cut: a machine of the tests alone.
func TestFragmentedNode(t *testing.T) {
	b, err := os.ReadFile("/proc/cmdline")
	if err != nil || !slices.Contains(strings.Fields(string(b)), "memwhy.disposable") {
		t.Skip("it cuts the free memory of a whole node into pieces: only for machines that are thrown away")
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("not tried there")
	}
	if release, _ := os.ReadFile("/proc/sys/kernel/osrelease"); strings.HasPrefix(string(release), "5.") {
		t.Skip("without a block of order 1 to 3 these kernels kill, memwhy too")
	}
	h := memory(t)
	_, dir := h.group(t, unique("cutter"))
	cutter := actorIn(t, nil, dir, "cutter")
	buddies, _ := os.ReadFile("/proc/buddyinfo")
	t.Logf("%s", buddies)
	if large, all := freePages(9), freePages(0); 20*large > all {
		t.Skipf("of %d free pages %d stayed in large blocks: this memory is not in pieces", all, large)
	}
	if f, ok := findings(t, run(t, "explain", "/", "-o", "json", "--census", "off").want(t, 0).out)["node.fragmented"]; ok && f.Severity != "info" {
		t.Errorf("found by the picture alone: %+v", f)
	}
	cmd := exec.Command(binary, "explain", "/", "-o", "json", "--census", "off", "--watch", "12s")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	asker := actor(t, "huge-asker")
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	counters, _ := os.ReadFile("/proc/vmstat")
	for line := range strings.Lines(string(counters)) {
		if strings.HasPrefix(line, "compact_") || strings.HasPrefix(line, "thp_fault_") {
			t.Log(strings.TrimSpace(line))
		}
	}
	f, ok := findings(t, out.String())["node.fragmented"]
	t.Logf("%+v", f)
	// A few blocks of order 3 may be left: then it is huge pages alone that are not had.
	vain := f.Severity == "notice" && strings.Contains(f.Title, "in vain")
	huge := f.Severity == "info" && strings.Contains(f.Title, "no free block for a huge page")
	if !ok || f.Confidence != "medium" || f.Bytes != nil || !vain && !huge {
		t.Errorf("%v %+v", ok, f)
	}
	for _, c := range []*exec.Cmd{asker, cutter} {
		must(c.Process.Kill())
		_ = c.Wait()
	}
	if f, ok := findings(t, run(t, "explain", "/", "-o", "json", "--census", "off").want(t, 0).out)["node.fragmented"]; ok {
		t.Errorf("found when it is whole again: %+v\n%s", f, fmt.Sprint(freePages(3)))
	}
}
