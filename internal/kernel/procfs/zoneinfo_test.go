package procfs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/memwhy/memwhy/internal/snapshot"
)

const page = 4096

func TestParseZoneinfo(t *testing.T) {
	ignore := cmpopts.IgnoreFields(snapshot.Zone{}, "Counters")
	for name, want := range map[string][]snapshot.Zone{
		"3.10.0-1062.el7.x86_64": {
			{Node: 0, Name: "DMA32", Free: 461427 * page, Min: 5632 * page, Low: 7040 * page, High: 8448 * page, Spanned: 524249 * page, Present: 524152 * page, Managed: 513852 * page, StartPFN: 1, OnLists: 297 * page, Protection: []int64{0, 0, 0}, Threshold: 20 * page},
		},
		"6.18": {
			{Name: "DMA", Free: 3840 * page, Min: 62 * page, Low: 77 * page, High: 92 * page, Spanned: 4095 * page, Present: 3998 * page, Managed: 3840 * page, StartPFN: 1, Protection: []int64{0, 3019 * page, 4043 * page, 4043 * page, 4043 * page}, Threshold: 4 * page},
			{Name: "DMA32", Free: 772917 * page, Min: 12570 * page, Low: 15712 * page, High: 18854 * page, Spanned: 1044480 * page, Present: 782336 * page, Managed: 772917 * page, StartPFN: 4096, Protection: []int64{0, 0, 1024 * page, 1024 * page, 1024 * page}, Threshold: 24 * page},
			{Name: "Normal", Free: 165199 * page, Min: 4263 * page, Low: 5328 * page, High: 6393 * page, Spanned: 5505024 * page, Present: 5505024 * page, Managed: 262144 * page, StartPFN: 1048576, OnLists: 2924 * page, Protection: make([]int64, 5), Threshold: 20 * page},
			{Name: "Movable", Min: 32 * page, Low: 32 * page, High: 32 * page, Protection: make([]int64, 5)},
			{Name: "Device", Protection: make([]int64, 5)},
		},
	} {
		zones, err := ParseZoneinfo(fixture(t, "zoneinfo", name), page)
		if diff := cmp.Diff(want, zones, ignore); err != nil || diff != "" {
			t.Fatalf("%s: %v (-want +got):\n%s", name, err, diff)
		}
		for _, z := range zones {
			if z.Counters.Malformed+z.Counters.Repeated != 0 {
				t.Errorf("%s %s: %d malformed, %d repeated", name, z.Name, z.Counters.Malformed, z.Counters.Repeated)
			}
		}
	}
}

func TestParseZoneinfoCounters(t *testing.T) {
	zones, err := ParseZoneinfo(fixture(t, "zoneinfo", "3.10.0-1062.el7.x86_64"), page)
	if err != nil {
		t.Fatal(err)
	}
	wantKeys(t, "el7", zones[0].Counters, map[string]int64{
		"nr_free_pages": 461427, "nr_alloc_batch": 288, "numa_hit": 62238, "workingset_refault": 0, "nr_free_cma": 0, "scanned": 0,
		"high": absent, "high:": absent, "count": absent, "pagesets": absent, "protection": absent, "free": absent,
	})
	if zones, err = ParseZoneinfo(fixture(t, "zoneinfo", "6.18"), page); err != nil {
		t.Fatal(err)
	}
	// The node's own counters stand with its first zone.
	wantKeys(t, "6.18 DMA", zones[0].Counters, map[string]int64{"nr_inactive_anon": 1660, "nr_free_pages": 3840, "boost": 0, "promo": 107, "cma": 0})
	wantKeys(t, "6.18 Normal", zones[2].Counters, map[string]int64{"nr_inactive_anon": absent, "nr_free_pages": 165199})
}

func TestParseZoneinfoOddLines(t *testing.T) {
	zones, err := ParseZoneinfo([]byte("Node 1, zone   Normal\n  pages free     18446744073709551615\n        min x\n low 9223372036854775807\n  junk\n\nnr_new 5\nnr_new 6\n  start_pfn: 7\n"), page)
	want := []snapshot.Zone{{
		Node: 1, Name: "Normal", Free: -page, StartPFN: 7,
		Counters: snapshot.Stat{Entries: []snapshot.Entry{{Key: "nr_new", Value: 5}}, Repeated: 1, Malformed: 4},
	}}
	if diff := cmp.Diff(want, zones); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	zones, err = ParseZoneinfo([]byte("Node 0, zone DMA\n protection: (0, x)\n protection: ()\n count: 3\n count: 4\n count: 18446744073709551615\n count: y\n"), page)
	if err != nil || zones[0].Protection != nil || zones[0].OnLists != 7*page || zones[0].Counters.Malformed != 3 {
		t.Errorf("%+v, %v", zones, err)
	}
	for _, junk := range []string{"", "\n", "pages free 1\n", "Node x, zone DMA\n", "Node 0, zone \n", "Node 99999999999, zone DMA\n"} {
		if zones, err := ParseZoneinfo([]byte(junk), page); err == nil {
			t.Errorf("%q: %v, want an error", junk, zones)
		}
	}
	for _, size := range []int64{0, -1} {
		if zones, err := ParseZoneinfo([]byte("Node 0, zone DMA\n"), size); err == nil {
			t.Errorf("page size %d: %v, want an error", size, zones)
		}
	}
}

func FuzzParseZoneinfo(f *testing.F) {
	seed(f, "zoneinfo")
	f.Fuzz(func(t *testing.T, b []byte) {
		zones, err := ParseZoneinfo(b, page)
		if (err != nil) != (len(zones) == 0) {
			t.Fatalf("%d zones, %v", len(zones), err)
		}
		for _, z := range zones {
			fuzzStat(t, b, z.Counters)
			for _, n := range append(z.Protection, z.Free, z.Min, z.Low, z.High, z.Spanned, z.Present, z.Managed, z.OnLists, z.Threshold) {
				if n%page != 0 {
					t.Errorf("%d bytes are no whole pages", n)
				}
			}
			if z.Node < 0 || z.Name == "" {
				t.Errorf("zone %q of node %d", z.Name, z.Node)
			}
		}
	})
}
