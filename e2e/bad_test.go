package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"explain"},
		{"explain", ""},
		{"explain", "a", "b"},
		{"explain", "self", "-o", "xml"},
		{"explain", "self", "--nope"},
		{"nope"},
		{"ps", "x"},
		{"ps", "--sort", "beauty"},
		{"ps", "-l", "=x"},
		{"ps", "-l", "app=x", "--redact"},
		{"ps", "--watch=-1s"},
		{"ps", "--runtime-endpoint", "tcp://10.0.0.1:1"},
		{"ps", "--runtime-timeout", "0s"},
		{"ps", "--kubelet-token-file", "/nonexistent"},
		{"explain", "self", "--timeout", "-1s"},
		{"explain", "self", "--timeout", "soon"},
		{"capture", "self"},
		{"lab", "run"},
		{"lab", "run", "nope"},
		{"lab", "nope"},
		{"lab", "run", "anon-touched", "--bytes", "much"},
		{"explain", "pid:0"},
		{"explain", "pid:-1"},
		{"explain", "pid:x"},
		{"explain", "pid:99999999999"},
		{"explain", "pid:+1"},
		{"explain", "/../etc"},
		{"explain", "/a/./b"},
		{"explain", "--from", "/nonexistent", "x"},
		{"version", "x"},
	} {
		r := run(t, args...).want(t, 2, "memwhy: ")
		if r.out != "" {
			t.Errorf("%q wrote to stdout: %q", args, r.out)
		}
	}
	run(t, "--help").want(t, 0)
	run(t).want(t, 0)
	if out := run(t, "explain", "--help").want(t, 0).out; !strings.Contains(out, "Exit codes") {
		t.Errorf("help without exit codes: %q", out)
	}
}

func TestUnknownTargets(t *testing.T) {
	run(t, "explain", "/no/such/cgroup").want(t, 2, "no memory cgroup", "hint")
	run(t, "explain", "pid:4194303").want(t, 2, "no process")
	run(t, "explain", "0123456789ab").want(t, 2, "no container")
	run(t, "explain", "/"+strings.Repeat("x", 300)).want(t, 2)
}

func TestContainerIDs(t *testing.T) {
	h := memory(t)
	a, b := strings.Repeat("ab", 32), "ab"+strings.Repeat("cd", 31)
	first, dir := h.group(t, "docker-"+a+".scope")
	second, _ := h.group(t, "crio-"+b+".scope")
	h.join(t, dir, actor(t, "sleeper").Process.Pid)
	if rep := explain(t, "abab"); rep.Target.Cgroup != first {
		t.Errorf("%q", rep.Target.Cgroup)
	}
	if rep := explain(t, strings.ToUpper(b[:12])); rep.Target.Cgroup != second {
		t.Errorf("%q", rep.Target.Cgroup)
	}
	run(t, "explain", "ab").want(t, 2, "2 containers", first, second)
}

func TestAwkwardProcesses(t *testing.T) {
	run(t, "explain", "pid:2").want(t, 2, "kernel thread")
	cmd := actor(t, "zombie")
	children, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "task", strconv.Itoa(cmd.Process.Pid), "children"))
	pid := strings.TrimSpace(string(children))
	if err != nil || pid == "" { // the child of another thread
		pid = zombieOf(t, cmd.Process.Pid)
	}
	run(t, "explain", "pid:"+pid).want(t, 2, "zombie", "pid:"+strconv.Itoa(cmd.Process.Pid))
}

func zombieOf(t *testing.T, parent int) string {
	t.Helper()
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		b, _ := os.ReadFile(file)
		if _, after, ok := strings.Cut(string(b), ") Z "); ok && strings.HasPrefix(after, strconv.Itoa(parent)+" ") {
			return filepath.Base(filepath.Dir(file))
		}
	}
	t.Fatal("no zombie")
	return ""
}

func TestEmptyAndRootCgroups(t *testing.T) {
	h := memory(t)
	cgroup, _ := h.group(t, unique("empty"))
	if rep := explain(t, cgroup); rep.Verdict.Text == "" {
		t.Error("no verdict for an empty cgroup")
	}
	rep := explain(t, "/")
	if rep.number("usageBytes") == 0 || rep.Target.Cgroup != "/" {
		t.Errorf("root: %+v", rep.Numbers)
	}
	checkScreen(t, run(t, "explain", "/").want(t, 0).out)
}

// Names that a container chose can neither break a line nor colour a terminal.
func TestHostileNames(t *testing.T) {
	h := memory(t)
	for _, name := range []string{
		unique("\x1b[31mred\x1b]0;title\a"), unique("\xff\xfe\x80"), unique("<script>alert(1)</script>")[:20], unique("a b:c,d"),
		unique("\u202egnp"), unique("\u009b2J"), (unique("long") + strings.Repeat("n", 255))[:255], unique("quote\"back\\slash"),
	} {
		cgroup, dir := h.group(t, strings.ReplaceAll(name, "/", ""))
		h.join(t, dir, actor(t, "name").Process.Pid)
		checkScreen(t, run(t, "explain", cgroup).want(t, 0).out)
		for _, form := range []string{"wide", "json", "yaml"} {
			for _, out := range []string{run(t, "explain", cgroup, "-o", form).want(t, 0).out, run(t, "ps", "-A", "-o", form).want(t, 0).out} {
				if strings.ContainsFunc(out, func(r rune) bool { return r < 0x20 && r != '\n' || r >= 0x7f && r < 0xa0 || r == 0xfffd }) {
					t.Errorf("%q -o %s: %q", name, form, out)
				}
			}
		}
		rep := explain(t, cgroup)
		if rep.Target.CgroupBytes == "" && rep.Target.Cgroup != cgroup {
			t.Errorf("%q became %q", cgroup, rep.Target.Cgroup)
		}
		r := run(t, "explain", cgroup+"x").want(t, 2)
		checkScreen(t, strings.ReplaceAll(r.err, "\n", " ")[:min(80, len(r.err))])
	}
}

// A process whose command line can never be read: explain still answers, says
// so, and leaves nothing behind that waits.
func TestStuckCommandLine(t *testing.T) {
	h := memory(t)
	cgroup, dir := h.group(t, unique("stuck"))
	file, release := silentFile(t)
	for range 5 {
		h.join(t, dir, actor(t, "stuck", file).Process.Pid)
	}
	t.Cleanup(release)                 // before the actors are waited for
	time.Sleep(300 * time.Millisecond) // until each waits behind itself
	r := run(t, "explain", cgroup, "-o", "json", "--timeout", "4s").want(t, 0)
	if r.wall > 4*time.Second {
		t.Errorf("it took %s", r.wall)
	}
	if !strings.Contains(r.out, "no answer within") || !strings.Contains(r.out, "not asked: 3 reads are stuck already") {
		t.Errorf("the stuck reads are not in notSeen: %s", r.out)
	}
	processes := 0
	for _, x := range explain(t, cgroup, "--timeout", "4s").Holders {
		if x.Kind == "process" {
			processes++
		}
	}
	if processes != 5 {
		t.Errorf("%d processes are holders, want the five", processes)
	}
	run(t, "explain", cgroup, "--strict", "--timeout", "4s").want(t, 4, "cmdline")
}

// public makes a copy of the binary that everybody may run take its place.
func public(t *testing.T) {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "memwhy")
	b, err := os.ReadFile(binary)
	if err == nil {
		err = os.WriteFile(bin, b, 0o755)
	}
	if err == nil {
		err = os.Chmod(filepath.Dir(bin), 0o755)
	}
	if err == nil {
		err = os.Chmod(filepath.Dir(filepath.Dir(bin)), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	root := binary
	t.Cleanup(func() { binary = root })
	binary = bin
}

// A user without rights gets an answer of what may be read, and a reason for the
// rest.
func TestNobody(t *testing.T) {
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	public(t)
	tr, h := run(t, "lab", "list").want(t, 0), memory(t)
	_ = tr
	cgroup, dir := h.group(t, unique("nobody"))
	h.join(t, dir, actor(t, "sleeper").Process.Pid)
	r := runAs(t, nobody, "explain", cgroup, "-o", "json").want(t, 0)
	if !strings.Contains(r.out, `"state": "denied"`) {
		t.Errorf("nothing was denied to nobody: %s", r.out)
	}
	runAs(t, nobody, "explain", cgroup, "--strict").want(t, 4, "denied")
	runAs(t, nobody, "ps", "-A").want(t, 0)
	runAs(t, nobody, "lab", "run", "anon-touched", "--for", "1s").want(t, 3, "permission denied")
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	runAs(t, nobody, "explain", cgroup).want(t, 3, "permission denied", "hint")
}

// Captures that are none: a message, exit code 2, no crash.
func TestBadCaptures(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	run(t, "capture", "self", "-o", good).want(t, 0)
	b, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"empty": nil, "junk": []byte("hello\n"), "truncated": b[:len(b)/2], "almost": b[:len(b)-1],
		"escaping": []byte(strings.Replace(string(b), `"/proc/meminfo"`, `"/proc/../../etc/passwd"`, 1)),
		"twice":    append(append([]byte{}, b...), b...),
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, cmd := range []string{"explain", "ps"} {
			run(t, cmd, "--from", file).want(t, 2, "memwhy: ", file)
		}
	}
	huge := filepath.Join(dir, "huge")
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 1<<40); err != nil {
		t.Fatal(err)
	}
	run(t, "explain", "--from", huge).want(t, 2, "too large")
	run(t, "explain", "--from", dir).want(t, 2, "not a tree")
	run(t, "capture", "self", "-o", filepath.Join(dir, "no", "such", "dir")).want(t, 2)
}

// A machine without the controller, and a machine that is a hostile directory.
func TestHostRoots(t *testing.T) {
	dir := t.TempDir()
	run(t, "explain", "/", "--host-root", dir).want(t, 3, "no memory controller")
	run(t, "explain", "/", "--host-root", filepath.Join(dir, "none")).want(t, 2)
	table := "30 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	stat := "cache 100\nrss 50\ncache 7\n" + strings.Repeat("junk without number\n", 100) + "rss -5\nshmem 18446744073709551615\n"
	files := map[string]string{
		"proc/self/mountinfo": table, "proc/meminfo": "MemTotal: x kB\n",
		"sys/fs/cgroup/memory/a/memory.stat": stat, "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "4096\n",
		"sys/fs/cgroup/memory/b/memory.stat": strings.Repeat("x 1\n", 10<<20/4), "sys/fs/cgroup/memory/b/memory.usage_in_bytes": "max\n",
		"sys/fs/cgroup/memory/d/memory.stat": strings.Repeat("junk ", 10<<20/5), "sys/fs/cgroup/memory/d/memory.usage_in_bytes": "4096\n",
		"sys/fs/cgroup/memory/c/memory.stat": "cache 1\n", "sys/fs/cgroup/memory/c/memory.usage_in_bytes": "-1\n",
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "sys/fs/cgroup/memory/a/memory.limit_in_bytes"), 0o644); err != nil {
		t.Fatal(err)
	}
	rep := explain(t, "/a", "--host-root", dir)
	if rep.number("usageBytes") != 4096 || rep.number("workingSetBytes") != 4096 {
		t.Errorf("%+v", rep.Numbers)
	}
	out := run(t, "explain", "/a", "--host-root", dir, "-o", "wide").want(t, 0).out
	for _, want := range []string{"not a regular file", "twice", "not `key number`"} {
		if !strings.Contains(out, want) {
			t.Errorf("the report does not say %q:\n%s", want, out)
		}
	}
	if rep := explain(t, "/d", "--host-root", dir); rep.Verdict.Account != "unexplained" || rep.Numbers["workingSetBytes"] != nil {
		t.Errorf("10 MB of junk: %+v %+v", rep.Verdict, rep.Numbers)
	}
	run(t, "explain", "/b", "--host-root", dir).want(t, 5, "memory.usage_in_bytes")
	run(t, "explain", "/c", "--host-root", dir).want(t, 5, "-1")
	run(t, "explain", "/a", "--host-root", dir, "--timeout", "1ns").want(t, 5, "out of time")
}
