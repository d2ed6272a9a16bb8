package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// Live is the running node, seen through its root directory.
type Live struct {
	root  *os.Root
	start time.Time
	cpu   time.Duration
	bytes atomic.Int64
}

// OpenLive opens the node whose root file system is visible at dir ("/" on the
// node itself, /host in a typical pod). No path, symbolic link or magic link
// leads out of dir.
func OpenLive(dir string) (*Live, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the node's root: %w", err)
	}
	return &Live{root: root, start: time.Now(), cpu: cpuTime()}, nil
}

// Close releases the root directory.
func (l *Live) Close() error { return l.root.Close() }

// Origin implements Source.
func (l *Live) Origin() Origin {
	return Origin{
		Generated: l.start,
		PageSize:  int64(os.Getpagesize()),
		Cost:      snapshot.Cost{Wall: time.Since(l.start), CPU: cpuTime() - l.cpu, BytesRead: l.bytes.Load()},
	}
}

// Ask implements Source. It may block for as long as the kernel does: see Guard.
func (l *Live) Ask(q Question) Answer {
	a := Answer{At: time.Now()}
	var err error
	switch q.Op {
	case Read:
		a.Data, err = l.read(q)
	case List:
		a.Data, err = l.list(q)
	case Link:
		var s string
		s, err = l.root.Readlink(relative(q.Path))
		a.Data = []byte(s)
	default:
		err = fmt.Errorf("no such question: %q", q.Op)
	}
	a.State, a.Err = Fault(err)
	if a.State != snapshot.Present {
		a.Data = nil
	}
	l.bytes.Add(int64(len(a.Data)))
	return a
}

// relative makes a path of the node relative to its root.
func relative(p string) string {
	if p = strings.TrimPrefix(path.Clean("/"+p), "/"); p == "" {
		return "."
	}
	return p
}

// open never waits for a writer of a FIFO, never takes a terminal.
func (l *Live) open(p string) (*os.File, error) {
	return l.root.OpenFile(relative(p), os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
}

func (l *Live) read(q Question) ([]byte, error) {
	f, err := l.open(q.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, err
	} else if !st.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	buf := make([]byte, 0, min(8<<10, q.Max+1))
	for {
		n, err := f.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > q.Max:
			return nil, fmt.Errorf("longer than %d bytes", q.Max)
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return nil, err
		case len(buf) == cap(buf):
			buf = append(make([]byte, 0, min(4*cap(buf), q.Max+1)), buf...)
		}
	}
}

func (l *Live) list(q Question) ([]byte, error) {
	f, err := l.open(q.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var names []byte
	count := 0
	for {
		ents, err := f.ReadDir(256)
		for _, e := range ents {
			if !e.IsDir() {
				continue
			}
			if count++; count > q.Max {
				return nil, fmt.Errorf("more than %d directories", q.Max)
			}
			names = append(append(names, e.Name()...), 0)
		}
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func cpuTime() time.Duration {
	var ru syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &ru) != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
