package remedy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
)

const mib = 1 << 20

func state(bytes, active, referenced int64) snapshot.PageState {
	return snapshot.PageState{Bytes: bytes * mib, Active: active * mib, Inactive: (bytes - active) * mib, Referenced: referenced * mib}
}

// file is a file that stood still over the window.
func file(p string, s snapshot.PageState) Candidate {
	before := s
	return Candidate{Path: p, Kind: "host", Open: &File{Path: p, FS: "ext4", Inode: 1}, State: s, Before: &before}
}

func situation(v snapshot.Version, files ...Candidate) *Situation {
	return &Situation{
		Target: Group{Path: "/c", Dir: "/sys/fs/cgroup/c", Version: v, ID: 7}, Usage: 400 * mib, Cache: 300 * mib, CPUs: 2, PageSize: 4096,
		Window: 10 * time.Second, Candidates: files, Since: [3]int{6, 12, 0}, HasReclaim: snapshot.Denied,
	}
}

func plan(t *testing.T, s *Situation, sel Selection) *Decision {
	t.Helper()
	d, err := Make(s, sel)
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, step := range d.Steps {
		if step.Bytes <= 0 {
			t.Errorf("a step of %d bytes", step.Bytes)
		}
		sum += step.Bytes
	}
	if sum != d.Expect {
		t.Errorf("steps sum to %d, %d are expected", sum, d.Expect)
	}
	return d
}

func TestWhatIsCold(t *testing.T) {
	grew, used, appeared, mapped := file("/g", state(10, 0, 0)), file("/u", state(10, 5, 0)), file("/n", state(10, 0, 0)), file("/m", state(10, 0, 0))
	grew.Before.Bytes -= mib
	used.Before.Active -= mib
	appeared.Before = nil
	mapped.State.Mapped = mib
	moved, marked := file("/r", state(10, 0, 0)), file("/hot", state(10, 10, 10))
	moved.Moved = "pid 3"
	s := situation(snapshot.V1, file("/cold", state(20, 0, 0)), file("/once", state(20, 20, 0)), grew, used, appeared, mapped, moved, marked)
	d := plan(t, s, Selection{})
	if len(d.Picked) != 2 || d.Picked[0].Path != "/cold" || d.Picked[1].Path != "/once" || d.Expect != 40*mib {
		t.Errorf("picked %v, expect %d", d.Picked, d.Expect)
	}
	for path, why := range map[string]string{"/g": "grew", "/u": "were used", "/n": "appeared", "/m": "mapped", "/r": "pid 3", "/hot": "undecided"} {
		found := false
		for _, p := range d.Spared {
			found = found || p.Path == path && strings.Contains(p.Why, why)
		}
		if !found {
			t.Errorf("%s is not spared because it is %q: %+v", path, why, d.Spared)
		}
	}
	if all := plan(t, s, Selection{All: true}); len(all.Picked) != 7 {
		t.Errorf("%d of all", len(all.Picked))
	}
}

// The multi-generation LRU moves nothing on use, and counts it on the page.
func TestColdByMarks(t *testing.T) {
	marked := func(path string, before, after int64) Candidate {
		c := file(path, state(10, 0, 10)) // one use sets the mark that the classic lists have
		c.State.Marks, c.Before.Marks = after*mib, before*mib
		return c
	}
	s := situation(snapshot.V2, marked("/once", 10, 10), marked("/used", 10, 11), marked("/often", 40, 40), marked("/blind", snapshot.Unknown, snapshot.Unknown))
	s.Candidates[3].State.Marks, s.Candidates[3].Before.Marks = snapshot.Unknown, snapshot.Unknown
	s.MGLRU = true
	d := plan(t, s, Selection{})
	if len(d.Picked) != 1 || d.Picked[0].Path != "/once" {
		t.Errorf("%+v", d.Picked)
	}
	for i, why := range []string{"were used", "undecided", "undecided"} {
		if !strings.Contains(d.Spared[i].Why, why) {
			t.Errorf("%s: %s, want %s", d.Spared[i].Path, d.Spared[i].Why, why)
		}
	}
}

func TestOthersAreSpared(t *testing.T) {
	charged, open, layer, volume := file("/c", state(10, 0, 0)), file("/o", state(10, 0, 0)), file("/l", state(10, 0, 0)), file("/v", state(10, 0, 0))
	charged.Others, open.Outside = 4096, []string{"pid 9 of /n"}
	layer.Kind, layer.Sharers, volume.Kind, volume.Sharers = "image-layer", 2, "volume", 3
	deleted := file("/d", state(10, 0, 0))
	deleted.Open, deleted.Cannot = nil, "deleted"
	s := situation(snapshot.V1, charged, open, layer, volume, deleted)
	if d := plan(t, s, Selection{All: true}); len(d.Picked) != 0 || len(d.Spared) != 5 {
		t.Errorf("%+v", d.Picked)
	}
	if d := plan(t, s, Selection{All: true, IncludeShared: true}); len(d.Picked) != 4 {
		t.Errorf("%d with shared ones", len(d.Picked))
	}
	s.Target.Version = snapshot.V2
	to := int64(100 * mib)
	d := plan(t, s, Selection{To: &to})
	if len(d.Steps) != 0 || !strings.Contains(strings.Join(d.Offers, " "), "--include-shared") {
		t.Errorf("the kernel would choose among what others use: %+v, %q", d.Steps, d.Offers)
	}
}

func TestDirtyNeedsSync(t *testing.T) {
	dirty := file("/d", state(10, 0, 0))
	dirty.State.Dirty = 10 * mib
	s := situation(snapshot.V2, dirty)
	if d := plan(t, s, Selection{}); len(d.Steps) != 0 {
		t.Errorf("%+v", d.Steps)
	}
	s.Candidates[0].Open.Dirty = 10 * mib
	if d := plan(t, s, Selection{Sync: true}); len(d.Steps) != 1 || !d.Steps[0].Sync || d.Cost != (Cost{File: 10 * mib, Write: 10 * mib}) {
		t.Errorf("%+v, %+v", d.Steps, d.Cost)
	}
}

// What a plan takes of what, and what that costs: single files are cache, and where the
// kernel chooses slab goes too, as much as there is of it.
func TestCost(t *testing.T) {
	to := int64(200 * mib)
	s := situation(snapshot.V2)
	s.Slab = s.Cache / 3
	d := plan(t, s, Selection{To: &to})
	if d.Cost.File+d.Cost.Slab != d.Expect || d.Expect == 0 || d.Cost.Slab < d.Expect/4-1 || d.Cost.Slab > d.Expect/4+1 || d.Cost.Write != 0 {
		t.Errorf("%+v of %d", d.Cost, d.Expect)
	}
	d = plan(t, situation(snapshot.V2, file("/a", state(10, 0, 0))), Selection{})
	if d.Cost != (Cost{File: d.Expect}) || d.Expect != 10*mib {
		t.Errorf("%+v of %d", d.Cost, d.Expect)
	}
}

func TestKnobs(t *testing.T) {
	to := int64(200 * mib)
	for name, c := range map[string]struct {
		change func(*Situation, *Selection)
		knob   Knob
		steps  int
		check  func(Step) bool
		offer  string
	}{
		"6.12":                 {func(*Situation, *Selection) {}, Reclaim, 13, func(s Step) bool { return s.Swappiness != nil && *s.Swappiness == 0 && s.Bytes <= 16*mib }, ""},
		"6.12, swap allowed":   {func(s *Situation, l *Selection) { s.Swap, l.AllowSwap = true, true }, Reclaim, 13, func(s Step) bool { return s.Swappiness == nil }, ""},
		"6.1":                  {func(s *Situation, _ *Selection) { s.Since, s.Swap = [3]int{6, 1, 0}, true }, Reclaim, 13, func(s Step) bool { return s.KeepSwap && s.Bytes <= 16*mib }, ""},
		"5.10":                 {func(s *Situation, _ *Selection) { s.HasReclaim = snapshot.Absent }, High, 13, func(s Step) bool { return s.Bytes <= 16*mib }, ""},
		"5.10 with swap":       {func(s *Situation, _ *Selection) { s.HasReclaim, s.Swap = snapshot.Absent, true }, "", 0, nil, "--allow-swap"},
		"v1":                   {func(s *Situation, _ *Selection) { s.Target.Version = snapshot.V1 }, "", 0, nil, "--allow-limit"},
		"v1, limit":            {func(s *Situation, l *Selection) { s.Target.Version, l.AllowLimit = snapshot.V1, true }, Limit, 13, func(s Step) bool { return s.Bytes <= 16*mib }, ""},
		"v1, force_empty":      {func(s *Situation, l *Selection) { s.Target.Version, l.AllowForceEmpty = snapshot.V1, true }, ForceEmpty, 1, func(Step) bool { return true }, ""},
		"v1, limit would swap": {func(s *Situation, l *Selection) { s.Target.Version, l.AllowLimit, s.Swap = snapshot.V1, true, true }, "", 0, nil, "--allow-swap"},
		"nothing on the lists": {func(s *Situation, _ *Selection) { s.Cache = 0 }, "", 0, nil, "nothing is left"},
	} {
		s, sel := situation(snapshot.V2), Selection{To: &to}
		c.change(s, &sel)
		d := plan(t, s, sel)
		if len(d.Steps) != c.steps {
			t.Errorf("%s: %d steps, offers %q", name, len(d.Steps), d.Offers)
			continue
		}
		for _, step := range d.Steps {
			if step.Knob != c.knob || !c.check(step) {
				t.Errorf("%s: %+v", name, step)
			}
		}
		if !strings.Contains(strings.Join(d.Offers, " "), c.offer) {
			t.Errorf("%s: offers %q", name, d.Offers)
		}
		if len(d.Steps) > 0 && (d.Guards.Floor < 0 || d.Guards.Floor > to) {
			t.Errorf("%s: floor %d", name, d.Guards.Floor)
		}
		if paced := d.Guards.Pause > 0; paced != c.knob.Chooses() || d.Guards.Pause*time.Duration(len(d.Steps)) > time.Minute {
			t.Errorf("%s: a pause of %s after each of %d steps", name, d.Guards.Pause, len(d.Steps))
		}
	}
}

func TestBadSelections(t *testing.T) {
	negative, absurd := int64(-1), int64(1<<60)
	for _, c := range []struct {
		sel  Selection
		want error
	}{
		{Selection{To: &negative}, ErrAmount},
		{Selection{To: &absurd}, ErrAmount},
		{Selection{Files: []string{"etc/passwd"}}, ErrPattern},
		{Selection{Files: []string{"/a/../../etc"}}, ErrPattern},
		{Selection{Files: []string{"/[a"}}, ErrPattern},
		{Selection{Files: []string{"/nothing/*.log"}}, ErrNoMatch},
	} {
		if _, err := Make(situation(snapshot.V2, file("/cold", state(1, 0, 0))), c.sel); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.sel, err, c.want)
		}
	}
	d := plan(t, situation(snapshot.V2, file("/var/log/a.log", state(9, 9, 9)), file("/var/x", state(1, 0, 0))), Selection{Files: []string{"/var/log"}})
	if len(d.Picked) != 1 || d.Picked[0].Path != "/var/log/a.log" {
		t.Errorf("%+v", d.Picked)
	}
}

// A neighbour is watched when it may lose by what is done, not when it has to do with some
// other file.
func TestWhoIsWatched(t *testing.T) {
	mine, theirs := file("/mine", state(10, 0, 0)), file("/theirs", state(10, 0, 0))
	theirs.Others, theirs.Near = 4096, []string{"/n"}
	s := situation(snapshot.V2, mine, theirs)
	s.Neighbours = []Group{{Path: "/n", ID: 9}}
	to := int64(100 * mib)
	for name, c := range map[string]struct {
		sel  Selection
		want int
	}{
		"its own file": {Selection{}, 0}, "a file of both": {Selection{All: true, IncludeShared: true}, 1}, "the kernel chooses": {Selection{To: &to, IncludeShared: true}, 1},
	} {
		if d := plan(t, s, c.sel); len(d.Guards.Neighbours) != c.want || len(d.Steps) == 0 {
			t.Errorf("%s: %+v", name, d.Guards.Neighbours)
		}
	}
}
