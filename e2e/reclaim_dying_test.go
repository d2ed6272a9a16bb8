package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type released struct {
	Plan struct {
		FileCount int
		Knobs     []struct{ Knob string }
		Offers    []string
	}
	Result *struct{ Met, Restored bool }
	Dying  struct {
		Count, Releases int
		Bytes           int64
		Went            *int
		BytesLeft       *int64
		Inherited       []struct{ Bytes int64 }
		Losers          []struct {
			Cgroup                 string
			MostBytes, ExpectBytes int64
		}
		Rest []struct {
			Cgroup   string
			PinnedBy []struct{ Path string }
		}
	}
}

func releases(t *testing.T, code int, args ...string) (r released) {
	t.Helper()
	dir := t.TempDir()
	out := run(t, append([]string{"reclaim", "--dying", "-o", "json", "--observe", "300ms", "--record", filepath.Join(dir, "r"), "--journal", filepath.Join(dir, "j")}, args...)...)
	out.want(t, code)
	if err := json.Unmarshal([]byte(out.out), &r); err != nil {
		t.Fatalf("%v: %s%s", err, out.out, out.err)
	}
	return r
}

// nests has what is charged below a cgroup charged to it too.
func (h hierarchy) nests(dir string) {
	if h.v2 {
		must(os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory"), 0))
		return
	}
	if name := filepath.Join(dir, "memory.use_hierarchy"); readable(name) {
		must(os.WriteFile(name, []byte("1"), 0)) // before 5.11 it is a choice
	}
}

func readable(name string) bool {
	_, err := os.ReadFile(name)
	return err == nil
}

// Removed cgroups that only the cache of files keeps go when that goes; one whose file a
// living process has open stays, and it is said by what.
func TestReclaimDying(t *testing.T) {
	h := memory(t)
	work := workdir(t)
	cgroup, dir := h.group(t, unique("graves"))
	h.nests(dir)
	small := cold(t, work, "small", 2<<20)
	const (
		graves = 4
		each   = 16 << 20
		tenth  = each / 10
	)
	var files []string
	for i := range graves {
		one := filepath.Join(dir, fmt.Sprintf("job%d", i))
		must(os.Mkdir(one, 0o755))
		files = append(files, cold(t, work, fmt.Sprintf("data%d", i), each))
		charged(t, "", small) // what of the program was evicted meanwhile is charged here
		charged(t, one, files[i])
		remove(t, one)
	}
	open := actorIn(t, nil, "", "opens", files[0])

	p := releases(t, 0, cgroup)
	if p.Dying.Count == 0 && p.Dying.Inherited != nil { // since 7.1
		if len(p.Dying.Inherited) != 1 || p.Dying.Inherited[0].Bytes < graves*(each-tenth) || p.Result != nil || p.Dying.Releases != 0 {
			t.Errorf("nothing is claimed of what a living one inherited, and it is said: %+v", p)
		}
		return
	}
	if p.Result != nil || p.Dying.Count != graves || p.Dying.Releases != graves-1 || p.Plan.FileCount != graves-1 || p.Dying.Bytes < graves*(each-tenth) {
		t.Fatalf("%+v", p)
	}
	before := usage(t, dir)
	r := releases(t, 0, cgroup, "--yes")
	d := r.Dying
	if r.Result == nil || !r.Result.Met || !r.Result.Restored || d.Went == nil || *d.Went != graves-1 || d.BytesLeft == nil || *d.BytesLeft > each+tenth {
		t.Fatalf("%+v", r)
	}
	if len(d.Rest) != 1 || !strings.HasSuffix(d.Rest[0].Cgroup, "job0") || len(d.Rest[0].PinnedBy) == 0 || d.Rest[0].PinnedBy[0].Path != files[0] {
		t.Errorf("what keeps the rest: %+v", d.Rest)
	}
	if got := before - usage(t, dir); !within(got, (graves-1)*each) {
		t.Errorf("their parent lost %d bytes, want %d", got, (graves-1)*each)
	}
	ends(open)
	if r := releases(t, 0, cgroup, "--yes"); r.Dying.Went == nil || *r.Dying.Went != 1 || len(r.Dying.Rest) != 0 {
		t.Errorf("the last one: %+v", r)
	}
	if out := run(t, "reclaim", "--dying", cgroup, "--observe", "0").want(t, 0); !strings.HasPrefix(out.out, "No removed memory cgroup is kept.") {
		t.Errorf("%s", out.out)
	}
}
