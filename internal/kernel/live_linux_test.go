package kernel

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func live(t *testing.T, dir string) *Live {
	t.Helper()
	l, err := OpenLive(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestLiveNode(t *testing.T) {
	l := live(t, "/")
	a := l.Ask(Question{Op: Read, Path: "/proc/self/status", Max: 1 << 20})
	if a.State != snapshot.Present || !bytes.Contains(a.Data, []byte("Name:")) {
		t.Errorf("%s %s", a.State, a.Err)
	}
	if a := l.Ask(Question{Op: Read, Path: "/proc/self/status", Max: 10}); a.State != snapshot.Failed || !strings.Contains(a.Err, "longer than 10") {
		t.Errorf("%+v", a)
	}
	if a := l.Ask(Question{Op: Link, Path: "/proc/self/exe", Max: 4096}); a.State != snapshot.Present || !strings.HasPrefix(string(a.Data), "/") {
		t.Errorf("%+v", a)
	}
	if o := l.Origin(); o.Cost.BytesRead == 0 || o.Cost.Wall <= 0 || o.PageSize < 4096 || o.Replay {
		t.Errorf("%+v", o)
	}
}

// A hostile root: nothing leads out of it, and nothing in it blocks.
func TestHostileRoot(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "proc/sub"), 0o755),
		os.WriteFile(filepath.Join(dir, "proc/real"), []byte("x"), 0o644),
		os.Symlink("/etc/passwd", filepath.Join(dir, "proc/absolute")),
		os.Symlink("../../../../../../../etc/passwd", filepath.Join(dir, "proc/relative")),
		os.Symlink("real", filepath.Join(dir, "proc/inside")),
		os.Symlink("loop", filepath.Join(dir, "proc/loop")),
		syscall.Mkfifo(filepath.Join(dir, "proc/fifo"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	l := live(t, dir)
	for path, want := range map[string]snapshot.State{
		"/proc/real": snapshot.Present, "/proc/inside": snapshot.Present, "/proc/absolute": snapshot.Failed, "/proc/relative": snapshot.Failed,
		"/proc/loop": snapshot.Failed, "/proc/fifo": snapshot.Failed, "/proc/sub": snapshot.Failed, "/proc/none": snapshot.Absent,
		"/proc/real/x": snapshot.Absent, "/../../etc/passwd": snapshot.Absent,
	} {
		if a := l.Ask(Question{Op: Read, Path: path, Max: 1 << 20}); a.State != want {
			t.Errorf("%s: %s (%s), want %s", path, a.State, a.Err, want)
		}
	}
	a := l.Ask(Question{Op: List, Path: "/proc", Max: 10})
	if names := a.Names(); a.State != snapshot.Present || len(names) != 1 || names[0] != "sub" {
		t.Errorf("%q %s", a.Names(), a.Err)
	}
	if a := l.Ask(Question{Op: List, Path: "/proc/real", Max: 10}); a.State == snapshot.Present {
		t.Errorf("a file was listed: %+v", a)
	}
}

func TestFaults(t *testing.T) {
	for err, want := range map[error]snapshot.State{
		syscall.ENOENT: snapshot.Absent, syscall.EACCES: snapshot.Denied, syscall.EPERM: snapshot.Denied,
		syscall.EIO: snapshot.Failed, syscall.EOPNOTSUPP: snapshot.Absent, syscall.ENODEV: snapshot.Absent, syscall.ESRCH: snapshot.Absent,
	} {
		state, words := Fault(&os.PathError{Op: "read", Path: "/x", Err: err})
		if state != want || words == "" {
			t.Errorf("%v: %s %q, want %s", err, state, words, want)
		}
	}
}
