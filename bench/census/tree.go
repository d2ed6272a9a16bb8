//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// shape is how many files of which mean size are spread over how many cgroups.
type shape struct{ files, groups, bytes int }

// tree is the files and cgroups of this program.
type tree struct {
	dir    string
	h      cgroupfs.Hierarchy
	parent string
	groups []string // directories of cgroups
}

func newTree(dir string) (*tree, error) {
	live, err := kernel.OpenLive("/")
	if err != nil {
		return nil, err
	}
	defer live.Close()
	t := &tree{parent: "/"}
	if t.h, err = cgroupfs.Find(live, false); err != nil {
		return nil, err
	}
	if t.h.Version == snapshot.V1 {
		a := live.Ask(kernel.Question{Op: kernel.Read, Path: "/proc/self/cgroup", Max: 1 << 20})
		lines, err := cgroupfs.ParseMembership(a.Data)
		if err != nil {
			return nil, err
		}
		t.parent, _ = t.h.Membership(lines)
	}
	t.dir, err = os.MkdirTemp(dir, "memwhy-bench-")
	return t, err
}

// grow writes the files of a shape, each cgroup's by a process in it.
func (t *tree) grow(ctx context.Context, s shape) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for i := range s.groups {
		dir, ok := t.h.Dir(filepath.Join(t.parent, fmt.Sprintf("memwhy-bench-%d-%04d", os.Getpid(), i)))
		if !ok {
			return errors.New("the cgroup hierarchy is not mounted here")
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		t.groups = append(t.groups, dir)
		n := s.files / s.groups
		if i < s.files%s.groups {
			n++
		}
		cmd := exec.CommandContext(ctx, self)
		cmd.Env = append(os.Environ(), fmt.Sprintf("MEMWHY_BENCH_WRITE=%d %d %s %s", n, s.bytes, dir, filepath.Join(t.dir, strconv.Itoa(i))))
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("writing files in %s: %w", dir, err)
		}
	}
	syscall.Sync() // what is dirty changes while it is written
	return nil
}

// writeFiles is the process that grow starts: it enters a cgroup and writes files,
// 250 to a directory.
func writeFiles(spec string) error {
	var n, size int
	var group, dir string
	if _, err := fmt.Sscanf(spec, "%d %d %s %s", &n, &size, &group, &dir); err != nil {
		return err
	}
	if err := os.WriteFile(group+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		return err
	}
	b := make([]byte, 2*size)
	for i := range n {
		sub := filepath.Join(dir, fmt.Sprintf("directory-%03d", i/250))
		if i%250 == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				return err
			}
		}
		// From half to one and a half of size, in an order that repeats.
		f := filepath.Join(sub, fmt.Sprintf("cached-file-%06d.dat", i))
		if err := os.WriteFile(f, b[:size/2+size*(i*37%101)/100], 0o600); err != nil {
			return err
		}
	}
	return nil
}

// read reads every file through, so that what the kernel took back is there again.
func (t *tree) read() error {
	buf := make([]byte, 1<<20)
	return t.each(func(path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		for {
			if n, err := f.Read(buf); n == 0 || err != nil {
				return nil // the end
			}
		}
	})
}

func (t *tree) each(do func(path string) error) error {
	return filepath.WalkDir(t.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return do(path)
	})
}

// clear removes files and cgroups.
func (t *tree) clear() error {
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(t.dir, e.Name())); err != nil {
			return err
		}
	}
	for _, g := range t.groups {
		if err := os.Remove(g); err != nil {
			return err
		}
	}
	t.groups = nil
	return nil
}

func (t *tree) remove() {
	_ = t.clear()
	_ = os.RemoveAll(t.dir)
}
