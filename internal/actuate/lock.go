package actuate

import (
	"cmp"
	"errors"
	"os"
	"syscall"
	"time"
)

// held is a lock on one cgroup. It lives in the open file, so that the guardian, which
// inherits that, keeps it after memwhy has died.
type held struct {
	dir  *os.Root
	name string
	file *os.File
}

// lock locks a name, or fails with ErrBusy. Somebody who only looks holds it for a
// moment, so it is tried some times.
func lock(dir *os.Root, name string) (*held, error) {
	for range 10 {
		f, err := dir.OpenFile(name, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		err = flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && linked(f) {
			return &held{dir, name, f}, nil
		}
		f.Close()
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, err
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil, ErrBusy
}

// flock locks without f.Fd, which would make f block.
func flock(f *os.File, how int) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var locked error
	err = c.Control(func(fd uintptr) { locked = syscall.Flock(int(fd), how) })
	return cmp.Or(err, locked)
}

// linked reports whether the file still has its name: else it is another's lock that is
// looked at.
func linked(f *os.File) bool {
	st, err := f.Stat()
	if err != nil {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	return !ok || sys.Nlink > 0
}

// release gives up the lock and its name.
func (h *held) release() {
	_ = h.dir.Remove(h.name)
	h.file.Close()
}

// locked reports whether somebody holds a lock.
func locked(dir *os.Root, name string) bool {
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(flock(f, syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}
