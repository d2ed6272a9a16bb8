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

	"github.com/memwhy/memwhy/e2e/judge"
)

// answered plans on a terminal, lets something happen before it says yes, and tells what
// became of it. What it showed is the plan, and the result.
func answered(t *testing.T, meanwhile func(), args ...string) (shown string, code int) {
	t.Helper()
	main, tty := terminal(t)
	state := t.TempDir()
	cmd := exec.Command(binary, append([]string{"reclaim", "--observe", "300ms", "--record", filepath.Join(state, "r"), "--journal", filepath.Join(state, "j")}, args...)...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout = tty, &out
	asks, err := cmd.StderrPipe()
	must(err)
	must(cmd.Start())
	until(t, asks, "[y/N]")
	meanwhile()
	_, err = main.WriteString("y\n")
	must(err)
	rest, _ := io.ReadAll(asks)
	_ = cmd.Wait()
	if s := string(rest); strings.Contains(s, "panic:") {
		t.Error(s)
	}
	return strings.Join(strings.Fields(out.String()), " "), cmd.ProcessState.ExitCode()
}

// drops is somebody else who drops the cache of a file.
func drops(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	must(err)
	defer f.Close()
	if _, _, e := syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, 4 /* DONTNEED */, 0, 0); e != 0 {
		t.Fatal(e)
	}
	if n := resident(t, file); n > 0 {
		t.Fatalf("%d of %s are in memory still", n, file)
	}
}

// What somebody else took between a plan and its act is not missed: the goal is that it is
// out of memory.
func TestReclaimWhatOthersTook(t *testing.T) {
	t.Parallel()
	h := memory(t)
	work := workdir(t)
	cgroup, dir := h.group(t, unique("taken"))
	var files []string
	for _, name := range []string{"taken", "deleted", "own"} {
		files = append(files, cold(t, work, name, 24<<20))
	}
	charged(t, dir, files...)
	said, code := answered(t, func() {
		drops(t, files[0])
		must(os.Remove(files[1]))
	}, cgroup)
	if code != 0 || !strings.Contains(said, " Gave back ") || !strings.Contains(said, "; somebody else had freed 48.0 MiB of what was planned.") {
		if judge.Kdamond() && code == 0 && strings.Contains(said, "somebody else had freed") {
			t.Skipf("DAMON took some, too: %s", said)
		}
		t.Errorf("exit code %d: %s", code, said)
	}
	if n := resident(t, files[2]); n > 1<<20 {
		t.Errorf("%d of what was left are in memory", n)
	}
	charged(t, dir, files[0])
	if said, code := answered(t, func() { drops(t, files[0]) }, cgroup); code != 0 || !strings.Contains(said, " Nothing was left to give back: somebody else had freed") {
		t.Errorf("all of it: exit code %d: %s", code, said)
	}
}

// A usage that was asked for is reached whoever freed what, and is not where the target
// grew meanwhile.
func TestReclaimTo(t *testing.T) {
	t.Parallel()
	h := memory(t)
	work := workdir(t)
	cgroup, dir := h.group(t, unique("to"))
	actorIn(t, nil, dir, "heap", "16")
	var files []string
	fill := func() {
		for i := range 4 {
			if len(files) <= i {
				files = append(files, cold(t, work, fmt.Sprint("data", i), 16<<20))
			}
		}
		charged(t, dir, files...)
	}
	fill()
	to := func(n int64) string { return fmt.Sprint(usage(t, dir) - n) }
	first := func(want string, args ...string) {
		t.Helper()
		if out := run(t, append([]string{"reclaim", cgroup, "--observe", "300ms"}, args...)...).want(t, 0); !strings.HasPrefix(out.out, want) {
			t.Errorf("%v: %s", args, out.out)
		}
	}
	first("A limit of 1024.0 MiB would fit: usage is", "--to", "1GiB")
	first("A limit of 1.0 MiB would not fit: about ", "--to", "1MiB")
	first("A limit of 64.0 MiB would fit: ", "--to", "64MiB")

	limit := usage(t, dir) - 30<<20
	r := reclaims(t, 0, cgroup, "--to", fmt.Sprint(limit), "--yes")
	if r.Result == nil || !r.Result.Met || usage(t, dir) > limit+1<<20 || usage(t, dir) < limit-20<<20 {
		t.Errorf("usage is %d, and %d were asked for: %+v", usage(t, dir), limit, r.Result)
	}
	fill()
	if said, code := answered(t, func() { drops(t, files[0]); drops(t, files[1]); drops(t, files[2]) }, cgroup, "--to", to(30<<20)); code != 0 || !strings.Contains(said, " Usage is ") || !strings.Contains(said, " already, and ") {
		t.Errorf("others freed it: exit code %d: %s", code, said)
	}
	fill()
	if said, code := answered(t, func() { actorIn(t, nil, dir, "heap", "64") }, cgroup, "--to", to(40<<20)); code != 6 || !strings.Contains(said, "more than the") || !strings.Contains(said, "that were asked for") {
		t.Errorf("it grew: exit code %d: %s", code, said)
	}
	out := run(t, "reclaim", cgroup, "--to", "1MiB", "--yes", "--observe", "0", "--record", t.TempDir()+"/r", "--journal", t.TempDir()+"/j")
	out.want(t, 6, "usage is more than was asked for")
	out = run(t, "reclaim", cgroup, "--to", "1MiB", "--yes", "--observe", "0", "-o", "json", "--record", t.TempDir()+"/r", "--journal", t.TempDir()+"/j")
	out.want(t, 6, "usage is more than was asked for")
	if !json.Valid([]byte(out.out)) {
		t.Errorf("%s", out.out)
	}
}
