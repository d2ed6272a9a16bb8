package knob

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// fake is a directory that passes for a cgroup: what is written can be read.
func fake(t *testing.T, v snapshot.Version, files map[string]string) Group {
	t.Helper()
	dir := t.TempDir()
	files["cgroup.procs"] = ""
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	was := magics[v]
	magics[v] = int64(fs.Type)
	t.Cleanup(func() { magics[v] = was })
	return Group{Root: "/", Dir: Path(dir), Version: v, ID: inode(t, dir)}
}

func inode(t *testing.T, p string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func open(t *testing.T, g Group) *Cgroup {
	t.Helper()
	c, err := Open(g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func content(t *testing.T, g Group, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(string(g.Dir), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func number(n int) *int { return &n }

// What is written is never empty, never less than a page, never what the kernel would
// read as all there is.
func TestReclaimValues(t *testing.T) {
	page := os.Getpagesize()
	for _, c := range []struct {
		bytes      int64
		swappiness *int
		want       string // empty: refused
	}{
		{16 << 20, nil, "16777216"},
		{16<<20 + 5, number(0), "16777216 swappiness=0"},
		{int64(page), number(200), strconv.Itoa(page) + " swappiness=200"},
		{int64(page) - 1, nil, ""},
		{0, nil, ""},
		{-1 << 20, nil, ""},
		{size.Unlimited, nil, ""},
		{1 << 20, number(-1), ""},
		{1 << 20, number(201), ""},
	} {
		g := fake(t, snapshot.V2, map[string]string{Reclaim: ""})
		err := open(t, g).Reclaim(c.bytes, c.swappiness)
		if got := content(t, g, Reclaim); got != c.want || errors.Is(err, ErrValue) != (c.want == "") {
			t.Errorf("%d: wrote %q, %v", c.bytes, got, err)
		}
	}
}

func TestSettings(t *testing.T) {
	g := fake(t, snapshot.V2, map[string]string{High: "max\n", SwapMax: "1048576\n"})
	c := open(t, g)
	if err := c.SqueezeHigh(Setting{High, size.Unlimited, 1 << 20}); err != nil || content(t, g, High) != "max" {
		t.Errorf("%v, %q", err, content(t, g, High))
	}
	err := c.HoldSwap(Setting{SwapMax, 1 << 20, 0}, func() error {
		if got := content(t, g, SwapMax); got != "0" {
			t.Errorf("held at %q", got)
		}
		return ErrLess
	})
	if !errors.Is(err, ErrLess) || content(t, g, SwapMax) != "1048576" {
		t.Errorf("%v, %q", err, content(t, g, SwapMax))
	}
	v1 := fake(t, snapshot.V1, map[string]string{Limit: "9223372036854771712\n"})
	if err := open(t, v1).SqueezeLimit(Setting{Limit, size.Unlimited, 1 << 20}); err != nil || content(t, v1, Limit) != "-1" {
		t.Errorf("%v, %q", err, content(t, v1, Limit))
	}
	for name, s := range map[string]Setting{
		"raised":          {High, 1 << 20, 2 << 20},
		"negative":        {High, 1 << 20, -1},
		"not whole pages": {High, 1 << 20, 1},
		"version 1's":     {Limit, 2 << 20, 1 << 20},
		"another file":    {"cgroup.procs", 2 << 20, 1 << 20},
	} {
		if err := c.squeeze(s); !errors.Is(err, ErrValue) || content(t, g, High) != "max" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.SqueezeHigh(Setting{High, 4 << 20, 1 << 20}); !errors.Is(err, ErrSet) || content(t, g, High) != "max" {
		t.Errorf("set by somebody else: %v", err)
	}
}

// A setting is put back only from what was set here.
func TestRestoreCompares(t *testing.T) {
	s := Setting{High, 8 << 20, 4 << 20}
	for text, want := range map[string]Outcome{"4194304": PutBack, "8388608": Unchanged, "6291456": Theirs, "max": Theirs, "nonsense": Failing} {
		g := fake(t, snapshot.V2, map[string]string{High: text})
		got, err := open(t, g).Restore(s)
		if got != want || (err != nil) != (want == Theirs || want == Failing) {
			t.Errorf("%s: %s, %v", text, got, err)
		}
		after := text
		if want == PutBack {
			after = "8388608"
		}
		if content(t, g, High) != after {
			t.Errorf("%s: now %s", text, content(t, g, High))
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	g := fake(t, snapshot.V2, map[string]string{High: "max"})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(string(g.Dir), link); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Group)
		want   error
	}{
		"another inode": {func(g *Group) { g.ID++ }, ErrGone},
		"no inode":      {func(g *Group) { g.ID = 0 }, ErrValue},
		"no version":    {func(g *Group) { g.Version = 0 }, ErrValue},
		"vanished":      {func(g *Group) { g.Dir += "x" }, ErrGone},
		"a link":        {func(g *Group) { g.Dir = Path(link) }, ErrOther},
		"a file":        {func(g *Group) { g.Dir += "/memory.high" }, ErrGone},
		"not a cgroup":  {func(g *Group) { g.Version = snapshot.V1 }, ErrRefused},
	} {
		other := g
		c.change(&other)
		if cg, err := Open(other); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v", name, cg, err)
		}
	}
	if err := open(t, g).Reclaim(1<<20, nil); !errors.Is(err, ErrAbsent) {
		t.Errorf("no such knob: %v", err)
	}
	c := open(t, g)
	if err := os.RemoveAll(string(g.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := c.Reclaim(1<<20, nil); !errors.Is(err, ErrGone) {
		t.Errorf("removed meanwhile: %v", err)
	}
}

// planned is a file with a cache, and how it was planned.
func planned(t *testing.T) File {
	t.Helper()
	p := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(p, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := errors.Join(unix.Stat(p, &st), unix.Statfs(p, &fs)); err != nil {
		t.Fatal(err)
	}
	for kind, magic := range local {
		if magic == int64(fs.Type) {
			return File{Root: "/", PID: os.Getpid(), Path: Path(p), FS: kind, Device: kernel.SDev(st.Dev), Inode: st.Ino, Sync: true}
		}
	}
	t.Skipf("files here are on %x", fs.Type)
	return File{}
}

func TestDropCache(t *testing.T) {
	f := planned(t)
	for _, pid := range []int{os.Getpid(), 0} {
		f.PID = pid
		b, err := os.ReadFile(string(f.Path))
		if err != nil || len(b) != 1<<20 {
			t.Fatal(err)
		}
		had, got, err := DropCache(f)
		if err != nil || had.Value != 1<<20 || got.Value != 1<<20 {
			t.Errorf("pid %d: %+v, %+v, %v", pid, had, got, err)
		}
		if had, got, err = DropCache(f); err != nil || had.State != snapshot.Present || had.Value != 0 || got.Value != 0 {
			t.Errorf("pid %d, when nothing is left: %+v, %+v, %v", pid, had, got, err)
		}
	}
}

// With more of it in memory than was seen a file is left alone.
func TestDropCacheGrown(t *testing.T) {
	f := planned(t)
	if b, err := os.ReadFile(string(f.Path)); err != nil || len(b) != 1<<20 {
		t.Fatal(err)
	}
	f.Most = 1<<20 - 4096
	if _, _, err := DropCache(f); !errors.Is(err, ErrGrown) {
		t.Errorf("dropped: %v", err)
	}
	f.Most = 1 << 20
	if _, got, err := DropCache(f); err != nil || got.Value != 1<<20 {
		t.Errorf("%+v, %v", got, err)
	}
}

// Both ways to count what is in memory of a file agree, also where it has holes and ends
// within a page.
func TestResident(t *testing.T) {
	f := planned(t)
	file, err := os.OpenFile(string(f.Path), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	const window = 256 << 20 // that kernel.Resident maps at once
	page := int64(os.Getpagesize())
	for _, size := range []int64{0, 1, page + 1, 1<<20 - 5, window + 3*page + 7} {
		if err := errors.Join(file.Truncate(0), file.Truncate(size)); err != nil {
			t.Fatal(err)
		}
		for _, at := range []int64{0, size / 2, size - 1} {
			if _, err := file.ReadAt(make([]byte, 1), max(0, at)); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
		got, err := resident(int(file.Fd()))
		if err != nil || size > 0 && got < page || got > (size+page-1)/page*page {
			t.Errorf("%d bytes: %d, %v", size, got, err)
		}
		if by := cached(int(file.Fd())); by.State != snapshot.Present || by.Source == "cachestat" && by.Value != got {
			t.Errorf("%d bytes: %d by mincore, %+v", size, got, by)
		}
	}
}

// What was put in the place of a planned file is neither opened nor waited for.
func TestSwappedFile(t *testing.T) {
	for name, swap := range map[string]func(p string) error{
		"fifo":           func(p string) error { return unix.Mkfifo(p, 0o600) },
		"device":         func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))) },
		"socket":         func(p string) error { return unix.Mknod(p, unix.S_IFSOCK|0o600, 0) },
		"directory":      func(p string) error { return os.Mkdir(p, 0o700) },
		"link":           func(p string) error { return os.Symlink("/etc/passwd", p) },
		"link to itself": func(p string) error { return os.Symlink(p+".moved", p) },
		"other file":     func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"nothing":        func(string) error { return nil },
		"link above": func(p string) error {
			dir := filepath.Dir(p)
			if err := os.Rename(dir, dir+".moved"); err != nil {
				return err
			}
			if err := os.Rename(dir+".moved/file.moved", dir+".moved/file"); err != nil {
				return err
			}
			return os.Symlink(dir+".moved", dir)
		},
	} {
		f := planned(t)
		if err := os.Rename(string(f.Path), string(f.Path)+".moved"); err != nil {
			t.Fatal(err)
		}
		err := swap(string(f.Path))
		if errors.Is(err, unix.EPERM) {
			continue // devices are for root
		}
		if err != nil {
			t.Fatal(name, err)
		}
		if _, _, err := DropCache(f); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusedFiles(t *testing.T) {
	for _, fs := range []string{"", "fuse", "fuse.sshfs", "nfs4", "cifs", "autofs", "9p", "overlay", "tmpfs", "ceph"} {
		f := planned(t)
		f.FS = fs
		if _, _, err := DropCache(f); !errors.Is(err, ErrRefused) {
			t.Errorf("%q: %v", fs, err)
		}
	}
	f := planned(t)
	for name, change := range map[string]func(*File){
		"device": func(f *File) { f.Device++ }, "inode": func(f *File) { f.Inode++ },
		"file system": func(f *File) { f.FS = "vfat" }, "process": func(f *File) { f.PID = 1 << 30 },
		"out of the root": func(f *File) { f.Path = Path("/../" + strings.Repeat("../", 20) + "x") },
	} {
		g := f
		change(&g)
		if _, _, err := DropCache(g); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	look, err := unix.Open(string(f.Path), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(look)
	gen, ok := generation(look)
	if !ok {
		t.Log("no generation here")
		return
	}
	if f.Generation = gen; f.Generation != 0 {
		if _, _, err := DropCache(f); err != nil {
			t.Errorf("with its generation: %v", err)
		}
	}
	f.Generation = gen + 1
	if _, _, err := DropCache(f); !errors.Is(err, ErrChanged) {
		t.Errorf("another generation: %v", err)
	}
}

// Names are bytes, and errors keep their kind, across processes.
func TestServe(t *testing.T) {
	g := fake(t, snapshot.V2, map[string]string{High: "max", Reclaim: ""})
	zero := 0
	orders := []Order{
		{Group: g, Bytes: 1 << 20, Swappiness: &zero},
		{Group: g, Squeeze: &Setting{High, size.Unlimited, 1 << 20}},
		{Group: g},
		{Group: Group{Root: "/", Dir: "/no\xff\nsuch", Version: snapshot.V2, ID: 7}, Empty: true},
		{File: &File{Root: "/", Path: "/no\xffsuch", FS: "ext4"}},
		{File: &File{Root: "/", Path: "/x", FS: "nfs"}},
	}
	in, give := io.Pipe()
	take, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- Serve(in, out) }()
	enc, dec := json.NewEncoder(give), json.NewDecoder(take)
	var hello Reply
	if err := dec.Decode(&hello); err != nil || hello.Err() != nil {
		t.Fatal(err)
	}
	for i, want := range []error{nil, nil, ErrValue, ErrGone, ErrChanged, ErrRefused} {
		if err := enc.Encode(orders[i]); err != nil {
			t.Fatal(err)
		}
		var r Reply
		if err := dec.Decode(&r); err != nil || !errors.Is(r.Err(), want) {
			t.Errorf("order %d: %v, %v", i, r.Err(), err)
		}
	}
	if got := content(t, g, Reclaim); got != "1048576 swappiness=0" {
		t.Errorf("wrote %q", got)
	}
	give.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestPathIsBytes(t *testing.T) {
	for _, p := range []Path{"", "/a", "/\xff\x00\n\"", "/\u00e9"} {
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back Path
		if err := json.Unmarshal(b, &back); err != nil || back != p || bytes.ContainsAny(b, "\n\xff") {
			t.Errorf("%q: %s, %q, %v", p, b, back, err)
		}
	}
}
