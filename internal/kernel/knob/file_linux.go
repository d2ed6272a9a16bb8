package knob

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// local are the file systems whose files are opened: on disks of this node, served by
// this kernel. FUSE, network file systems and autofs ask others, who may never answer;
// on tmpfs and ramfs there is nothing to drop. The file of an overlay has no cache: its
// upper or lower file has.
var local = map[string]int64{
	"ext2": unix.EXT4_SUPER_MAGIC, "ext3": unix.EXT4_SUPER_MAGIC, "ext4": unix.EXT4_SUPER_MAGIC,
	"xfs": unix.XFS_SUPER_MAGIC, "btrfs": unix.BTRFS_SUPER_MAGIC, "f2fs": unix.F2FS_SUPER_MAGIC, "bcachefs": 0xca451a4e,
	"squashfs": unix.SQUASHFS_MAGIC, "erofs": unix.EROFS_SUPER_MAGIC_V1, "iso9660": unix.ISOFS_SUPER_MAGIC, "vfat": unix.MSDOS_SUPER_MAGIC,
}

// Droppable reports whether DropCache opens files of a type of file system.
func Droppable(fs string) bool { return local[fs] != 0 }

// DropCache drops the cache of one file (POSIX_FADV_DONTNEED), and tells how much of it
// was in memory just before, and went: by cachestat, since 6.5, else by mincore.
//
// Reaches: the cache of that file on the whole node: every cgroup that is charged for
// pages of it is relieved, and everybody who reads it pays for reading it again. Clean
// pages go that nobody has mapped, locked or under way; others stay, of them those that
// are not mapped move to the cold end of the lists. There are no shadow entries
// afterwards, so that reading it again is no refault: only I/O counters show it.
//
// Kernels: all. 0 even when nothing went. The write-back that it starts is not waited
// for: with Sync what is dirty is written first (sync_file_range, or fdatasync). Neither
// needs a descriptor for writing.
//
// The file is looked up without any link, looked at before it is opened, and opened for
// reading only when it is the very file that was planned: a regular one, by device,
// inode and, where the file system tells, generation. What somebody put in its place is
// ErrChanged, and was not opened. Opening changes no access time, waits for no lease and
// reads nothing.
//
// With Most it is left alone, ErrGrown, when more of it is in memory now: somebody read
// it since it was looked at.
//
// Nothing has to be put back.
func DropCache(f File) (had, dropped snapshot.Reading[int64], err error) {
	unknown := snapshot.Reading[int64]{State: snapshot.Failed, Source: "cachestat", Err: "not opened"}
	look, err := lookAt(f)
	if err != nil {
		return unknown, unknown, err
	}
	defer unix.Close(look)
	fds, err := unix.Open("/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return unknown, unknown, told(err)
	}
	defer unix.Close(fds)
	fd, err := kernel.Reopen(fds, look)
	if err != nil {
		return unknown, unknown, fileError(err)
	}
	defer unix.Close(fd)
	had = cached(fd)
	if n, ok := had.Get(); ok && f.Most > 0 && n > f.Most {
		return had, unknown, &fault{ErrGrown, fmt.Sprintf("%s of it are in memory, at most %s were expected", size.Text(n), size.Text(f.Most))}
	}
	if f.Sync {
		if err := sync(fd); err != nil {
			return had, unknown, fileError(err)
		}
	}
	if err := again(func() error { return unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) }); err != nil {
		return had, unknown, fileError(err)
	}
	left := cached(fd)
	if had.State != snapshot.Present || left.State != snapshot.Present {
		return had, unknown, nil
	}
	dropped = had
	dropped.Value = max(0, had.Value-left.Value)
	return had, dropped, nil
}

// lookAt finds the file for looking, and checks that it is the one.
func lookAt(f File) (int, error) {
	magic, ok := local[f.FS]
	if !ok {
		return -1, &fault{ErrRefused, fmt.Sprintf("files on %q", f.FS)}
	}
	root, err := f.root()
	if err != nil {
		return -1, fileError(err)
	}
	defer unix.Close(root)
	look, err := kernel.Beneath(root, string(f.Path), unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, unix.RESOLVE_IN_ROOT)
	if err != nil {
		return -1, fileError(err)
	}
	if err := f.same(look, magic); err != nil {
		unix.Close(look)
		return -1, err
	}
	return look, nil
}

// root opens the directory that the path starts at.
func (f *File) root() (int, error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	if f.PID == 0 {
		return below(string(f.Root), "/", flags)
	}
	proc, err := below(string(f.Root), "/proc/"+strconv.Itoa(f.PID), flags)
	if err != nil {
		return -1, err
	}
	defer unix.Close(proc)
	return unix.Openat(proc, "root", flags, 0)
}

// same reports what is wrong with a file that was found, the cheapest first: nothing of
// a foreign file system is asked until its device is the expected one.
func (f *File) same(look int, magic int64) error {
	var st unix.Statx_t
	if err := kernel.Statx(look, "", unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT, &st); err != nil {
		return fileError(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return &fault{ErrChanged, "not a regular file"}
	}
	if kernel.SDev(unix.Mkdev(st.Dev_major, st.Dev_minor)) != f.Device || st.Ino != f.Inode {
		return &fault{ErrChanged, "another device or inode"}
	}
	if got, err := fileSystem(look); err != nil || got != magic {
		return &fault{ErrChanged, "not on " + f.FS}
	}
	if gen, ok := generation(look); ok && f.Generation != 0 && gen != f.Generation {
		return &fault{ErrChanged, "the inode was used again"}
	}
	return nil
}

// Types of file handles that hold a generation (linux include/linux/exportfs.h, fid_type;
// fs/xfs/xfs_export.h). A handle is a name, not an open file.
const (
	handleInoGen    = 1    // inode number and generation, 32 bits each
	handleXfsInoGen = 0x81 // inode number of 64 bits, generation
)

func generation(look int) (uint32, bool) {
	h, _, err := unix.NameToHandleAt(look, "", unix.AT_EMPTY_PATH)
	if err != nil {
		return 0, false
	}
	switch b := h.Bytes(); {
	case h.Type() == handleInoGen && len(b) == 8:
		return binary.NativeEndian.Uint32(b[4:]), true
	case h.Type() == handleXfsInoGen && len(b) == 12:
		return binary.NativeEndian.Uint32(b[8:]), true
	}
	return 0, false
}

// cached is how much of an open file is in memory.
func cached(fd int) snapshot.Reading[int64] {
	r := snapshot.Reading[int64]{State: snapshot.Present, Source: "cachestat"}
	var all unix.CachestatRange
	var got unix.Cachestat_t
	err := unix.Cachestat(uint(fd), &all, &got, 0)
	r.Value = int64(got.Cache) * int64(os.Getpagesize())
	if errors.Is(err, unix.ENOSYS) {
		r.Source = "mincore"
		r.Value, err = resident(fd)
	}
	if err != nil {
		r.State, r.Err = kernel.Fault(err)
	}
	return r
}

// farthest is how large a file is looked at: that takes a second or so.
const farthest = 1 << 40

// resident is the same by mincore, which every kernel has. Mapping a file brings nothing
// of it into memory, and no page counts as mapped by it.
func resident(fd int) (bytes int64, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	switch {
	case st.Size > farthest:
		return 0, unix.EFBIG
	case os.Geteuid() != 0 && os.Geteuid() != int(st.Uid): // to others all of it seems to be there
		return 0, unix.EPERM
	}
	return kernel.Resident(fd, st.Size, func() error { return nil })
}

// sync writes what is dirty and waits for it.
func sync(fd int) error {
	err := again(func() error {
		return unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
	})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ESPIPE) || errors.Is(err, unix.EINVAL) {
		return again(func() error { return unix.Fdatasync(fd) })
	}
	return err
}

// again repeats what a signal ended.
func again(do func() error) error {
	var err error
	for range 8 {
		if err = do(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return err
}

// fileError is told for files: what is not there is another file than planned.
func fileError(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ESRCH), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return &fault{ErrChanged, err.Error()}
	case errors.Is(err, unix.EAGAIN):
		return &fault{ErrRefused, "somebody holds a lease on it"}
	}
	return told(err)
}
