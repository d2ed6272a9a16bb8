package cgroupfs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// A sweep over a hierarchy of plain files: what it costs needs no kernel.
func sweep(t *testing.T, n int) (*Sweep, string) {
	t.Helper()
	dir := t.TempDir()
	h := Hierarchy{Mount{Version: snapshot.V1, Root: "/", Point: "/cg"}, "v1"}
	var paths []string
	for i := range n {
		c := fmt.Sprintf("/g%d", i)
		d := filepath.Join(dir, "cg", c)
		for name, content := range map[string]string{"memory.stat": "cache 4096\ntotal_cache 4096\n", "memory.usage_in_bytes": fmt.Sprintf("%d\n", 8192+i)} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(d, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		paths = append(paths, c)
	}
	live, err := kernel.OpenLive(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { live.Close() })
	s, err := NewSweep(live, h, append(paths, "/gone-already"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, filepath.Join(dir, "cg")
}

func TestSweep(t *testing.T) {
	s, dir := sweep(t, 5)
	if s.Len() != 5 {
		t.Fatalf("%d cgroups", s.Len())
	}
	if err := os.WriteFile(filepath.Join(dir, "g3", "memory.usage_in_bytes"), []byte("77\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	i := 0
	s.Pass(func(x Sample) {
		want := int64(8192 + i)
		if i == 3 {
			want = 77
		}
		if n, ok := x.Stat.Get("total_cache"); x.Err != nil || x.Usage != want || !ok || n != 4096 {
			t.Errorf("%+v", x)
		}
		i++
	})
	if i != 5 {
		t.Errorf("%d samples", i)
	}
}

func TestSweepAllocatesNothing(t *testing.T) {
	s, _ := sweep(t, 20)
	var sum int64
	pass := func() { s.Pass(func(x Sample) { sum += x.Usage }) }
	pass()
	if n := testing.AllocsPerRun(10, pass); n != 0 {
		t.Errorf("%v allocations a pass", n)
	}
}

// A cgroup that is removed under a sweep ends its samples, not the sweep.
func TestSweepOfARemovedCgroup(t *testing.T) {
	live, err := kernel.OpenLive("/")
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	h, err := Find(live, false)
	if err != nil || os.Getuid() != 0 {
		if os.Getenv("MEMWHY_LIVE") == "required" {
			t.Fatalf("uid %d, %v", os.Getuid(), err)
		}
		t.Skipf("needs root and a memory controller: uid %d, %v", os.Getuid(), err)
	}
	lines, err := ParseMembership(live.Ask(kernel.Question{Op: kernel.Read, Path: "/proc/self/cgroup", Max: maxFile}).Data)
	if err != nil {
		t.Fatal(err)
	}
	own, _ := h.Membership(lines)
	if h.Version == snapshot.V2 {
		own = "/"
	}
	var paths []string
	for i := range 3 {
		c := filepath.Join(own, fmt.Sprintf("memwhy-sweep-%d-%d", os.Getpid(), i))
		dir, _ := h.Dir(c)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(dir)
		paths = append(paths, c)
	}
	s, err := NewSweep(live, h, paths)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dir, _ := h.Dir(paths[1])
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	for pass, want := range []int{3, 2} {
		n, gone := 0, 0
		s.Pass(func(x Sample) {
			n++
			if x.Gone {
				gone++
			}
		})
		if n != want || gone != 1-pass {
			t.Errorf("pass %d: %d samples, %d gone", pass, n, gone)
		}
	}
}
