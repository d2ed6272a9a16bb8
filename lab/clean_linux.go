package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Clean removes what labs left behind whose owner is gone: cgroups, mounts, work
// directories. It touches nothing of a lab that still runs, and nothing else.
func Clean(ctx context.Context) (removed []string, err error) {
	h, err := findHierarchy()
	if err != nil {
		return nil, err
	}
	var errs []error
	done := func(path string, err error) {
		if err != nil {
			errs = append(errs, err)
			return
		}
		removed = append(removed, path)
	}
	walkErr := filepath.WalkDir(h.point, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // a cgroup that vanishes is not there
		}
		if stale(d.Name()) {
			done(path, errors.Join(killTree(path), removeCgroup(path)))
			return filepath.SkipDir
		}
		return nil
	})
	for dir, mounted := range workDirs() {
		done(dir, removeWorkDir(dir, mounted))
	}
	return removed, errors.Join(append(errs, walkErr)...)
}

// stale reports whether the name is a lab's whose owner is gone.
func stale(name string) bool {
	_, pid, start, ok := parseName(name)
	if !ok {
		return false
	}
	now, err := startTime(pid)
	return err != nil && errors.Is(err, fs.ErrNotExist) || err == nil && now != start
}

// killTree ends the processes of a stale cgroup and of those below it.
func killTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // a cgroup that vanishes is not there
		}
		return killAll(path)
	})
}

// killAll ends the processes of one stale cgroup.
func killAll(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil //nolint:nilerr // removed meanwhile
	}
	for _, s := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(s)
		if err != nil || pid <= 1 {
			return fmt.Errorf("%s: process %q", dir, s)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill %d: %w", pid, err)
		}
	}
	return nil
}

// workDirs finds stale work directories: those that are mounts by the mount
// table, the others where labs put them by default.
func workDirs() map[string]bool {
	dirs := map[string]bool{}
	for _, parent := range []string{"/var/tmp", os.TempDir()} {
		// The mount table has no symbolic links, and each may lead to the other.
		if real, err := filepath.EvalSymlinks(parent); err == nil {
			parent = real
		}
		found, _ := filepath.Glob(filepath.Join(parent, prefix+"*"))
		for _, d := range found {
			dirs[d] = false
		}
	}
	table, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(table)) {
		if h, kind, _, ok := mountLine(strings.TrimSpace(line)); ok && kind == "tmpfs" {
			dirs[h.point] = true
		}
	}
	for d := range dirs {
		if !stale(filepath.Base(d)) {
			delete(dirs, d)
		}
	}
	return dirs
}
