package kernel

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Log reads what the kernel's ring of messages holds, one record after the other,
// up to its end at the moment; it never waits for more. It is no Question: the
// ring is a device, has no length, and each read gives one record (linux
// kernel/printk/printk.c, devkmsg_read).
type Log struct {
	file     *os.File
	conn     syscall.RawConn
	Overruns int64 // times that the ring was overwritten under the reader
	read     int
}

const (
	logPath   = "/dev/kmsg"
	logRecord = 16 << 10  // more than a record can have
	logMax    = 256 << 20 // of all: somebody may write faster than anybody reads
)

// OpenLog opens the log of the node whose root file system is at dir.
func OpenLog(dir string) (*Log, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the node's root: %w", err)
	}
	defer root.Close()
	f, err := root.OpenFile(relative(logPath), openFlags, 0)
	if err != nil {
		return nil, fmt.Errorf("open the kernel's log: %w", err)
	}
	st, err := f.Stat()
	if err == nil && st.Mode()&fs.ModeCharDevice == 0 {
		err = fmt.Errorf("%s is not the kernel's log: no device", logPath)
	}
	var conn syscall.RawConn
	if err == nil {
		conn, err = f.SyscallConn()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Log{file: f, conn: conn}, nil
}

// Close closes the log.
func (l *Log) Close() error { return l.file.Close() }

// Read gives one record, io.EOF at the end of the ring. b must have 16 KiB.
func (l *Log) Read(b []byte) (int, error) {
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

// PageSize is that of this machine.
func PageSize() int64 { return int64(os.Getpagesize()) }
