package explain

import (
	"testing"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
)

func TestSelector(t *testing.T) {
	target := &report.Target{Image: "reg.corp:5000/team/app:1.2", Labels: map[string]string{"app": "web", "tier": "", "a.b/c": "d"}}
	for s, want := range map[string]bool{
		"app=web": true, "app==web": true, "app=x": false, "app!=x": true, "app!=web": false, "app": true, "!app": false,
		"!other": true, "other": false, "tier=": true, "app=web,a.b/c=d": true, "app=web,a.b/c=x": false, "other!=x": true, "app = web": true,
		"image=app": true, "image=team/app:1.2": true, "image=reg.corp:5000/team/app": true, "image=app:1.2": true, "image=ap*": true,
		"image=corp": false, "image!=app": false, "image": true, "image=*": true,
	} {
		sel, err := ParseSelector(s)
		if err != nil || sel.match(target) != want {
			t.Errorf("%q: %v, want %v, %v", s, sel.match(target), want, err)
		}
	}
	for _, s := range []string{"", ",", "=x", "!", "app=web,", "app in (a,b)", "image=[", "!!a"} {
		if sel, err := ParseSelector(s); err == nil {
			t.Errorf("%q: %+v", s, sel)
		}
	}
	if sel, _ := ParseSelector("image=x"); sel.match(&report.Target{}) {
		t.Error("no image is no image x")
	}
}

// What is cold is at most the inactive file cache, and less where so much is dirty or
// mapped that not all of it can be.
func TestColdMax(t *testing.T) {
	for name, c := range map[string]struct {
		shmem int64
		state map[string]int64
		want  *int64
	}{
		"no list":            {0, map[string]int64{"active": 10}, nil},
		"the list":           {0, map[string]int64{"inactive": 60, "dirty": 30, "mapped": 40}, ptr(int64(60))},
		"no other counter":   {0, map[string]int64{"inactive": 60}, ptr(int64(60))},
		"much is dirty":      {0, map[string]int64{"inactive": 60, "dirty": 50, "writeback": 20}, ptr(int64(30))},
		"much is mapped":     {0, map[string]int64{"inactive": 60, "mapped": 90}, ptr(int64(10))},
		"shmem is mapped":    {80, map[string]int64{"inactive": 60, "mapped": 90}, ptr(int64(60))},
		"counters fall back": {0, map[string]int64{"inactive": 60, "dirty": 140}, ptr(int64(0))},
	} {
		l := &ledger.Ledger{Accounts: []ledger.Account{{Path: ledger.File, Bytes: 100, State: c.state}, {Path: ledger.Shmem, Bytes: c.shmem}}}
		got := coldMax(l)
		if (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := coldMax(&ledger.Ledger{}); got != nil {
		t.Errorf("%d of no file cache that was read", *got)
	}
}

func FuzzParseSelector(f *testing.F) {
	f.Add("a=b,!c,image=*x", "image", "a/b:1")
	f.Fuzz(func(_ *testing.T, s, key, image string) {
		if sel, err := ParseSelector(s); err == nil {
			sel.match(&report.Target{Image: image, Labels: map[string]string{key: image}})
		}
	})
}
