package census

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

func door(tb testing.TB) *kernel.Live {
	tb.Helper()
	live, err := kernel.OpenLive("/")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { live.Close() })
	return live
}

func kpages(tb testing.TB, ctx context.Context) *snapshot.Census {
	tb.Helper()
	c, err := Kpage(ctx, door(tb), false)
	if err != nil {
		if os.Getenv("MEMWHY_LIVE") != "required" && !errors.Is(err, ErrSelfTest) {
			tb.Skip(err)
		}
		tb.Fatal(err)
	}
	return c
}

// compareClasses says what is not as memory.stat has it.
func (g *grove) compareClasses(t *testing.T, c *snapshot.Census) (wrong []string) {
	t.Helper()
	at, group := byID(c, g.id)
	if at == 0 {
		return []string{"the group is not in the census"}
	}
	if filepath.Base(group.Path) != filepath.Base(g.dir) || group.Slab != snapshot.Unknown || group.Inherited != snapshot.Unknown {
		wrong = append(wrong, fmt.Sprintf("%+v", group))
	}
	if up := group.Parent; up < 1 || c.Groups[up].Path != parent(group.Path) {
		wrong = append(wrong, fmt.Sprintf("parent %d", up))
	}
	stat := g.stat(t)
	var slack int64
	if lags() {
		slack = int64(64 * runtime.NumCPU() * os.Getpagesize())
	}
	names := map[string]int64{"file": group.File.Bytes, "anon": group.Anon.Bytes, "shmem": group.Shmem}
	if g.version == snapshot.V1 {
		names = map[string]int64{"cache": group.File.Bytes, "rss": group.Anon.Bytes, "shmem": group.Shmem, "writeback": group.File.Writeback}
	}
	if _, ok := stat["pagetables"]; ok {
		names["pagetables"] = group.Tables
	}
	for name, seen := range names {
		if d := seen - stat[name]; d < -slack || d > slack {
			wrong = append(wrong, fmt.Sprintf("%s: %d bytes seen, memory.stat has %d", name, seen, stat[name]))
		}
	}
	if group.File.Active != snapshot.Unknown {
		active, inactive := group.Anon.Active+group.File.Active, group.Anon.Inactive+group.File.Inactive
		if d := active - stat["active_anon"] - stat["active_file"]; d < -slack || d > slack {
			wrong = append(wrong, fmt.Sprintf("active: off by %d", d))
		}
		if d := inactive - stat["inactive_anon"] - stat["inactive_file"]; d < -slack || d > slack {
			wrong = append(wrong, fmt.Sprintf("inactive: off by %d", d))
		}
	}
	return wrong
}

// At rest the classes of a cgroup are those of memory.stat to the byte. Motion is
// answered by trying again.
func TestKpageOfACgroup(t *testing.T) {
	kpages(t, context.Background())
	g := newGrove(t)
	var wrong []string
	for try := range 12 {
		g.touch(t)
		time.Sleep(time.Duration(try) * 300 * time.Millisecond)
		if wrong = g.compareClasses(t, kpages(t, context.Background())); len(wrong) == 0 {
			break
		}
		t.Logf("try %d: %.300s", try, strings.Join(wrong, "; "))
	}
	for _, w := range wrong {
		t.Error(w)
	}
}

// A removed cgroup's memory is not lost: it is of the one above it, and said to
// be.
func TestKpageAfterRemoval(t *testing.T) {
	kpages(t, context.Background())
	g := newGrove(t)
	g.touch(t)
	up := parent(g.dir)
	g.end()
	var c *snapshot.Census
	for range 20 { // removal ends in the background
		time.Sleep(200 * time.Millisecond)
		c = kpages(t, context.Background())
		if at, _ := byID(c, g.id); at == 0 {
			break
		}
	}
	if at, group := byID(c, g.id); at != 0 {
		t.Errorf("%+v", group)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(up, &st); err != nil {
		t.Fatal(err)
	}
	if at, _ := byID(c, st.Ino); at == 0 {
		t.Errorf("%s is not in the census", up)
	}
	if len(c.Doubts) == 0 || !strings.Contains(c.Doubts[0], "removed cgroups") {
		t.Errorf("%q", c.Doubts)
	}
}

// Without the time for all it says so, and by how much it may be off.
func TestKpageInLittleTime(t *testing.T) {
	whole := kpages(t, context.Background())
	k, err := openKpage()
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	ranges, _, err := ram()
	if err != nil {
		t.Fatal(err)
	}
	sum, err := k.walk(context.Background(), ranges, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := kpageCensus(sum, int64(total(ranges)), blocks(ranges), 0)
	if n := blocks(ranges); n < 2*leastBlocks {
		if (c.Sampled == 0) != (c.Frames == whole.Frames) || n < leastBlocks && c.Sampled != 0 {
			t.Errorf("%d blocks, %d of %d frames: %q", n, c.Frames, whole.Frames, c.Doubts)
		}
		return
	}
	if c.Sampled <= 0 || c.Sampled > 0.75 || c.Frames >= whole.Frames/4*3 || len(c.Doubts) < 2 {
		t.Fatalf("%d of %d frames, %v, %q", c.Frames, whole.Frames, c.Sampled, c.Doubts)
	}
	t.Logf("%q", c.Doubts)
	if err := checkKpage(c, node(), node()); err != nil {
		t.Error(err)
	}
}

func TestKpageWithoutTime(t *testing.T) {
	kpages(t, context.Background())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Kpage(ctx, door(t), false); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// The files belong to root.
func TestKpageWithoutPrivilege(t *testing.T) {
	kpages(t, context.Background())
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "MEMWHY_CENSUS_KPAGE=1")
	out, err := cmd.CombinedOutput()
	if !bytes.HasPrefix(out, []byte("true ")) || !bytes.Contains(out, []byte("/proc/kpage")) || bytes.Count(out, []byte("it would show")) != 1 {
		t.Errorf("%s, %v", out, err)
	}
	t.Logf("%s", out)
}

// The engine against reading the same two files for nothing.
func BenchmarkKpage(b *testing.B) {
	kpages(b, context.Background())
	var own, bare time.Duration
	for b.Loop() {
		start := time.Now()
		for _, name := range []string{flagsFile, ownersFile} {
			if err := readThrough(name); err != nil {
				b.Fatal(err)
			}
		}
		bare += time.Since(start)
		own += kpages(b, context.Background()).Wall
	}
	b.ReportMetric(float64(own)/float64(bare), "ratio")
	b.ReportMetric(float64(own.Microseconds())/float64(b.N), "kpage-us")
}
