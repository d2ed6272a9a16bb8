package cgroupfs

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestParseMountinfo(t *testing.T) {
	v1 := func(point string, controllers ...string) Mount {
		return Mount{Version: snapshot.V1, Root: "/", Point: "/sys/fs/cgroup/" + point, Controllers: controllers}
	}
	for name, want := range map[string][]Mount{
		"3.10.0-1062.el7.x86_64": {v1("memory", "memory"), v1("cpu,cpuacct", "cpuacct", "cpu"), v1("pids", "pids"), v1("devices", "devices")},
		"el7-systemd-made":       {v1("systemd", "name=systemd"), v1("memory", "memory"), v1("cpu,cpuacct", "cpuacct", "cpu")},
		"6.18": {
			v1("cpu", "cpu"), v1("cpuacct", "cpuacct"), v1("cpuset", "cpuset"), v1("memory", "memory"), v1("devices", "devices"),
			v1("freezer", "freezer"), v1("blkio", "blkio"), v1("pids", "pids"), v1("systemd", "name=systemd"),
			{Version: snapshot.V2, Root: "/", Point: "/sys/fs/cgroup/unified"},
		},
		"6.18-v2-made": {
			{Version: snapshot.V2, Root: "/", Point: "/sys/fs/cgroup", HugetlbAccounting: true},
			{Version: snapshot.V2, Root: `/system.slice/a b\.service`, Point: "/mnt/with space\ttab", MemoryLocalEvents: true},
		},
	} {
		if diff := cmp.Diff(want, ParseMountinfo(fixture(t, "mountinfo", name))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestParseMountinfoSkipsJunk(t *testing.T) {
	for _, junk := range []string{
		"", "\n", "cgroup", " - cgroup cgroup rw,memory", "1 2 3 4 5 6 - cgroup cgroup rw,memory", "1 2 0:1 / / rw cgroup cgroup rw,memory",
		"1 2 0:1 / / - cgroup cgroup rw,memory", "1 2 0:1 / /a rw - cgroup", "1 2 0:1 / /a rw - cgroup3 x rw", "1 2 0:1 / /a rw - ext4 - cgroup cgroup rw,memory",
	} {
		if got := ParseMountinfo([]byte(junk)); len(got) != 0 {
			t.Errorf("%q: %v, want nothing", junk, got)
		}
	}
}

func TestUnescape(t *testing.T) {
	for escaped, want := range map[string]string{
		"": "", "/a": "/a", `\040`: " ", `/a\040b\011c\012d\134e`: "/a b\tc\nd\\e", `\377`: "\xff", `\134040`: `\040`,
		`\`: `\`, `\04`: `\04`, `\048`: `\048`, `\400`: `\400`, "/\xff": "/\xff",
	} {
		if got := snapshot.Unescape([]byte(escaped)); got != want {
			t.Errorf("Unescape(%q) = %q, want %q", escaped, got, want)
		}
	}
}

func FuzzParseMountinfo(f *testing.F) {
	seed(f, "mountinfo")
	known := fixture(f, "mountinfo", "6.18-v2-made")
	f.Fuzz(func(t *testing.T, b []byte) {
		mounts := ParseMountinfo(b)
		for _, m := range mounts {
			if m.Version != snapshot.V1 && m.Version != snapshot.V2 || !strings.HasPrefix(m.Root, "/") || !strings.HasPrefix(m.Point, "/") {
				t.Errorf("%+v", m)
			}
			if m.Version == snapshot.V2 && m.Controllers != nil || m.Version == snapshot.V1 && (m.MemoryLocalEvents || m.HugetlbAccounting) {
				t.Errorf("options of the other version: %+v", m)
			}
		}
		// Lines do not depend on one another.
		joined := ParseMountinfo(slices.Concat(known, b))
		if diff := cmp.Diff(slices.Concat(ParseMountinfo(known), mounts), joined); diff != "" {
			t.Errorf("after a good table (-want +got):\n%s", diff)
		}
	})
}
