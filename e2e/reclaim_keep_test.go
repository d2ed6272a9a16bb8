package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
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

// keeper is memwhy that keeps a cgroup small.
type keeper struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	errs io.Reader
}

func keeping(t *testing.T, args ...string) *keeper {
	t.Helper()
	dir := t.TempDir()
	k := &keeper{cmd: exec.Command(binary, append([]string{
		"reclaim", "-o", "json", "--observe", "0", "--every", "1s", "--for", "5m", "--yes",
		"--record", filepath.Join(dir, "r"), "--journal", filepath.Join(dir, "j"),
	}, args...)...)}
	k.cmd.Stdout = &k.out
	var err error
	k.errs, err = k.cmd.StderrPipe()
	must(err)
	must(k.cmd.Start())
	t.Cleanup(func() { ends(k.cmd) })
	return k
}

// turns waits for so many of them.
func (k *keeper) turns(t *testing.T, n int) {
	t.Helper()
	for range n {
		until(t, k.errs, "after ")
	}
}

// ends interrupts it, which is its usual end, with a summary.
func (k *keeper) ends(t *testing.T) (r keepReport, code int) {
	t.Helper()
	must(k.cmd.Process.Signal(syscall.SIGINT))
	said, stop := make(chan []byte, 1), time.AfterFunc(time.Minute, func() { _ = k.cmd.Process.Kill() })
	go func() {
		b, _ := io.ReadAll(k.errs)
		said <- b
	}()
	errs := <-said
	_ = k.cmd.Wait()
	if !stop.Stop() {
		t.Fatal("an interrupt does not end it")
	}
	if err := json.Unmarshal(k.out.Bytes(), &r); err != nil || r.Keep == nil {
		t.Fatalf("%v: %s%s", err, k.out.String(), errs)
	}
	return r, k.cmd.ProcessState.ExitCode()
}

// A job that writes files and does not look at them again is kept small, and nothing of
// what was given back is missed.
func TestReclaimKeepCold(t *testing.T) {
	t.Parallel()
	h := memory(t)
	work := workdir(t)
	cgroup, dir := h.group(t, unique("keep"))
	const files, each, keep = 5, 16 << 20, 32 << 20
	last := filepath.Join(work, fmt.Sprint(files-1))
	actorIn(t, nil, dir, "writes", work, fmt.Sprint(files), fmt.Sprint(each>>20))
	if p := run(t, "reclaim", cgroup, "--keep", "32MiB", "--every", "1s", "--for", "1s", "--observe", "0").want(t, 0); !strings.HasPrefix(p.out, "Would keep usage at 32.0 MiB") {
		t.Errorf("%s", p.out)
	}
	k := keeping(t, cgroup, "--keep", "32MiB")
	const soon = keep + each*3/4 // whole files
	for wait := 0; wait < 600; wait++ {
		if st, err := os.Stat(last); err == nil && st.Size() == each && usage(t, dir) < soon {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	r, code := k.ends(t)
	switch s := r.Keep; {
	case code != 0 && (code != 6 || s.UsageLastBytes <= keep), !s.Interrupted, !s.Restored, s.UsageLastBytes > soon, s.Acted == 0, s.FreedBytes < files*each-soon-each:
		t.Errorf("exit code %d: %s", code, &k.out)
	case s.RereadBytes != nil && *s.RereadBytes > 1<<20:
		t.Errorf("%d were read again, which nobody does", *s.RereadBytes)
	}
	if got := usage(t, dir); got > soon {
		t.Errorf("usage is %d", got)
	}
}

// What is read all the time stays, whatever was to be kept.
func TestReclaimKeepSparesHot(t *testing.T) {
	t.Parallel()
	h := memory(t)
	work := workdir(t)
	cgroup, dir := h.group(t, unique("hot"))
	actorIn(t, nil, dir, "rereads", "closing", cold(t, work, "hot", 32<<20))
	before := usage(t, dir)
	k := keeping(t, cgroup, "--keep", "8MiB")
	k.turns(t, 2)
	r, code := k.ends(t)
	if code != 6 || r.Keep.Met || !r.Keep.Interrupted || !r.Keep.Restored || r.Keep.TurnCount < 2 {
		t.Errorf("exit code %d: %s", code, &k.out)
	}
	if lost := before - usage(t, dir); lost > before/10 {
		t.Errorf("it lost %d bytes of its hot set: %s", lost, &k.out)
	}
	t.Log(r.Keep.Turns)
	for _, turn := range r.Keep.Turns {
		if turn.Because == "" {
			t.Errorf("a turn that did nothing does not say why: %s", &k.out)
		}
	}
}

func TestReclaimKeepRefuses(t *testing.T) {
	t.Parallel()
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
