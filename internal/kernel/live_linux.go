package kernel

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// Live is the running node, seen through its root directory.
type Live struct {
	root  *os.Root
	own   bool // root is this process's own
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
	return &Live{root: root, own: path.Clean(dir) == "/", start: time.Now(), cpu: cpuTime()}, nil
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
func (l *Live) Ask(q Question) Answer { return l.ask(q, -1) }

// InTurn asks questions one after the other and hands over each answer. The way to
// files that are in one directory, as those of a cgroup, is gone once: it costs as
// much as reading them.
func (l *Live) InTurn(qs []Question, given func(i int, a Answer)) {
	dir := l.together(qs)
	if dir >= 0 {
		defer syscall.Close(dir)
	}
	for i, q := range qs {
		given(i, l.ask(q, dir))
	}
}

// together opens the directory that all questions are to read files of; -1 when they
// are not, or when there is no such directory.
func (l *Live) together(qs []Question) int {
	if !l.own || len(qs) < 2 {
		return -1
	}
	dir := path.Dir(qs[0].Path)
	for _, q := range qs {
		name, ok := strings.CutPrefix(q.Path, dir)
		if q.Op != Read || !ok || strings.LastIndexByte(name, '/') != 0 {
			return -1
		}
	}
	fd, err := l.directory(qs[0].Path)
	if err != nil {
		return -1
	}
	return fd
}

// ask answers one question. A file to read is in dir, if that is not -1.
func (l *Live) ask(q Question, dir int) Answer {
	a := Answer{At: time.Now()}
	var err error
	switch q.Op {
	case Read:
		a.Data, err = l.readIn(dir, q)
	case List:
		a.Data, err = l.list(q)
	case Link:
		var s string
		s, err = l.root.Readlink(relative(q.Path))
		a.Data = []byte(s)
	case Links:
		a.Data, err = l.links(q)
	case Stat:
		a.Data, err = l.stat(q)
	case BuildInfo:
		a.Data, err = l.buildInfo(q)
	case Names:
		a.Data, err = l.names(q)
	case Marks:
		a.Data, err = l.marks(q)
	case Log:
		a.Data, err = l.log(q)
	case Cached:
		a.Data, err = l.cached(q)
	case Numbered:
		a.Data, err = l.numbered(q)
	case Inodes:
		a.Data, err = l.inodes(q)
	case Environ:
		a.Data, err = l.environ(q)
	case Heaps:
		a.Data, err = l.heaps(q)
	case Pipes:
		a.Data, err = l.pipes(q)
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

// Socket finds a unix socket of the node: the name to connect to until close,
// which leads nowhere else than to what was found.
func (l *Live) Socket(p string) (here string, close func() error, err error) {
	const flags = unix.O_PATH | unix.O_CLOEXEC
	for range maxLinks {
		var f *os.File
		if l.own {
			f, err = os.OpenFile("/"+relative(p), flags, 0)
		} else {
			f, err = l.root.OpenFile(relative(onRun(p)), flags, 0)
		}
		if err != nil {
			return "", nil, err
		}
		st, err := f.Stat()
		if err == nil && st.Mode()&os.ModeSocket != 0 {
			return fmt.Sprintf("/proc/self/fd/%d", f.Fd()), f.Close, nil
		}
		f.Close()
		if err != nil || st.Mode()&os.ModeSymlink == 0 {
			return "", nil, cmp.Or(err, errors.New("not a socket"))
		}
		// Below a foreign root a link is not followed by opening it.
		to, err := l.root.Readlink(relative(onRun(p)))
		if err != nil {
			return "", nil, err
		}
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(onRun(p)), to)
		}
		p = to
	}
	return "", nil, errors.New("too many links")
}

const maxLinks = 8

// onRun is p where /var/run leads to on every node: links with whole paths lead
// out of a foreign root.
func onRun(p string) string {
	if rest, ok := strings.CutPrefix(p, "/var/run/"); ok {
		return "/run/" + rest
	}
	return p
}

// whole cleans a path of the node, mostly without a copy.
func whole(p string) string {
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	return path.Clean(p)
}

// relative makes a path of the node relative to its root.
func relative(p string) string {
	if p = strings.TrimPrefix(path.Clean("/"+p), "/"); p == "" {
		return "."
	}
	return p
}

// Opening never waits for a writer of a FIFO, and never takes a terminal.
const openFlags = os.O_RDONLY | syscall.O_NONBLOCK | syscall.O_NOCTTY | syscall.O_CLOEXEC

func (l *Live) open(p string) (*os.File, error) { return l.root.OpenFile(relative(p), openFlags, 0) }

func (l *Live) read(q Question) ([]byte, error) { return l.readIn(-1, q) }

// readIn goes component by component below a foreign root. Below this process's
// own there is nothing to lead out to, and one openat is several times cheaper. The
// file is looked up in dir where that is not -1.
func (l *Live) readIn(dir int, q Question) ([]byte, error) {
	if !l.own {
		f, err := l.open(q.Path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readAll(int(f.Fd()), q.Max)
	}
	name := whole(q.Path)
	if dir >= 0 {
		name = path.Base(q.Path)
	}
	fd, err := unix.Openat(dir, name, openFlags, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	return readAll(fd, q.Max)
}

// scratches are buffers that most files fit in: an answer is then as large as its
// file, and no larger.
var scratches = sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}

// readAll reads a regular file to its end, past the runtime's poller, which has
// nothing to wait for here.
func readAll(fd, max int) ([]byte, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return nil, errors.New("not a regular file")
	}
	scratch := scratches.Get().(*[]byte)
	defer scratches.Put(scratch)
	buf := (*scratch)[:0:min(cap(*scratch), max+1)]
	for {
		n, err := syscall.Read(fd, buf[len(buf):cap(buf)])
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > max:
			return nil, fmt.Errorf("longer than %d bytes", max)
		case n == 0 && len(buf) <= cap(*scratch):
			return bytes.Clone(buf), nil
		case n == 0:
			return buf, nil
		case len(buf) == cap(buf):
			buf = append(make([]byte, 0, min(4*cap(buf), max+1)), buf...)
		}
	}
}

func (l *Live) list(q Question) ([]byte, error) {
	f, err := l.folder(q.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Nlink == 2 {
		return nil, nil // itself and its name above: most cgroups have none below
	}
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

// widen makes a pipe hold more: smaps of megabytes pass through it, and each
// time that it is full costs both sides a sleep.
func widen(pipe any) {
	f, ok := pipe.(*os.File)
	if !ok {
		return
	}
	if c, err := f.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 1<<20) })
	}
}

func cpuTime() time.Duration {
	var ru syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &ru) != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
