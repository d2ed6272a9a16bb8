package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// Where things are in a directory entry (linux include/linux/dirent.h,
// linux_dirent64).
const (
	direntLength = 16
	direntType   = 18
	direntName   = 19
)

// numbered reads a directory, and nothing of what is in it: the entries themselves
// have the numbers.
func (l *Live) numbered(q Question) ([]byte, error) {
	if !belowRoot.MatchString(q.Path) {
		return nil, errors.New("only asked of directories below /proc/PID/root")
	}
	look, err := l.lookAt(q.Path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(look)
	// What is no directory is not even opened.
	fd, err := unix.Openat(look, ".", openFlags|unix.O_DIRECTORY|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) {
		fd, err = unix.Openat(look, ".", openFlags|unix.O_DIRECTORY, 0)
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var out []byte
	count := 0
	for buf := make([]byte, 32<<10); ; {
		n, err := unix.ReadDirent(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return out, err
		}
		for b := buf[:n]; len(b) > direntName; {
			length := int(binary.NativeEndian.Uint16(b[direntLength:]))
			if length <= direntName || length > len(b) {
				return nil, errors.New("no directory entries")
			}
			if count++; count > q.Max {
				return nil, fmt.Errorf("more than %d entries", q.Max)
			}
			name, _, _ := bytes.Cut(b[direntName:length], []byte{0})
			out = appendNumbered(out, b[direntType], binary.NativeEndian.Uint64(b), name)
			b = b[length:]
		}
	}
}

func appendNumbered(out []byte, kind byte, inode uint64, name []byte) []byte {
	switch {
	case string(name) == "." || string(name) == "..":
		return out
	case kind == unix.DT_REG:
		out = append(out, 'f')
	case kind == unix.DT_DIR:
		out = append(out, 'd')
	default:
		return out
	}
	out = append(strconv.AppendUint(out, inode, 10), ' ')
	return append(append(out, name...), 0)
}
