package gather

import (
	"maps"
	"slices"
	"testing"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Each mount namespace is seen by one process of it; one that is gone or may not be
// looked at sees nothing.
func TestResidents(t *testing.T) {
	n := fake()
	for pid, ns := range map[string]string{"1": "mnt:[1]", "7": "mnt:[2]", "8": "mnt:[2]", "9": "mnt:[3]", "10": ""} {
		n.files["/proc/"+pid+"/stat"] = ""
		n.files["/proc/"+pid+"/ns/mnt"] = ns
	}
	n.faults["/proc/10/ns/mnt"] = kernel.Answer{State: snapshot.Denied, Err: "permission denied"}
	h, err := cgroupfs.Find(n, false)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, m := range residents(n, h) {
		if seen[m.namespace] != "" {
			t.Errorf("%s twice", m.namespace)
		}
		seen[m.namespace] = m.cgroup + "."
	}
	if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, []string{"mnt:[1]", "mnt:[2]", "mnt:[3]"}) {
		t.Errorf("%q", got)
	}
	if seen["mnt:[3]"] != "/docker/"+id+"." {
		t.Errorf("%q", seen)
	}
}
