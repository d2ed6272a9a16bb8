package kernel

import (
	"fmt"
	"io"
	"syscall"
)

// Kept is a file that stays open, to be read again and again: opening a file of
// a cgroup costs several times the reading. Each costs the kernel about 4 KiB.
type Kept struct{ fd int }

// Keep opens a file of the node for reading it many times. It goes the same way
// as Ask, so no link leads out of the root.
func (l *Live) Keep(path string) (*Kept, error) {
	f, err := l.open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	syscall.ForkLock.RLock()
	fd, err := syscall.Dup(int(f.Fd()))
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, fmt.Errorf("keep %s open: %w", path, err)
	}
	return &Kept{fd}, nil
}

// Read reads the file from its beginning into buf, which must be larger than
// the file, without allocating. A cgroup that was removed meanwhile gives
// ENODEV.
func (k *Kept) Read(buf []byte) (int, error) {
	n, err := syscall.Pread(k.fd, buf, 0)
	if err != nil {
		return 0, err
	}
	if n == len(buf) {
		return n, io.ErrShortBuffer
	}
	return n, nil
}

// Close closes the file.
func (k *Kept) Close() error { return syscall.Close(k.fd) }
