package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// near checks an amount that was planted.
func near(t *testing.T, what string, got, want int64) {
	t.Helper()
	if slack := want/50 + 1<<20; got < want-slack || got > want+slack {
		t.Errorf("%s: %d, planted %d", what, got, want)
	}
}

func TestKindsOfAnonymousMemory(t *testing.T) {
	h := memory(t)
	cgroup, dir := h.group(t, unique("kinds"))
	files := t.TempDir()
	pid := actorIn(t, nil, dir, "kinds", files).Process.Pid
	rep := explain(t, cgroup, "--census", "auto")
	p := rep.process(t, pid)
	var parts int64
	for _, x := range p.Parts {
		parts += x.Bytes
	}
	if parts != p.Bytes || p.How != "smaps" {
		t.Errorf("the parts sum to %d of %d, by %s", parts, p.Bytes, p.How)
	}
	near(t, "heap", p.part("heap").Bytes, plantedBrk)
	near(t, "anonymous", p.part("anon").Bytes, plantedPlain+plantedLazy+plantedHuge+1<<20) // and what the runtime keeps
	near(t, "LazyFree", p.State["lazyFree"], plantedLazy)
	// The kernel may have none to give, and what is not aligned is none.
	if huge := p.part("anon").State["thp"]; huge != 0 && (huge < plantedHuge-4<<20 || huge > plantedHuge) {
		t.Errorf("huge pages %d, planted %d", huge, plantedHuge)
	}
	if g := p.part("go-heap"); g.Bytes < plantedGo || g.Bytes > plantedGo+(8<<20) || g.How == "" || !strings.Contains(g.Name, "go1.") {
		t.Errorf("Go heap %+v, planted %d", g, plantedGo)
	}
	if c := p.part("file-private"); c.Name != filepath.Join(files, "copied") {
		t.Errorf("copies of a file %+v", c)
	} else {
		near(t, c.Name, c.Bytes, plantedCopies)
	}
	if p.part("stack").Bytes == 0 {
		t.Error("no stack")
	}
	deletedFiles(t, explain(t, cgroup, "--census", "off"), pid, files)
	countedFiles(t, rep, files)
	checkScreen(t, run(t, "explain", cgroup).want(t, 0).out)
	replays(t, cgroup, "planted", filepath.Base(filepath.Dir(files)))
}

// countedFiles are the same files as a census finds them, to the page.
func countedFiles(t *testing.T, rep report, dir string) {
	t.Helper()
	files := map[string]holder{}
	for _, h := range rep.Holders {
		if h.Kind == "file" {
			files[h.Path] = h
		}
	}
	deleted, memfd := files[filepath.Join(dir, "deleted\n\x1b[31m")], files["memfd:planted"]
	if deleted.AtMost || deleted.Bytes != plantedDeleted || !deleted.Deleted || deleted.Account != "file" || len(deleted.UsedBy) != 1 {
		t.Errorf("deleted file %+v", deleted)
	}
	if memfd.AtMost || memfd.Bytes != plantedMemfd || memfd.Deleted || memfd.Account != "shmem" || len(memfd.UsedBy) != 2 {
		t.Errorf("memfd %+v", memfd)
	}
	if kept := files[filepath.Join(dir, "kept (deleted)")]; kept.Deleted || kept.Bytes != plantedDeleted {
		t.Errorf("a file that is only named like a deleted one %+v", kept)
	}
}

func deletedFiles(t *testing.T, rep report, pid int, dir string) {
	t.Helper()
	files := map[string]holder{}
	for _, h := range rep.Holders {
		if h.Kind == "file" {
			files[h.Name] = h
		}
	}
	deleted, memfd := files["deleted\n\x1b[31m"], files["memfd:planted"]
	if len(files) != 2 || !deleted.AtMost || deleted.Account != "file" || !deleted.Deleted || deleted.Path != filepath.Join(dir, "deleted\n\x1b[31m") || deleted.PID != pid {
		t.Errorf("deleted files %+v", files)
	}
	// It holds what it has, unless the counter of all shmem lags behind that.
	if memfd.AtMost != (memfd.Bytes < memfd.State["allocated"]) || memfd.Account != "shmem" || len(memfd.UsedBy) != 2 {
		t.Errorf("memfd %+v", memfd)
	}
	near(t, "memfd", memfd.Bytes, plantedMemfd)
	near(t, "deleted file", deleted.Bytes, plantedDeleted)
}

// replays checks that a capture gives the same answer, and that a redacted one
// gives the same numbers without the names.
func replays(t *testing.T, cgroup string, secrets ...string) {
	t.Helper()
	plain, redacted := filepath.Join(t.TempDir(), "c"), filepath.Join(t.TempDir(), "r")
	run(t, "capture", cgroup, "-o", plain).want(t, 0)
	run(t, "capture", "--from", plain, "-o", redacted, "--redact").want(t, 0)
	first, second := explain(t, "--from", plain), explain(t, "--from", redacted)
	if len(first.Holders) != len(second.Holders) {
		t.Fatalf("%+v\n%+v", first.Holders, second.Holders)
	}
	for i, a := range first.Holders {
		b := second.Holders[i]
		if a.Bytes != b.Bytes || a.Kind != b.Kind || a.How != b.How || len(a.Parts) != len(b.Parts) || a.AtMost != b.AtMost {
			t.Errorf("%+v\nredacted: %+v", a, b)
			continue
		}
		if x, y := fmt.Sprint(a.Runtimes), fmt.Sprint(b.Runtimes); x != y {
			t.Errorf("%s, redacted %s", x, y)
		}
		for k := range a.Parts {
			if x, y := a.Parts[k], b.Parts[k]; x.Kind != y.Kind || x.Bytes != y.Bytes {
				t.Errorf("%+v, redacted %+v", x, y)
			}
		}
	}
	b, err := os.ReadFile(redacted)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		if strings.Contains(string(b), s) {
			t.Errorf("the redacted capture holds %q", s)
		}
	}
}

// Memory that forked processes share counts once.
func TestForksAreCountedOnce(t *testing.T) {
	h := memory(t)
	cgroup, dir := h.group(t, unique("forks"))
	actorIn(t, nil, dir, "forks", "32", "4")
	rep := explain(t, cgroup)
	var sum int64
	processes := 0
	for _, x := range rep.Holders {
		if x.Kind == "process" {
			sum += x.Bytes
			processes++
		}
	}
	anon, _ := rep.account("anon")
	rss, _ := rep.says("ps, summed RSS")
	pss, known := rep.says("smem -t, PSS")
	if processes != 5 || sum > anon+(1<<20) || sum < 32<<20 || rss < 5*32<<20 || !known || pss < sum || pss > rss {
		t.Errorf("%d processes hold %d of %d charged; RSS %d, PSS %d %v", processes, sum, anon, rss, pss, known)
	}
}

func TestManyMappings(t *testing.T) {
	h := memory(t)
	for _, c := range []struct {
		mappings int
		how, why string
	}{{20_000, "smaps", ""}, {60_000, "smaps_rollup", "so many mappings"}} {
		cgroup, dir := h.group(t, unique("mappings-"+strconv.Itoa(c.mappings)))
		pid := actorIn(t, nil, dir, "mappings", strconv.Itoa(c.mappings)).Process.Pid
		r := run(t, "explain", cgroup, "-o", "json", "--census", "off").want(t, 0)
		p := explain(t, cgroup).process(t, pid)
		rss := peakRSS(t, "explain", cgroup, "-o", "json", "--census", "off")
		t.Logf("explain of a process of %d mappings: %.1f ms wall, by %s, %.1f MiB RSS", c.mappings, float64(r.wall.Microseconds())/1000, p.How, float64(rss)/(1<<20))
		if p.How != c.how || !strings.Contains(r.out, c.why) || p.Bytes < int64(c.mappings/2)<<12 {
			t.Errorf("%d mappings: %d by %s: %s", c.mappings, p.Bytes, p.How, r.out)
		}
		if r.wall > 3*time.Second || rss > 80<<20 {
			t.Errorf("%d mappings: %s, %d MiB", c.mappings, r.wall, rss>>20)
		}
	}
}

func TestLargeHeap(t *testing.T) {
	h := memory(t)
	cgroup, dir := h.group(t, unique("heap"))
	pid := actorIn(t, nil, dir, "heap", "512").Process.Pid
	r := run(t, "explain", cgroup, "-o", "json").want(t, 0)
	p := explain(t, cgroup).process(t, pid)
	t.Logf("explain of 512 MiB of small pages: %.1f ms wall, by %s", float64(r.wall.Microseconds())/1000, p.How)
	if p.How != "smaps" || p.part("anon").Bytes < 512<<20 {
		t.Errorf("%+v", p)
	}
}

func TestManyProcesses(t *testing.T) {
	h := memory(t)
	cgroup, dir := h.group(t, unique("many"))
	const n = 300
	for range n {
		sleeper := exec.Command("/bin/sleep", "600")
		if err := sleeper.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = sleeper.Process.Kill()
			_ = sleeper.Wait()
		})
		h.join(t, dir, sleeper.Process.Pid)
	}
	r := run(t, "explain", cgroup, "-o", "json").want(t, 0)
	rep := explain(t, cgroup)
	t.Logf("explain of %d processes: %.1f ms wall", n, float64(r.wall.Microseconds())/1000)
	var said int
	for _, x := range rep.NotSeen {
		if strings.Contains(x.Why, "the 50 largest processes (and 249 more)") && x.State == "absent" {
			said++
		}
	}
	if pss, known := rep.says("smem -t, PSS"); said != 1 || !known || pss < n*(64<<10) {
		t.Errorf("said %d times; PSS %d, %v: %+v", said, pss, known, rep.NotSeen)
	}
	checkScreen(t, run(t, "explain", cgroup).want(t, 0).out)
	run(t, "explain", cgroup, "--strict").want(t, 0) // coarse as intended is no failure
}

// Processes that come and go while they are read are no trouble.
func TestChurningContainer(t *testing.T) {
	h := memory(t)
	cgroup, dir := h.group(t, unique("churn"))
	for range 3 {
		actorIn(t, nil, dir, "churn")
	}
	for range 20 {
		rep := explain(t, cgroup)
		for _, x := range rep.NotSeen {
			if x.State == "failed" {
				t.Errorf("%+v", x)
			}
		}
		checkScreen(t, run(t, "explain", cgroup).want(t, 0).out)
	}
}

// A process of another user, PID and mount namespace is read like any other.
func TestOtherNamespaces(t *testing.T) {
	h := memory(t)
	cgroup, dir := h.group(t, unique("apart"))
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, UidMappings: ids, GidMappings: ids}
	cmd := actorIn(t, attr, dir, "apart")
	rep := explain(t, cgroup)
	p := rep.process(t, cmd.Process.Pid)
	if p.How != "smaps" || len(p.Parts) == 0 {
		t.Errorf("%+v", p)
	}
	for _, x := range rep.Holders {
		if x.Kind == "file" && x.Path == "/mnt/apart" && x.Account == "shmem" && x.UsedBy[0].PID == cmd.Process.Pid {
			near(t, x.Path, x.Bytes, plantedDeleted)
			return
		}
	}
	t.Errorf("the deleted file of its own tmpfs is no holder: %+v", rep.Holders)
}

// smaps of a process that holds its lock is given up, and the others are read:
// its command line is not asked for here, for 20 processes are larger.
func TestStuckSmaps(t *testing.T) {
	h := memory(t)
	cgroup, dir := h.group(t, unique("stucksmaps"))
	file, release := silentFile(t)
	for range 20 {
		h.join(t, dir, actor(t, "heap", "16").Process.Pid)
	}
	stuck := actor(t, "stuck", file).Process.Pid
	h.join(t, dir, stuck)
	h.join(t, dir, actor(t, "sleeper").Process.Pid)
	t.Cleanup(release)
	time.Sleep(300 * time.Millisecond)
	r := run(t, "explain", cgroup, "-o", "json", "--timeout", "8s").want(t, 0)
	if r.wall > 8*time.Second {
		t.Errorf("it took %s", r.wall)
	}
	if !strings.Contains(r.out, "no answer within") {
		t.Errorf("the stuck read is not in notSeen: %s", r.out)
	}
	rep := explain(t, cgroup, "--timeout", "8s")
	if p := rep.process(t, stuck); p.How != "status" || p.Bytes == 0 {
		t.Errorf("the stuck process: %+v", p)
	}
	read := 0
	for _, x := range rep.Holders {
		if x.How == "smaps" {
			read++
		}
	}
	if read != 21 {
		t.Errorf("%d of the 21 other processes were read", read)
	}
}
