package procfs

import (
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestParseCgroups(t *testing.T) {
	for name, want := range map[string]struct {
		lines  int
		memory snapshot.Controller
	}{
		"3.10.0-1062.el7.x86_64": {11, snapshot.Controller{Name: "memory", Hierarchy: 1, Groups: 8, Enabled: true}},
		"6.18":                   {12, snapshot.Controller{Name: "memory", Hierarchy: 4, Groups: 10, Enabled: true}},
	} {
		all, err := ParseCgroups(fixture(t, "cgroups", name))
		if err != nil || len(all) != want.lines {
			t.Errorf("%s: %d controllers, %v; want %d", name, len(all), err, want.lines)
		}
		for _, c := range all {
			if c.Name == "memory" && c != want.memory {
				t.Errorf("%s: %+v, want %+v", name, c, want.memory)
			}
		}
	}
	heading := "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"
	if all, err := ParseCgroups([]byte(heading + "memory\t0\t1\t0\n")); err != nil || len(all) != 1 || all[0].Enabled {
		t.Errorf("cgroup_disable=memory: %+v, %v", all, err)
	}
	for _, junk := range []string{"", "\n", "memory 1 2 1\n", heading + "\n", heading + "memory\t1\t2\n", heading + "memory\t99999999999\t2\t1\n", heading + "memory\tx\t2\t1\n"} {
		if all, err := ParseCgroups([]byte(junk)); err == nil {
			t.Errorf("%q: %v, want an error", junk, all)
		}
	}
}

func FuzzParseCgroups(f *testing.F) {
	seed(f, "cgroups")
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := ParseCgroups(b)
		if err != nil && all != nil || len(all) > strings.Count(string(b), "\n") {
			t.Fatalf("%d rows, %v", len(all), err)
		}
		for _, c := range all {
			if c.Name == "" || strings.ContainsAny(c.Name, " \t\n") {
				t.Errorf("%+v", c)
			}
		}
	})
}
