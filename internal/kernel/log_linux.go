package kernel

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Ring reads what the kernel's ring of messages holds, one record after the other,
// up to its end at the moment; it never waits for more. The ring is a device, has
// no length, and each read gives one record (linux kernel/printk/printk.c,
// devkmsg_read).
type Ring struct {
	file     *os.File
	conn     syscall.RawConn
	Overruns int64 // times that the ring was overwritten under the reader
	read     int
}

const (
	logRecord = 16 << 10  // more than a record can have
	logMax    = 256 << 20 // of all: somebody may write faster than anybody reads
)

// OpenLog opens the log of the node whose root file system is at dir.
func OpenLog(dir string) (*Ring, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the node's root: %w", err)
	}
	defer root.Close()
	return openRing(root)
}

func openRing(root *os.Root) (*Ring, error) {
	f, err := root.OpenFile(relative(LogPath), openFlags, 0)
	if err != nil {
		return nil, fmt.Errorf("open the kernel's log: %w", err)
	}
	st, err := f.Stat()
	if err == nil && st.Mode()&fs.ModeCharDevice == 0 {
		err = fmt.Errorf("%s is not the kernel's log: no device", LogPath)
	}
	var conn syscall.RawConn
	if err == nil {
		conn, err = f.SyscallConn()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Ring{file: f, conn: conn}, nil
}

// Close closes the log.
func (l *Ring) Close() error { return l.file.Close() }

// Read gives one record, io.EOF at the end of the ring. b must have 16 KiB.
func (l *Ring) Read(b []byte) (int, error) {
	if len(b) < logRecord {
		return 0, io.ErrShortBuffer
	}
	for tries := 0; ; tries++ {
		var n int
		var err error
		if cerr := l.conn.Read(func(fd uintptr) bool {
			n, err = syscall.Read(int(fd), b)
			return true // whatever came: not to wait for more
		}); cerr != nil {
			return 0, cerr
		}
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EPIPE) && tries < 1000:
			l.Overruns++
		case errors.Is(err, syscall.EAGAIN), err == nil && n <= 0, err == nil && l.read > logMax:
			return 0, io.EOF
		case err != nil:
			return 0, fmt.Errorf("read the kernel's log: %w", err)
		default:
			l.read += n
			return n, nil
		}
	}
}

// log answers a question with the whole ring.
func (l *Live) log(q Question) ([]byte, error) {
	ring, err := openRing(l.root)
	if err != nil {
		return nil, err
	}
	defer ring.Close()
	var all []byte
	for record := make([]byte, logRecord); ; {
		n, err := ring.Read(record)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if len(all)+n > q.Max {
			return nil, fmt.Errorf("longer than %d bytes", q.Max)
		}
		all = append(all, record[:n]...)
	}
}

// PageSize is that of this machine.
func PageSize() int64 { return int64(os.Getpagesize()) }
