package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

type finding struct {
	Code, Severity, Confidence, Title string
	Bytes                             *int64
	Evidence                          []struct{ Statement, Source, Value string }
}

func findings(t *testing.T, out string) map[string]finding {
	t.Helper()
	var r struct{ Findings []finding }
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	all := map[string]finding{}
	for _, f := range r.Findings {
		all[f.Code] = f
	}
	return all
}

// tells checks an answer for words.
func tells(t *testing.T, r result, words ...string) string {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(r.want(t, 0).out, w) {
			t.Errorf("no %q in:\n%s", w, r.out)
		}
	}
	return r.out
}

func TestCodes(t *testing.T) {
	list := tells(t, run(t, "codes"), "oom.container", "cgroup.ids", "kernel.advisory/ID")
	for line := range strings.Lines(list) {
		code := strings.TrimSuffix(strings.Fields(line)[0], "ID")
		tells(t, run(t, "codes", code), "HOW TO SEE IT BY HAND", "WHAT TO DO", "WHERE THE STORY IS WRONG")
	}
	tells(t, run(t, "codes", "kernel.advisory/el7-kmem-slab-leak"), "HOW TO SEE IT BY HAND", "WORKAROUND")
	for _, code := range []string{"none", "kernel.advisory/none", "../oom", "", "\x1b[2J"} {
		run(t, "codes", code).want(t, 2, "no code")
	}
	run(t, "codes", "oom.node", "oom.node").want(t, 2)
}

// A kill of this kernel is told from its log, from a capture of it, and from a
// redacted one; a user who may not read the log gets it from the counters.
func TestKillFindings(t *testing.T) {
	tr, _, stop := lab(t, "oom-victim", "--bytes", "24M")
	defer stop()
	here := findings(t, run(t, "explain", tr.Cgroup, "-o", "json").want(t, 0).out)["oom.container"]
	if here.Severity != "warning" || here.Confidence != "high" || here.Bytes == nil || len(here.Evidence) < 2 {
		if r := run(t, "oom", "list"); r.code == 3 {
			t.Skipf("the kernel's log is not readable here: %s", r.err)
		}
		t.Fatalf("%+v", here)
	}
	checkScreen(t, tells(t, run(t, "explain", tr.Cgroup), "WARNING oom.container"))
	tells(t, run(t, "explain", tr.Cgroup, "-o", "wide"), "oom.container (high confidence", "/dev/kmsg", "oom_kill 1")
	dir := t.TempDir()
	for name, flag := range map[string]string{"plain": "--timeout=10s", "redacted": "--redact"} {
		file := filepath.Join(dir, name)
		run(t, "capture", tr.Cgroup, "-o", file, flag).want(t, 0)
		again := findings(t, run(t, "explain", "--from", file, "-o", "json").want(t, 0).out)["oom.container"]
		if again.Severity != "warning" || again.Confidence != "high" || *again.Bytes != *here.Bytes || len(again.Evidence) != len(here.Evidence) {
			t.Errorf("%s: %+v, here %+v", name, again, here)
		}
		var m oomMessage
		if err := json.Unmarshal([]byte(run(t, "oom", "list", "--from", file, "-o", "json").want(t, 0).out), &m); err != nil || len(m.Records) == 0 {
			t.Errorf("%s: oom list: %v, %d records", name, err, len(m.Records))
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if has := strings.Contains(string(b), "invoked oom-killer"); has != (name == "plain") {
			t.Errorf("%s: lines of the log %v", name, has)
		}
	}
	attr := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if b, _ := os.ReadFile("/proc/sys/kernel/dmesg_restrict"); strings.TrimSpace(string(b)) != "1" {
		t.Log("everybody may read the kernel's log here")
		return
	}
	out := runAs(t, attr, "explain", tr.Cgroup, "-o", "json").want(t, 0).out
	byCount := findings(t, out)["oom.container"]
	if byCount.Severity != "warning" || byCount.Confidence == "high" || !strings.Contains(out, "what the kernel said when it killed") {
		t.Errorf("%+v", byCount)
	}
}

// A kill in another cgroup with a longer name, or beside, is not this one's.
func TestKillsOfNeighbours(t *testing.T) {
	h := memory(t)
	tr, _, stop := lab(t, "oom-victim", "--bytes", "24M")
	defer stop()
	quiet, dir := h.group(t, filepath.Base(tr.Cgroup)+"x")
	h.join(t, dir, actor(t, "sleeper").Process.Pid)
	for code, f := range findings(t, run(t, "explain", quiet, "-o", "json").want(t, 0).out) {
		if f.Severity != "info" {
			t.Errorf("%s after a kill in %s: %+v", code, tr.Cgroup, f)
		}
	}
}
