// Package gather owns the plan of a reading: which questions to put to a source
// and in which order, so that a target becomes a snapshot. It must not know
// what the numbers mean, nor whether the source is a running kernel or a
// capture.
package gather

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/kernel/kmsg"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Bounds of one explanation.
const (
	maxDescendants = 10_000 // cgroups below the target
	maxStatuses    = 4_096  // processes whose status is read
	maxCommands    = 20     // processes whose command line and executable are read: the largest
	maxCgroups     = 50_000 // cgroups of a list
	maxFile        = 16 << 20
	maxCommand     = 2 << 20 // bytes of a command line
	maxLog         = 32 << 20
)

// Options are what the caller knows beyond the target.
type Options struct {
	ForeignRoot bool          // the node's root is not this process's own
	Watch       time.Duration // how long to look at a target that Explain explains; 0: one look
}

// Explain reads everything about target, its ancestors, its processes and its
// node. Its errors are *TargetError, or wrap cgroupfs.ErrNoController.
func Explain(src kernel.Source, target string, opt Options) (*snapshot.Snapshot, error) {
	s := &snapshot.Snapshot{}
	h, err := find(src, opt)
	if err != nil {
		return nil, err
	}
	s.Names = Names(src)
	cgroup, err := resolve(src, h, s.Names, target)
	if err != nil {
		return nil, err
	}
	if s.Watch, err = watch(src, h, cgroup, opt); err != nil {
		return nil, err
	}
	detail(src, s.Names, identity.Of(cgroup, s.Names))
	for i, p := range h.Ancestors(cgroup) {
		c := cgroupfs.Read(src, h, p)
		if i == 0 {
			if err := readable(src, &c); err != nil {
				return nil, vanished(err, target, identity.Of(cgroup, s.Names))
			}
		}
		c.Slabs = slabs(src, &c, src.Origin().PageSize)
		s.Path = append(s.Path, c)
	}
	s.Target().Inode = inode(src, s.Target().Dir)
	members(src, s)
	children(src, h, s)
	if s.Census = kernel.Census(src, s.PIDs); s.Census.State == snapshot.Present {
		foreign(src, h, s)
		s.Mounts = mountTables(src, viewers(s))
	}
	s.Host = host(src, h)
	s.Node = node(src, s.Host.PageSize)
	nodeOfTarget(src, h, s)
	processes(src, s)
	if s.Watch != nil {
		if err := last(src, h, s, opt); err != nil {
			return nil, err
		}
	}
	s.Log = Log(src)
	o := src.Origin()
	s.Generated, s.Replayed, s.Cost = o.Generated, o.Replay, o.Cost
	return s, nil
}

// find is cgroupfs.Find with the reason that a newcomer needs most.
func find(src kernel.Source, opt Options) (cgroupfs.Hierarchy, error) {
	h, err := cgroupfs.Find(src, opt.ForeignRoot)
	if err == nil {
		return h, nil
	}
	e := &TargetError{Kind: Unsupported, Err: err, Hint: words.Key("mount the memory controller, or use --host-root if the node's /sys is elsewhere")}
	controllers, _ := kernel.Value(src, "/proc/cgroups", maxFile, procfs.ParseCgroups).Get()
	for _, c := range controllers {
		if c.Name == "memory" && !c.Enabled {
			e.Hint = words.Key("the kernel was started with cgroup_disable=memory, or disables it by default: boot with cgroup_enable=memory")
		}
	}
	return h, e
}

// readable tells a target that is not there from one that may not be read.
func readable(src kernel.Source, c *snapshot.Cgroup) error {
	if c.Usage.State == snapshot.Present || c.Stat.State == snapshot.Present {
		return nil
	}
	list := src.Ask(kernel.Question{Op: kernel.List, Path: c.Dir, Max: 1 << 20})
	switch {
	case c.Usage.Gone() || c.Stat.Gone():
		return notFound("cgroup %q vanished while it was read", c.Path)
	case c.Usage.State == snapshot.Denied || list.State == snapshot.Denied:
		return &TargetError{
			Kind: Denied, Err: words.Errorf("cgroup %q: permission denied", c.Path),
			Hint: "run as root, or as a user who may read " + c.Dir,
		}
	case list.State == snapshot.Absent:
		return notFound("no memory cgroup %q", c.Path)
	}
	return &TargetError{Kind: Unreadable, Err: words.Errorf("cgroup %q: %s: %s; %s: %s", c.Path, c.Usage.Source, c.Usage.Err, c.Stat.Source, c.Stat.Err)}
}

func slabs(src kernel.Source, c *snapshot.Cgroup, pageSize int64) snapshot.Reading[[]snapshot.SlabCache] {
	file := path.Join(c.Dir, "memory.kmem.slabinfo")
	if c.Version == snapshot.V2 {
		return snapshot.Reading[[]snapshot.SlabCache]{State: snapshot.Absent, Source: file, Err: "cgroup v2 has no such file"}
	}
	return kernel.Value(src, file, maxFile, func(b []byte) ([]snapshot.SlabCache, error) { return procfs.ParseSlabinfo(b, pageSize) })
}

// members finds the processes and the descendants of every cgroup of the path:
// all of the target's, the direct ones of its ancestors.
func members(src kernel.Source, s *snapshot.Snapshot) {
	t := s.Target()
	dirs, complete, err := cgroupfs.Walk(src, t.Dir, maxDescendants)
	t.Descendants = snapshot.Reading[int]{State: snapshot.Present, Value: len(dirs) - 1, Source: t.Dir}
	if err != nil || !complete {
		t.Descendants.State, t.Descendants.Err = snapshot.Failed, "the directories below could not all be listed"
		if err != nil {
			t.Descendants.Err = err.Error()
		}
	}
	for i, dir := range dirs {
		r := cgroupfs.ReadProcs(src, dir)
		if i == 0 {
			t.Procs = r
		}
		for _, pid := range r.Value {
			if pid == 0 {
				s.Outside++
				continue
			}
			s.PIDs = append(s.PIDs, pid)
			s.Processes = append(s.Processes, snapshot.Process{PID: pid, Cgroup: path.Join(t.Path, dir[len(t.Dir):])})
		}
	}
	slices.Sort(s.PIDs)
	s.PIDs = slices.Compact(s.PIDs)
	slices.SortFunc(s.Processes, func(a, b snapshot.Process) int { return cmp.Compare(a.PID, b.PID) })
	s.Processes = slices.CompactFunc(s.Processes, func(a, b snapshot.Process) bool { return a.PID == b.PID })
	for i := range s.Path[1:] {
		s.Path[i+1].Descendants = statDescendants(&s.Path[i+1])
	}
}

// statDescendants takes the count from cgroup.stat, which version 2 has.
func statDescendants(c *snapshot.Cgroup) snapshot.Reading[int] {
	r := snapshot.Reading[int]{State: c.CgroupStat.State, Source: c.CgroupStat.Source, At: c.CgroupStat.At, Err: c.CgroupStat.Err}
	if st, ok := c.CgroupStat.Get(); ok {
		n, ok := st.Get("nr_descendants")
		if !ok || n < 0 {
			r.State, r.Err = snapshot.Absent, "no key nr_descendants"
		}
		r.Value = int(n)
	}
	return r
}

func host(src kernel.Source, h cgroupfs.Hierarchy) snapshot.Host {
	one := func(b []byte) (string, error) { return string(b[:max(0, len(b)-1)]), nil }
	v := snapshot.Host{
		Kernel:     kernel.Value(src, "/proc/sys/kernel/osrelease", maxFile, one),
		Distro:     kernel.Value(src, "/etc/os-release", maxFile, procfs.ParseOSRelease),
		CgroupMode: h.Mode,
		MGLRU:      kernel.Value(src, "/sys/kernel/mm/lru_gen/enabled", maxFile, procfs.ParseMGLRU),
		CPUs:       kernel.Value(src, "/sys/devices/system/cpu/online", maxFile, procfs.ParseOnline),
		PageSize:   src.Origin().PageSize,
		Nested:     nested(src),
		Boot:       kernel.Value(src, "/proc/sys/kernel/random/boot_id", maxFile, one),
	}
	if v.Distro.State != snapshot.Present {
		if r := kernel.Value(src, "/usr/lib/os-release", maxFile, procfs.ParseOSRelease); r.State == snapshot.Present {
			v.Distro = r
		}
	}
	return v
}

// nested asks which cgroup namespace this is. The first one of a kernel has a
// number of its own (linux include/linux/proc_ns.h, PROC_CGROUP_INIT_INO); before
// 4.6 there are none.
func nested(src kernel.Source) snapshot.Reading[bool] {
	r := link(src, "/proc/self/ns/cgroup")
	return snapshot.Reading[bool]{Value: r.Value != "cgroup:[4026531835]", State: r.State, Source: r.Source, At: r.At, Err: r.Err}
}

// Log is what the kernel said when it killed.
func Log(src kernel.Source) snapshot.Reading[snapshot.KernelLog] {
	a := src.Ask(kernel.Question{Op: kernel.Log, Path: kernel.LogPath, Max: maxLog})
	return kernel.Parsed(a, kernel.LogPath, func(b []byte) (snapshot.KernelLog, error) { return kmsg.Read(b, src.Origin().PageSize) })
}

// nodeCounters is what the node's own counters say: all that a first look needs of it.
func nodeCounters(src kernel.Source, pageSize int64) snapshot.Node {
	return snapshot.Node{
		Meminfo: kernel.Value(src, "/proc/meminfo", maxFile, procfs.ParseMeminfo),
		Vmstat:  kernel.Value(src, "/proc/vmstat", maxFile, procfs.ParseVmstat),
		Zones:   kernel.Value(src, "/proc/zoneinfo", maxFile, func(b []byte) ([]snapshot.Zone, error) { return procfs.ParseZoneinfo(b, pageSize) }),
		Sockets: kernel.Value(src, "/proc/net/sockstat", maxFile, func(b []byte) (int64, error) { return procfs.ParseSockstat(b, pageSize) }),
	}
}

func node(src kernel.Source, pageSize int64) snapshot.Node {
	text := func(b []byte) (string, error) { return string(b), nil }
	n := nodeCounters(src, pageSize)
	n.Buddy = kernel.Value(src, "/proc/buddyinfo", maxFile, procfs.ParseBuddyinfo)
	n.Slabs = kernel.Value(src, "/proc/slabinfo", maxFile, func(b []byte) ([]snapshot.SlabCache, error) { return procfs.ParseSlabinfo(b, pageSize) })
	n.Swaps = kernel.Value(src, "/proc/swaps", maxFile, procfs.ParseSwaps)
	n.Controllers = kernel.Value(src, "/proc/cgroups", maxFile, procfs.ParseCgroups)
	n.Pressure = kernel.Value(src, "/proc/pressure/memory", maxFile, cgroupfs.ParsePressure)
	n.BootArgs = kernel.Value(src, "/proc/cmdline", maxFile, text)
	n.Version = kernel.Value(src, "/proc/version", maxFile, text)
	n.Dentries = kernel.Value(src, "/proc/sys/fs/dentry-state", 4<<10, procfs.ParseDentries)
	return n
}

// processes reads the status of every process, and of the largest the command
// line, the executable, what they have mapped and which deleted files they keep
// open.
func processes(src kernel.Source, s *snapshot.Snapshot) {
	s.Processes = s.Processes[:min(len(s.Processes), maxStatuses)]
	bySize := make([]*snapshot.Process, len(s.Processes))
	for i := range s.Processes {
		p := &s.Processes[i]
		p.Status = kernel.Value(src, procFile(p.PID, "status"), maxFile, procfs.ParseStatus)
		bySize[i] = p
	}
	slices.SortStableFunc(bySize, func(a, b *snapshot.Process) int { return cmp.Compare(rss(b), rss(a)) })
	for _, p := range bySize[:min(len(bySize), maxCommands)] {
		if p.Status.State != snapshot.Present {
			continue
		}
		p.Command = kernel.Value(src, procFile(p.PID, "cmdline"), maxCommand, func(b []byte) ([]string, error) {
			args, err := procfs.ParseCmdline(b)
			return identity.TrimCommand(args), err
		})
		p.Exe = link(src, procFile(p.PID, "exe"))
		if _, user := p.Status.Value.Fields.Get("VmSize"); user && p.Command.State == snapshot.Present && len(p.Command.Value) == 0 {
			p.Command.State, p.Command.Err = snapshot.Absent, snapshot.NoCommand
			if p.Exe.State == snapshot.Absent { // its memory is gone, it has all but ended
				p.Command.Err = snapshot.Vanished
			}
		}
	}
	readMappings(src, s, bySize)
	readHeaps(src, bySize)
	readOpenFiles(src, bySize, holding(src, s.Target()))
}

func procFile(pid int, name string) string { return "/proc/" + itoa(pid) + "/" + name }

func itoa(n int) string { return strconv.Itoa(n) }

func rss(p *snapshot.Process) int64 {
	n, ok := p.Status.Value.Fields.Get("VmRSS")
	if !ok || !size.Plausible(n) {
		return 0
	}
	return n
}

func link(src kernel.Source, file string) snapshot.Reading[string] {
	a := src.Ask(kernel.Question{Op: kernel.Link, Path: file, Max: 4 << 10})
	return snapshot.Reading[string]{Value: string(a.Data), State: a.State, Source: file, At: a.At, Err: a.Err}
}
