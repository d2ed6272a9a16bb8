package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func askCached(t testing.TB, l *Live, p string, most int) CachedFiles {
	t.Helper()
	a := l.Ask(Question{Op: Cached, Path: p, Max: most})
	if a.State != snapshot.Present {
		t.Fatalf("%s: %s %s", p, a.State, a.Err)
	}
	c, err := ParseCached(a.Data)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func filled(t testing.TB, p string, size int) *os.File {
	t.Helper()
	f, err := os.Create(p)
	if err == nil {
		_, err = f.Write(make([]byte, size))
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// own is the path of a directory as a question names it.
func ownRoot(p string) string { return fmt.Sprintf("/proc/%d/root%s", os.Getpid(), p) }

func TestCachedOpenFile(t *testing.T) {
	f := filled(t, filepath.Join(t.TempDir(), "name"), 1<<20)
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	own, foreign := live(t, "/"), live(t, "/")
	foreign.own = false
	for name, l := range map[string]*Live{"own root": own, "foreign root": foreign} {
		c := askCached(t, l, fdPath(f), 200)
		if len(c.Files) != 1 || c.Files[0].Bytes != 1<<20 || c.Files[0].Inode != st.Ino || c.Files[0].Device != SDev(st.Dev) || c.Files[0].Size != 1<<20 || c.Stopped != "" {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// Both ways to ask agree, about a file that is partly there too.
func TestMincoreAgreesWithCachestat(t *testing.T) {
	f := filled(t, filepath.Join(t.TempDir(), "name"), 4<<20)
	if err := unix.Fadvise(int(f.Fd()), 1<<20, 2<<20, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	look, err := unix.Open(f.Name(), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(look)
	var st unix.Stat_t
	if err := unix.Fstat(look, &st); err != nil {
		t.Fatal(err)
	}
	ask := func(mincore bool) CachedFile {
		k := &looker{until: time.Now().Add(time.Minute), magics: map[uint64]uint32{}, mincore: mincore, owner: true, page: int64(os.Getpagesize())}
		if k.fds, err = unix.Open("/proc/self/fd", unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(k.fds)
		if err := k.file(look, &st, ""); err != nil {
			t.Fatal(err)
		}
		c, err := ParseCached(k.c.encode(k.out))
		if err != nil || k.c.Mincore != 0 && !k.mincore {
			t.Fatal(c, err)
		}
		return c.Files[0]
	}
	if a, b := ask(false), ask(true); a.Bytes != b.Bytes || a.Bytes == 0 || b.Dirty != -1 {
		t.Errorf("cachestat %+v, mincore %+v", a, b)
	}
}

// mincore tells who may not know that all is there: that is not believed.
func TestMincoreIsForOwners(t *testing.T) {
	f := filled(t, filepath.Join(t.TempDir(), "name"), 1<<20)
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	k := &looker{until: time.Now().Add(time.Minute), uid: st.Uid, page: int64(os.Getpagesize())}
	var c CachedFile
	if err := k.resident(int(f.Fd()), &st, &c); err != nil || c.Bytes != 1<<20 {
		t.Errorf("own: %+v, %v", c, err)
	}
	exe, err := os.Open("/proc/self/exe") // cannot be written while it runs, not even by root
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	if err := unix.Fstat(int(exe.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	k.uid = st.Uid + 1
	if unix.Access("/proc/self/exe", unix.W_OK) == nil {
		t.Skip("root may write to everything")
	}
	if err := k.resident(int(exe.Fd()), &st, &c); !errors.Is(err, unix.EPERM) {
		t.Errorf("another's: %+v, %v", c, err)
	}
}

func TestCachedTree(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	filled(t, outside+"/secret", 1<<20)
	filled(t, dir+"/a\nb\xff", 64<<10)
	filled(t, dir+"/once", 64<<10)
	filled(t, dir+"/empty", 0)
	for _, err := range []error{
		os.Link(dir+"/once", dir+"/twice"),
		os.Symlink(outside, dir+"/away"), os.Symlink(outside+"/secret", dir+"/out"), os.Symlink("/proc/self/root", dir+"/magic"),
		unix.Mkfifo(dir+"/fifo", 0o600), os.MkdirAll(dir+"/d/e", 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	filled(t, dir+"/d/e/deep", 64<<10)
	cold := filled(t, dir+"/cold", 1<<20)
	if err := unix.Fadvise(int(cold.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	before := askCached(t, live(t, "/"), fdPath(cold), 200).Files[0].Bytes
	c := askCached(t, live(t, "/"), ownRoot(dir), 10_000)
	names := map[string]int64{}
	for _, f := range c.Files {
		names[f.Path] = f.Bytes
	}
	if names["once"]+names["twice"] != 64<<10 || names["a\nb\xff"] != 64<<10 || names["d/e/deep"] != 64<<10 || c.Stopped != "" || c.Refused != 0 {
		t.Errorf("%+v", c)
	}
	for name := range names {
		if strings.Contains(name, "secret") || name == "empty" || name == "fifo" {
			t.Errorf("%q", name)
		}
	}
	if after := askCached(t, live(t, "/"), fdPath(cold), 200).Files[0].Bytes; after > before {
		t.Errorf("looking brought %d bytes into memory", after-before)
	}
}

// A directory without an end has one here.
func TestCachedIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range 1000 {
		if err := os.Mkdir(fmt.Sprintf("%s/%d", dir, i), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l := live(t, "/")
	if c := askCached(t, l, ownRoot(dir), 300); c.Entries > 301 || !strings.Contains(c.Stopped, "300") {
		t.Errorf("%+v", c)
	}
	if c := askCached(t, l, ownRoot("/"), 100); c.Entries > 101 || c.Stopped == "" {
		t.Errorf("%+v", c)
	}
	look := &looker{until: time.Now(), max: 1 << 20, magics: map[uint64]uint32{}, page: 4096}
	top, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(top)
	if err := look.walk(top); err != nil || look.c.Entries > 1 || look.c.Stopped != errTooLate.Error() {
		t.Errorf("%+v, %v", look.c, err)
	}
}

func TestCachedRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(unix.Mkfifo(dir+"/fifo", 0o600), os.Symlink("/etc/passwd", dir+"/link"), os.Symlink("/", dir+"/up")); err != nil {
		t.Fatal(err)
	}
	fifo, err := os.OpenFile(dir+"/fifo", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	for _, p := range []string{
		ownRoot(dir + "/fifo"), ownRoot(dir + "/link"), ownRoot(dir + "/up/etc/passwd"), ownRoot(dir + "/none"), fdPath(fifo),
		"/etc/passwd", "/proc/self/root/etc/passwd", "/proc/1/environ", ownRoot("/../../../proc/1/root"),
		fmt.Sprintf("/proc/%d/map_files/../root", os.Getpid()),
	} {
		if a := live(t, "/").Ask(Question{Op: Cached, Path: p, Max: 10}); a.State == snapshot.Present {
			t.Errorf("%s: %.100q", p, a.Data)
		}
	}
}

// The walk against nothing but reading directories and asking about each file.
func BenchmarkCached(b *testing.B) {
	dir := b.TempDir()
	for i := range 4000 {
		if i%200 == 0 {
			if err := os.Mkdir(fmt.Sprintf("%s/%d", dir, i/200), 0o755); err != nil {
				b.Fatal(err)
			}
		}
		if err := os.WriteFile(fmt.Sprintf("%s/%d/%d", dir, i/200, i), make([]byte, 8<<10), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	l, err := OpenLive("/")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	var own, bare time.Duration
	for b.Loop() {
		start := time.Now()
		_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, _ error) error {
			if d.Type().IsRegular() {
				fd, err := unix.Open(p, openFlags, 0)
				if err != nil {
					b.Fatal(err)
				}
				var all unix.CachestatRange
				var got unix.Cachestat_t
				if err := unix.Cachestat(uint(fd), &all, &got, 0); err != nil {
					b.Skip(err)
				}
				unix.Close(fd)
			}
			return nil
		})
		bare += time.Since(start)
		start = time.Now()
		if c := askCached(b, l, ownRoot(dir), 100_000); len(c.Files) != 4000 {
			b.Fatalf("%d files, %s", len(c.Files), c.Stopped)
		}
		own += time.Since(start)
	}
	b.ReportMetric(float64(own)/float64(bare), "ratio")
	b.ReportMetric(float64(own.Nanoseconds())/float64(b.N)/4000, "ns/file")
}
