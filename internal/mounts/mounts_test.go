package mounts

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/snapshot"
)

const disk, volumeDisk, shm, dev, private = 8<<20 | 1, 8<<20 | 2, 27, 6, 61

func table(host bool, pid int, cgroup string, mounts ...snapshot.Mount) snapshot.MountTable {
	t := snapshot.MountTable{PID: pid, Cgroup: cgroup, Host: host}
	t.Mounts.State, t.Mounts.Value = snapshot.Present, mounts
	return t
}

// node has two docker containers that share an image layer, the first with a
// volume, a bind mount, an emptyDir and a tmpfs of its own.
func node() []snapshot.MountTable {
	overlay := func(id, parent int, device uint32, point, upper string) snapshot.Mount {
		return snapshot.Mount{
			ID: id, Parent: parent, Device: device, Root: "/", Point: point, Type: "overlay",
			Lower: []string{"/var/lib/docker/overlay2/init/diff", "/var/lib/docker/overlay2/base/diff"},
			Upper: "/var/lib/docker/overlay2/" + upper + "/diff",
		}
	}
	return []snapshot.MountTable{
		table(true, 1, "",
			snapshot.Mount{ID: 1, Parent: 0, Device: disk, Root: "/", Point: "/", Type: "ext4"},
			snapshot.Mount{ID: 2, Parent: 1, Device: dev, Root: "/", Point: "/dev", Type: "devtmpfs"},
			snapshot.Mount{ID: 3, Parent: 2, Device: shm, Root: "/", Point: "/dev/shm", Type: "tmpfs"},
			snapshot.Mount{ID: 4, Parent: 1, Device: volumeDisk, Root: "/", Point: "/data", Type: "xfs"},
			snapshot.Mount{ID: 5, Parent: 1, Device: volumeDisk, Root: "/sub", Point: "/srv/sub", Type: "xfs"},
			overlay(6, 1, 70, "/var/lib/docker/overlay2/one/merged", "one"),
			overlay(7, 1, 71, "/var/lib/docker/overlay2/two/merged", "two"),
		),
		table(false, 100, "/docker/one",
			overlay(10, 9, 70, "/", "one"),
			snapshot.Mount{ID: 11, Parent: 10, Device: private, Root: "/", Point: "/dev/shm", Type: "tmpfs"},
			snapshot.Mount{ID: 12, Parent: 10, Device: disk, Root: "/var/lib/docker/volumes/db/_data", Point: "/var/lib/db", Type: "ext4"},
			snapshot.Mount{ID: 13, Parent: 10, Device: disk, Root: "/var/lib/kubelet/pods/u-1/volumes/kubernetes.io~empty-dir/cache", Point: "/cache", Type: "ext4"},
			snapshot.Mount{ID: 14, Parent: 10, Device: volumeDisk, Root: "/bind", Point: "/mnt", Type: "xfs"},
			snapshot.Mount{ID: 15, Parent: 14, Device: disk, Root: "/etc/over", Point: "/mnt/deep", Type: "ext4"},
		),
		table(false, 200, "/docker/two", overlay(20, 19, 71, "/", "two")),
	}
}

func TestLocate(t *testing.T) {
	n := New(node())
	file := func(device uint32, p string) snapshot.CensusInode {
		return snapshot.CensusInode{Device: device, Path: p}
	}
	for _, c := range []struct {
		in     snapshot.CensusInode
		cgroup string
		want   Place
	}{
		{file(disk, "/etc/passwd"), "/system.slice/x", Place{Kind: Host, Path: "/etc/passwd", Host: "/etc/passwd"}},
		{file(disk, "/var/lib/docker/overlay2/base/diff/lib/libc.so"), "/docker/one", Place{
			Kind: ImageLayer, Path: "/lib/libc.so", Host: "/var/lib/docker/overlay2/base/diff/lib/libc.so",
			PID: 100, Layer: "/var/lib/docker/overlay2/base/diff", Shared: 2,
		}},
		{file(disk, "/var/lib/docker/overlay2/two/diff/log"), "/docker/two/child", Place{
			Kind: WritableLayer, Path: "/log", Host: "/var/lib/docker/overlay2/two/diff/log",
			PID: 200, Layer: "/var/lib/docker/overlay2/two/diff", Shared: 1,
		}},
		// Charged to one, in the other's writable layer.
		{file(disk, "/var/lib/docker/overlay2/two/diff/log"), "/docker/one", Place{
			Kind: WritableLayer, Path: "/var/lib/docker/overlay2/two/merged/log", Host: "/var/lib/docker/overlay2/two/diff/log",
			Layer: "/var/lib/docker/overlay2/two/diff", Shared: 1,
		}},
		// A layer's neighbour whose name begins alike is not in it.
		{file(disk, "/var/lib/docker/overlay2/base/diffs/a"), "/docker/one", Place{
			Kind: Host, Path: "/var/lib/docker/overlay2/base/diffs/a", Host: "/var/lib/docker/overlay2/base/diffs/a",
		}},
		{file(disk, "/var/lib/docker/volumes/db/_data/t.ibd"), "/docker/one", Place{
			Kind: Volume, Path: "/var/lib/db/t.ibd", Host: "/var/lib/docker/volumes/db/_data/t.ibd", PID: 100, Volume: "db",
		}},
		{file(disk, "/var/lib/kubelet/pods/u-1/volumes/kubernetes.io~empty-dir/cache/a\n"), "/docker/one", Place{
			Kind: Volume, Path: "/cache/a\n", Host: "/var/lib/kubelet/pods/u-1/volumes/kubernetes.io~empty-dir/cache/a\n",
			PID: 100, Volume: "emptyDir cache",
		}},
		{file(private, "/seg"), "/docker/one", Place{Kind: Tmpfs, Path: "/dev/shm/seg", PID: 100}},
		// Of another mount namespace than the cgroup's.
		{file(private, "/seg"), "/docker/two", Place{Kind: Tmpfs, Path: "/dev/shm/seg", PID: 100}},
		{file(shm, "/seg"), "/docker/two", Place{Kind: Tmpfs, Path: "/dev/shm/seg", Host: "/dev/shm/seg"}},
		{file(volumeDisk, "/bind/f"), "/docker/one", Place{Kind: Volume, Path: "/mnt/f", Host: "/data/bind/f", PID: 100}},
		// Something else is mounted where it would be.
		{file(volumeDisk, "/bind/deep/f"), "/docker/one", Place{Kind: Host, Path: "/data/bind/deep/f", Host: "/data/bind/deep/f"}},
		{file(disk, "/etc/over/f"), "/docker/one", Place{Kind: Volume, Path: "/mnt/deep/f", Host: "/etc/over/f", PID: 100}},
		{file(disk, "/data/hidden"), "/docker/one", Place{Kind: NotInView}},
		{file(volumeDisk, "/sub/f"), "", Place{Kind: Host, Path: "/data/sub/f", Host: "/data/sub/f"}},
		{file(99, "/a"), "/docker/one", Place{Kind: NotInView}},
		{snapshot.CensusInode{Device: 5, Path: "memfd:x", Pseudo: true}, "/docker/one", Place{Kind: Memfd, Path: "memfd:x"}},
		{snapshot.CensusInode{Device: 5, Path: "dev/zero", Pseudo: true}, "", Place{Kind: SharedAnon, Path: "dev/zero"}},
		{snapshot.CensusInode{Device: 5, Path: "SYSV00000001", Pseudo: true}, "", Place{Kind: SysV, Path: "SYSV00000001"}},
		{snapshot.CensusInode{Device: 5, Type: "bdev"}, "", Place{Kind: BlockDevice}},
		{snapshot.CensusInode{Device: disk}, "", Place{Kind: NoName}},
	} {
		if diff := cmp.Diff(c.want, n.Locate(&c.in, c.cgroup)); diff != "" {
			t.Errorf("%q for %q (-want +got):\n%s", c.in.Path, c.cgroup, diff)
		}
	}
}

func TestSpots(t *testing.T) {
	tables := node()
	for i := range tables {
		tables[i].Namespace = fmt.Sprintf("mnt:[%d]", i)
	}
	n := New(tables)
	for _, c := range []struct {
		namespace, path string
		want            []Spot
	}{
		{"mnt:[0]", "/etc/passwd", []Spot{{disk, "/etc/passwd"}}},
		{"mnt:[0]", "/data/sub/f", []Spot{{volumeDisk, "/sub/f"}}},
		{"mnt:[1]", "/lib/libc.so", []Spot{
			{disk, "/var/lib/docker/overlay2/one/diff/lib/libc.so"}, {disk, "/var/lib/docker/overlay2/init/diff/lib/libc.so"}, {disk, "/var/lib/docker/overlay2/base/diff/lib/libc.so"},
		}},
		{"mnt:[1]", "/mnt/deep/f", []Spot{{disk, "/etc/over/f"}}},
		{"mnt:[9]", "/f", nil},
		{"", "/f", nil},
	} {
		if d := cmp.Diff(c.want, n.Spots(c.namespace, c.path)); d != "" {
			t.Errorf("%s %s\n%s", c.namespace, c.path, d)
		}
	}
}

func TestLocateWithoutTables(t *testing.T) {
	for _, tables := range [][]snapshot.MountTable{nil, {{Host: true}}, node()[1:]} {
		got := New(tables).Locate(&snapshot.CensusInode{Device: volumeDisk, Path: "/sub/f"}, "/docker/one")
		if got != (Place{Kind: NotInView}) {
			t.Errorf("%+v", got)
		}
	}
}

// Stacked mounts, and tables whose parents are a ring.
func TestHidden(t *testing.T) {
	n := New([]snapshot.MountTable{table(true, 1, "",
		snapshot.Mount{ID: 1, Parent: 1, Device: disk, Root: "/", Point: "/", Type: "ext4"},
		snapshot.Mount{ID: 2, Parent: 1, Device: volumeDisk, Root: "/", Point: "/a/b", Type: "ext4"},
		snapshot.Mount{ID: 3, Parent: 1, Device: shm, Root: "/", Point: "/a", Type: "tmpfs"},
		snapshot.Mount{ID: 4, Parent: 3, Device: dev, Root: "/", Point: "/a", Type: "tmpfs"},
		snapshot.Mount{ID: 7, Parent: 8, Device: 90, Root: "/", Point: "/r", Type: "tmpfs"},
		snapshot.Mount{ID: 8, Parent: 7, Device: 91, Root: "/", Point: "/r/s", Type: "tmpfs"},
	)})
	for device, want := range map[uint32]string{disk: "/f", volumeDisk: "", shm: "", dev: "/a/f", 90: "", 91: ""} {
		if got := n.Locate(&snapshot.CensusInode{Device: device, Path: "/f"}, ""); got.Host != want {
			t.Errorf("device %d: %+v, want %q", device, got, want)
		}
	}
}

// FuzzLocate: a path that is given is below a mount point, and ends as the file's
// does.
func FuzzLocate(f *testing.F) {
	f.Add(uint32(disk), "/a/b", "/a", "/m", "/docker/one")
	f.Add(uint32(shm), "x", "//", "/", "")
	f.Fuzz(func(t *testing.T, device uint32, p, root, point, cgroup string) {
		tables := node()
		if strings.HasPrefix(point, "/") {
			tables[0].Mounts.Value = append(tables[0].Mounts.Value, snapshot.Mount{ID: 30, Parent: 1, Device: device, Root: root, Point: point, Upper: root, Lower: []string{p}})
		}
		got := New(tables).Locate(&snapshot.CensusInode{Device: device, Path: p}, cgroup)
		if got.Kind == "" || got.Host != "" && got.Host[0] != '/' || got.Shared < 0 {
			t.Errorf("%+v", got)
		}
	})
}

func BenchmarkLocate(b *testing.B) {
	n := New(node())
	var files []snapshot.CensusInode
	for i := range 1000 {
		files = append(files, snapshot.CensusInode{Device: disk, Path: fmt.Sprintf("/var/lib/docker/overlay2/base/diff/usr/share/d%d/f", i)})
	}
	for i := 0; b.Loop(); i++ {
		n.Locate(&files[i%len(files)], "/docker/one")
	}
}
