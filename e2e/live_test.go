package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/memwhy/memwhy/e2e/judge"
)

// truth is what these tests look at of memwhy.truth/v1.
type truth struct {
	Schema, Scenario, Cgroup, CgroupDir, Finding string
	PIDs                                         []int
	Accounts                                     []struct {
		Path  string
		Bytes int64
	}
	Holders []struct {
		Kind, Name, Path string
		PID              int
	}
	ToleranceBytes int64
	text           []byte // the message
}

// lab runs a scenario until stop is called, or the test ends.
func lab(t *testing.T, scenario string, args ...string) (truth, *exec.Cmd, func()) {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"lab", "run", scenario, "--for", "60s"}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("lab %s: %v: %s", scenario, err, errs.String())
	}
	var tr truth
	if err := json.Unmarshal(line, &tr); err != nil || tr.Schema != "memwhy.truth/v1" {
		t.Fatalf("lab %s: %v: %q", scenario, err, line)
	}
	tr.text = line
	return tr, cmd, stop
}

func scenarios(t *testing.T) []string {
	t.Helper()
	var names []string
	for line := range strings.Lines(run(t, "lab", "list").want(t, 0).out) {
		names = append(names, strings.Fields(line)[0])
	}
	if len(names) < 4 {
		t.Fatalf("labs %q", names)
	}
	return names
}

// notHere are the labs that this machine cannot show, and why.
func notHere(t *testing.T) map[string]string {
	t.Helper()
	v1 := !memory(t).v2
	not := map[string]string{}
	for name, c := range map[string]struct {
		when bool
		why  string
	}{
		"tcp-unread":     {v1, "cgroup v1 keeps TCP buffers in memory.kmem.tcp"},
		"high-throttled": {v1, "no memory.high"},
		"anon-swapped":   {swapless(t), "no swap"},
		"thp-sparse":     {!hugePages(), "transparent huge pages"},
	} {
		if c.when {
			not[name] = c.why
		}
	}
	return not
}

func hugePages() bool {
	b, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	return err == nil && !strings.Contains(string(b), "[never]")
}

// Every lab's truth is in the report.
func TestLabs(t *testing.T) {
	not := notHere(t)
	for _, name := range scenarios(t) {
		t.Run(name, func(t *testing.T) {
			tr, v, stop := judged(t, name)
			for _, c := range v.Cells {
				t.Log(c)
			}
			t.Logf("unexplained %d of %d", v.UnexplainedBytes, v.BoundBytes)
			if why, expected := not[name]; expected != (v.NotHere != "") || !strings.Contains(v.NotHere, why) {
				t.Errorf("not here: %q, want %q", v.NotHere, why)
			} else if expected {
				t.Logf("not here: %s", v.NotHere)
			}
			checkScreen(t, run(t, "explain", tr.Cgroup).want(t, 0).out)
			stop()
			tr.isGone(t)
		})
	}
}

// judged runs a lab and compares it with what explain says. The kernel's counters
// lag up to two seconds, and DAMON may evict cold page cache at any time: a report
// that is wrong gets a second chance, and then so does the lab.
func judged(t *testing.T, name string) (truth, judge.Verdict, func()) {
	t.Helper()
	const chances = 4
	var tr truth
	var v judge.Verdict
	var stop func()
	for i := range chances {
		if i%2 == 0 {
			if stop != nil {
				stop()
			}
			tr, _, stop = lab(t, name, "--limit", "256M")
		} else {
			time.Sleep(2 * time.Second)
		}
		out := run(t, "explain", "-o", "json", tr.Cgroup).want(t, 0).out
		var err error
		if v, err = judge.Compare(tr.text, []byte(out)); err != nil {
			t.Fatal(err)
		}
		if len(v.Problems) == 0 {
			checkVerdict(t, tr, v, out)
			break
		}
		for _, p := range v.Problems {
			t.Logf("look %d: %s", i+1, p)
		}
	}
	if len(v.Problems) > 0 {
		t.Errorf("the report stays wrong: %q", v.Problems)
	}
	return tr, v, stop
}

// checkVerdict compares the first line: where most of the memory is, and whether
// it can be taken back.
func checkVerdict(t *testing.T, tr truth, v judge.Verdict, out string) {
	t.Helper()
	var rep report
	if err := json.Unmarshal([]byte(out), &rep); err != nil {
		t.Fatal(err)
	}
	if len(v.Cells) == 0 || v.Cells[0].Planted < 16<<20 {
		return
	}
	class, _, _ := strings.Cut(v.Cells[0].Compared, "/")
	if rep.Verdict.Account != class {
		t.Errorf("verdict %+v, want %s", rep.Verdict, class)
	}
	reclaim := map[string]string{"anon.live": "cannot", "cache.cold": "can", "tmpfs.held": "cannot"}
	if want := reclaim[tr.Finding]; want != "" && swapless(t) && rep.Verdict.Reclaim != want {
		t.Errorf("verdict %+v, want %q", rep.Verdict, want)
	}
}

// isGone checks that a lab took everything with it.
func (tr truth) isGone(t *testing.T) {
	t.Helper()
	for dir := tr.CgroupDir; strings.Contains(dir, "memwhy-lab-"); dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there", dir)
		}
	}
	for _, h := range tr.Holders {
		if _, err := os.Stat(h.Path); h.Kind == "file" && !os.IsNotExist(err) {
			t.Errorf("%s is still there", h.Path)
		}
		if h.PID != 0 {
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", h.PID)); !os.IsNotExist(err) {
				t.Errorf("process %d is still there", h.PID)
			}
		}
	}
	run(t, "explain", tr.Cgroup).want(t, 2, "no memory cgroup")
}

func swapless(t *testing.T) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/swaps")
	return err == nil && strings.Count(string(b), "\n") == 1
}

func checkScreen(t *testing.T, out string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) > 24 {
		t.Errorf("%d lines:\n%s", len(lines), out)
	}
	for _, l := range lines {
		if len([]rune(l)) > 80 || strings.ContainsFunc(l, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }) {
			t.Errorf("line %q", l)
		}
	}
}

// The working set is to the byte what the two files give at the same moment.
func TestWorkingSetIsCAdvisors(t *testing.T) {
	tr, _, _ := lab(t, "file-once")
	read := func(file, key string) int64 {
		b, err := os.ReadFile(filepath.Join(tr.CgroupDir, file))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 0 && (key == "" || f[0] == key) {
				n, _ := strconv.ParseInt(f[len(f)-1], 10, 64)
				return n
			}
		}
		t.Fatalf("no %s in %s", key, file)
		return 0
	}
	usage, key := "memory.usage_in_bytes", "total_inactive_file"
	if memory(t).v2 {
		usage, key = "memory.current", "inactive_file"
	}
	for range 20 { // until nothing moved between two looks
		before := max(0, read(usage, "")-read("memory.stat", key))
		got := explain(t, tr.Cgroup).number("workingSetBytes")
		if after := max(0, read(usage, "")-read("memory.stat", key)); before == after {
			if got != before {
				t.Errorf("working set %d, the files say %d", got, before)
			}
			return
		}
	}
	t.Error("the cgroup never came to rest")
}

// runName is the name of a run's cgroup and of its mount.
var runName = regexp.MustCompile(`memwhy-lab-[^/]*`)

func TestKilledLabs(t *testing.T) {
	gone := func(tr truth) bool {
		at := runName.FindStringIndex(tr.CgroupDir)
		dir := tr.CgroupDir[:at[1]] // the lab's own, above the target
		for range 100 {
			if _, err := os.Stat(dir); os.IsNotExist(err) {
				return true
			}
			time.Sleep(50 * time.Millisecond)
		}
		return false
	}
	for _, name := range []string{"file-once", "tmpfs-file", "dying-children", "parent-full"} {
		tr, cmd, _ := lab(t, name, "--bytes", "24M")
		_ = cmd.Process.Kill()
		if !gone(tr) {
			t.Errorf("%s: the holder of a killed lab left %s", name, tr.CgroupDir)
		}
		for _, h := range tr.Holders {
			if _, err := os.Stat(filepath.Dir(h.Path)); h.Kind == "file" && !os.IsNotExist(err) {
				t.Errorf("%s: the holder of a killed lab left its files", name)
			}
		}
	}
	// Without its holder it is for clean: a mount, and cgroups with processes.
	other, _, _ := lab(t, "anon-touched")
	var left []truth
	for _, name := range []string{"tmpfs-file", "parent-full"} {
		tr, cmd, _ := lab(t, name, "--bytes", "24M")
		left = append(left, tr)
		_ = syscall.Kill(tr.PIDs[0], syscall.SIGSTOP) // else it would clean up
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	out := run(t, "lab", "clean").want(t, 0).out
	for _, tr := range left {
		name := runName.FindString(tr.CgroupDir)
		if name == "" || !strings.Contains(out, name) || !gone(tr) {
			t.Errorf("%s: clean said %q", tr.Scenario, out)
		}
	}
	if _, err := os.Stat(other.CgroupDir); err != nil {
		t.Errorf("clean took a lab that runs: %v", err)
	}
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), runName.FindString(left[0].CgroupDir)) {
		t.Error("clean left the mount")
	}
}

// What a capture gives back is to the byte what was read, in every form, and for
// ps too.
func TestCaptureAndReplay(t *testing.T) {
	tr, _, _ := lab(t, "tmpfs-file", "--limit", "256M")
	dir := t.TempDir()
	plain, redacted := filepath.Join(dir, "c"), filepath.Join(dir, "r")
	run(t, "capture", tr.Cgroup, "-o", plain).want(t, 0, "explain --from")
	run(t, "capture", tr.Cgroup, "-o", redacted, "--redact").want(t, 0)
	if st, err := os.Stat(plain); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	again := filepath.Join(dir, "again")
	run(t, "capture", "--from", plain, "-o", again).want(t, 0)
	for _, form := range []string{"text", "wide", "json", "yaml"} {
		for _, cmd := range []string{"explain", "ps"} {
			a := run(t, cmd, "--from", plain, "-o", form).want(t, 0)
			b := run(t, cmd, "--from", again, "-o", form).want(t, 0)
			if a.out != b.out || a.out == "" {
				t.Errorf("%s -o %s differs:\n%s\n%s", cmd, form, a.out, b.out)
			}
		}
	}
	rep := explain(t, "--from", plain)
	if got, _ := rep.account("shmem"); got < tr.Accounts[0].Bytes-tr.ToleranceBytes {
		t.Errorf("replayed shmem %d, planted %d", got, tr.Accounts[0].Bytes)
	}
	hidden := explain(t, "--from", redacted)
	if hidden.Verdict.Account != "shmem" || strings.Contains(hidden.Target.Cgroup, "memwhy-lab") {
		t.Errorf("redacted: %+v %+v", hidden.Verdict, hidden.Target)
	}
	b, err := os.ReadFile(redacted)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"the capture": string(b),
		"explain":     run(t, "explain", tr.Cgroup, "--redact", "-o", "json").want(t, 0).out,
		"ps":          run(t, "ps", "--redact", "-o", "wide").want(t, 0).out,
	} {
		if strings.Contains(text, "memwhy-lab") || strings.Contains(text, "tmpfs-file") || !strings.Contains(text, "shmem") {
			t.Errorf("%s, redacted, holds the name of the cgroup or lacks its class: %s", what, text)
		}
	}
}

// The one line of docs/capture.md makes a tree that explain understands.
func TestTreeOfAnUntouchedNode(t *testing.T) {
	doc, err := os.ReadFile("../docs/capture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(doc), "\n```\n")
	line, _, ok := strings.Cut(after, "\n```\n")
	if !ok {
		t.Fatal("docs/capture.md has no line to copy")
	}
	tr, _, _ := lab(t, "tmpfs-file", "--limit", "256M")
	dir := t.TempDir()
	cmd := exec.Command("bash", "-c", line)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	live, tree := explain(t, tr.Cgroup), explain(t, tr.Cgroup, "--from", filepath.Join(dir, "memwhy-node"))
	if got, _ := tree.account("shmem"); got < tr.Accounts[0].Bytes-tr.ToleranceBytes || tree.Verdict.Account != live.Verdict.Account || len(tree.Holders) != len(live.Holders) {
		t.Errorf("live %+v, tree %+v", live, tree)
	}
	if h := tree.Holders[0]; h.How != "smaps_rollup" {
		t.Errorf("%+v", h)
	}
	for _, n := range tree.NotSeen {
		if n.State == "failed" {
			t.Errorf("not in the tree: %+v", n)
		}
	}
	if out := run(t, "ps", "--from", filepath.Join(dir, "memwhy-node")).want(t, 0).out; !strings.Contains(out, "shmem") {
		t.Errorf("ps: %s", out)
	}
}

// The node is judged without a target, the same from a capture, and nothing is
// seen on a kernel that has none of it.
func TestAdvisories(t *testing.T) {
	type doc struct {
		Schema     string
		Host       struct{ Kernel string }
		Advisories []struct {
			ID, Verdict string
			Evidence    []struct{ Statement, Source, Value string }
		}
	}
	read := func(args ...string) (d doc) {
		out := run(t, append([]string{"advisories", "-o", "json"}, args...)...).want(t, 0).out
		if err := json.Unmarshal([]byte(out), &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	live := read()
	if live.Schema != "memwhy.advisories/v1" || len(live.Advisories) < 76 || live.Host.Kernel == "" {
		t.Errorf("%+v", live)
	}
	for _, a := range live.Advisories {
		if strings.HasPrefix(a.ID, "el7") && strings.Contains(a.Verdict, "evidence") && !strings.HasPrefix(live.Host.Kernel, "3.") {
			t.Errorf("%+v", a)
		}
		if len(a.Evidence) == 0 {
			t.Errorf("%s without evidence", a.ID)
		}
	}
	file := filepath.Join(t.TempDir(), "capture")
	run(t, "capture", "self", "-o", file).want(t, 0)
	if again := read("--from", file); len(again.Advisories) != len(live.Advisories) || again.Advisories[0].Verdict != live.Advisories[0].Verdict {
		t.Errorf("live %+v, replayed %+v", live.Advisories[0], again.Advisories[0])
	}
	if out := run(t, "advisories", "show", "el7-kmem-slab-leak").want(t, 0).out; !strings.Contains(out, "HOW TO SEE IT") {
		t.Error(out)
	}
	run(t, "advisories", "show", "none").want(t, 2)
	run(t, "advisories", "self").want(t, 2)
}

func TestList(t *testing.T) {
	tr, _, _ := lab(t, "anon-touched", "--limit", "100M")
	var list struct {
		Schema     string
		Containers []struct {
			Target  struct{ Cgroup string }
			Largest struct{ Account string }
			Numbers map[string]any
		}
	}
	if err := json.Unmarshal([]byte(run(t, "ps", "-o", "json").want(t, 0).out), &list); err != nil {
		t.Fatal(err)
	}
	for _, c := range list.Containers {
		if c.Target.Cgroup != tr.Cgroup {
			continue
		}
		if c.Largest.Account != "anon" || c.Numbers["limitBytes"] != float64(100<<20) {
			t.Errorf("%+v", c)
		}
		if bytes, _ := c.Numbers["unreclaimableBytes"].(float64); (bytes >= 64<<20) != swapless(t) {
			t.Errorf("unreclaimable %.0f of 64 MiB anonymous memory", bytes)
		}
		return
	}
	t.Errorf("the lab's cgroup is not in the list of %d", len(list.Containers))
}

func TestBudget(t *testing.T) {
	h := memory(t)
	cgroup, dir := h.group(t, unique("ten"))
	for range 10 {
		h.join(t, dir, actor(t, "sleeper").Process.Pid)
	}
	best := time.Hour
	for range 10 {
		best = min(best, run(t, "explain", cgroup).want(t, 0).wall)
	}
	rss := peakRSS(t, "explain", cgroup, "-o", "json")
	t.Logf("explain of 10 processes: %.1f ms wall, %.1f MiB RSS", float64(best.Microseconds())/1000, float64(rss)/(1<<20))
	if rss > 20<<20 {
		t.Errorf("RSS %d MiB, at most 20", rss>>20)
	}
}

// peakRSS stops the command at the end of its work, on a full pipe, and looks at
// its high-water mark. Its rusage would begin with that of this process.
func peakRSS(t *testing.T, args ...string) int64 {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, _, e := syscall.Syscall(syscall.SYS_FCNTL, w.Fd(), 1031 /* F_SETPIPE_SZ */, 4096); e != 0 {
		t.Fatal(e)
	}
	cmd := exec.Command(binary, args...)
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	defer func() {
		r.Close()
		_ = cmd.Wait()
	}()
	if _, err := r.Read(make([]byte, 1)); err != nil { // it writes, so it has read everything
		t.Fatal(err)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), "VmHWM:")
	kb, err := strconv.ParseInt(strings.Fields(after + " 0")[0], 10, 64)
	if err != nil || kb == 0 {
		t.Fatalf("no VmHWM in %q", b)
	}
	return kb << 10
}

func TestSelf(t *testing.T) {
	h := memory(t)
	if h.v2 {
		h.own = "" // wherever this runs
	}
	rep := explain(t, "self")
	if h.own != "" && rep.Target.Cgroup != h.own {
		t.Errorf("self is %q, want %q", rep.Target.Cgroup, h.own)
	}
	byPID := explain(t, fmt.Sprintf("pid:%d", os.Getpid()))
	byDir := explain(t, filepath.Join(h.point, rep.Target.Cgroup))
	if byPID.Target.Cgroup != rep.Target.Cgroup || byDir.Target.Cgroup != rep.Target.Cgroup {
		t.Errorf("%q, %q, %q are one", rep.Target.Cgroup, byPID.Target.Cgroup, byDir.Target.Cgroup)
	}
}
