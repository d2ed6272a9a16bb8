package procfs

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestParseBuddyinfo(t *testing.T) {
	for name, want := range map[string][]snapshot.Buddy{
		"3.10.0-1062.el7.x86_64": {{Node: 0, Zone: "DMA32", Blocks: []int64{2, 6, 4, 4, 3, 4, 2, 2, 2, 1, 449}}},
		"6.18": {
			{Zone: "DMA", Blocks: []int64{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 3}},
			{Zone: "DMA32", Blocks: []int64{1, 2, 4, 2, 5, 4, 3, 3, 4, 2, 752}},
			{Zone: "Normal", Blocks: []int64{2988, 1705, 1265, 894, 594, 394, 259, 173, 103, 36, 40}},
		},
	} {
		got, err := ParseBuddyinfo(fixture(t, "buddyinfo", name))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	for _, junk := range []string{"", "\n", "Node 0, zone DMA\n", "Node 0, zone DMA 1 x\n", "Node 0, zone DMA 1\njunk\n", "zone DMA 1 2"} {
		if got, err := ParseBuddyinfo([]byte(junk)); err == nil {
			t.Errorf("%q: %v, want an error", junk, got)
		}
	}
}

func FuzzParseBuddyinfo(f *testing.F) {
	seed(f, "buddyinfo")
	f.Fuzz(func(t *testing.T, b []byte) {
		zones, err := ParseBuddyinfo(b)
		if (err != nil) != (len(zones) == 0) {
			t.Fatalf("%d zones, %v", len(zones), err)
		}
		for _, z := range zones {
			if z.Node < 0 || z.Zone == "" || len(z.Blocks) == 0 {
				t.Errorf("%+v", z)
			}
		}
	})
}
