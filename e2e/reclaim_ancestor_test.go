package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A removed cgroup whose cache is of a file that cannot be opened goes by the knob of the
// nearest living one above: when nobody living there has cache to lose, or was allowed to.
func TestReclaimDyingByAncestor(t *testing.T) {
	s := &stage{h: memory(t), work: workdir(t)}
	s.cgroup, s.dir = s.h.group(t, unique("above"))
	s.h.nests(s.dir)
	const each = 16 << 20
	small := cold(t, s.work, "small", 2<<20)
	grave := func(name string) {
		t.Helper()
		one := filepath.Join(s.dir, name)
		must(os.Mkdir(one, 0o755))
		file := cold(t, s.work, name, each)
		charged(t, "", small) // what of the program was evicted meanwhile is charged here
		charged(t, one, file)
		remove(t, one)
		actorIn(t, nil, "", "parks", file)
	}
	grave("first")
	knob, allow := s.knob(t)
	p := releases(t, 0, s.cgroup)
	if p.Dying.Count == 0 && p.Dying.Inherited != nil {
		return // since 7.1: see TestReclaimDying
	}
	if n := len(allow); n > 0 && (p.Dying.Releases != 0 || !strings.Contains(fmt.Sprint(p.Plan.Offers), allow[n-1])) {
		t.Errorf("%s is not allowed, and is done or not offered: %+v", knob, p)
	}
	was := s.settings(t)
	r := releases(t, 0, append([]string{s.cgroup, "--yes"}, allow...)...)
	if len(r.Plan.Knobs) != 1 || r.Plan.Knobs[0].Knob != knob || r.Result == nil || !r.Result.Met || !r.Result.Restored || r.Dying.Went == nil || *r.Dying.Went != 1 {
		t.Errorf("nobody has anything to lose: %+v", r)
	}

	grave("second")
	living := filepath.Join(s.dir, "living")
	must(os.Mkdir(living, 0o755))
	theirs := cold(t, s.work, "theirs", each)
	charged(t, living, theirs)
	p = releases(t, 0, append([]string{s.cgroup}, allow...)...)
	if len(p.Plan.Knobs) != 0 || !strings.Contains(fmt.Sprint(p.Plan.Offers), "--allow-ancestor") {
		t.Errorf("a living one has cache to lose: %+v", p)
	}
	p = releases(t, 0, append([]string{s.cgroup, "--allow-ancestor"}, allow...)...)
	if l := p.Dying.Losers; len(l) == 0 || !strings.HasSuffix(l[0].Cgroup, "/living") || l[0].MostBytes < each/2 || l[0].ExpectBytes > l[0].MostBytes || p.Result != nil {
		t.Errorf("who may lose how much: %+v", p)
	}
	if is := s.settings(t); is != was {
		t.Errorf("settings were %q and are %q", was, is)
	}
	remove(t, living)
}
