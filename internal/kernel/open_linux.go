package kernel

import (
	"errors"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Beneath opens a path below the directory dir that no link leads away from. It needs
// openat2, of Linux 5.6; before that, and where no more is wanted of resolve than
// RESOLVE_IN_ROOT, it goes one name after the other.
func Beneath(dir int, name string, flags int, resolve uint64) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags), Resolve: resolve | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS}
	for range 4 {
		fd, err := unix.Openat2(dir, name, &how)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR): // something was renamed meanwhile
			continue
		case errors.Is(err, unix.ENOSYS) && resolve == unix.RESOLVE_IN_ROOT:
			return stepwise(dir, name, flags)
		case errors.Is(err, unix.ENOSYS):
			return -1, errors.New("needs openat2, of Linux 5.6")
		}
		return fd, err
	}
	return -1, unix.EAGAIN
}

// stepwise opens a path that has no link in it. Cleaned, it never goes up, so that it
// cannot lead out of dir.
func stepwise(dir int, name string, flags int) (int, error) {
	names := strings.Split(strings.TrimPrefix(path.Clean("/"+name), "/"), "/")
	at := dir
	for _, n := range names[:len(names)-1] {
		fd, err := unix.Openat(at, n, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if at != dir {
			unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at = fd
	}
	last := names[len(names)-1]
	if last == "" {
		last = "."
	}
	fd, err := unix.Openat(at, last, flags|unix.O_NOFOLLOW, 0)
	if at != dir {
		unix.Close(at)
	}
	return fd, err
}

// Reopen opens for reading what the descriptor look names, without a path. fds is
// /proc/self/fd. O_NOATIME is for owners.
func Reopen(fds, look int) (int, error) {
	name := strconv.Itoa(look)
	fd, err := unix.Openat(fds, name, openFlags|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) {
		fd, err = unix.Openat(fds, name, openFlags, 0)
	}
	return fd, err
}

// SDev is the kernel's own form of a device number (linux include/linux/kdev_t.h,
// MKDEV).
func SDev(dev uint64) uint32 { return unix.Major(dev)<<20 | unix.Minor(dev) }

// Statx is statx(2), or what kernels before 4.11 have of it. What the kernel has at
// hand is enough: a file system over a network or in user space is not asked.
func Statx(dir int, name string, flags int, st *unix.Statx_t) error {
	err := unix.Statx(dir, name, flags|unix.AT_STATX_DONT_SYNC, unix.STATX_BASIC_STATS, st)
	if !errors.Is(err, unix.ENOSYS) {
		return err
	}
	var old unix.Stat_t
	if err := unix.Fstatat(dir, name, &old, flags); err != nil {
		return err
	}
	st.Mode, st.Nlink, st.Ino = uint16(old.Mode), uint32(old.Nlink), old.Ino
	st.Size, st.Blocks = uint64(old.Size), uint64(old.Blocks)
	st.Dev_major, st.Dev_minor = unix.Major(uint64(old.Dev)), unix.Minor(uint64(old.Dev))
	return nil
}
