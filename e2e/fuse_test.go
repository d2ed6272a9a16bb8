package e2e

import (
	enc "encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// silentFile is a file on a FUSE file system whose server answers everything but
// reads. It speaks just enough of protocol 7.31 (linux
// include/uapi/linux/fuse.h) for one file.
//
// release ends the connection and with it every read; it must come before
// waiting for a process that reads.
func silentFile(t *testing.T) (file string, release func()) {
	t.Helper()
	file, release, _ = fuseFile(t)
	return file, release
}

// What a server answers besides: nothing that is read, also what is read, or neither that
// nor who opens the file.
const (
	noReads = iota
	reads
	noOpens
)

// fuseFile is the same, whose server does more, or less, on demand.
func fuseFile(t *testing.T) (file string, release func(), answers *atomic.Int32) {
	t.Helper()
	answers = new(atomic.Int32)
	fd, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open /dev/fuse: %v", err)
	}
	dir := t.TempDir()
	if err := syscall.Mount("memwhy-e2e", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		t.Fatalf("mount: %v", err)
	}
	release = sync.OnceFunc(func() {
		_ = syscall.Unmount(dir, syscall.MNT_FORCE|syscall.MNT_DETACH)
		syscall.Close(fd)
	})
	t.Cleanup(release)
	go serve(fd, answers)
	return filepath.Join(dir, "silent"), release, answers
}

func serve(fd int, answers *atomic.Int32) {
	buf := make([]byte, 1<<17+4096)
	for {
		n, err := syscall.Read(fd, buf)
		if err == syscall.EINTR || err == syscall.ENOENT {
			continue
		}
		if err != nil || n < 40 {
			return
		}
		little := enc.LittleEndian
		op, unique := little.Uint32(buf[4:]), little.Uint64(buf[8:])
		reply := func(errno int32, body []byte) {
			out := make([]byte, 16, 16+len(body))
			little.PutUint32(out, uint32(16+len(body)))
			little.PutUint32(out[4:], uint32(-errno))
			little.PutUint64(out[8:], unique)
			_, _ = syscall.Write(fd, append(out, body...))
		}
		switch op {
		case 26: // INIT
			body := make([]byte, 64)
			little.PutUint32(body, 7)
			little.PutUint32(body[4:], 31)
			little.PutUint32(body[20:], 4096)
			reply(0, body)
		case 1: // LOOKUP
			body := make([]byte, 40, 128)
			little.PutUint64(body, 2)
			little.PutUint64(body[16:], 3600)
			little.PutUint64(body[24:], 3600)
			reply(0, append(body, attr(2, 0o100444)...))
		case 3: // GETATTR
			body := make([]byte, 16, 104)
			little.PutUint64(body, 3600)
			if little.Uint64(buf[16:]) == 1 {
				reply(0, append(body, attr(1, 0o40555)...))
			} else {
				reply(0, append(body, attr(2, 0o100444)...))
			}
		case 14: // OPEN
			if answers.Load() == noOpens {
				break
			}
			body := make([]byte, 16)
			body[8] = 2 // FOPEN_KEEP_CACHE, else an open waits for the page too
			reply(0, body)
		case 15: // READ: for ever
			if answers.Load() == reads {
				reply(0, make([]byte, os.Getpagesize()))
			}
		case 2, 36, 42: // FORGET, INTERRUPT, BATCH_FORGET have no answer
		default:
			reply(int32(syscall.ENOSYS), nil)
		}
	}
}

func attr(ino uint64, mode uint32) []byte {
	b := make([]byte, 88)
	enc.LittleEndian.PutUint64(b, ino)
	enc.LittleEndian.PutUint64(b[8:], uint64(os.Getpagesize()))
	enc.LittleEndian.PutUint32(b[60:], mode)
	enc.LittleEndian.PutUint32(b[64:], 1)
	return b
}
