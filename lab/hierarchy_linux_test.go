package lab

import (
	"os"
	"testing"
)

func TestMountLine(t *testing.T) {
	h, kind, options, ok := mountLine(`35 31 0:32 /a\040b /sys/fs/cgroup/me\134mory rw,relatime shared:9 - cgroup cgroup rw,memory`)
	if !ok || kind != "cgroup" || options != "rw,memory" || h.root != "/a b" || h.point != `/sys/fs/cgroup/me\mory` {
		t.Errorf("%+v %q %q %v", h, kind, options, ok)
	}
	for _, line := range []string{"", "a b c", "35 31 0:32 / /x rw - cgroup", " - "} {
		if _, _, _, ok := mountLine(line); ok {
			t.Errorf("%q was taken for a mount", line)
		}
	}
}

func TestParents(t *testing.T) {
	h := hierarchy{point: "/sys/fs/cgroup/memory", root: "/docker/abc"}
	if cgroup, dir, err := h.parent("/docker/abc/x"); err != nil || cgroup != "/docker/abc/x" || dir != "/sys/fs/cgroup/memory/x" {
		t.Errorf("%q %q %v", cgroup, dir, err)
	}
	if _, _, err := h.parent("/elsewhere"); err == nil {
		t.Error("a parent outside of the mount was accepted")
	}
}

// A name with the owner's start time is stale once the id is another process's.
func TestStale(t *testing.T) {
	start, err := startTime(os.Getpid())
	if err != nil || start == 0 {
		t.Fatal(start, err)
	}
	for n, want := range map[string]bool{
		name("x", os.Getpid(), start):   false,
		name("x", os.Getpid(), start-1): true,
		name("x", 1<<22-1, start):       true,
		"memwhy-lab-x":                  false,
		"other":                         false,
	} {
		if got := stale(n); got != want {
			t.Errorf("stale(%s) = %v", n, got)
		}
	}
}
