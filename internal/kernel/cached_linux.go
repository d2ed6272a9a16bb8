package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var (
	openOrMapped = regexp.MustCompile(`^/proc/[0-9]+/(fd/[0-9]+|map_files/[0-9a-f]+-[0-9a-f]+)$`)
	belowRoot    = regexp.MustCompile(`^(/proc/[0-9]+/root)(/.*)?$`)
)

// What cannot be told, or is not worth asking.
const (
	magicOverlay = 0x794c7630
	magicHuge    = 0x958458f6

	maxMincore = 64 << 30  // bytes of a file; mincore takes a byte for each page, there or not
	window     = 256 << 20 // of it at once
	maxQueue   = 8 << 20   // bytes of names of directories yet to be read
	maxBelow   = 4000      // bytes of a path below the directory asked about
)

// looker finds what is cached. It opens regular files and directories alone,
// follows no symbolic link, enters no other mount and reads no file.
type looker struct {
	until   time.Time
	max     int64
	out     []byte
	c       CachedFiles
	magics  map[uint64]uint32
	seen    map[[2]uint64]bool // files of several names
	mincore bool               // this kernel has no cachestat
	owner   bool               // of every file, by CAP_FOWNER
	uid     uint32
	page    int64
	fds     int // /proc/self/fd, a short way to open what is open
}

// cached answers Cached. /proc/PID/fd/N and /proc/PID/map_files/X-Y are magic
// links, which lead to the very file; what is below /proc/PID/root is looked up
// as that process would, without any symbolic link.
func (l *Live) cached(q Question) ([]byte, error) {
	k := &looker{
		until: time.Now().Add(time.Duration(q.Max) * entryTime), max: int64(q.Max),
		magics: map[uint64]uint32{}, seen: map[[2]uint64]bool{}, uid: uint32(os.Geteuid()), owner: ownsAll(), page: int64(os.Getpagesize()),
	}
	fd, err := l.lookAt(q.Path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if k.fds, err = unix.Open("/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, err
	}
	defer unix.Close(k.fds)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFREG:
		if err := k.file(fd, &st, ""); err != nil {
			return nil, err
		}
	case st.Mode&unix.S_IFMT == unix.S_IFDIR && belowRoot.MatchString(q.Path):
		if err := k.walk(fd); err != nil {
			return nil, err
		}
	default:
		return nil, errors.New("not a regular file")
	}
	return k.c.encode(k.out), nil
}

// lookAt opens a path for looking at it: nothing happens to what it names.
func (l *Live) lookAt(p string) (int, error) {
	const flags = unix.O_PATH | unix.O_CLOEXEC
	if openOrMapped.MatchString(p) {
		dir, err := l.directory(p)
		if err != nil {
			return -1, err
		}
		defer unix.Close(dir)
		return unix.Openat(dir, path.Base(p), flags, 0)
	}
	m := belowRoot.FindStringSubmatch(p)
	if m == nil {
		return -1, errors.New("only asked of /proc/PID/fd/N, /proc/PID/map_files/X-Y and below /proc/PID/root")
	}
	dir, err := l.directory(m[1])
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	root, err := unix.Openat(dir, "root", flags|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	below := strings.TrimPrefix(path.Clean("/"+m[2]), "/")
	if below == "" {
		below = "."
	}
	return Beneath(root, below, flags|unix.O_NOFOLLOW, unix.RESOLVE_IN_ROOT)
}

// file looks at a regular file that is open for looking.
func (k *looker) file(look int, st *unix.Stat_t, name string) error {
	f := CachedFile{
		Device: SDev(st.Dev), Inode: st.Ino, Links: uint32(st.Nlink), Mode: uint16(st.Mode), Size: st.Size, Dirty: -1, Writeback: -1, Path: name,
	}
	fd, err := Reopen(k.fds, look)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if f.Magic, err = k.magic(fd, st.Dev); err != nil {
		return err
	}
	if f.Magic == magicHuge {
		return errors.New("huge pages are no cache")
	}
	if err := k.count(fd, st, &f); err != nil {
		return err
	}
	if f.Bytes > 0 || name == "" {
		k.out = appendCachedLine(k.out, 'f', f.numbers(), name)
	}
	return nil
}

func (k *looker) magic(fd int, dev uint64) (uint32, error) {
	if m, ok := k.magics[dev]; ok {
		return m, nil
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return 0, err
	}
	k.magics[dev] = uint32(fs.Type)
	return uint32(fs.Type), nil
}

// count asks cachestat, or mincore where there is none. A file of an overlay has
// no cache of its own: only a mapping leads to the file below (linux
// fs/overlayfs/file.c, ovl_mmap).
func (k *looker) count(fd int, st *unix.Stat_t, f *CachedFile) error {
	if !k.mincore && f.Magic != magicOverlay {
		var all unix.CachestatRange
		var got unix.Cachestat_t
		err := unix.Cachestat(uint(fd), &all, &got, 0)
		if err == nil {
			f.Bytes, f.Dirty, f.Writeback = int64(got.Cache)*k.page, int64(got.Dirty)*k.page, int64(got.Writeback)*k.page
			return nil
		}
		if !errors.Is(err, unix.ENOSYS) {
			return err
		}
		k.mincore = true
	}
	k.c.Mincore++
	return k.resident(fd, st, f)
}

var (
	errTooLarge = errors.New("too large for mincore")
	errTooLate  = errors.New("out of its share of time")
)

// resident counts by mincore, over mappings that nothing ever touches. To others
// than owners and writers it says that all is there (linux mm/mincore.c,
// can_do_mincore), so they are not told.
func (k *looker) resident(fd int, st *unix.Stat_t, f *CachedFile) error {
	if !k.owner && st.Uid != k.uid && unix.Access("/proc/self/fd/"+strconv.Itoa(fd), unix.W_OK) != nil {
		return unix.EPERM
	}
	if st.Size > maxMincore {
		return errTooLarge
	}
	n, err := Resident(fd, st.Size, func() error {
		if time.Now().After(k.until) {
			return errTooLate
		}
		return nil
	})
	f.Bytes += n
	return err
}

// Resident counts by mincore how many bytes of an open file of a size are in memory, over
// mappings that nothing ever touches, and asks before each whether to go on. Who neither
// owns the file nor may write to it is told that all is there.
func Resident(fd int, size int64, goOn func() error) (bytes int64, err error) {
	page := int64(os.Getpagesize())
	var vec []byte
	for off := int64(0); off < size; off += window {
		if err := goOn(); err != nil {
			return bytes, err
		}
		n := int(min(window, size-off))
		m, err := unix.Mmap(fd, off, n, unix.PROT_NONE, unix.MAP_SHARED)
		if err != nil {
			return bytes, err
		}
		if vec == nil {
			vec = make([]byte, (int64(n)+page-1)/page)
		}
		err = mincore(m, vec)
		_ = unix.Munmap(m)
		if err != nil {
			return bytes, err
		}
		for _, v := range vec[:(int64(n)+page-1)/page] {
			bytes += int64(v&1) * page
		}
	}
	return bytes, nil
}

// ownsAll reports whether this process passes for the owner of every file.
func ownsAll() bool {
	uids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil || len(bytes.Fields(uids)) != 3 || !bytes.Equal(bytes.Fields(uids)[2], []byte("4294967295")) {
		return false
	}
	status, err := os.ReadFile("/proc/self/status")
	var effective uint64
	for line := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			_, _ = fmt.Sscanf(strings.TrimSpace(hex), "%x", &effective)
		}
	}
	return err == nil && effective>>unix.CAP_FOWNER&1 == 1
}

// walk looks at every file below a directory, the upper ones first.
func (k *looker) walk(top int) error {
	queue, queued := []string{"."}, 0
	for i := 0; i < len(queue) && k.c.Stopped == ""; i++ {
		below := queue[i]
		queued -= len(below)
		queue[i] = ""
		dir, err := k.directory(top, below)
		if err != nil {
			if i == 0 {
				return err
			}
			k.failed(err)
			continue
		}
		k.read(dir, func(name string, isDir bool) {
			p := path.Join(below, name)
			switch {
			case len(p) > maxBelow:
				k.c.Refused++
			case !isDir:
				k.entry(int(dir.Fd()), name, p)
			case queued+len(p) > maxQueue:
				k.c.Stopped = "too many directories"
			default:
				queue, queued = append(queue, p), queued+len(p)
			}
		})
		dir.Close()
	}
	return nil
}

// directory opens one for reading. Its name is one that leads to it from
// anywhere.
func (k *looker) directory(top int, below string) (*os.File, error) {
	flags := openFlags | unix.O_DIRECTORY | unix.O_NOFOLLOW
	fd, err := Beneath(top, below, flags|unix.O_NOATIME, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_XDEV)
	if errors.Is(err, unix.EPERM) {
		fd, err = Beneath(top, below, flags, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_XDEV)
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "/proc/self/fd/"+strconv.Itoa(fd)), nil
}

// read calls each for the regular files and directories of a directory.
func (k *looker) read(dir *os.File, each func(name string, isDir bool)) {
	for {
		ents, err := dir.ReadDir(256)
		for _, e := range ents {
			switch k.c.Entries++; {
			case k.c.Stopped != "":
				return
			case k.c.Entries > k.max:
				k.c.Stopped = fmt.Sprintf("more than %d entries", k.max)
				return
			case time.Now().After(k.until):
				k.c.Stopped = errTooLate.Error()
				return
			case len(k.out) > maxCachedAnswer:
				k.c.Stopped = "too many files with cache"
				return
			}
			if e.IsDir() || e.Type().IsRegular() {
				each(e.Name(), e.IsDir())
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			k.failed(err)
			return
		}
	}
}

func (k *looker) entry(dir int, name, below string) {
	look, err := Beneath(dir, name, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_XDEV)
	if err != nil {
		k.failed(err)
		return
	}
	defer unix.Close(look)
	var st unix.Stat_t
	if err := unix.Fstat(look, &st); err != nil {
		k.failed(err)
		return
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size == 0 {
		return
	}
	if st.Nlink > 1 {
		id := [2]uint64{st.Dev, st.Ino}
		if k.seen[id] {
			return
		}
		k.seen[id] = true
	}
	if err := k.file(look, &st, below); err != nil {
		k.failed(err)
	}
}

// failed counts what could not be looked at. What vanished is nothing.
func (k *looker) failed(err error) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, unix.EXDEV):
		k.c.Elsewhere++
	case errors.Is(err, errTooLarge):
		k.c.TooLarge++
	case errors.Is(err, errTooLate):
		k.c.Stopped = errTooLate.Error()
	default:
		k.c.Refused++
	}
}

func mincore(m, vec []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&vec[0])))
	if errno != 0 {
		return errno
	}
	return nil
}
