package gather

import (
	"cmp"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Bounds of a look at what may be seen.
const (
	maxTried   = 256  // processes whose links are tried
	maxThreads = 4096 // threads whose name is read
	maxRefused = 16   // processes whose memory is tried
)

// Access tries every source that is asked through src.
func Access(src kernel.Source, opt Options) *snapshot.Access {
	a := &snapshot.Access{
		Own:  kernel.Value(src, "/proc/self/status", maxFile, procfs.ParseCredentials),
		UIDs: kernel.Value(src, "/proc/self/uid_map", maxFile, whole),
		User: link(src, "/proc/self/ns/user"), PID: link(src, "/proc/self/ns/pid"), Group: link(src, "/proc/self/ns/cgroup"),
		Lockdown: kernel.Value(src, "/sys/kernel/security/lockdown", maxFile, whole),
		First:    kernel.Value(src, "/proc/1/status", maxFile, procfs.ParseStatus),
	}
	h, err := cgroupfs.Find(src, opt.ForeignRoot)
	a.Host, a.Mode = host(src, h), h.Mode
	if err != nil {
		a.Trials = append(a.Trials, snapshot.Trial{ID: snapshot.TryCgroup, State: snapshot.Absent, Err: err.Error()})
	} else {
		a.Trials = append(a.Trials, tryCgroup(src, h))
	}
	pids := processIDs(src)
	a.Kdamonds = kdamonds(src, pids)
	a.Trials = append(a.Trials, tryProcesses(src, pids), tryHeaps(src, pids), tryFiles(src))
	for _, f := range []struct{ id, file string }{{snapshot.TrySlabinfo, "/proc/slabinfo"}, {snapshot.TryPSI, "/proc/pressure/memory"}} {
		r := src.Ask(kernel.Question{Op: kernel.Read, Path: f.file, Max: maxFile})
		t := snapshot.Trial{ID: f.id, State: r.State}
		if r.State != snapshot.Present {
			t.Err = f.file + ": " + r.Err
		}
		a.Trials = append(a.Trials, t)
	}
	return a
}

func whole(b []byte) ([]byte, error) { return b, nil }

// tryCgroup reads the cgroup of this process, or the root where it is not in
// view.
func tryCgroup(src kernel.Source, h cgroupfs.Hierarchy) snapshot.Trial {
	t := snapshot.Trial{ID: snapshot.TryCgroup, State: snapshot.Present}
	cgroup := "/"
	if lines, ok := kernel.Value(src, "/proc/self/cgroup", maxFile, cgroupfs.ParseMembership).Get(); ok {
		if own, ok := h.Membership(lines); ok {
			if _, in := h.Dir(own); in {
				cgroup = own
			}
		}
	}
	if _, in := h.Dir(cgroup); !in { // mounted outside of this cgroup namespace
		h.Root = "/"
	}
	c := cgroupfs.Read(src, h, cgroup)
	if c.Stat.State != snapshot.Present {
		t.State, t.Err = c.Stat.State, c.Stat.Source+": "+c.Stat.Err
		return t
	}
	var lacks []string
	lack := func(r snapshot.State, file string) {
		if r == snapshot.Absent && file != "" && cgroup != "/" {
			lacks = append(lacks, path.Base(file))
		}
	}
	for _, r := range []snapshot.Reading[int64]{c.Peak, c.High, c.SwapUsage, c.SwapLimit, c.KmemUsage, c.MemswUsage} {
		if r.Err == "no such file" {
			lack(r.State, r.Source)
		}
	}
	if c.Version == snapshot.V2 {
		lack(c.Pressure.State, c.Pressure.Source)
	}
	if len(lacks) > 0 {
		t.Notes = []words.Text{words.Later("this kernel has no %s", strings.Join(lacks, ", "))}
	}
	return t
}

func processIDs(src kernel.Source) (pids []int) {
	for _, name := range src.Ask(kernel.Question{Op: kernel.List, Path: "/proc", Max: 1 << 20}).Names() {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// kdamonds are the threads of DAMON (linux mm/damon/core.c, kdamond_fn), which may
// be told to evict what is cold.
func kdamonds(src kernel.Source, pids []int) (names []string) {
	for _, pid := range pids[:min(len(pids), maxThreads)] {
		a := src.Ask(kernel.Question{Op: kernel.Read, Path: procFile(pid, "comm"), Max: 256})
		if name := strings.TrimSpace(string(a.Data)); strings.HasPrefix(name, "kdamond.") && kernelThread(src, pid) {
			names = append(names, name)
		}
	}
	return names
}

func kernelThread(src kernel.Source, pid int) bool {
	s, ok := kernel.Value(src, procFile(pid, "status"), maxFile, procfs.ParseStatus).Get()
	return ok && s.KernelThread
}

// tryProcesses reads a link of many processes that the kernel guards like their
// smaps, maps and open files (linux fs/proc/namespaces.c, proc_ns_readlink).
func tryProcesses(src kernel.Source, pids []int) snapshot.Trial {
	t := snapshot.Trial{ID: snapshot.TryProcesses, State: snapshot.Present}
	if len(pids) == 0 {
		t.State, t.Err = snapshot.Failed, "/proc lists no process"
		return t
	}
	step := (len(pids) + maxTried - 1) / maxTried
	tried, denied, source := 0, 0, ""
	for i := 0; i < len(pids); i += step {
		file := procFile(pids[i], "ns/mnt")
		switch r := link(src, file); r.State {
		case snapshot.Present:
			tried++
		case snapshot.Denied:
			tried, denied, source = tried+1, denied+1, file
		}
	}
	refuse := words.Later("%d of %d processes may not be looked into (%s)", denied, tried, source)
	switch {
	case 2*denied > tried:
		t.State, t.Err = snapshot.Denied, refuse.String()
	case denied > 0:
		t.Notes, t.Part = []words.Text{refuse}, true
	case src.Ask(kernel.Question{Op: kernel.Read, Path: "/proc/self/smaps_rollup", Max: maxFile}).State == snapshot.Absent:
		t.Notes = []words.Text{words.Later("this kernel has no smaps_rollup, smaps itself is read")}
	}
	return t
}

// tryHeaps looks into the memory of other processes until one lets it: that needs what a
// debugger needs, which is more than the links of processes do (linux kernel/ptrace.c,
// PTRACE_MODE_ATTACH; security/yama/yama_lsm.c).
func tryHeaps(src kernel.Source, pids []int) snapshot.Trial {
	t := snapshot.Trial{ID: snapshot.TryHeaps, State: snapshot.Present}
	self, denied, failed := link(src, "/proc/self").Value, 0, ""
	for _, pid := range pids {
		s, ok := kernel.Value(src, procFile(pid, "status"), maxFile, procfs.ParseStatus).Get()
		if _, user := s.Fields.Get("VmSize"); !ok || !user || strconv.Itoa(pid) == self {
			continue
		}
		switch a := src.Ask(kernel.Question{Op: kernel.Heaps, Path: procFile(pid, "mem"), Max: maxMaps}); a.State {
		case snapshot.Present:
			return t
		case snapshot.Denied:
			denied++
		case snapshot.Failed:
			failed = procFile(pid, "mem") + ": " + a.Err
		}
		if denied == maxRefused {
			break
		}
	}
	switch {
	case denied > 0:
		t.State, t.Err = snapshot.Denied, fmt.Sprintf("the memory of none of %d processes may be read", denied)
		if scope, ok := kernel.Value(src, "/proc/sys/kernel/yama/ptrace_scope", maxFile, whole).Get(); ok && len(scope) > 0 && scope[0] >= '2' {
			t.Err += ": kernel.yama.ptrace_scope is " + strings.TrimSpace(string(scope))
		}
	case failed != "":
		t.State, t.Err = snapshot.Failed, failed
	default:
		t.State, t.Err = snapshot.Absent, words.Key("no other process is seen whose memory could be tried")
	}
	return t
}

// tryFiles asks about a file that this process has mapped: its own executable.
func tryFiles(src kernel.Source) snapshot.Trial {
	t := snapshot.Trial{ID: snapshot.TryFiles, State: snapshot.Failed}
	self := link(src, "/proc/self")
	pid, err := strconv.Atoi(self.Value)
	if err != nil {
		t.Err = "/proc/self: " + self.Err
		return t
	}
	maps := kernel.Value(src, procFile(pid, "maps"), maxFile, procfs.ParseMaps)
	if len(maps.Value) == 0 {
		t.State, t.Err = maps.State, maps.Source+": "+cmp.Or(maps.Err, "no file is mapped")
		return t
	}
	f := maps.Value[0]
	mapped := src.Ask(kernel.Question{Op: kernel.Cached, Path: fmt.Sprintf("/proc/%d/map_files/%x-%x", pid, f.Start, f.End), Max: leastWalk})
	a := mapped
	if a.State != snapshot.Present {
		a = src.Ask(kernel.Question{Op: kernel.Cached, Path: procFile(pid, "root") + f.Name, Max: leastWalk})
	}
	c, err := kernel.ParseCached(a.Data)
	switch {
	case a.State == snapshot.Denied:
		t.State, t.Err = snapshot.Denied, words.Key("what is cached of a file is told to those who own it or may write to it")
		return t
	case a.State != snapshot.Present:
		t.State, t.Err = a.State, f.Name+": "+a.Err
		return t
	case err != nil:
		t.Err = err.Error()
		return t
	}
	var notes []words.Text
	if c.Mincore > 0 {
		notes = append(notes, words.Later("no cachestat: mincore does not tell dirty pages"))
	}
	if mapped.State == snapshot.Denied {
		notes = append(notes, words.Later("mapped files that were deleted cannot be opened"))
	}
	t.State, t.Notes, t.Part = snapshot.Present, notes, mapped.State == snapshot.Denied
	return t
}
