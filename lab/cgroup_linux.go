package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// number reads a file that holds one.
func number(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// keyed reads the number beside key, as memory.events and /proc/meminfo have them.
func keyed(path, key string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && strings.TrimSuffix(f[0], ":") == key {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if len(f) > 2 && f[2] == "kB" {
				n <<= 10
			}
			return n, err
		}
	}
	return 0, fmt.Errorf("%s has no %q: %w", path, key, fs.ErrNotExist)
}

// usage is what the cgroup is charged.
func (j job) usage() (int64, error) {
	if j.V2 {
		return number(filepath.Join(j.CgroupDir, "memory.current"))
	}
	return number(filepath.Join(j.CgroupDir, "memory.usage_in_bytes"))
}

func (j job) setLimit(dir string, bytes int64) error {
	knob := "memory.limit_in_bytes"
	if j.V2 {
		knob = "memory.max"
	}
	if err := write(filepath.Join(dir, knob), strconv.FormatInt(bytes, 10)); err != nil {
		return fmt.Errorf("set the limit: %w", err)
	}
	return nil
}

// noSwap keeps the cgroup, and those made below it afterwards, out of swap.
func (j job) noSwap(dir string) error {
	knob := "memory.swappiness"
	if j.V2 {
		knob = "memory.swap.max"
	}
	if err := write(filepath.Join(dir, knob), "0"); err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without swap
		return fmt.Errorf("keep %s out of swap: %w", dir, err)
	}
	return nil
}

// divide makes the lab's cgroup one that has cgroups with memory below it. On
// version 2 it then may hold no process: this one moves to the child called own.
func (j job) divide(own string) error {
	if !j.V2 {
		// Before 5.11 a limit binds the cgroups below only where this says so.
		knob := filepath.Join(j.CgroupDir, "memory.use_hierarchy")
		if n, err := number(knob); err == nil && n == 0 {
			return write(knob, "1")
		}
		return nil
	}
	if err := j.child(own); err != nil {
		return err
	}
	if err := j.enter(own); err != nil {
		return err
	}
	return write(filepath.Join(j.CgroupDir, "cgroup.subtree_control"), "+memory")
}

// child makes a cgroup below the lab's own.
func (j job) child(name string) error {
	err := os.Mkdir(filepath.Join(j.CgroupDir, name), 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// enter moves this process into a cgroup below the lab's own, or into that.
func (j job) enter(name string) error {
	return write(filepath.Join(j.CgroupDir, name, "cgroup.procs"), strconv.Itoa(os.Getpid()))
}

// removeCgroup removes a lab's cgroup and those below it. It stays busy for a
// moment after its last process.
func removeCgroup(dir string) error {
	var err error
	for range 250 {
		if err = removeOnce(dir); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("remove cgroup %s: %w", dir, err)
}

func removeOnce(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, removeOnce(filepath.Join(dir, e.Name())))
		}
	}
	if err != nil {
		return err
	}
	if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, syscall.ENOENT) {
		return err
	}
	return nil
}
