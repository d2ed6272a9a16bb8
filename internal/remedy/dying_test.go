package remedy

import (
	"slices"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestMakeDying(t *testing.T) {
	above := func(v snapshot.Version, living int64, cannot string) Ancestor {
		a := Ancestor{Graves: []Grave{{4, 30 * mib}}, Group: Group{Path: "/pods", Dir: "/sys/fs/cgroup/pods", Version: v, ID: 5}, Want: 30 * mib, Cannot: cannot}
		if living > 0 {
			a.Living = []Loser{{Path: "/pods/a", Most: living}}
		}
		return a
	}
	for name, c := range map[string]struct {
		above Ancestor
		sel   Selection
		knob  Knob // of the ancestor; empty: none is turned
		offer string
		loses bool
	}{
		"nobody lives there":               {above: above(snapshot.V2, 0, ""), knob: Reclaim},
		"hardly anything":                  {above: above(snapshot.V2, mib/2, ""), knob: Reclaim, loses: true},
		"a neighbour holds cache":          {above: above(snapshot.V2, 50*mib, ""), offer: "--allow-ancestor"},
		"and that is allowed":              {above: above(snapshot.V2, 50*mib, ""), sel: Selection{AllowAncestor: true}, knob: Reclaim, loses: true},
		"somebody uses what the dead hold": {above: func() Ancestor { a := above(snapshot.V2, 0, ""); a.Shared = 4096; return a }(), offer: "--include-shared"},
		"of the root never":                {above: above(snapshot.V2, 0, "a knob of the root is the whole node's"), sel: Selection{AllowAncestor: true}, offer: "whole node's"},
		"version 1 lowers a limit":         {above: above(snapshot.V1, 0, ""), offer: "--allow-limit"},
		"where that is allowed":            {above: above(snapshot.V1, 0, ""), sel: Selection{AllowLimit: true}, knob: Limit},
	} {
		cold := file("/cold", state(20, 20, 0))
		cold.Graves = []Grave{{1, 15 * mib}, {2, 5 * mib}}
		beside := file("/beside", state(5, 5, 0))
		beside.Graves = []Grave{{3, 5 * mib}}
		s := situation(c.above.Version, cold, beside)
		s.Usage = 60 * mib
		d, err := MakeDying(s, []Grave{{1, 15 * mib}, {2, 6 * mib}, {3, 50 * mib}, {4, 30 * mib}}, []Ancestor{c.above}, c.sel)
		if err != nil {
			t.Fatal(name, err)
		}
		if len(d.Steps) == 0 || d.Steps[0].Knob != FileCache || d.Guards.Floor != 0 || d.Guards.Stall == 0 {
			t.Fatalf("%s: %+v", name, d.Plan)
		}
		goes := []uint64{1}
		if c.knob != "" && !c.sel.AllowAncestor { // else the kernel may take others' instead
			goes = append(goes, 4)
		}
		if len(d.Picked) != 1 || d.Picked[0].Path != "/cold" || !slices.Equal(d.Goes, goes) {
			t.Errorf("%s: picked %+v, %v go", name, d.Picked, d.Goes)
		}
		var bytes int64
		for _, step := range d.Steps[1:] {
			if step.Knob != c.knob || step.Group.ID != 5 {
				t.Errorf("%s: %+v", name, step)
			}
			bytes += step.Bytes
		}
		if want := map[bool]int64{true: 30 * mib}[c.knob != ""]; bytes != want {
			t.Errorf("%s: %d bytes by the ancestor, want %d", name, bytes, want)
		}
		if !strings.Contains(strings.Join(d.Offers, " "), c.offer) || (len(d.Losers) > 0) != c.loses {
			t.Errorf("%s: offers %q, losers %+v", name, d.Offers, d.Losers)
		}
		for _, l := range d.Losers {
			if l.Most > 30*mib || l.Expect <= 0 || l.Expect > l.Most {
				t.Errorf("%s: %+v", name, l)
			}
		}
	}
}
