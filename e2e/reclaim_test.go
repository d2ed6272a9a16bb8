package e2e

import (
	"encoding/json"
	"os"
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
		FreedBytes       *int64
		DroppedBytes     int64
		Met              bool
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
