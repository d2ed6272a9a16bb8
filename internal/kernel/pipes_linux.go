package kernel

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

var fdDirectory = regexp.MustCompile(`^/proc/([0-9]+)/fd$`)

// pipes looks into the pipes that a process has open. Opening one by its link would
// make one more reader or writer of it; pidfd_getfd(2) only holds what is open for as
// long as the two questions take. They wait for who writes to it just then, who may
// be made to wait for ever: not to be asked but aside.
func (l *Live) pipes(q Question) ([]byte, error) {
	m := fdDirectory.FindStringSubmatch(q.Path)
	if m == nil {
		return nil, errors.New("only asked of /proc/PID/fd")
	}
	pid, err := strconv.Atoi(m[1])
	if err != nil {
		return nil, err
	}
	links, err := l.links(Question{Op: Links, Path: q.Path, Max: q.Max})
	if err != nil {
		return nil, err
	}
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, since56(err)
	}
	defer unix.Close(process)
	var out []byte
	asked, seen := 0, map[uint64]bool{}
	for _, link := range (Answer{Data: links}).Links() {
		inode, ok := pipeInode(link.Text)
		fd, err := strconv.Atoi(link.Name)
		if !ok || err != nil || seen[inode] {
			continue
		}
		seen[inode] = true
		asked++
		bytes, room, err := pipe(process, fd, inode)
		switch {
		case errors.Is(err, unix.EBADF), errors.Is(err, errElse):
		case err != nil:
			return nil, since56(err)
		default:
			out = fmt.Appendf(out, "%d %d %d\n", inode, bytes, room)
		}
	}
	if asked > 0 && len(out) == 0 {
		return nil, errElse
	}
	return out, nil
}

// pipeInode takes the number out of pipe:[N].
func pipeInode(text string) (inode uint64, ok bool) {
	rest, ok := strings.CutPrefix(text, "pipe:[")
	if !ok {
		return 0, false
	}
	digits, ok := strings.CutSuffix(rest, "]")
	inode, err := strconv.ParseUint(digits, 10, 64)
	return inode, ok && err == nil
}

// errElse is of a descriptor that was closed, or of another process: below a foreign
// root the number may be from another PID namespace.
var errElse = errors.New("it has something else open by now")

func pipe(process, fd int, inode uint64) (bytes, room int, err error) {
	own, err := unix.PidfdGetfd(process, fd, 0)
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(own)
	var st unix.Stat_t
	if err := unix.Fstat(own, &st); err != nil {
		return 0, 0, err
	}
	if st.Ino != inode || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return 0, 0, errElse
	}
	if room, err = unix.FcntlInt(uintptr(own), unix.F_GETPIPE_SZ, 0); err != nil {
		return 0, 0, err
	}
	bytes, err = unix.IoctlGetInt(own, unix.TIOCINQ) // FIONREAD
	return bytes, room, err
}

// since56 tells a kernel without these calls from a failure.
func since56(err error) error {
	if errors.Is(err, unix.ENOSYS) {
		return unix.EOPNOTSUPP
	}
	return err
}
