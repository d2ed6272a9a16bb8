//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// coldFiles is how many files the cold cache is of.
const coldFiles = 16

// group is a cgroup of this program.
type group struct {
	path, dir string
	version   int
}

// stage is the files, which stay, and the cgroups and processes of one way.
type stage struct {
	o          options
	h          cgroupfs.Hierarchy
	parent     string
	dir        string
	cold       []string
	own        string // the target's hot file
	hot        string // the neighbour's
	shared     string // of the target, read by the other neighbour
	target     group
	groups     []group
	near, self *reader
	sharing    *reader
	actors     []*actor
}

func (s *stage) small() int64 { return s.o.bytes / 8 }

func newStage(o options) (s *stage, err error) {
	live, err := kernel.OpenLive("/")
	if err != nil {
		return nil, err
	}
	defer live.Close()
	s = &stage{o: o, parent: "/"}
	if s.h, err = cgroupfs.Find(live, false); err != nil {
		return nil, err
	}
	if s.h.Version == snapshot.V1 {
		a := live.Ask(kernel.Question{Op: kernel.Read, Path: "/proc/self/cgroup", Max: 1 << 20})
		lines, err := cgroupfs.ParseMembership(a.Data)
		if err != nil {
			return nil, err
		}
		s.parent, _ = s.h.Membership(lines)
	} else {
		_ = os.WriteFile(filepath.Join(s.h.Point, "cgroup.subtree_control"), []byte("+memory"), 0)
	}
	if s.dir, err = os.MkdirTemp(o.dir, "memwhy-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.remove())
		}
	}()
	file := func(name string, bytes int64) string {
		name = filepath.Join(s.dir, name)
		err = errors.Join(err, write(name, bytes))
		return name
	}
	for i := range coldFiles {
		s.cold = append(s.cold, file("cold-"+strconv.Itoa(i), o.bytes/coldFiles))
	}
	s.own, s.hot, s.shared = file("own", s.small()), file("hot", o.bytes), file("shared", s.small())
	return s, err
}

func write(name string, bytes int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	b := make([]byte, burst)
	for i := range b {
		b[i] = byte(i>>8) ^ byte(i)
	}
	for left := bytes; left > 0 && err == nil; left -= int64(len(b)) {
		_, err = f.Write(b[:min(left, int64(len(b)))])
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// forget drops the cache of the stage's own files: who reads one next is charged.
func (s *stage) forget() error {
	for _, name := range append([]string{s.own, s.hot, s.shared}, s.cold...) {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) group(name string) (group, error) {
	g := group{path: filepath.Join(s.parent, fmt.Sprintf("memwhy-bench-%d-%s", os.Getpid(), name)), version: int(s.h.Version)}
	dir, ok := s.h.Dir(g.path)
	if !ok {
		return g, errors.New("the cgroup hierarchy is not mounted here")
	}
	g.dir = dir
	if err := os.Mkdir(dir, 0o755); err != nil {
		return g, err
	}
	s.groups = append(s.groups, g)
	return g, nil
}

// set makes cgroups, fills them and starts the readers.
func (s *stage) set(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, s.clear())
		}
	}()
	if err := s.forget(); err != nil {
		return err
	}
	var near, sharing group
	if s.target, err = s.group("target"); err != nil {
		return err
	}
	if near, err = s.group("near"); err != nil {
		return err
	}
	if sharing, err = s.group("sharing"); err != nil {
		return err
	}
	begin := func(role string, g group, args ...string) *actor {
		if err != nil {
			return nil
		}
		var a *actor
		if a, err = start(role, g.dir, args...); err == nil {
			s.actors = append(s.actors, a)
		}
		return a
	}
	begin("holder", s.target, append([]string{s.shared}, s.cold...)...)
	s.self = &reader{begin("reader", s.target, s.own)}
	s.near = &reader{begin("reader", near, s.hot)}
	s.sharing = &reader{begin("reader", sharing, s.shared)}
	if err != nil {
		return err
	}
	if !sleep(ctx, time.Second) {
		return ctx.Err()
	}
	return s.asPlanned(near, sharing)
}

// asPlanned checks that everybody is charged for what the table says.
func (s *stage) asPlanned(near, sharing group) error {
	for _, c := range []struct {
		g           group
		least, most int64
	}{
		{s.target, s.o.bytes + 2*s.small(), s.o.bytes + 2*s.small()},
		{near, s.o.bytes, s.o.bytes},
		{sharing, 0, 0},
	} {
		// The processes themselves, and what the kernel took back already.
		n, _, err := c.g.usage()
		if err != nil {
			return err
		}
		if n < c.least-c.least/8 || n > c.most+c.most/8+16<<20 {
			return fmt.Errorf("%s is charged for %s, not about %s", c.g.path, mib(n), mib(c.least))
		}
	}
	return nil
}

// usage is what a cgroup is charged for, and its working set as the kubelet shows it.
func (g group) usage() (usage, workingSet int64, err error) {
	name, key := "memory.current", "inactive_file"
	if g.version == 1 {
		name, key = "memory.usage_in_bytes", "total_inactive_file"
	}
	if usage, err = number(filepath.Join(g.dir, name)); err != nil {
		return 0, 0, err
	}
	b, err := os.ReadFile(filepath.Join(g.dir, "memory.stat"))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == key {
			n, err := strconv.ParseInt(f[1], 10, 64)
			return usage, max(0, usage-n), err
		}
	}
	return 0, 0, fmt.Errorf("memory.stat has no %s", key)
}

func number(file string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// clear ends the processes and removes the cgroups.
func (s *stage) clear() error {
	for _, a := range s.actors {
		a.stop()
	}
	s.actors = nil
	var all error
	for _, g := range s.groups {
		err := errors.New("not tried")
		for range 100 {
			if err = os.Remove(g.dir); err == nil || errors.Is(err, syscall.ENOENT) {
				err = nil
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		all = errors.Join(all, err)
	}
	s.groups = nil
	return all
}

func (s *stage) remove() error { return errors.Join(s.clear(), os.RemoveAll(s.dir)) }
