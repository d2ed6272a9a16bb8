package procfs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/snapshot"
)

const row = " 10 20 192 21 2 : tunables 0 0 0 : slabdata 3 4 0\n"

func TestParseSlabinfoOfRealKernels(t *testing.T) {
	for _, tt := range []struct {
		name string
		rows int
		want snapshot.SlabCache
	}{
		{"3.10.0-1062.el7.x86_64", 73, snapshot.SlabCache{Name: "dentry", ActiveObjects: 4746, Objects: 4746, ObjectBytes: 192, BytesPerSlab: page, Slabs: 226, Bytes: 226 * page}},
		{"3.10.0-1062.el7.x86_64-leak", 73, snapshot.SlabCache{Name: "dentry", ActiveObjects: 5248, Objects: 6048, ObjectBytes: 192, BytesPerSlab: page, Slabs: 288, Bytes: 288 * page}},
		{"3.10.0-1062.el7.x86_64-cgroup", 29, snapshot.SlabCache{Name: "kmalloc-512", ActiveObjects: 32, Objects: 32, ObjectBytes: 512, BytesPerSlab: 2 * page, Slabs: 2, Bytes: 4 * page}},
		{"6.18", 60, snapshot.SlabCache{Name: "btrfs_ordered_extent", ObjectBytes: 416, BytesPerSlab: 2 * page}},
	} {
		caches, err := ParseSlabinfo(fixture(t, "slabinfo", tt.name), page)
		if err != nil || len(caches) != tt.rows {
			t.Fatalf("%s: %d rows, %v; want %d", tt.name, len(caches), err, tt.rows)
		}
		for _, c := range caches {
			if c.Name == tt.want.Name && c != tt.want {
				t.Errorf("%s: (-want +got):\n%s", tt.name, cmp.Diff(tt.want, c))
			}
		}
	}
}

func TestParseSlabinfoNames(t *testing.T) {
	for _, name := range []string{"dentry", "dentry(101:1d14593b)", ":A-0000192", "a b", "\xff\xfe", "x : tunables 1"} {
		got, err := ParseSlabinfo([]byte(name+row), 1<<16)
		want := []snapshot.SlabCache{{Name: name, ActiveObjects: 10, Objects: 20, ObjectBytes: 192, BytesPerSlab: 2 << 16, Slabs: 4, Bytes: 8 << 16}}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestParseSlabinfoEmptyAndJunk(t *testing.T) {
	heading := "slabinfo - version: 2.1\n# name            <active_objs> <num_objs>\n"
	for _, empty := range []string{"", heading} {
		if got, err := ParseSlabinfo([]byte(empty), page); err != nil || len(got) != 0 {
			t.Errorf("%q: %v, %v; want an empty table", empty, got, err)
		}
	}
	for _, junk := range []string{
		"\n", "slabinfo - version: 1.1\n", heading + "junk\n", row, "a 1 2 3 4 5 : slabdata 1 2 3\n", "a 1 2 3 4 5 : tunables 1 2 3\n",
		"a 1 2 3 4 x : tunables 0 0 0 : slabdata 1 2 3\n", "a 1 2 3 4 5 : tunables 0 0 0 : slabdata 1 x 3\n",
		"a 1 2 3 4 9223372036854775807 : tunables 0 0 0 : slabdata 1 2 3\n", "a 1 2 3 4 5 : tunables 0 0 0 : slabdata 1 9223372036854775807 3\n",
		"a 1 2 3 4 -5 : tunables 0 0 0 : slabdata 1 2 3\n",
	} {
		if got, err := ParseSlabinfo([]byte(junk), page); err == nil {
			t.Errorf("%q: %v, want an error", junk, got)
		}
	}
	if got, err := ParseSlabinfo([]byte("a"+row), 0); err == nil {
		t.Errorf("page size 0: %v, want an error", got)
	}
}

func FuzzParseSlabinfo(f *testing.F) {
	seed(f, "slabinfo")
	f.Add([]byte("a b(1:c)" + row))
	f.Fuzz(func(t *testing.T, b []byte) {
		caches, err := ParseSlabinfo(b, page)
		if err != nil && caches != nil || len(caches) > strings.Count(string(b), " : tunables ") {
			t.Fatalf("%d rows, %v", len(caches), err)
		}
		for _, c := range caches {
			if c.Bytes != c.Slabs*c.BytesPerSlab || c.BytesPerSlab < 0 || c.Bytes < 0 != (c.Slabs < 0 && c.BytesPerSlab > 0) {
				t.Errorf("%d slabs of %d bytes are %d bytes", c.Slabs, c.BytesPerSlab, c.Bytes)
			}
			if c.Name == "" || strings.Contains(c.Name, "\n") {
				t.Errorf("name %q", c.Name)
			}
		}
	})
}
