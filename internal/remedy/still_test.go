package remedy

import (
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// What was true when a plan was made may not be when it is carried out.
func TestStill(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*Candidate)
		cold    string // why it is left alone when it was picked as cold; empty: it is not
		wanted  string // the same when it was asked for by name
		allowed bool   // with --include-shared it is dropped
	}{
		"as it was":        {change: func(*Candidate) {}},
		"opened outside":   {func(c *Candidate) { c.Outside = []string{"pid 9 of /n"} }, "pid 9 of /n", "pid 9 of /n", true},
		"charged outside":  {func(c *Candidate) { c.Others = 4096 }, "other cgroups", "other cgroups", true},
		"deleted":          {func(c *Candidate) { c.Open, c.Cannot = nil, "deleted" }, "deleted", "deleted", false},
		"opened by itself": {func(c *Candidate) { c.Opened = []string{"pid 3 fd 4", "pid 3 fd 9"} }, "pid 3 fd 9", "", false},
		"mapped":           {func(c *Candidate) { c.State.Mapped = 4096 }, "mapped since", "", false},
		"read":             {func(c *Candidate) { c.State.Bytes += mib }, "1.0 MiB more", "", false},
		"read a little":    {change: func(c *Candidate) { c.State.Bytes += 8192 }},
	} {
		for _, s := range []struct {
			sel  Selection
			want string
		}{{Selection{}, c.cold}, {Selection{Files: []string{"/f"}}, c.wanted}, {Selection{Files: []string{"/f"}, IncludeShared: true}, c.wanted}} {
			d := plan(t, situation(snapshot.V1, file("/f", state(10, 0, 0))), s.sel)
			if len(d.Picked) != 1 {
				t.Fatalf("%s: %+v", name, d.Spared)
			}
			if cold := len(s.sel.Files) == 0; cold != (d.Steps[0].File.Most > 0) {
				t.Errorf("%s: at most %d may be in memory", name, d.Steps[0].File.Most)
			}
			now := file("/f", state(10, 0, 0))
			now.Opened = []string{"pid 3 fd 4"}
			d.Picked[0].Opened = []string{"pid 3 fd 4"}
			c.change(&now)
			want := s.want
			if s.sel.IncludeShared && c.allowed {
				want = ""
			}
			why := d.Picked[0].Still(words.Printer{}, &now, s.sel)
			if (why == "") != (want == "") || !strings.Contains(why, want) {
				t.Errorf("%s, %+v: %q, want %q", name, s.sel, why, want)
			}
		}
	}
	shared := file("/s", state(10, 0, 0))
	shared.Others = 1
	s := situation(snapshot.V2, shared)
	if why := s.StillAlone(Selection{}); why == "" || s.StillAlone(Selection{IncludeShared: true}) != "" {
		t.Errorf("the kernel may choose: %q", why)
	}
}
