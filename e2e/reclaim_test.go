package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

type reclaimed struct {
	Plan struct {
		ExpectBytes, ErrorBytes int64
		FileCount               int
	}
	Result *struct {
		FreedBytes   *int64
		DroppedBytes int64
		Met          bool
		Restored     bool
	}
}

func reclaims(t *testing.T, code int, args ...string) (r reclaimed) {
	t.Helper()
	dir := t.TempDir()
	out := run(t, append([]string{"reclaim", "-o", "json", "--observe", "500ms", "--record", filepath.Join(dir, "r"), "--journal", filepath.Join(dir, "j")}, args...)...)
	out.want(t, code)
	if err := json.Unmarshal([]byte(out.out), &r); err != nil {
		t.Fatalf("%v: %s%s", err, out.out, out.err)
	}
	return r
}

// cold writes a file that nobody has in memory.
func cold(t *testing.T, dir, name string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	b, err := exec.Command("dd", "if=/dev/urandom", "of="+file, "bs=1M", "count=32", "oflag=direct", "status=none").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return file
}

// What a target gives back is its own: a file that a neighbour has open stays, though
// the target is charged for it, and what the neighbour is charged for stays too.
func TestReclaimSparesNeighbours(t *testing.T) {
	h := memory(t)
	work, err := os.MkdirTemp("/var/tmp", "mwr")
	must(err)
	t.Cleanup(func() { os.RemoveAll(work) })
	cgroup, dir := h.group(t, unique("target"))
	_, near := h.group(t, unique("neighbour"))
	own, shared, theirs := cold(t, work, "own"), cold(t, work, "shared"), cold(t, work, "theirs")
	reads := func(dir string, files ...string) {
		t.Helper()
		args := append([]string{"-c", `echo 0 > "$0"/cgroup.procs && cat "$@" >/dev/null`, dir}, files...)
		if b, err := exec.Command("/bin/sh", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
	}
	reads(dir, own, shared)
	reads(near, theirs)
	holder := exec.Command("/bin/sh", "-c", `echo 0 > "$0"/cgroup.procs && exec sleep 600 <"$1"`, near, shared)
	must(holder.Start())
	t.Cleanup(func() { _ = holder.Process.Kill(); _ = holder.Wait() })

	before := usage(t, near)
	p := reclaims(t, 0, cgroup)
	if p.Result != nil || usage(t, dir) < 60<<20 {
		t.Fatalf("a plan changed something: %+v, usage %d", p, usage(t, dir))
	}
	r := reclaims(t, 0, cgroup, "--yes")
	if r.Result == nil || !r.Result.Met || !r.Result.Restored || r.Result.FreedBytes == nil {
		t.Fatalf("%+v", r)
	}
	const want, tenth = 32 << 20, 32 << 20 / 10
	if got := *r.Result.FreedBytes; got < want-tenth || got > want+tenth {
		t.Errorf("freed %d, want %d: the file that the neighbour has open is not the target's to give", got, want)
	}
	if lost := before - usage(t, near); lost > 1<<20 {
		t.Errorf("the neighbour lost %d bytes", lost)
	}
	if all := reclaims(t, 0, cgroup, "--all-cache", "--include-shared", "--yes"); all.Result == nil || !all.Result.Met {
		t.Errorf("with what others use: %+v", all)
	}
	if left := usage(t, dir); left > 8<<20 {
		t.Errorf("%d are left", left)
	}
}

func TestReclaimRefuses(t *testing.T) {
	h := memory(t)
	cgroup, _ := h.group(t, unique("refuses"))
	run(t, "reclaim", "/", "--observe", "0").want(t, 3, "--really")
	run(t, "reclaim", cgroup, "--to", "NaN").want(t, 2, "no amount")
	run(t, "reclaim", cgroup, "--to", "-5").want(t, 2, "no amount")
	run(t, "reclaim", cgroup, "--file", "/a/../b", "--observe", "0").want(t, 2, "stay below")
	run(t, "reclaim", cgroup, "--file", "/no-such-*", "--observe", "0").want(t, 2, "matches")
	run(t, "reclaim", cgroup, "--all-cache", "--cold").want(t, 2, "one of")
	run(t, "reclaim", cgroup+"-gone", "--observe", "0").want(t, 2)
	if out := run(t, "reclaim", cgroup, "--observe", "0").want(t, 0); !strings.HasPrefix(out.out, "Nothing to give back.") {
		t.Errorf("%s", out.out)
	}
}

func usage(t *testing.T, dir string) int64 {
	t.Helper()
	for _, name := range []string{"memory.current", "memory.usage_in_bytes"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			var n int64
			must(json.Unmarshal(b, &n))
			return n
		}
	}
	t.Fatal("no usage")
	return 0
}
