package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Run plants the scenario in a cgroup of its own, calls ready with the truth,
// and holds until ready returns. What it made is removed whatever happens; when
// this process is killed, the holder removes it.
func Run(ctx context.Context, scenario string, opt Options, ready func(Truth) error) (err error) {
	s, ok := Find(scenario)
	if !ok {
		return fmt.Errorf("no scenario %q", scenario)
	}
	if opt.Bytes == 0 {
		opt.Bytes = 64 << 20
	}
	h, err := findHierarchy()
	if err != nil {
		return err
	}
	r, err := setUp(h, s, opt)
	if r != nil {
		defer func() { err = errors.Join(err, tearDown(*r)) }()
	}
	if err != nil {
		return err
	}
	holder, err := startProcess(*r)
	if err != nil {
		return err
	}
	defer holder.end()
	if err := write(filepath.Join(r.CgroupDir, "cgroup.procs"), strconv.Itoa(holder.cmd.Process.Pid)); err != nil {
		return fmt.Errorf("move the holder into its cgroup: %w", err)
	}
	t, err := holder.plant(ctx)
	if err != nil {
		return err
	}
	return ready(t)
}

// setUp makes the cgroup and the work directory. What was made is returned even
// with an error, to be torn down.
func setUp(h hierarchy, s Scenario, opt Options) (*job, error) {
	parent, parentDir, err := h.parent(opt.Parent)
	if err != nil {
		return nil, err
	}
	start, err := startTime(os.Getpid())
	if err != nil {
		return nil, err
	}
	n := name(s.Name, os.Getpid(), start)
	if s.limit != nil {
		opt.Limit = s.limit(opt)
	}
	r := &job{
		Scenario: s.Name, Bytes: wholePages(opt.Bytes), Limit: opt.Limit, V2: h.v2,
		Cgroup: filepath.Join(parent, n), CgroupDir: filepath.Join(parentDir, n), ParentDir: parentDir,
	}
	if err := os.Mkdir(r.CgroupDir, 0o755); err != nil {
		return nil, fmt.Errorf("make a cgroup: %w", err)
	}
	if opt.Limit > 0 {
		if err := r.setLimit(r.CgroupDir, opt.Limit); err != nil {
			return r, err
		}
	}
	return r, r.makeWorkDir(s.needs, n, opt)
}

// Magic numbers of statfs(2): files there are not page cache of a disk, or have
// their names in two caches.
var notDisks = map[int64]string{0x01021994: "tmpfs", 0x858458f6: "ramfs", 0x794c7630: "overlayfs"}

func (r *job) makeWorkDir(p place, n string, opt Options) error {
	dir := opt.Dir
	switch p {
	case nowhere:
		return nil
	case disk:
		if dir == "" {
			dir = "/var/tmp"
		}
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			return fmt.Errorf("statfs %s: %w", dir, err)
		}
		if fs, bad := notDisks[int64(st.Type)]; bad {
			return fmt.Errorf("%s is on %s: this scenario needs a disk, say --dir", dir, fs)
		}
	case tmpfs:
		if dir == "" {
			dir = os.TempDir()
		}
	}
	work := filepath.Join(dir, n)
	if err := os.Mkdir(work, 0o700); err != nil {
		return err
	}
	r.WorkDir = work
	if p == tmpfs {
		if err := syscall.Mount("tmpfs", work, "tmpfs", syscall.MS_NODEV|syscall.MS_NOSUID, "mode=0700"); err != nil {
			return fmt.Errorf("mount a tmpfs at %s: %w", work, err)
		}
		r.Mounted = true
	}
	return nil
}

// tearDown removes what a run made. The cgroup stays busy for a moment after its
// last process.
func tearDown(j job) error {
	err := removeWorkDir(j.WorkDir, j.Mounted)
	return errors.Join(err, removeCgroup(j.CgroupDir))
}

func removeWorkDir(dir string, mounted bool) error {
	if dir == "" {
		return nil
	}
	if mounted {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
	return os.RemoveAll(dir)
}
