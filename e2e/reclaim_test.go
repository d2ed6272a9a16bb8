package e2e

import (
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

	"github.com/memwhy/memwhy/e2e/judge"
)

type reclaimed struct {
	Plan struct {
		ExpectBytes, ErrorBytes int64
		FileCount               int
		Knobs                   []struct {
			Knob  string
			Steps int
			Bytes int64
		}
		Spared []struct{ Because, Example string }
		Offers []string
	}
	Result *struct {
		FreedBytes   *int64
		DroppedBytes int64
		Met          bool

		WorkingSetBeforeBytes, WorkingSetAfterBytes *int64
		Accounts                                    []struct {
			Path                    string
			BeforeBytes, AfterBytes *int64
		}

		Restored         bool
		Stopped, Because string
	}
}

func reclaims(t *testing.T, code int, args ...string) reclaimed {
	t.Helper()
	r, out := reclaiming(t, args...)
	out.want(t, code)
	return r
}

// givesBack plans and acts on so much cold cache. What DAMON takes of it before that cannot
// be given back any more.
func givesBack(t *testing.T, cold int64, cgroup string) reclaimed {
	t.Helper()
	r, out := reclaiming(t, cgroup, "--yes")
	if out.code == 6 && judge.Kdamond() && r.Plan.ExpectBytes < cold && r.Result != nil {
		t.Skipf("DAMON of this host evicted some of the %d bytes meanwhile: %d were left to plan, %d to drop", cold, r.Plan.ExpectBytes, r.Result.DroppedBytes)
	}
	out.want(t, 0)
	return r
}

func reclaiming(t *testing.T, args ...string) (r reclaimed, out result) {
	t.Helper()
	dir := t.TempDir()
	out = run(t, append([]string{"reclaim", "-o", "json", "--observe", "500ms", "--record", filepath.Join(dir, "r"), "--journal", filepath.Join(dir, "j")}, args...)...)
	if err := json.Unmarshal([]byte(out.out), &r); err != nil {
		t.Fatalf("%v: %s%s", err, out.out, out.err)
	}
	return r, out
}

// cold writes a file that nobody has in memory.
func cold(t *testing.T, dir, name string, bytes int) string {
	t.Helper()
	file := filepath.Join(dir, name)
	f, err := os.Create(file)
	must(err)
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i ^ i>>8)
	}
	for ; bytes > 0; bytes -= len(block) {
		_, err := f.Write(block[:min(bytes, len(block))])
		must(err)
	}
	must(f.Sync())
	for range 5 { // pages may be under way to the lists still
		if _, _, e := syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, 4 /* DONTNEED */, 0, 0); e != 0 {
			t.Fatal(e)
		}
		if resident(t, file) == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	must(f.Close())
	if n := resident(t, file); n > 0 {
		t.Fatalf("%d bytes of %s are in memory", n, file)
	}
	return file
}

// resident is how much of a file is in memory.
func resident(t *testing.T, file string) int64 {
	t.Helper()
	n, err := judge.Resident(file)
	must(err)
	return n
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
	own, shared, theirs := cold(t, work, "own", 32<<20), cold(t, work, "shared", 32<<20), cold(t, work, "theirs", 32<<20)
	actorIn(t, nil, dir, "caches", own, shared)
	actorIn(t, nil, near, "caches", theirs)
	actorIn(t, nil, near, "opens", shared)

	before := usage(t, near)
	p := reclaims(t, 0, cgroup)
	if p.Result != nil || usage(t, dir) < 60<<20 {
		t.Fatalf("a plan changed something: %+v, usage %d", p, usage(t, dir))
	}
	r := givesBack(t, 32<<20, cgroup)
	if r.Result == nil || !r.Result.Met || !r.Result.Restored || r.Result.FreedBytes == nil {
		t.Fatalf("%+v", r)
	}
	const want, tenth = 32 << 20, 32 << 20 / 10
	if got := *r.Result.FreedBytes; got < want-tenth || got > want+tenth {
		t.Errorf("freed %d, want %d: the file that the neighbour has open is not the target's to give", got, want)
	}
	r.balances(t, want)
	if lost := before - usage(t, near); lost > 8<<20 { // of 32 MiB; where DAMON runs it takes some of anybody
		t.Errorf("the neighbour lost %d bytes", lost)
	}
	if all := reclaims(t, 0, cgroup, "--all-cache", "--include-shared", "--yes"); all.Result == nil || !all.Result.Met {
		t.Errorf("with what others use: %+v", all)
	}
	if left := usage(t, dir); left > 8<<20 {
		t.Errorf("%d are left", left)
	}
}

// runIn runs memwhy as a member of a cgroup.
func runIn(t *testing.T, dir string, args ...string) result {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "MEMWHY_E2E_JOIN="+dir, "MEMWHY_E2E_PROGRAM="+binary)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	return result{out: out.String(), err: errs.String(), code: cmd.ProcessState.ExitCode()}
}

func TestReclaimRefuses(t *testing.T) {
	t.Parallel()
	h := memory(t)
	cgroup, dir := h.group(t, unique("refuses"))
	run(t, "reclaim", "/", "--observe", "0").want(t, 3, "--really", "whole node")
	runIn(t, dir, "reclaim", "self", "--observe", "0").want(t, 3, "--really", "memwhy itself runs in it")
	for _, amount := range []string{"NaN", "-5", "Inf", "1e30", "9999999TiB", "0%", "200%", "", "0x10"} {
		run(t, "reclaim", cgroup, "--to="+amount).want(t, 2, "no amount")
	}
	run(t, "reclaim", cgroup, "--to", "50%", "--observe", "0").want(t, 2, "no limit")
	for _, file := range []string{"/a/../b", "../etc", "/a/[", "etc/passwd"} {
		run(t, "reclaim", cgroup, "--file", file, "--observe", "0").want(t, 2, "pattern")
	}
	run(t, "reclaim", cgroup, "--file", "/no-such-*", "--observe", "0").want(t, 2, "matches")
	run(t, "reclaim", cgroup, "--all-cache", "--cold").want(t, 2, "one of")
	run(t, "reclaim", cgroup, "--observe", "-1s").want(t, 2, "--observe")
	run(t, "reclaim", "--dying", cgroup, "--to", "1MiB").want(t, 2, "--to")
	run(t, "reclaim", cgroup, "--allow-ancestor").want(t, 2, "--dying")
	run(t, "reclaim", "--dying", cgroup, "--census", "off").want(t, 3, "removed cgroups")
	run(t, "reclaim", cgroup, "--from", "/dev/null").want(t, 2, "--from")
	run(t, "reclaim", cgroup+"-gone", "--observe", "0").want(t, 2)
	if out := run(t, "reclaim", cgroup, "--observe", "0").want(t, 0); !strings.HasPrefix(out.out, "Nothing to give back.") {
		t.Errorf("%s", out.out)
	}
}

// Where another reclaim of the cgroup is under way, where nothing can be noted, or where
// somebody else may write to what is noted, nothing is done.
func TestReclaimNeedsItsPlace(t *testing.T) {
	t.Parallel()
	h := memory(t)
	work := workdir(t)
	cgroup, dir := h.group(t, unique("place"))
	file := cold(t, work, "data", 8<<20)
	charged(t, dir, file)
	before := resident(t, file)
	journal, record := t.TempDir(), t.TempDir()
	must(errors.Join(os.Chmod(journal, 0o700), os.Chmod(record, 0o700)))
	reclaim := func(journal, record string) result {
		return run(t, "reclaim", cgroup, "--file", file, "--yes", "--observe", "0", "--journal", journal, "--record", record)
	}
	st, err := os.Stat(dir)
	must(err)
	name := filepath.Join(journal, fmt.Sprintf("%d.lock", st.Sys().(*syscall.Stat_t).Ino))
	lock, err := os.Create(name)
	must(err)
	must(syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	reclaim(journal, record).want(t, 3, "another reclaim of this cgroup is under way")
	must(errors.Join(lock.Close(), os.Remove(name)))
	reclaim("/proc/self/fdinfo/x", record).want(t, 3, "journal")
	reclaim(journal, "/dev/full").want(t, 3, "recorded")
	open := filepath.Join(work, "open")
	must(errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777)))
	reclaim(journal, open).want(t, 3, "written to by others")
	if n := resident(t, file); n < before/2 { // DAMON may take some
		t.Errorf("%d of %d are in memory", n, before)
	}
	reclaim(journal, record).want(t, 0)
	if n := resident(t, file); n > 0 {
		t.Errorf("%d are in memory still", n)
	}
}

// balances demands that the ledger before and after shows what went: page cache, and
// hardly anything else.
func (r *reclaimed) balances(t *testing.T, want int64) {
	t.Helper()
	var before, after int64
	for _, a := range r.Result.Accounts {
		if a.BeforeBytes == nil || a.AfterBytes == nil {
			t.Errorf("%s is not told: %+v", a.Path, a)
			continue
		}
		before, after = before+*a.BeforeBytes, after+*a.AfterBytes
		switch fell := *a.BeforeBytes - *a.AfterBytes; {
		case a.Path == "file" && !within(fell, want):
			t.Errorf("page cache fell by %d, want %d", fell, want)
		case a.Path != "file" && (fell > want/10 || fell < -want/10):
			t.Errorf("%s fell by %d", a.Path, fell)
		}
	}
	if fell := before - after; len(r.Result.Accounts) == 0 || !within(fell, *r.Result.FreedBytes) {
		t.Errorf("the accounts fell by %d, usage by %d: %+v", fell, *r.Result.FreedBytes, r.Result.Accounts)
	}
	if b, a := r.Result.WorkingSetBeforeBytes, r.Result.WorkingSetAfterBytes; b == nil || a == nil || *a > *b+want/10 {
		t.Errorf("the working set is not told, or grew: %v, %v", b, a)
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
