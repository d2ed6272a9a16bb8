package procfs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestParseMountinfo(t *testing.T) {
	got, err := ParseMountinfo(fixture(t, "mountinfo", "6.18"))
	want := []snapshot.Mount{
		{ID: 22, Parent: 27, Device: 21, Root: "/", Point: "/proc", Type: "proc", Source: "proc"},
		{ID: 27, Parent: 1, Device: 254 << 20, Root: "/", Point: "/", Type: "ext4", Source: "/dev/vda"},
		{ID: 30, Parent: 25, Device: 27, Root: "/", Point: "/dev/shm", Type: "tmpfs", Source: "tmpfs"},
		{ID: 45, Parent: 27, Device: 39, Root: "/", Point: "/srv/m", Type: "overlay", Source: "overlay", Lower: []string{"/srv/l1", "/srv/l 2:x,y"}, Upper: "/srv/u"},
		{ID: 46, Parent: 27, Device: 254 << 20, Root: "/data/a\nb", Point: "/mnt/a\tb", Type: "ext4", Source: "/dev/vda"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestParseMountinfoOddRows(t *testing.T) {
	for line, want := range map[string]snapshot.Mount{
		"1 2 8:1 / / rw - ext4  rw":                {ID: 1, Parent: 2, Device: 8<<20 | 1, Root: "/", Point: "/", Type: "ext4"},
		"1 2 0:5 mnt:[1] /run/n rw - nsfs nsfs rw": {ID: 1, Parent: 2, Device: 5, Root: "mnt:[1]", Point: "/run/n", Type: "nsfs", Source: "nsfs"},
		"1 2 0:9 / /o rw - overlay o rw,lowerdir+=/a:b,lowerdir+=/c,datadir+=/d,upperdir=/u":            {ID: 1, Parent: 2, Device: 9, Root: "/", Point: "/o", Type: "overlay", Source: "o", Lower: []string{"/a:b", "/c", "/d"}, Upper: "/u"},
		"1 2 0:9 / /o rw shared:3 master:1 - overlay o rw,lowerdir=/a\\134\\134:/b::/c,redirect_dir=on": {ID: 1, Parent: 2, Device: 9, Root: "/", Point: "/o", Type: "overlay", Source: "o", Lower: []string{`/a\`, "/b", "/c"}},
	} {
		got, err := ParseMountinfo([]byte(line))
		if diff := cmp.Diff([]snapshot.Mount{want}, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", line, err, diff)
		}
	}
	for _, junk := range []string{"\n", "1 2 8:1 / / rw", "1 2 8:1 / / rw - ext4", "1 2 8 / / rw - ext4 s rw", "1 2 -1:1 / / rw - a b c", "1 2 4096:1 / / rw - a b c", "1 2 8:1 / relative rw - a b c", "1 2 8:1 / - a b c"} {
		if got, err := ParseMountinfo([]byte(junk)); err == nil {
			t.Errorf("%q: %v, want an error", junk, got)
		}
	}
}

func FuzzParseMountinfo(f *testing.F) {
	seed(f, "mountinfo")
	f.Fuzz(func(t *testing.T, b []byte) {
		mounts, err := ParseMountinfo(b)
		if err != nil && mounts != nil || len(mounts) > strings.Count(string(b), "\n")+1 {
			t.Fatalf("%d mounts, %v", len(mounts), err)
		}
		for _, m := range mounts {
			if !strings.HasPrefix(m.Point, "/") || m.Type != "overlay" && m.Lower != nil {
				t.Errorf("%+v", m)
			}
		}
	})
}
