package census

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func kcores(tb testing.TB) *snapshot.Census {
	tb.Helper()
	if _, err := os.Stat(kcoreFile); err != nil || os.Getuid() != 0 {
		tb.Skipf("needs root and %s: %v", kcoreFile, err)
	}
	c, err := Kcore(context.Background())
	if err != nil {
		tb.Fatal(err)
	}
	for _, doubt := range c.Doubts {
		tb.Error("doubt: ", doubt)
	}
	return c
}

// What /proc/kcore shows of a cgroup is what was put there and what memory.stat
// has, as with the program in the kernel.
func TestKcoreOfACgroup(t *testing.T) {
	kcores(t)
	g := newGrove(t)
	var wrong []string
	for try := range 12 {
		g.touch(t)
		time.Sleep(time.Duration(try) * 300 * time.Millisecond)
		c := kcores(t)
		if wrong = g.compare(t, c); len(wrong) == 0 {
			t.Logf("%d frames in %v, %d files, %d groups, %d slabs, %+v, %+v", c.Frames, c.Wall, len(c.Files), len(c.Groups), len(c.Slabs), c.Node, c.Dropped)
			break
		}
		t.Logf("try %d: %.300s", try, strings.Join(wrong, "; "))
	}
	for _, w := range wrong {
		t.Error(w)
	}
}

// Both walks over page frames tell the same.
func TestKcoreAgreesWithTheProgram(t *testing.T) {
	kcores(t)
	e := engine(t)
	a, b := scan(t, e), kcores(t)
	near := func(what string, a, b int64) {
		if d := a - b; d > a/20+4<<20 || d < -a/20-4<<20 {
			t.Errorf("%s: %d by the program, %d by kcore", what, a, b)
		}
	}
	near("file", a.Node.File, b.Node.File)
	near("slab", a.Node.Slab, b.Node.Slab)
	near("free", a.Node.Free, b.Node.Free)
	near("unowned", a.Node.Unowned, b.Node.Unowned)
	names := func(c *snapshot.Census) (n []string) {
		for _, in := range c.Inodes {
			n = append(n, in.Type+":"+in.Path)
		}
		return n
	}
	missing, of := 0, names(b)
	slices.Sort(of)
	for _, n := range names(a) {
		if _, ok := slices.BinarySearch(of, n); !ok {
			missing++
		}
	}
	if missing > len(a.Inodes)/10 {
		t.Errorf("%d of %d names are not in kcore's", missing, len(a.Inodes))
	}
}

// nothing is memory that holds nothing anywhere, or the same word everywhere.
type nothing byte

func (n nothing) read(_ uint64, b []byte) bool {
	for i := range b {
		b[i] = byte(n)
	}
	return n != 1
}

// Whatever memory holds, the walk ends and believes little.
func TestWalkerOfNonsense(t *testing.T) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		t.Skip(err)
	}
	l, err := layoutOf(spec, os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []nothing{0, 1, 0x55, 0xf8, 0xff} {
		w := newWalker(l, n, 4096)
		if err := w.seems(0xff<<56, 1, 1); err == nil {
			t.Errorf("%x: an own page", byte(n))
		}
		pages := make([]byte, chunkFrames*pageStruct)
		for i := range pages {
			pages[i] = byte(i*7) ^ byte(n)
		}
		w.chunk(0, chunkFrames, pages)
		w.conclude()
	}
}

func FuzzWalker(f *testing.F) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		f.Skip(err)
	}
	l, err := layoutOf(spec, os.Getpagesize())
	if err != nil {
		f.Skip(err)
	}
	f.Add(make([]byte, 256))
	// A slab whose vector has no entries, one of a huge stride, a folio.
	for _, fill := range []byte{1, 0xf9, 0xff} {
		b := make([]byte, 64*pageStruct)
		for i := range b {
			b[i] = fill
		}
		binary.LittleEndian.PutUint64(b[l["pg_head"]:], 0)
		binary.LittleEndian.PutUint64(b[l["sl_vector"]:], 0xff<<56|1)
		binary.LittleEndian.PutUint64(b[l["sl_objects"]:], 0)
		binary.LittleEndian.PutUint32(b[l["pg_type"]:], uint32(l["slab_value"]))
		f.Add(b)
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		w := newWalker(l, echo(b), 4096)
		pages := make([]byte, 64*pageStruct)
		copy(pages, b)
		w.chunk(0, 64, pages)
		w.conclude()
	})
}

// echo is memory made of the same bytes over and over.
type echo []byte

func (e echo) read(a uint64, b []byte) bool {
	if len(e) == 0 {
		return false
	}
	for i := range b {
		b[i] = e[(a+uint64(i))%uint64(len(e))]
	}
	return true
}

func TestKcoreRefuses(t *testing.T) {
	if _, err := os.Stat(kcoreFile); err == nil {
		t.Skip("it is there")
	}
	var refusal *Refusal
	if _, err := Kcore(context.Background()); !errors.As(err, &refusal) || !errors.Is(err, ErrKernel) {
		t.Error(err)
	}
}

func BenchmarkKcore(b *testing.B) {
	kcores(b)
	var own, bare time.Duration
	for b.Loop() {
		start := time.Now()
		for _, name := range []string{flagsFile, ownersFile} {
			if err := readThrough(name); err != nil {
				b.Fatal(err)
			}
		}
		bare += time.Since(start)
		own += kcores(b).Wall
	}
	b.ReportMetric(float64(own)/float64(bare), "ratio")
}
