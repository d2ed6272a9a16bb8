package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program starts a real program in a cgroup and waits for the numbers that it says
// of itself, behind the word ready.
func program(t *testing.T, dir string, env []string, args ...string) (pid int, truth []int64, say func(string)) {
	t.Helper()
	exe, err := exec.LookPath(args[0])
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(os.Args[0], args[1:]...)
	cmd.Env, cmd.Stderr = append(os.Environ(), append(env, "MEMWHY_E2E_JOIN="+dir, "MEMWHY_E2E_PROGRAM="+exe)...), os.Stderr
	in, out := begin(t, cmd)
	lines := bufio.NewReader(out)
	ready := func() (numbers []int64) {
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("%q: %v", args, err)
			}
			if f := strings.Fields(line); len(f) > 0 && f[0] == "ready" {
				for _, word := range f[1:] {
					n, err := strconv.ParseInt(word, 10, 64)
					if err != nil {
						t.Fatal(err)
					}
					numbers = append(numbers, n)
				}
				return numbers
			}
		}
	}
	truth = ready()
	return cmd.Process.Pid, truth, func(word string) {
		if _, err := io.WriteString(in, word); err != nil {
			t.Fatal(err)
		}
		ready()
	}
}

// compiled builds a C program.
func compiled(t *testing.T, name string, flags ...string) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip(err)
	}
	exe := filepath.Join(t.TempDir(), name)
	args := append([]string{"-O1", "-o", exe, "testdata/" + name + ".c"}, flags...)
	if out, err := exec.Command(gcc, append(args, "-lpthread")...).CombinedOutput(); err != nil {
		t.Skipf("gcc: %s", out)
	}
	return exe
}

// managed is what is said of one runtime of a process.
func (h holder) managed(t *testing.T, name string) manager {
	t.Helper()
	for _, r := range h.Runtimes {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("no %s among %+v", name, h.Runtimes)
	return manager{}
}

func anonOf(t *testing.T, cgroup string) int64 {
	t.Helper()
	n, _ := explain(t, cgroup, "--census", "off").account("anon")
	return n
}

// What glibc's malloc keeps is what malloc_trim gives back, by the kernel's own
// count of the cgroup before and after.
func TestGlibcKeeps(t *testing.T) {
	h := memory(t)
	for name, flags := range map[string][]string{"shared": nil, "static": {"-static"}} {
		t.Run(name, func(t *testing.T) {
			exe := compiled(t, "arenas", flags...)
			cgroup, dir := h.group(t, unique("glibc-"+name))
			pid, truth, say := program(t, dir, nil, exe)
			out := run(t, "explain", cgroup, "-o", "json", "--census", "off").want(t, 0).out
			r := explain(t, cgroup, "--census", "off").process(t, pid).managed(t, "glibc-malloc")
			near(t, "malloc has from the kernel", r.Heap["committedBytes"], truth[0])
			near(t, "malloc has free", r.Heap["committedBytes"]-r.Heap["usedBytes"], truth[1])
			if r.Arenas != 9 || r.AtLeast {
				t.Errorf("%+v", r)
			}
			screen := tells(t, run(t, "explain", cgroup), "freed inside")
			checkScreen(t, screen)
			before := anonOf(t, cgroup)
			say("t")
			given := before - anonOf(t, cgroup)
			near(t, "malloc_trim gave back", r.Heap["idleBytes"], given)
			t.Logf("idle %d, malloc_trim gave back %d; committed %d of %d, free %d of %d",
				r.Heap["idleBytes"], given, r.Heap["committedBytes"], truth[0], r.Heap["committedBytes"]-r.Heap["usedBytes"], truth[1])
			f := findings(t, out)["alloc.retained"]
			if f.Bytes == nil || f.Confidence != "high" || !strings.Contains(f.Title, "glibc") {
				t.Errorf("%+v", f)
			} else {
				near(t, "alloc.retained", *f.Bytes, given)
			}
			if _, again := findings(t, run(t, "explain", cgroup, "-o", "json").want(t, 0).out)["alloc.retained"]; again {
				t.Error("found after it was given back")
			}
		})
	}
}

// Arenas that change all the time are found each time, and no more of them is
// called free than could be.
func TestGlibcWhileItChanges(t *testing.T) {
	h := memory(t)
	exe := compiled(t, "churn")
	cgroup, dir := h.group(t, unique("glibc-churn"))
	pid, _, _ := program(t, dir, nil, exe)
	for range 10 {
		rep := explain(t, cgroup, "--census", "off")
		r := rep.process(t, pid).managed(t, "glibc-malloc")
		anon, _ := rep.account("anon")
		if c := r.Heap["committedBytes"]; r.Arenas < 2 || c < anon/2 || c > 2*anon || r.Heap["idleBytes"] > anon/4 {
			t.Errorf("%+v of %d", r, anon)
		}
	}
}

// With an allocator of its own nothing is claimed of glibc's.
func TestOtherAllocators(t *testing.T) {
	h := memory(t)
	for name, lib := range map[string]string{"jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4"} {
		t.Run(name, func(t *testing.T) {
			found, _ := filepath.Glob("/usr/lib/*/" + lib)
			if len(found) == 0 {
				t.Skipf("no %s here", lib)
			}
			exe := compiled(t, "arenas")
			cgroup, dir := h.group(t, unique(name))
			pid, _, _ := program(t, dir, []string{"LD_PRELOAD=" + found[0], "MALLOC_CONF=dirty_decay_ms:-1,muzzy_decay_ms:-1", "SECRET=hunter2"}, exe)
			r := run(t, "explain", cgroup, "-o", "json").want(t, 0)
			x := explain(t, cgroup).process(t, pid)
			m := x.managed(t, name)
			if m.Unknown == "" || m.Settings["LD_PRELOAD"] != lib || name == "jemalloc" && m.Settings["MALLOC_CONF"] != "dirty_decay_ms:-1,muzzy_decay_ms:-1" {
				t.Errorf("%+v", m)
			}
			if f, ok := findings(t, r.out)["alloc.retained"]; ok {
				t.Errorf("%+v", f)
			}
			if idle := x.managed(t, "glibc-malloc").Heap["idleBytes"]; idle > 1<<20 {
				t.Errorf("glibc's malloc, which is not used, keeps %d", idle)
			}
			replays(t, cgroup, "hunter2")
		})
	}
}

// What a JVM keeps is its resident heap beyond what it says itself is used.
func TestJVMKeeps(t *testing.T) {
	h := memory(t)
	for _, gc := range []string{"Serial", "Parallel", "G1", "Shenandoah", "Z"} {
		t.Run(gc, func(t *testing.T) {
			cgroup, dir := h.group(t, unique("jvm-"+gc))
			pid, truth, _ := program(t, dir, []string{"JAVA_TOOL_OPTIONS=-Dsecret=hunter2"}, "java", "-XX:+Use"+gc+"GC", "-Xms300m", "-Xmx600m", "-Dsecret=hunter2", "testdata/Idle.java")
			rep := explain(t, cgroup)
			r := rep.process(t, pid).managed(t, "jvm")
			t.Logf("%+v, says itself: committed %d, used %d", r, truth[0], truth[1])
			if r.Settings["-Xmx"] != "600m" || r.Version == "" {
				t.Errorf("%+v", r)
			}
			if got, want := r.Heap["usedBytes"], truth[1]; got < want-(8<<20) || got > want+(8<<20) {
				t.Errorf("used %d, it says %d itself", got, want)
			}
			if gc == "Z" { // its heap is shared memory
				if _, told := r.Heap["idleBytes"]; told || r.Unknown == "" {
					t.Errorf("%+v", r)
				}
				return
			}
			if got := r.Heap["reservedBytes"]; got != 600<<20 {
				t.Errorf("reserved %d", got)
			}
			rss := heapRSS(t, pid, 600<<20)
			near(t, "idle", r.Heap["idleBytes"], rss-r.Heap["usedBytes"])
			resident := r.Heap["idleBytes"] + r.Heap["usedBytes"]
			if anon, _ := rep.account("anon"); resident > anon || resident > r.Heap["committedBytes"]+(1<<20) {
				t.Errorf("resident %d, anon %d", resident, anon)
			}
			replays(t, cgroup, "hunter2")
		})
	}
}

// heapRSS sums Rss of neighbouring mappings of plain memory that together have a
// size, by smaps.
func heapRSS(t *testing.T, pid int, size uint64) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		t.Fatal(err)
	}
	type mapping struct {
		start, end uint64
		rss        int64
	}
	var all []mapping
	for line := range strings.Lines(string(b)) {
		var m mapping
		var kb int64
		if n, _ := fmt.Sscanf(line, "%x-%x ", &m.start, &m.end); n == 2 {
			all = append(all, m)
		} else if n, _ := fmt.Sscanf(line, "Rss: %d kB", &kb); n == 1 {
			all[len(all)-1].rss = kb << 10
		}
	}
	for i := range all {
		sum := int64(0)
		for j := i; j < len(all) && (j == i || all[j].start == all[j-1].end); j++ {
			if sum += all[j].rss; all[j].end-all[i].start == size {
				return sum
			}
		}
	}
	t.Fatalf("no heap of %d bytes in smaps", size)
	return 0
}

// What Go keeps is what it says itself, and is found in the order of a limit.
func TestGoKeeps(t *testing.T) {
	h := memory(t)
	cgroup, dir := h.group(t, unique("go"))
	pid, truth, say := program(t, dir, []string{"MEMWHY_E2E_ROLE=go-keeper", "GOGC=600", "GOMEMLIMIT=3GiB"}, os.Args[0])
	r := explain(t, cgroup).process(t, pid).managed(t, "go")
	near(t, "Go has in use", r.Heap["usedBytes"], truth[0])
	near(t, "Go keeps", r.Heap["idleBytes"], truth[1])
	if r.Settings["GOGC"] != "700" || r.Heap["limitBytes"] != 2<<30 || r.Version != strings.TrimPrefix(runtime.Version(), "go") {
		t.Errorf("%+v", r)
	}
	f := findings(t, run(t, "explain", cgroup, "-o", "json").want(t, 0).out)["alloc.retained"]
	if f.Bytes == nil || !strings.Contains(f.Title, "Go") {
		t.Fatalf("%+v", f)
	}
	before := anonOf(t, cgroup)
	say("t")
	given := before - anonOf(t, cgroup)
	near(t, "FreeOSMemory gave back", *f.Bytes, given)
	t.Logf("idle %d of %d, FreeOSMemory gave back %d", r.Heap["idleBytes"], truth[1], given)
}

// keepGo holds 200 MiB, of which 150 are collected again, with settings that were
// made in code.
func keepGo() {
	debug.SetGCPercent(700)
	debug.SetMemoryLimit(2 << 30)
	kept := make([][]byte, 200)
	for i := range kept {
		kept[i] = make([]byte, 1<<20)
		for j := range kept[i] {
			kept[i][j] = 1
		}
	}
	clear(kept[50:])
	defer runtime.KeepAlive(kept)
	runtime.GC()
	time.Sleep(200 * time.Millisecond)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Println("ready", m.HeapInuse, m.HeapIdle-m.HeapReleased)
	for b := make([]byte, 1); ; {
		if _, err := os.Stdin.Read(b); err != nil {
			return
		}
		debug.FreeOSMemory()
		fmt.Println("ready", len(kept))
	}
}

// Of V8 it is said whose the memory is and what cannot be known, and nothing is
// claimed of it.
func TestSilentRuntimes(t *testing.T) {
	h := memory(t)
	cgroup, dir := h.group(t, unique("node"))
	pid, _, _ := program(t, dir, []string{"NODE_OPTIONS=--max-semi-space-size=8 --no-warnings"}, "node", "--max-old-space-size=300",
		"-e", "let a=[];for(let i=0;i<400000;i++)a.push({x:i,y:'s'+i});a.length=1000;console.log('ready');setTimeout(()=>a,600000)")
	x := explain(t, cgroup).process(t, pid)
	m := x.managed(t, "node")
	if _, told := m.Heap["idleBytes"]; m.Unknown == "" || told || m.Heap["reservedBytes"] != 300<<20 {
		t.Errorf("%+v", m)
	}
	if m.Settings["--max-old-space-size"] != "300" || m.Settings["NODE_OPTIONS"] != "--max-semi-space-size=8" {
		t.Errorf("%+v", m.Settings)
	}
	t.Logf("%+v", x.Runtimes)
	tells(t, run(t, "explain", cgroup, "-o", "wide"), "allocator  ", "tell")
}

// What Python's small objects keep is what it says itself, in every version that is
// here.
func TestPythonKeeps(t *testing.T) {
	h := memory(t)
	found, _ := filepath.Glob(os.Getenv("HOME") + "/.pyenv/versions/3.*/bin/python3")
	if exe, err := exec.LookPath("/usr/bin/python3"); err == nil {
		found = append(found, exe)
	}
	if len(found) == 0 {
		t.Skip("no python3 here")
	}
	versions := map[string]bool{}
	for _, exe := range found {
		cgroup, dir := h.group(t, unique("python-"+filepath.Base(filepath.Dir(filepath.Dir(exe)))))
		pid, truth, _ := program(t, dir, nil, exe, "testdata/small.py")
		out := run(t, "explain", cgroup, "-o", "json", "--census", "off").want(t, 0).out
		rep := explain(t, cgroup, "--census", "off")
		m := rep.process(t, pid).managed(t, "python")
		versions[m.Version] = true
		used, unused, arena := truth[0], truth[1], truth[2]
		t.Logf("%s: used %d, it says %d; idle %d, it says %d with what was never used", m.Version, m.Heap["usedBytes"], used, m.Heap["idleBytes"], unused)
		near(t, "objects use", m.Heap["usedBytes"], used)
		if idle := m.Heap["idleBytes"]; idle > unused || idle < unused-arena || m.AtLeast {
			t.Errorf("%+v: idle %d of %d", m, idle, unused)
		}
		// Most of it is free in pools that hold a few objects each.
		tells(t, run(t, "explain", cgroup, "-o", "wide"), "allocator  ", "Python in ")
		if f := findings(t, out)["alloc.retained"]; f.Bytes == nil || *f.Bytes < unused-arena || !strings.Contains(f.Title, "Python") {
			t.Errorf("%+v", f)
		}
	}
	t.Logf("%d versions", len(versions))
}

// Who may not read memory is told so, and nothing is guessed.
func TestHeapsOfNobody(t *testing.T) {
	h := memory(t)
	exe := compiled(t, "arenas")
	cgroup, dir := h.group(t, unique("heaps-nobody"))
	pid, _, _ := program(t, dir, nil, exe)
	public(t)
	r := runAs(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}, "explain", cgroup, "-o", "json", "--census", "off").want(t, 0)
	if !strings.Contains(r.out, fmt.Sprintf("/proc/%d/mem", pid)) || !strings.Contains(r.out, "what runtimes and allocators hold and do not use") {
		t.Errorf("%s", r.out)
	}
	if _, ok := findings(t, r.out)["alloc.retained"]; ok {
		t.Error("found without a look")
	}
}
