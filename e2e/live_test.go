package e2e

import (
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
)

func checkScreen(t *testing.T, out string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) > 24 {
		t.Errorf("%d lines:\n%s", len(lines), out)
	}
	for _, l := range lines {
		whole := strings.HasPrefix(l, " memwhy ") // what is to be typed is on one line, however long it is
		if len([]rune(l)) > 80 && !whole || strings.ContainsFunc(l, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }) {
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

// What a capture gives back is to the byte what was read, in every form, and for
// ps too.
func TestCaptureAndReplay(t *testing.T) {
	tr, _, _ := lab(t, "tmpfs-file", "--limit", "256M", "--for", "600s")
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
		"ps":          run(t, "ps", "-A", "--redact", "-o", "wide").want(t, 0).out,
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
	tr, _, _ := lab(t, "tmpfs-file", "--limit", "256M", "--for", "600s")
	dir := t.TempDir()
	cmd := exec.Command("bash", "-c", line)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	live, tree := explain(t, tr.Cgroup, "--census", "off"), explain(t, tr.Cgroup, "--from", filepath.Join(dir, "memwhy-node"))
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
	if out := run(t, "ps", "-A", "--from", filepath.Join(dir, "memwhy-node")).want(t, 0).out; !strings.Contains(out, "shmem") {
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
	if err := json.Unmarshal([]byte(run(t, "ps", "-A", "-o", "json").want(t, 0).out), &list); err != nil {
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
		best = min(best, run(t, "explain", cgroup, "--census", "off").want(t, 0).wall)
	}
	rss := peakRSS(t, "explain", cgroup, "-o", "json", "--census", "off")
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
