package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/memwhy/memwhy/e2e/judge"
)

// stage is a target, and who lives beside it. What they lose shows in counters: no
// clock decides.
type stage struct {
	h           hierarchy
	work        string
	cgroup, dir string // the target's
	near        string // directory of the neighbour's
}

// newStage makes the target and a neighbour that reads a hot file of its own.
func newStage(t *testing.T, name string) *stage {
	t.Helper()
	s := &stage{h: memory(t)}
	var err error
	s.work, err = os.MkdirTemp("/var/tmp", "mwn")
	must(err)
	t.Cleanup(func() { os.RemoveAll(s.work) })
	s.work, err = filepath.EvalSymlinks(s.work) // as the kernel names what is in it
	must(err)
	s.cgroup, s.dir = s.h.group(t, unique(name))
	_, s.near = s.h.group(t, unique(name+"-near"))
	return s
}

// reader is a process that reads a file over and over.
type reader struct {
	pid  int
	file string
	size int64
	dirs []string // of the cgroups that are, or will be, charged for the file

	read, refaults, resident int64 // at the mark
}

// reads starts one in a cgroup.
func (s *stage) reads(t *testing.T, in, how, file string) *reader {
	t.Helper()
	st, err := os.Stat(file)
	must(err)
	r := &reader{pid: actorIn(t, nil, in, "rereads", how, file).Process.Pid, file: file, size: st.Size(), dirs: []string{s.dir, s.near}}
	if how == "deleted" {
		r.file = openOf(t, r.pid, file)
	}
	return r
}

// openOf is a path to a file that a process has open, deleted or not.
func openOf(t *testing.T, pid int, file string) string {
	t.Helper()
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); strings.TrimSuffix(to, " (deleted)") == file {
			return fd
		}
	}
	t.Fatalf("%d does not have %s open", pid, file)
	return ""
}

// passed waits until the file was read through twice: what is missing of it is read
// from disk then, and counted.
func (r *reader) passed(t *testing.T) {
	t.Helper()
	for from := r.counter(t, "rchar"); r.counter(t, "rchar") < from+2*r.size; {
		time.Sleep(20 * time.Millisecond)
	}
}

func (r *reader) counter(t *testing.T, key string) (n int64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", r.pid))
	must(err)
	return keyed(t, string(b), key+":")
}

// keyed is the number after a key.
func keyed(t *testing.T, text, key string) (n int64) {
	t.Helper()
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == key {
			_, err := fmt.Sscan(f[1], &n)
			must(err)
			return n
		}
	}
	t.Fatalf("no %s in %q", key, text)
	return 0
}

// takes is what the kernel took of the file by itself, and only where a thread of
// DAMON does so: such pages leave a trace that counts when they are read again, those
// that advice drops leave none.
func (r *reader) takes(t *testing.T) (bytes int64) {
	t.Helper()
	if !judge.Kdamond() {
		return 0
	}
	for _, dir := range r.dirs {
		b, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
		must(err)
		bytes += keyed(t, string(b), "workingset_refault_file") * int64(os.Getpagesize())
	}
	return bytes
}

func (r *reader) mark(t *testing.T) {
	t.Helper()
	r.passed(t)
	r.read, r.refaults, r.resident = r.counter(t, "read_bytes"), r.takes(t), resident(t, r.file)
	if r.resident < r.size-r.size/50 {
		t.Fatalf("%d of %d of %s are in memory", r.resident, r.size, r.file)
	}
}

// lost is what is missing now, and what had to be read from disk again until now.
func (r *reader) lost(t *testing.T) (missing, read int64) {
	t.Helper()
	missing = r.resident - resident(t, r.file)
	r.passed(t)
	by := r.takes(t) - r.refaults
	if by > 0 {
		t.Logf("the kernel took %d bytes of %s by itself", by, r.file)
	}
	return max(0, missing-by), max(0, r.counter(t, "read_bytes")-r.read-by)
}

// unhurt allows for a little that others take meanwhile: where DAMON runs it evicts
// single pages of anybody.
func (r *reader) unhurt(t *testing.T, who string) {
	t.Helper()
	const others = 512 << 10
	if missing, read := r.lost(t); missing > others || read > others {
		t.Errorf("%s lost %d bytes, and read %d from disk again", who, missing, read)
	}
}

// near tells whether n is within a tenth of want.
func within(n, want int64) bool { return n >= want-want/10 && n <= want+want/10 }

// tells logs what a plan came to, for the table of kernels.
func (r *reclaimed) tells(t *testing.T, what string) {
	t.Helper()
	for _, k := range r.Plan.Knobs {
		t.Logf("reclaimed: %s; %s; %d steps; planned %d; freed %d; error %d", what, k.Knob, k.Steps, r.Plan.ExpectBytes, *r.Result.FreedBytes, *r.Result.FreedBytes-r.Plan.ExpectBytes)
	}
}

// By default the target gives back what it does not use, to a tenth, and nobody else
// loses a byte: not the neighbour's own hot file, not files that the target is charged
// for and that others read, held open or not, nor what the target reads itself.
func TestReclaimHurtsNobody(t *testing.T) {
	s := newStage(t, "unhurt")
	const each, files = 8 << 20, 4
	var own []string
	for i := range files {
		own = append(own, cold(t, s.work, fmt.Sprint("cold-", i), each))
	}
	open, closing := cold(t, s.work, "open", each), cold(t, s.work, "closing", each)
	hot, theirs := cold(t, s.work, "hot", each), cold(t, s.work, "theirs", 4*each)
	actorIn(t, nil, s.dir, "caches", append(own, open, closing)...)
	readers := map[string]*reader{
		"the target":                                s.reads(t, s.dir, "held", hot),
		"the neighbour":                             s.reads(t, s.near, "held", theirs),
		"who reads a file of the target":            s.reads(t, s.near, "held", open),
		"who opens, reads and closes one, unseenly": s.reads(t, s.near, "closing", closing),
	}
	for _, r := range readers {
		r.mark(t)
	}
	before := usage(t, s.dir)
	r := givesBack(t, files*each, s.cgroup)
	if r.Result == nil || !r.Result.Met || r.Result.FreedBytes == nil {
		t.Fatalf("%+v", r)
	}
	gave := before - usage(t, s.dir)
	for who, r := range readers {
		r.unhurt(t, who)
	}
	r.tells(t, "files that nobody uses")
	if want := int64(files * each); !within(r.Plan.ExpectBytes, want) || !within(gave, r.Plan.ExpectBytes) || !within(*r.Result.FreedBytes, r.Plan.ExpectBytes) {
		t.Errorf("%d are cold, %d were planned, %d freed as it says, %d by the kernel's count: %+v", want, r.Plan.ExpectBytes, *r.Result.FreedBytes, gave, r)
	}
	for _, file := range own {
		if n := resident(t, file); n > each/10 {
			t.Errorf("%d of %s are in memory still", n, file)
		}
	}
}

// knob is the one that this kernel has for what no single file gives back, and what
// has to be allowed for it.
func (s *stage) knob(t *testing.T) (name string, allow []string) {
	t.Helper()
	swaps, err := os.ReadFile("/proc/swaps")
	must(err)
	if strings.Count(string(swaps), "\n") > 1 {
		allow = append(allow, "--allow-swap")
	}
	switch _, err := os.Stat(filepath.Join(s.dir, "memory.reclaim")); {
	case !s.h.v2:
		return "memory.limit_in_bytes", append(allow, "--allow-limit")
	case err == nil:
		return "memory.reclaim", nil
	}
	return "memory.high", allow
}

// settings are those that a knob may change for a moment.
func (s *stage) settings(t *testing.T) string {
	t.Helper()
	var all []string
	for _, name := range []string{"memory.high", "memory.swap.max", "memory.limit_in_bytes"} {
		b, _ := os.ReadFile(filepath.Join(s.dir, name))
		all = append(all, name+" "+string(b))
	}
	return strings.Join(all, "")
}

// swapped is how much of the target is in swap.
func (s *stage) swapped(t *testing.T) (n int64) {
	t.Helper()
	if b, err := os.ReadFile(filepath.Join(s.dir, "memory.swap.current")); err == nil {
		_, err := fmt.Sscan(string(b), &n)
		must(err)
		return n
	}
	b, err := os.ReadFile(filepath.Join(s.dir, "memory.stat"))
	must(err)
	if strings.Contains(string(b), "\nswap ") {
		n = keyed(t, string(b), "swap")
	}
	return n
}

// What no single file gives back goes by the kernel's knob: the cache of a file that
// was deleted and is open still.
func TestReclaimByKnob(t *testing.T) {
	s := newStage(t, "knob")
	const bytes = 48 << 20
	theirs := cold(t, s.work, "theirs", 16<<20)
	actorIn(t, nil, s.dir, "keeps-deleted", cold(t, s.work, "deleted", bytes))
	near := s.reads(t, s.near, "held", theirs)
	near.mark(t)
	knob, allow := s.knob(t)
	allow = append(allow, "--include-shared") // pages of the test program that were first read here
	was, before, swapped := s.settings(t), usage(t, s.dir), s.swapped(t)
	r := reclaims(t, 0, append([]string{s.cgroup, "--yes"}, allow...)...)
	swapped = s.swapped(t) - swapped
	gave := before - usage(t, s.dir) - swapped
	if swapped != 0 {
		t.Logf("reclaimed: beside it %d of the target were swapped", swapped)
	}
	if swapped != 0 && !slices.Contains(allow, "--allow-swap") {
		t.Error("that was not allowed")
	}
	near.unhurt(t, "the neighbour")
	if r.Result == nil || !r.Result.Met || !r.Result.Restored || len(r.Plan.Knobs) != 1 || r.Plan.Knobs[0].Knob != knob {
		t.Fatalf("%+v, want %s", r, knob)
	}
	r.tells(t, "a deleted file")
	if !within(r.Plan.ExpectBytes, bytes) || !within(gave, r.Plan.ExpectBytes) {
		t.Errorf("%d are cold, %d were planned, %d freed by the kernel's count: %+v", bytes, r.Plan.ExpectBytes, gave, r.Result)
	}
	if is := s.settings(t); is != was {
		t.Errorf("settings were %q and are %q", was, is)
	}
}

// A target that uses all of its cache keeps it: its cache does not count as cold, and
// where all cache is asked for, a guard ends it while most is there still.
func TestReclaimSparesAHotSet(t *testing.T) {
	s := newStage(t, "hot")
	const bytes = 96 << 20
	self := s.reads(t, s.dir, "deleted", cold(t, s.work, "hot", bytes))
	_, allow := s.knob(t)
	allow = append(allow, "--include-shared") // pages of the test program that were first read here
	self.mark(t)
	if r := reclaims(t, 0, append([]string{s.cgroup, "--yes"}, allow...)...); r.Result != nil {
		t.Errorf("%+v", r)
	}
	self.unhurt(t, "the target")
	self.mark(t)
	r := reclaims(t, 7, append([]string{s.cgroup, "--all-cache", "--yes"}, allow...)...)
	if r.Result == nil || r.Result.Stopped == "" {
		t.Fatalf("%+v", r)
	}
	missing := self.resident - resident(t, self.file)
	self.passed(t)
	read := self.counter(t, "read_bytes") - self.read // whoever took it
	t.Logf("reclaimed: a hot set; stopped by %s: %s; of %d were missing at the end %d; read again %d", r.Result.Stopped, r.Result.Because, self.size, missing, read)
	if read > bytes*3/4 { // three steps of 16 MiB, of which the kernel makes more
		t.Errorf("it lost %d of %d", read, bytes)
	}
}
