package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

type keepReport struct {
	Result *struct{}
	Keep   *struct {
		KeepBytes, UsageFirstBytes, UsageLastBytes, FreedBytes, SavedBytes int64
		RereadBytes                                                        *int64
		TurnCount, Acted, Backoffs                                         int
		Met, Restored, Interrupted                                         bool
		Stopped                                                            string
		Turns                                                              []struct{ Because string }
		Blind                                                              []struct{ Guard, Why string }
	}
}

func keeping(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	var out, errs bytes.Buffer
	cmd := exec.Command(binary, append([]string{
		"reclaim", "-o", "json", "--observe", "0", "--every", "1s", "--yes",
		"--record", filepath.Join(dir, "r"), "--journal", filepath.Join(dir, "j"),
	}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	return cmd, &out, &errs
}

func kepts(t *testing.T, out, errs *bytes.Buffer) keepReport {
	t.Helper()
	var k keepReport
	if err := json.Unmarshal(out.Bytes(), &k); err != nil || k.Keep == nil {
		t.Fatalf("%v: %s%s", err, out, errs)
	}
	return k
}

// A job that writes files and does not look at them again is kept small, and nothing of
// what was given back is missed.
func TestReclaimKeepCold(t *testing.T) {
	h := memory(t)
	work := workdir(t)
	cgroup, dir := h.group(t, unique("keep"))
	job := exec.Command("/bin/sh", "-c", `echo 0 > "$0"/cgroup.procs; cd "$1"
		for i in 1 2 3 4 5 6; do head -c 24M /dev/zero > f$i; sync f$i; sleep 1; done; sleep 300`, dir, work)
	job.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(job.Start())
	t.Cleanup(func() { _ = syscall.Kill(-job.Process.Pid, syscall.SIGKILL); _ = job.Wait() })
	time.Sleep(time.Second)
	if p := run(t, "reclaim", cgroup, "--keep", "48MiB", "--every", "1s", "--for", "1s", "--observe", "0").want(t, 0); !strings.HasPrefix(p.out, "Would keep usage at 48.0 MiB") {
		t.Errorf("%s", p.out)
	}
	cmd, out, errs := keeping(t, cgroup, "--keep", "48MiB", "--for", "25s")
	err := cmd.Run()
	k := kepts(t, out, errs).Keep
	if err != nil || !k.Met || !k.Restored || k.UsageLastBytes > 60<<20 || k.Acted == 0 || k.FreedBytes < 64<<20 || k.SavedBytes <= 0 {
		t.Errorf("%v: %s", err, out)
	}
	if k.RereadBytes != nil && *k.RereadBytes > 1<<20 {
		t.Errorf("%d were read again, which nobody does", *k.RereadBytes)
	}
	if got := usage(t, dir); got > 60<<20 {
		t.Errorf("usage is %d", got)
	}
}

// What is read all the time stays, whatever was to be kept; and an interrupt is the usual
// end, with a summary.
func TestReclaimKeepSparesHot(t *testing.T) {
	h := memory(t)
	work := workdir(t)
	cgroup, dir := h.group(t, unique("hot"))
	file := cold(t, work, "hot", 32<<20)
	job := exec.Command("/bin/sh", "-c", `echo 0 > "$0"/cgroup.procs; while :; do cat "$1" >/dev/null; sleep 0.05; done`, dir, file)
	job.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(job.Start())
	t.Cleanup(func() { _ = syscall.Kill(-job.Process.Pid, syscall.SIGKILL); _ = job.Wait() })
	time.Sleep(time.Second)
	before := usage(t, dir)
	cmd, out, errs := keeping(t, cgroup, "--keep", "8MiB", "--for", "5m")
	must(cmd.Start())
	time.Sleep(8 * time.Second)
	must(cmd.Process.Signal(syscall.SIGINT))
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		_ = cmd.Process.Kill()
		t.Fatal("an interrupt does not end it")
	}
	k := kepts(t, out, errs).Keep
	if code := cmd.ProcessState.ExitCode(); code != 6 || k.Met || !k.Interrupted || !k.Restored || k.TurnCount == 0 {
		t.Errorf("exit code %d: %s", code, out)
	}
	if lost := before - usage(t, dir); lost > before/10 {
		t.Errorf("it lost %d bytes of its hot set: %s", lost, out)
	}
	for _, turn := range k.Turns {
		if turn.Because == "" {
			t.Errorf("a turn that did nothing does not say why: %s", out)
		}
	}
	fmt.Fprintln(t.Output(), k.Turns)
}

func TestReclaimKeepRefuses(t *testing.T) {
	h := memory(t)
	cgroup, _ := h.group(t, unique("keeps"))
	for _, args := range [][]string{
		{"--keep", "NaN"},
		{"--keep", "-1"},
		{"--keep", "1MiB", "--to", "1MiB"},
		{"--keep", "1MiB", "--every", "10ms"},
		{"--keep", "1MiB", "--every", "30s", "--for", "1s"},
		{"--keep", "1MiB", "--all-cache"},
		{"--keep", "1MiB", "--dying"},
	} {
		run(t, append([]string{"reclaim", cgroup, "--observe", "0"}, args...)...).want(t, 2)
	}
}
