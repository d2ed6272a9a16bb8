package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// maxLinkText bounds an answer to Links: paths may be long on purpose.
const maxLinkText = 1 << 20

// goBuildInfo is the section that debug/buildinfo reads.
const goBuildInfo = ".go.buildinfo"

var (
	fdLink  = regexp.MustCompile(`^/proc/[0-9]+/fd/[0-9]+$`)
	exeLink = regexp.MustCompile(`^/proc/[0-9]+/exe$`)
)

// directory opens the directory of p for looking up names in it.
func (l *Live) directory(p string) (fd int, err error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	dir := path.Dir(path.Clean("/" + p))
	if l.own {
		fd, err = unix.Open(dir, flags, 0)
	} else {
		var f *os.File
		if f, err = l.root.OpenFile(relative(dir), unix.O_DIRECTORY|openFlags, 0); err == nil {
			defer f.Close()
			fd, err = unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		}
	}
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// folder opens a directory for reading its names.
func (l *Live) folder(p string) (*os.File, error) {
	if !l.own {
		return l.open(p)
	}
	fd, err := unix.Open("/"+relative(p), openFlags|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), p), nil
}

// entries reads the names in an open directory, all of them or none.
func entries(f *os.File, most int) ([]string, error) {
	names, err := f.Readdirnames(most + 1)
	if len(names) > most {
		return nil, fmt.Errorf("more than %d names", most)
	}
	if err != nil && !errors.Is(err, io.EOF) { // its process ended
		return nil, err
	}
	return names, nil
}

// links reads all links of a directory. One that vanishes meanwhile, and what is
// no link, is left out.
func (l *Live) links(q Question) ([]byte, error) {
	f, err := l.folder(q.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := entries(f, q.Max)
	if err != nil {
		return nil, err
	}
	var out []byte
	text := make([]byte, 4<<10)
	for _, name := range names {
		n, err := unix.Readlinkat(int(f.Fd()), name, text)
		switch {
		case err == nil:
			out = append(append(append(append(out, name...), 0), text[:n]...), 0)
			if len(out) > maxLinkText {
				return nil, fmt.Errorf("longer than %d bytes", maxLinkText)
			}
		case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EINVAL):
		default:
			return nil, err
		}
	}
	return out, nil
}

// names lists a directory, whatever its entries are.
func (l *Live) names(q Question) ([]byte, error) {
	f, err := l.folder(q.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := entries(f, q.Max)
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, name := range names {
		out = append(append(out, name...), 0)
	}
	return out, nil
}

// inodes lists sub-directories with their numbers. One that vanishes meanwhile is
// left out.
func (l *Live) inodes(q Question) ([]byte, error) {
	f, err := l.folder(q.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out, count := inode(nil, f, "."), 0
	for {
		ents, err := f.ReadDir(256)
		for _, e := range ents {
			if !e.IsDir() {
				continue
			}
			if count++; count > q.Max {
				return nil, fmt.Errorf("more than %d directories", q.Max)
			}
			out = inode(out, f, e.Name())
		}
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func inode(out []byte, dir *os.File, name string) []byte {
	var st unix.Stat_t
	if unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT) != nil {
		return out
	}
	out = append(strconv.AppendUint(out, st.Ino, 10), ' ')
	return append(append(out, name...), 0)
}

// stat follows the link of an open file to the file itself: a magic link, which
// leads to the very file that the process has open, whatever mounts there are.
// What the kernel has at hand is enough: a file system over a network or in user
// space is not asked (AT_STATX_DONT_SYNC).
func (l *Live) stat(q Question) ([]byte, error) {
	if !fdLink.MatchString(q.Path) {
		return nil, errors.New("only asked of /proc/PID/fd/N")
	}
	dir, err := l.directory(q.Path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	var st unix.Statx_t
	name := path.Base(q.Path)
	if err := Statx(dir, name, unix.AT_NO_AUTOMOUNT, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("not a regular file")
	}
	var out []byte
	line := func(key string, n uint64) {
		out = append(append(out, key...), ' ')
		out = append(strconv.AppendUint(out, n, 10), '\n')
	}
	line(snapshot.FileDevice, unix.Mkdev(st.Dev_major, st.Dev_minor))
	line(snapshot.FileInode, st.Ino)
	line(snapshot.FileMode, uint64(st.Mode))
	line(snapshot.FileLinks, uint64(st.Nlink))
	line(snapshot.FileBytes, st.Size)
	line(snapshot.FileAllocated, 512*min(st.Blocks, 1<<50))
	var fs unix.Statfs_t
	if unix.Statfs("/proc/self/fd/"+strconv.Itoa(dir)+"/"+name, &fs) == nil {
		line(snapshot.FileSystem, uint64(uint32(fs.Type)))
	}
	return out, nil
}

// buildInfo opens what a process executes and reads a few pages of it, without
// reading ahead.
func (l *Live) buildInfo(q Question) ([]byte, error) {
	f, err := l.executable(q)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM)
	return elfSection(f, goBuildInfo, q.Max)
}

// executable opens what a process executes, which is a regular file.
func (l *Live) executable(q Question) (*os.File, error) {
	if !exeLink.MatchString(q.Path) {
		return nil, errors.New("only asked of /proc/PID/exe")
	}
	dir, err := l.directory(q.Path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, path.Base(q.Path), openFlags|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) { // O_NOATIME is for owners
		fd, err = unix.Openat(dir, path.Base(q.Path), openFlags, 0)
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), q.Path)
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, errors.New("not a regular file")
	}
	return f, nil
}

// marks reads an executable once from end to end, be it that of a process or a
// file of the node's root.
func (l *Live) marks(q Question) ([]byte, error) {
	open := l.executable
	if !exeLink.MatchString(q.Path) {
		open = func(q Question) (*os.File, error) { return l.open(q.Path) }
	}
	f, err := open(q)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	return searchMarks(f, st.Size(), q.Max)
}
