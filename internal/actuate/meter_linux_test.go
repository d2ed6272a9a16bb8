package actuate

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestMeter(t *testing.T) {
	g := group(t, "meter")
	f := cache(t, g, 32<<20)
	m := NewMeter(node(t), false)
	s, err := m.Read(g)
	if err != nil {
		t.Fatal(err)
	}
	const least = 24 << 20 // where DAMON runs, it has taken some of it by now
	if u, ok := s.Usage.Get(); !ok || u < least {
		t.Errorf("%+v", s.Usage)
	}
	// Up to 5.14 each processor keeps some pages of the counts to itself.
	if c, ok := s.Cache.Get(); !ok || c < least || c > 40<<20 {
		t.Errorf("%+v of %s", s.Cache, f)
	}
	if n, ok := s.Reclaimable.Get(); !ok || n < least {
		t.Errorf("%+v", s.Reclaimable)
	}
	if _, ok := s.MajorFaults.Get(); !ok {
		t.Errorf("%+v", s.MajorFaults)
	}
	for name, state := range map[string]snapshot.State{"refaults": s.Refaults.State, "stall": s.Stall.State, "reads": s.ReadBytes.State} {
		t.Log(name, state)
	}
	if s.ReadBytes.State != snapshot.Present && s.ReadBytes.Err == "" || s.Stall.State != snapshot.Present && s.Stall.Err == "" {
		t.Errorf("not seen, and no reason: %+v %+v", s.ReadBytes, s.Stall)
	}
	if _, err := m.Read(remedy.Group{Dir: "/nowhere", Version: g.Version}); err == nil {
		t.Error("a cgroup that is not there was read")
	}
}

// With version 1 other hierarchies tell of the same processes, if they are in a cgroup of
// the same path there.
func TestMeterBesides(t *testing.T) {
	g := group(t, "besides")
	if g.Version != snapshot.V1 {
		t.Skip("version 2 has all in one place")
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", asHalf)
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	end := func() { in.Close(); _ = cmd.Wait() }
	pid := []byte(strconv.Itoa(cmd.Process.Pid))
	if err := os.WriteFile(filepath.Join(g.Dir, "cgroup.procs"), pid, 0); err != nil {
		t.Fatal(err)
	}
	before, err := NewMeter(node(t), false).Read(g)
	if err != nil || before.Stall.State != snapshot.Absent || before.ReadBytes.State != snapshot.Absent || before.Stall.Err == "" {
		t.Errorf("elsewhere: %+v %+v, %v", before.Stall, before.ReadBytes, err)
	}
	var made []string
	pressure, reads := false, false
	for _, m := range cgroupfs.ParseMountinfo(table) {
		blkio := m.Version == snapshot.V1 && slices.Contains(m.Controllers, "blkio")
		dir, ok := cgroupfs.Hierarchy{Mount: m}.Dir(g.Path)
		if !ok || !blkio && m.Version != snapshot.V2 || os.Mkdir(dir, 0o755) != nil {
			continue
		}
		made = append(made, dir)
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), pid, 0); err != nil {
			t.Error(err)
		}
		if blkio { // newer kernels count where something is throttled, and nowhere else
			b, err := os.ReadFile(filepath.Join(m.Point, "blkio.throttle.io_service_bytes_recursive"))
			n, parsed := cgroupfs.ParseBlkio(b)
			reads = err == nil && parsed == nil && n != (snapshot.IO{})
			continue
		}
		_, err := os.Stat(filepath.Join(dir, "memory.pressure"))
		pressure = err == nil
	}
	after, err := NewMeter(node(t), false).Read(g)
	end()
	for _, dir := range made {
		remove(dir)
	}
	if err != nil || pressure != (after.Stall.State == snapshot.Present) || reads != (after.ReadBytes.State == snapshot.Present) {
		t.Errorf("pressure %v, reads %v: %+v %+v, %v", pressure, reads, after.Stall, after.ReadBytes, err)
	}
	t.Logf("%+v %+v", after.Stall, after.ReadBytes)
}
