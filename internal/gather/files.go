package gather

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Bounds of the search for who uses a file.
const (
	maxUsers  = 4096 // processes
	maxProcs  = 1 << 17
	mapsAhead = 32 // asked for together
)

// Files reads what is needed to list cached files: of target, or of the whole
// node when target is nil. Who uses them is looked for among all processes, or
// only among those of the target.
func Files(src kernel.Source, target *string, everybody bool, opt Options) (*snapshot.Snapshot, error) {
	s := &snapshot.Snapshot{}
	h, err := find(src, opt)
	if err != nil {
		return nil, err
	}
	s.Names = Names(src)
	if target != nil {
		cgroup, err := resolve(src, h, s.Names, *target)
		if err != nil {
			return nil, err
		}
		c := cgroupfs.Read(src, h, cgroup)
		if err := readable(src, &c); err != nil {
			return nil, err
		}
		s.Path = []snapshot.Cgroup{c}
		members(src, s)
	}
	s.Census = kernel.Census(src, s.PIDs)
	s.Host = host(src, h)
	s.Node.Meminfo = kernel.Value(src, "/proc/meminfo", maxFile, procfs.ParseMeminfo)
	s.Node.Vmstat = kernel.Value(src, "/proc/vmstat", maxFile, procfs.ParseVmstat)
	if s.Census.State == snapshot.Present { // else there are no files to name
		users(src, h, s, everybody, 0)
		see := viewers(s)
		if target == nil && !everybody {
			see = residents(src, h)
		}
		s.Mounts = mountTables(src, see)
	}
	o := src.Origin()
	s.Generated, s.Replayed, s.Cost = o.Generated, o.Replay, o.Cost
	return s, nil
}

// How long an explanation looks for others that use what the target is charged for, and
// how many it asks however long that takes: on a slow machine everything is slow.
const (
	patience   = 100 * time.Millisecond
	leastUsers = 256
)

// foreign asks everybody what they have open and mapped, where the target is charged
// for so much page cache that it matters whose use it is.
func foreign(src kernel.Source, h cgroupfs.Hierarchy, s *snapshot.Snapshot) {
	c, ok := s.Census.Get()
	if t := s.Target(); !ok || t.Root() || c.Engine != snapshot.EngineBPF && c.Engine != snapshot.EngineKcore || !caches(t) {
		return
	}
	users(src, h, s, true, patience)
}

// caches reports a tenth of the usage, or much, in page cache that is no shared memory.
func caches(c *snapshot.Cgroup) bool {
	const much = 64 << 20
	file, ok := int64(0), false
	for _, keys := range [][2]string{{"total_cache", "total_shmem"}, {"cache", "shmem"}, {"file", "shmem"}} {
		if file, ok = c.Stat.Value.Get(keys[0]); ok {
			shmem, _ := c.Stat.Value.Get(keys[1])
			file -= shmem
			break
		}
	}
	return ok && file >= 1<<20 && (file >= much || 10*file >= c.Usage.Value)
}

// viewers are the processes whose mount tables name the files: one of each cgroup
// of the target, then one of each namespace that a user lives in.
func viewers(s *snapshot.Snapshot) []member {
	list := firsts(s.Processes)
	for _, u := range s.Users.Value {
		if u.Namespace != "" {
			list = append(list, member{u.PID, u.Cgroup, u.Namespace})
		}
	}
	return list
}

// residents are one process of each mount namespace of the node.
func residents(src kernel.Source, h cgroupfs.Hierarchy) []member {
	var list []member
	seen := map[string]bool{"": true}
	for _, name := range src.Ask(kernel.Question{Op: kernel.List, Path: "/proc", Max: maxProcs}).Names() {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		ns := namespace(src, pid)
		if seen[ns] {
			continue
		}
		seen[ns] = true
		m := member{pid: pid, namespace: ns}
		if lines, ok := kernel.Value(src, procFile(pid, "cgroup"), maxFile, cgroupfs.ParseMembership).Get(); ok {
			m.cgroup, _ = h.Membership(lines)
		}
		list = append(list, m)
	}
	return list
}

// users asks the processes of the target, then all others, what they have open
// and mapped. Once that has taken longer than patience, if there is any, no more are
// asked.
func users(src kernel.Source, h cgroupfs.Hierarchy, s *snapshot.Snapshot, everybody bool, patience time.Duration) {
	pids := slices.Clone(s.PIDs)
	r := &s.Users
	r.Source, r.State = "/proc", snapshot.Present
	if everybody {
		a := src.Ask(kernel.Question{Op: kernel.List, Path: "/proc", Max: maxProcs})
		r.State, r.At, r.Err = a.State, a.At, a.Err
		known := map[int]bool{}
		for _, pid := range pids {
			known[pid] = true
		}
		for _, name := range a.Names() {
			if pid, err := strconv.Atoi(name); err == nil && !known[pid] {
				pids = append(pids, pid)
			}
		}
	}
	if s.Unasked = max(0, len(pids)-maxUsers); s.Unasked > 0 {
		pids = pids[:maxUsers]
	}
	var begin time.Time
	for chunk := range slices.Chunk(pids, mapsAhead) {
		maps := make([]kernel.Question, len(chunk))
		for i, pid := range chunk {
			maps[i] = kernel.Question{Op: kernel.Read, Path: procFile(pid, "maps"), Max: maxMaps}
		}
		answers := kernel.AskAll(src, maps)
		if begin.IsZero() {
			begin = answers[0].At
		}
		if patience > 0 && len(r.Value) >= leastUsers && answers[0].At.Sub(begin) > patience { // by the times of the answers: a replay stops here too
			s.Unasked += len(pids) - len(r.Value)
			break
		}
		for i, a := range answers {
			r.Value = append(r.Value, user(src, h, chunk[i], kernel.Parsed(a, maps[i].Path, procfs.MappedFiles)))
		}
	}
}

func user(src kernel.Source, h cgroupfs.Hierarchy, pid int, mapped snapshot.Reading[[]string]) snapshot.FileUser {
	u := snapshot.FileUser{PID: pid, Mapped: mapped}
	if mapped.State == snapshot.Present && len(mapped.Value) == 0 {
		u.Open = snapshot.Reading[[]snapshot.LinkText]{State: snapshot.Absent, Source: procFile(pid, "fd"), Err: "not even its program is mapped: a kernel thread, or it has ended"}
		return u
	}
	// Its files are told as this process would find them. Of one with a root of
	// its own that begins with where that is; in another mount namespace it is "/".
	root := link(src, procFile(pid, "root")).Value
	own := func(text string) string {
		if rest, ok := strings.CutPrefix(text, root); ok && strings.HasPrefix(rest, "/") {
			return rest
		}
		return text
	}
	for i, text := range u.Mapped.Value {
		u.Mapped.Value[i] = own(text)
	}
	fds := kernel.Question{Op: kernel.Links, Path: procFile(pid, "fd"), Max: maxFDs}
	u.Open = kernel.Parsed(src.Ask(fds), fds.Path, func(b []byte) (files []snapshot.LinkText, err error) {
		for _, l := range (kernel.Answer{Data: b}).Links() {
			if strings.HasPrefix(l.Text, "/") {
				files = append(files, snapshot.LinkText{Name: l.Name, Text: own(l.Text)})
			}
		}
		return files, nil
	})
	if len(u.Open.Value) == 0 && len(mapped.Value) == 0 {
		return u // nothing was told
	}
	if lines, ok := kernel.Value(src, procFile(pid, "cgroup"), maxFile, cgroupfs.ParseMembership).Get(); ok {
		u.Cgroup, _ = h.Membership(lines)
	}
	u.Namespace = namespace(src, pid)
	return u
}
