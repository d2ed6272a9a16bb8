package e2e

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// left writes the journal of a reclaim that was killed, with its guardian, when it had
// lowered a limit of a cgroup to set.
func left(t *testing.T, h hierarchy, journal, dir string, was, set int64) {
	t.Helper()
	st, err := os.Stat(dir)
	must(err)
	id := st.Sys().(*syscall.Stat_t).Ino
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	must(err)
	version := 1
	if h.v2 {
		version = 2
	}
	raw := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	b, err := json.Marshal(map[string]any{
		"schema": "memwhy.journal/v1", "boot": strings.TrimSpace(string(boot)), "pid": 1 << 22, "at": time.Now(), "record": "x", "state": "", "path": raw(strings.TrimPrefix(dir, h.point)),
		"group":    map[string]any{"root": raw("/"), "dir": raw(dir), "version": version, "id": id},
		"settings": []map[string]any{{"name": h.lowers(), "was": was, "set": set}},
	})
	must(err)
	must(os.WriteFile(filepath.Join(journal, fmt.Sprintf("%d.journal", id)), append(b, '\n'), 0o600))
}

// lowers is a setting that a reclaim may lower.
func (h hierarchy) lowers() string {
	if h.v2 {
		return "memory.high"
	}
	return "memory.limit_in_bytes"
}

// When memwhy and its guardian were both killed, what was lowered stays so until it is
// recovered; what somebody else has set since is left alone; and until then nothing more
// is done to that cgroup.
func TestReclaimRecover(t *testing.T) {
	t.Parallel()
	h := memory(t)
	cgroup, dir := h.group(t, unique("left"))
	journal := t.TempDir()
	must(os.Chmod(journal, 0o700))
	file := filepath.Join(dir, h.lowers())
	value := func() string {
		b, err := os.ReadFile(file)
		must(err)
		return strings.TrimSpace(string(b))
	}
	set := func(n int64) { must(os.WriteFile(file, []byte(fmt.Sprint(n)), 0)) }
	const was, ours, theirs = 512 << 20, 64 << 20, 96 << 20

	set(ours)
	left(t, h, journal, dir, was, ours)
	work := workdir(t)
	data := cold(t, work, "data", 1<<20)
	charged(t, dir, data)
	again := run(t, "reclaim", cgroup, "--file", data, "--yes", "--observe", "0", "--journal", journal, "--record", filepath.Join(t.TempDir(), "r"))
	again.want(t, 3, "recover it first", "memwhy reclaim --recover")
	if out := run(t, "reclaim", "--recover", "--journal", journal).want(t, 0); value() != fmt.Sprint(was) || !strings.Contains(out.out, "restored") {
		t.Errorf("%s is %s: %s", file, value(), out.out)
	}
	run(t, "reclaim", "--recover", "--journal", journal).want(t, 0)

	set(theirs)
	left(t, h, journal, dir, was, ours)
	if out := run(t, "reclaim", "--recover", "--journal", journal).want(t, 0); value() != fmt.Sprint(theirs) || !strings.Contains(out.out, "left") {
		t.Errorf("%s is %s, which somebody else has set: %s", file, value(), out.out)
	}
}

// Every start says that something was left changed. Its journal is looked for in /run,
// which is another one here.
func TestReclaimLeftIsTold(t *testing.T) {
	if role := os.Getenv("MEMWHY_E2E_APART"); role == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestReclaimLeftIsTold$", "-test.v")
		cmd.Env = append(os.Environ(), "MEMWHY_E2E_APART=yes")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		if b, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(b), "--- PASS") {
			t.Errorf("%v: %s", err, b)
		}
		return
	}
	h := memory(t)
	_, dir := h.group(t, unique("told"))
	must(errors.Join(
		syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""),
		os.MkdirAll("/run", 0o755),
		syscall.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"),
		os.Mkdir("/run/memwhy", 0o700),
	))
	run(t, "version").want(t, 0)
	left(t, h, "/run/memwhy", dir, 512<<20, 64<<20)
	for _, command := range [][]string{{"version"}, {"codes"}, {"reclaim", "--history"}} {
		if out := run(t, command...).want(t, 0); !strings.Contains(out.err, "ended half way") || !strings.Contains(out.err, "memwhy reclaim --recover puts it back") || !strings.Contains(out.err, h.lowers()) {
			t.Errorf("%v: %q", command, out.err)
		}
	}
}

// Dirty files stay where writing them was not allowed, and are written first where it was.
func TestReclaimDirty(t *testing.T) {
	h := memory(t)
	work := workdir(t)
	cgroup, dir := h.group(t, unique("dirty"))
	file := filepath.Join(work, "dirty")
	actorIn(t, nil, dir, "dirties", file, "16")
	n := resident(t, file)
	r, out := reclaiming(t, cgroup, "--file", file, "--yes")
	if spared := fmt.Sprint(r.Plan.Spared); r.Result == nil && (out.code != 6 || !strings.Contains(spared, "--sync") || !strings.Contains(out.err, "nothing of what was asked for") || resident(t, file) < n*3/4) {
		t.Errorf("exit code %d: %+v; %d of %d are in memory", out.code, r, resident(t, file), n)
	}
	r = reclaims(t, 0, cgroup, "--file", file, "--sync", "--yes")
	if resident(t, file) > 0 || r.Result == nil || !r.Result.Met {
		t.Errorf("%+v; %d are in memory", r, resident(t, file))
	}
}

// An interrupt ends a reclaim between two steps, with what was done until then.
func TestReclaimInterrupted(t *testing.T) {
	s := newStage(t, "interrupted")
	_, allow := s.knob(t)
	allow = append(allow, "--include-shared") // pages of the test program that were first read here
	actorIn(t, nil, s.dir, "keeps-deleted", cold(t, s.work, "deleted", 96<<20))
	was := s.settings(t)
	state := t.TempDir()
	record := filepath.Join(state, "r")
	cmd := exec.Command(binary, append([]string{"reclaim", s.cgroup, "--all-cache", "--yes", "--observe", "0", "-o", "json", "--record", record, "--journal", filepath.Join(state, "j")}, allow...)...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	must(cmd.Start())
	before := usage(t, s.dir)
	for deadline := time.Now().Add(time.Minute); usage(t, s.dir) > before-8<<20 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	must(cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait()
	var r reclaimed
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil || r.Result == nil {
		t.Fatalf("%v: %s%s", err, out.String(), errs.String())
	}
	if code := cmd.ProcessState.ExitCode(); code != 7 || r.Result.Stopped != "interrupted" || !r.Result.Restored || usage(t, s.dir) < 16<<20 {
		t.Errorf("exit code %d, usage %d: %+v", code, usage(t, s.dir), r.Result)
	}
	if is := s.settings(t); is != was {
		t.Errorf("settings were %q and are %q", was, is)
	}
	if h := run(t, "reclaim", "--history", "--record", record).want(t, 0); !strings.Contains(h.out, "interrupted") {
		t.Errorf("%s", h.out)
	}
}

// A file on FUSE is never opened, whatever is asked for: its server may never answer.
func TestReclaimNeverOpensFuse(t *testing.T) {
	t.Parallel()
	h := memory(t)
	cgroup, dir := h.group(t, unique("fuse"))
	file, release, answers := fuseFile(t)
	answers.Store(reads)
	defer release()
	charged(t, dir, file)
	answers.Store(noOpens)
	for _, selection := range [][]string{{"--all-cache"}, {"--file", file}, {"--to", "0"}} {
		r := run(t, append([]string{"reclaim", cgroup, "--observe", "0", "-o", "json"}, selection...)...)
		var p reclaimed
		if err := json.Unmarshal([]byte(r.out), &p); err != nil || r.code != 0 {
			t.Fatalf("%v: exit code %d: %s%s", selection, r.code, r.out, r.err)
		}
		if spared := fmt.Sprint(p.Plan.Spared); p.Plan.FileCount > 0 || !strings.Contains(spared, "on fuse, of which no file is ever opened") {
			t.Errorf("%v: %s", selection, r.out)
		}
	}
}
