package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
		Bytes            int64
	}
	ToleranceBytes int64
	Watch          *struct{ Seconds int }
	text           []byte // the message
}

// watch is how to look at what goes on in a lab.
func (tr truth) watch() []string {
	if tr.Watch == nil {
		return nil
	}
	return []string{"--watch", fmt.Sprintf("%ds", tr.Watch.Seconds)}
}

// planted are the files that were planted, with how much of them.
func (tr truth) planted() map[string]int64 {
	files := map[string]int64{}
	for _, h := range tr.Holders {
		if h.Kind == "file" {
			files[h.Path] = h.Bytes
		}
	}
	return files
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
		"swap-kept":      {swapless(t), "no swap"},
		"oom-group":      {v1, "no memory.oom.group"},
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
// that is wrong gets a second chance, and then so does the lab. Where DAMON was seen to
// take of what was planted each time, there is nothing to judge.
func judged(t *testing.T, name string) (truth, judge.Verdict, func()) {
	t.Helper()
	const chances = 4
	var tr truth
	var v judge.Verdict
	var stop func()
	evicted, counts := "", false
	for i := range chances {
		if i%2 == 0 {
			if stop != nil {
				stop()
			}
			tr, _, stop = lab(t, name, "--limit", "256M")
		} else {
			time.Sleep(2 * time.Second)
		}
		others := judge.WatchEvictions(tr.CgroupDir)
		out := run(t, append([]string{"explain", "-o", "json", tr.Cgroup}, tr.watch()...)...).want(t, 0).out
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
		if why := others.Since(tr.planted()); why != "" {
			evicted = why
			t.Logf("look %d: %s", i+1, why)
		} else {
			counts = true
		}
	}
	if len(v.Problems) > 0 && !counts {
		stop()
		t.Skip(evicted)
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
		_ = cmd.Process.Signal(syscall.SIGSTOP) // else it would clean up after its holder
		stopped(t, cmd.Process.Pid)
		_ = syscall.Kill(tr.PIDs[0], syscall.SIGKILL)
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

// stopped waits for all threads of a process to be.
func stopped(t *testing.T, pid int) {
	t.Helper()
	running := ""
	for range 100 {
		running = ""
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		must(err)
		for _, file := range threads {
			if b, err := os.ReadFile(file); err == nil && !strings.Contains(string(b), ") T ") {
				running = string(b)
			}
		}
		if running == "" && len(threads) > 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%d goes on: %s", pid, running)
}
