package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// What is in a pipe is told, and stays in it. A FIFO with a name is none of its.
func TestPipes(t *testing.T) {
	l, err := OpenLive("/")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	if _, err := unix.Write(fds[1], make([]byte, 10_000)); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	named, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(named)
	var pipe, other unix.Stat_t
	if err := errors.Join(unix.Fstat(fds[0], &pipe), unix.Fstat(named, &other)); err != nil {
		t.Fatal(err)
	}
	q := Question{Op: Pipes, Path: fmt.Sprintf("/proc/%d/fd", os.Getpid()), Max: 1000}
	a := l.Ask(q)
	if a.State == snapshot.Absent || a.State == snapshot.Denied {
		t.Skipf("pidfd_getfd: %s", a.Err)
	}
	if want := fmt.Sprintf("%d 10000 65536\n", pipe.Ino); !strings.Contains("\n"+string(a.Data), "\n"+want) || strings.Count(string(a.Data), want) != 1 {
		t.Errorf("%s %s: no %q in %q", a.State, a.Err, want, a.Data)
	}
	if strings.Contains("\n"+string(a.Data), fmt.Sprintf("\n%d ", other.Ino)) {
		t.Errorf("a FIFO with a name: %q", a.Data)
	}
	if n, err := unix.Read(fds[0], make([]byte, 20_000)); n != 10_000 {
		t.Errorf("%d bytes are left, %v", n, err)
	}
	for _, path := range []string{"/proc/self/fd", "/proc/1/fd/0", "/etc"} {
		if a := l.Ask(Question{Op: Pipes, Path: path, Max: 1000}); a.State != snapshot.Failed {
			t.Errorf("%s: %s %q", path, a.State, a.Data)
		}
	}
	if !risky(q) {
		t.Error("who writes to a pipe may keep its lock for ever: it is to be asked aside")
	}
}
