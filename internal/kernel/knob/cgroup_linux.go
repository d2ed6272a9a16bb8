package knob

import (
	"errors"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Magic numbers of the cgroup file systems.
var magics = map[snapshot.Version]int64{snapshot.V1: unix.CGROUP_SUPER_MAGIC, snapshot.V2: unix.CGROUP2_SUPER_MAGIC}

// Cgroup is the open directory of one cgroup, which stays that cgroup.
type Cgroup struct {
	dir  int
	g    Group
	page int64
}

// Open opens a cgroup, which must be the one that g names.
func Open(g Group) (*Cgroup, error) {
	if g.ID == 0 || g.Version != snapshot.V1 && g.Version != snapshot.V2 {
		return nil, &fault{ErrValue, "which cgroup is not known"}
	}
	dir, err := below(string(g.Root), string(g.Dir), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, told(err)
	}
	c := &Cgroup{dir: dir, g: g, page: int64(os.Getpagesize())}
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil || st.Ino != g.ID {
		c.Close()
		return nil, ErrGone
	}
	if magic, err := fileSystem(dir); err != nil || magic != magics[g.Version] {
		c.Close()
		return nil, &fault{ErrRefused, "not a cgroup file system of version " + strconv.Itoa(int(g.Version))}
	}
	return c, nil
}

// Close closes the directory.
func (c *Cgroup) Close() { unix.Close(c.dir) }

// below opens a path below a root directory.
func below(root, name string, flags int) (int, error) {
	if root == "" {
		root = "/"
	}
	top, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(top)
	return kernel.Beneath(top, name, flags, unix.RESOLVE_IN_ROOT)
}

// fileSystem is the type of what an open descriptor is of.
func fileSystem(fd int) (int64, error) {
	var s unix.Statfs_t
	err := unix.Fstatfs(fd, &s)
	if errors.Is(err, unix.EBADF) { // a descriptor for looking, before 3.12
		err = unix.Statfs("/proc/self/fd/"+strconv.Itoa(fd), &s)
	}
	return int64(s.Type) & 0xffffffff, err
}

// told makes an error of the operating system one of this package.
func told(err error) error {
	var f *fault
	switch {
	case err == nil, errors.As(err, &f):
		return err
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOTDIR):
		return ErrGone
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS):
		return &fault{ErrDenied, err.Error()}
	case errors.Is(err, unix.EINTR):
		return ErrInterrupted
	case errors.Is(err, unix.EBUSY):
		return ErrBusy
	}
	return &fault{ErrOther, err.Error()}
}

// open opens a file of the cgroup. One that is not there is no knob, unless the cgroup
// itself is gone.
func (c *Cgroup) open(name string, flags int) (int, error) {
	fd, err := unix.Openat(c.dir, name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NOCTTY, 0)
	if errors.Is(err, unix.ENOENT) && unix.Faccessat(c.dir, "cgroup.procs", unix.F_OK, 0) == nil {
		return -1, &fault{ErrAbsent, name}
	}
	return fd, err
}

// write writes a value, once. Value is never empty: up to 6.6 memory.reclaim takes an
// empty one for all there is (linux mm/page_counter.c, page_counter_memparse).
func (c *Cgroup) write(name, value string) error {
	if value == "" {
		return ErrValue
	}
	fd, err := c.open(name, unix.O_WRONLY|unix.O_TRUNC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	n, err := unix.Write(fd, []byte(value))
	if err == nil && n != len(value) {
		return &fault{ErrOther, "a short write"}
	}
	return err
}

// Get reads a setting, or another number of the cgroup.
func (c *Cgroup) Get(name string) (int64, error) {
	fd, err := c.open(name, unix.O_RDONLY)
	if err != nil {
		return 0, told(err)
	}
	defer unix.Close(fd)
	var buf [64]byte
	n, err := unix.Read(fd, buf[:])
	for range 8 {
		if !errors.Is(err, unix.EINTR) {
			break
		}
		n, err = unix.Read(fd, buf[:])
	}
	if err != nil {
		return 0, told(err)
	}
	v, err := cgroupfs.ParseLimit(buf[:n])
	if err != nil {
		return 0, &fault{ErrOther, name + ": " + err.Error()}
	}
	return v, nil
}

// put writes a setting. That can be done twice, so that a signal is no matter.
func (c *Cgroup) put(name string, v int64) error {
	text := strconv.FormatInt(v, 10)
	if v == size.Unlimited {
		// Version 1 prints a number, which not every kernel takes back.
		text = map[snapshot.Version]string{snapshot.V1: "-1", snapshot.V2: "max"}[c.g.Version]
	}
	return c.write(name, text)
}

// Reclaim asks the kernel to reclaim bytes, a whole number of pages at least, from the
// cgroup and all below it. swappiness 0 leaves anonymous memory alone, nil leaves the
// choice to the kernel.
//
// Reaches: the cgroup and its descendants, less what their memory.low and memory.min
// protect. Pages that are charged here and used elsewhere too are lost to those as well.
// Of the root it reaches the whole node. The kernel chooses the pages, from the cold end
// of its lists; without swappiness it swaps, where it may. Reclaimable slab goes too.
// It writes no setting. It is no pressure: neither memory.pressure nor memory.events of
// the target move, and CPU time is the writer's.
//
// Kernels: since 5.19. Up to 6.1 one write may take much more than was asked, for each
// round asks for all that is left; from 6.6 on rounds are small. swappiness= since 6.11,
// EINVAL before that: ErrSwappiness.
//
// EAGAIN after 16 rounds without any progress: ErrLess, what was reclaimed until then
// stays so. EINTR on a signal: ErrInterrupted, as above; signals are seen between rounds
// only, so that up to 6.1 not even SIGKILL ends a write before it is done (tried on 6.1:
// 256 MiB went after the signal), and what is asked has to be small. Dirty pages are not written
// out by it but marked, and freed when they are clean.
//
// Nothing has to be put back.
func (c *Cgroup) Reclaim(bytes int64, swappiness *int) error {
	bytes -= bytes % c.page
	if bytes <= 0 || bytes > maxValue || swappiness != nil && (*swappiness < 0 || *swappiness > 200) {
		return ErrValue
	}
	value := strconv.FormatInt(bytes, 10)
	if swappiness != nil {
		value += " swappiness=" + strconv.Itoa(*swappiness)
	}
	err := c.write(Reclaim, value)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return ErrLess
	case errors.Is(err, unix.EINVAL) && swappiness != nil:
		return ErrSwappiness
	}
	return told(err)
}

// SqueezeHigh lowers memory.high, which reclaims until usage is below it, and puts it
// back.
//
// Reaches: the cgroup and its descendants. As long as usage is above memory.high, every
// task of them that allocates is throttled and reclaims itself: the window is one write.
// The kernel chooses the pages, and swaps where it may.
//
// Kernels: all of version 2; not in the root. Before 5.10 one round of reclaim, then up
// to 16 without progress. With O_NONBLOCK none, in 6.18 and
// later.
//
// The write succeeds even if usage stays above. A signal ends reclaim early, with
// success.
func (c *Cgroup) SqueezeHigh(s Setting) error {
	if s.Name != High {
		return ErrValue
	}
	return c.squeeze(s)
}

// SqueezeLimit lowers memory.limit_in_bytes of version 1, which reclaims until usage
// fits, and puts it back.
//
// Reaches: the cgroup and its descendants. The limit holds from the moment at which usage
// fits until it is put back: who allocates in between reclaims first, and can be
// OOM-killed. The window is the time between two writes of one process. The kernel chooses
// the pages, hot and mapped ones too when there are no others, and swaps where it may.
//
// Kernels: all of version 1; EINVAL in the root and above memory.memsw.limit_in_bytes.
//
// EBUSY when reclaim makes no progress: ErrBusy, the old limit stays, what was
// reclaimed until then stays so. EINTR on a signal: ErrInterrupted, as above.
func (c *Cgroup) SqueezeLimit(s Setting) error {
	if s.Name != Limit {
		return ErrValue
	}
	return c.squeeze(s)
}

// squeeze lowers a setting and puts it back, whatever the write came to.
func (c *Cgroup) squeeze(s Setting) error {
	if err := c.lower(s); err != nil {
		if errors.Is(err, ErrSet) || errors.Is(err, ErrValue) {
			return err // not ours
		}
		_, _ = c.Restore(s)
		return err
	}
	_, err := c.Restore(s)
	return err
}

func (c *Cgroup) lower(s Setting) error {
	if !s.valid(c.g.Version) || s.Set%c.page != 0 {
		return ErrValue
	}
	now, err := c.Get(s.Name)
	if err != nil {
		return err
	}
	if now != s.Was {
		return ErrSet
	}
	return told(c.put(s.Name, s.Set))
}

// HoldSwap keeps memory.swap.max at s.Set, what is swapped already, while do runs, and
// puts it back.
//
// Reaches: the cgroup and its descendants: none of their tasks can swap more out
// meanwhile, so that pressure on them from elsewhere cannot be met by swapping.
//
// Kernels: version 2 with swap accounting; ErrAbsent without, where swapping cannot be
// held. The write never reclaims and never fails for want of room.
func (c *Cgroup) HoldSwap(s Setting, do func() error) error {
	if s.Name != SwapMax {
		return ErrValue
	}
	if err := c.lower(s); err != nil {
		return err
	}
	err := do()
	_, back := c.Restore(s)
	if err != nil {
		return err
	}
	return back
}

// ForceEmpty reclaims all that can be reclaimed.
//
// Reaches: the cgroup and, since 4.19, its descendants. Everything goes: hot pages,
// mapped code, which a live process faults back from disk; anonymous memory too where
// there is swap; dirty pages are written out first. Listeners of memory.pressure_level
// are told.
//
// Kernels: version 1, not in the root (EINVAL). Up to 3.10 only without tasks and
// children, EBUSY else: ErrBusy; what is left is charged to the parent then.
//
// Success even if much is left. EINTR on a signal: ErrInterrupted. Nothing has to be put
// back.
func (c *Cgroup) ForceEmpty() error {
	if c.g.Version != snapshot.V1 {
		return &fault{ErrAbsent, ForceEmpty}
	}
	return told(c.write(ForceEmpty, "0"))
}

// Restore puts a setting back, if it still has the value that was set here.
func (c *Cgroup) Restore(s Setting) (Outcome, error) {
	now, err := c.Get(s.Name)
	switch {
	case errors.Is(err, ErrGone):
		return Vanished, nil
	case err != nil:
		return Failing, err
	case now == s.Was:
		return Unchanged, nil
	case now != s.Set:
		return Theirs, ErrSet
	}
	for range 8 {
		if err = c.put(s.Name, s.Was); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err = told(err); errors.Is(err, ErrGone) {
		return Vanished, nil
	} else if err != nil {
		return Failing, err
	}
	if now, err = c.Get(s.Name); err == nil && now == s.Set {
		return Failing, &fault{ErrOther, "the kernel kept the new value"}
	}
	return PutBack, nil
}
