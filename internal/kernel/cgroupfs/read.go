package cgroupfs

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Bounds of one answer. A memory.stat has 60 lines at most; what is longer than
// these is not the kernel's.
const (
	maxFile = 1 << 20 // bytes
	maxDirs = 1 << 16 // sub-directories of one directory
)

// ErrNoController is returned when no mounted hierarchy has the memory
// controller.
var ErrNoController = errors.New("no memory controller is mounted")

// Hierarchy is the mounted cgroup file system that holds the memory controller.
type Hierarchy struct {
	Mount
	Mode string // v1, v2 or hybrid: what is mounted, wherever memory is
}

// Find finds the hierarchy of the memory controller. With a foreign root, the
// mount table of the node's first process is the one that fits the paths.
func Find(src kernel.Source, foreignRoot bool) (Hierarchy, error) {
	tables := []string{"/proc/self/mountinfo", "/proc/1/mountinfo"}
	if foreignRoot {
		slices.Reverse(tables)
	}
	var told []string
	readable := false
	for _, table := range tables {
		r := kernel.Value(src, table, 16<<20, func(b []byte) ([]Mount, error) { return ParseMountinfo(b), nil })
		mounts, ok := r.Get()
		if !ok {
			told = append(told, fmt.Sprintf("%s: %s", table, r.Err))
			continue
		}
		readable = true
		if h, ok := choose(src, mounts); ok {
			return h, nil
		}
		told = append(told, fmt.Sprintf("%s names %d cgroup mounts, none with memory", table, len(mounts)))
	}
	if h, ok := conventional(src); ok && !readable {
		return h, nil
	}
	return Hierarchy{}, fmt.Errorf("%w (%s)", ErrNoController, strings.Join(told, "; "))
}

// conventional looks where everybody mounts it, for a tree that came without a
// mount table.
func conventional(src kernel.Source) (Hierarchy, bool) {
	m := Mount{Version: snapshot.V2, Root: "/", Point: "/sys/fs/cgroup"}
	if unifiedHasMemory(src, m) {
		return Hierarchy{m, "v2"}, true
	}
	m = Mount{Version: snapshot.V1, Root: "/", Point: "/sys/fs/cgroup/memory", Controllers: []string{"memory"}}
	list := src.Ask(kernel.Question{Op: kernel.List, Path: m.Point, Max: maxDirs})
	return Hierarchy{m, "v1"}, list.State == snapshot.Present
}

func choose(src kernel.Source, mounts []Mount) (Hierarchy, bool) {
	h := Hierarchy{Mode: mode(mounts)}
	// A mount of the whole hierarchy beats a bind mount of a part of it.
	better := func(m Mount) bool { return h.Point == "" || (h.Root != "/" && m.Root == "/") }
	for _, m := range mounts {
		if m.Version == snapshot.V1 && slices.Contains(m.Controllers, "memory") && better(m) {
			h.Mount = m
		}
	}
	if h.Point != "" {
		return h, true
	}
	for _, m := range mounts {
		if m.Version == snapshot.V2 && better(m) && unifiedHasMemory(src, m) {
			h.Mount = m
		}
	}
	return h, h.Point != ""
}

func mode(mounts []Mount) string {
	v1 := slices.ContainsFunc(mounts, func(m Mount) bool { return m.Version == snapshot.V1 })
	v2 := slices.ContainsFunc(mounts, func(m Mount) bool { return m.Version == snapshot.V2 })
	switch {
	case v1 && v2:
		return "hybrid"
	case v1:
		return "v1"
	}
	return "v2"
}

func unifiedHasMemory(src kernel.Source, m Mount) bool {
	a := src.Ask(kernel.Question{Op: kernel.Read, Path: path.Join(m.Point, "cgroup.controllers"), Max: 4 << 10})
	return a.State == snapshot.Present && slices.Contains(strings.Fields(string(a.Data)), "memory")
}

// Dir returns the directory of a cgroup path; false when the path lies outside
// of what is mounted, as it can from inside a container.
func (h Hierarchy) Dir(cgroup string) (string, bool) {
	if cgroup == "" || cgroup[0] != '/' || slices.Contains(strings.Split(cgroup, "/"), "..") {
		return "", false
	}
	if h.Root == "/" || h.Root == "" {
		return path.Join(h.Point, cgroup), true
	}
	rest, ok := strings.CutPrefix(path.Clean(cgroup), h.Root)
	if !ok || (rest != "" && rest[0] != '/') {
		return "", false
	}
	return path.Join(h.Point, rest), true
}

// Cgroup turns a directory below the mount point into a cgroup path.
func (h Hierarchy) Cgroup(dir string) (string, bool) {
	rest, ok := strings.CutPrefix(path.Clean(dir), strings.TrimSuffix(h.Point, "/"))
	if !ok || (rest != "" && rest[0] != '/') {
		return "", false
	}
	return path.Join("/", h.Root, rest), true
}

// Membership picks the memory cgroup out of a /proc/PID/cgroup.
func (h Hierarchy) Membership(lines []Membership) (string, bool) {
	for _, m := range lines {
		if h.Version == snapshot.V1 && slices.Contains(m.Controllers, "memory") || h.Version == snapshot.V2 && m.Hierarchy == 0 {
			return m.Path, true
		}
	}
	return "", false
}

// Ancestors lists cgroup and everything above it that is mounted, root last.
func (h Hierarchy) Ancestors(cgroup string) []string {
	var up []string
	for p := path.Clean(cgroup); ; p = path.Dir(p) {
		if _, ok := h.Dir(p); ok {
			up = append(up, p)
		}
		if p == "/" {
			return up
		}
	}
}

// number is one small file with one number, under its names in both versions.
type number struct {
	v1, v2 string
	field  func(*snapshot.Cgroup) *snapshot.Reading[int64]
	parse  func([]byte) (int64, error)
}

// core is what a list of cgroups needs, the rest completes an explanation.
var core = []number{
	{"memory.usage_in_bytes", "memory.current", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.Usage }, ParseNumber},
	{"memory.limit_in_bytes", "memory.max", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.Limit }, ParseLimit},
	{"", "memory.high", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.High }, ParseLimit},
	{"memory.memsw.usage_in_bytes", "", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.MemswUsage }, ParseNumber},
	{"memory.memsw.limit_in_bytes", "", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.MemswLimit }, ParseLimit},
	{"", "memory.swap.current", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.SwapUsage }, ParseNumber},
	{"", "memory.swap.max", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.SwapLimit }, ParseLimit},
	{"memory.kmem.usage_in_bytes", "", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.KmemUsage }, ParseNumber},
	{"memory.swappiness", "", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.Swappiness }, ParseNumber},
	{"memory.use_hierarchy", "", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.UseHierarchy }, ParseNumber},
}

var rest = []number{
	{"memory.max_usage_in_bytes", "memory.peak", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.Peak }, ParseNumber},
	{"", "memory.low", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.Low }, ParseLimit},
	{"", "memory.min", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.Min }, ParseLimit},
	{"memory.soft_limit_in_bytes", "", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.SoftLimit }, ParseLimit},
	{"", "memory.zswap.current", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.ZswapUsage }, ParseNumber},
	{"memory.kmem.limit_in_bytes", "", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.KmemLimit }, ParseLimit},
	{"memory.kmem.max_usage_in_bytes", "", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.KmemPeak }, ParseNumber},
	{"memory.kmem.tcp.usage_in_bytes", "", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.TCPUsage }, ParseNumber},
	{"memory.kmem.tcp.limit_in_bytes", "", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.TCPLimit }, ParseLimit},
	{"memory.failcnt", "", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.Failcnt }, ParseNumber},
	{"memory.memsw.failcnt", "", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.MemswFailcnt }, ParseNumber},
	{"memory.kmem.failcnt", "", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.KmemFailcnt }, ParseNumber},
	{"memory.memsw.max_usage_in_bytes", "", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.MemswPeak }, ParseNumber},
	{"", "memory.swap.peak", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.SwapPeak }, ParseNumber},
	{"", "memory.swap.high", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.SwapHigh }, ParseLimit},
	{"", "memory.zswap.max", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.ZswapLimit }, ParseLimit},
	{"memory.kmem.tcp.max_usage_in_bytes", "", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.TCPPeak }, ParseNumber},
	{"memory.kmem.tcp.failcnt", "", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.TCPFailcnt }, ParseNumber},
	{"", "memory.oom.group", func(c *snapshot.Cgroup) *snapshot.Reading[int64] { return &c.OOMGroup }, ParseNumber},
}

// flat are the small files of counters.
var flat = []struct {
	v1, v2 string
	field  func(*snapshot.Cgroup) *snapshot.Reading[snapshot.Stat]
}{
	{"", "memory.events", func(c *snapshot.Cgroup) *snapshot.Reading[snapshot.Stat] { return &c.Events }},
	{"", "memory.events.local", func(c *snapshot.Cgroup) *snapshot.Reading[snapshot.Stat] { return &c.EventsLocal }},
	{"", "memory.swap.events", func(c *snapshot.Cgroup) *snapshot.Reading[snapshot.Stat] { return &c.SwapEvents }},
	{"memory.oom_control", "", func(c *snapshot.Cgroup) *snapshot.Reading[snapshot.Stat] { return &c.OOMControl }},
	{"cgroup.stat", "cgroup.stat", func(c *snapshot.Cgroup) *snapshot.Reading[snapshot.Stat] { return &c.CgroupStat }},
}

const (
	procsFile = "/cgroup.procs"
	maxProcs  = 16 << 20 // bytes
)

// ReadCore reads what a list needs of one cgroup: statistics, usage, limits.
// The statistics come first, as cAdvisor reads them.
func ReadCore(src kernel.Source, h Hierarchy, cgroup string) snapshot.Cgroup {
	return readCore(src, h, cgroup, false)
}

// ReadCoreProcs reads its processes too, which costs less together.
func ReadCoreProcs(src kernel.Source, h Hierarchy, cgroup string) snapshot.Cgroup {
	return readCore(src, h, cgroup, true)
}

func readCore(src kernel.Source, h Hierarchy, cgroup string, procs bool) snapshot.Cgroup {
	dir, _ := h.Dir(cgroup)
	c := snapshot.Cgroup{Path: cgroup, Dir: dir, Version: h.Version}
	qs := append(make([]kernel.Question, 0, 2+len(core)), kernel.Question{Op: kernel.Read, Path: dir + "/memory.stat", Max: maxFile})
	for _, n := range core {
		if name := pick(c.Version, n.v1, n.v2); name != "" {
			qs = append(qs, kernel.Question{Op: kernel.Read, Path: dir + "/" + name, Max: maxFile})
		}
	}
	if procs {
		qs = append(qs, kernel.Question{Op: kernel.Read, Path: dir + procsFile, Max: maxProcs})
	}
	answers := kernel.AskAll(src, qs)
	if procs {
		c.Procs = kernel.Parsed(answers[len(qs)-1], dir+procsFile, ParsePIDs)
	}
	c.Stat = kernel.Parsed(answers[0], qs[0].Path, parseStat)
	i := 1
	for _, n := range core {
		if pick(c.Version, n.v1, n.v2) == "" {
			*n.field(&c) = absent[int64](&c, n.v1+n.v2)
			continue
		}
		*n.field(&c) = kernel.Parsed(answers[i], qs[i].Path, n.parse)
		i++
	}
	return c
}

// Read reads everything about one cgroup that its own files say, but for its
// slab table, its processes and its descendants.
func Read(src kernel.Source, h Hierarchy, cgroup string) snapshot.Cgroup {
	c := ReadCore(src, h, cgroup)
	for _, n := range rest {
		*n.field(&c) = n.read(src, &c)
	}
	for _, f := range flat {
		name := pick(c.Version, f.v1, f.v2)
		if name == "" {
			*f.field(&c) = absent[snapshot.Stat](&c, f.v1+f.v2)
			continue
		}
		*f.field(&c) = kernel.Value(src, path.Join(c.Dir, name), maxFile, parseStat)
	}
	c.Pressure = absent[snapshot.Pressure](&c, "memory.pressure")
	if c.Version == snapshot.V2 {
		c.Pressure = kernel.Value(src, path.Join(c.Dir, "memory.pressure"), maxFile, ParsePressure)
	}
	return c
}

// ReadProcs reads the processes of this very cgroup.
func ReadProcs(src kernel.Source, dir string) snapshot.Reading[[]int] {
	return kernel.Value(src, dir+procsFile, maxProcs, ParsePIDs)
}

func (n number) read(src kernel.Source, c *snapshot.Cgroup) snapshot.Reading[int64] {
	name := pick(c.Version, n.v1, n.v2)
	if name == "" {
		return absent[int64](c, n.v1+n.v2)
	}
	return kernel.Value(src, path.Join(c.Dir, name), maxFile, n.parse)
}

func pick(v snapshot.Version, v1, v2 string) string {
	if v == snapshot.V1 {
		return v1
	}
	return v2
}

func absent[T any](c *snapshot.Cgroup, name string) snapshot.Reading[T] {
	return snapshot.Reading[T]{State: snapshot.Absent, Source: path.Join(c.Dir, name), Err: "cgroup " + c.Version.String() + " has no such file"}
}

func parseStat(b []byte) (s snapshot.Stat, err error) {
	err = ParseStat(b, &s)
	return s, err
}

// Walk lists the directories below dir, dir itself first, parents before their
// children and siblings by name. It stops with complete = false after max of
// them. Directories that vanish on the way are not there.
func Walk(src kernel.Source, dir string, max int) (dirs []string, complete bool, err error) {
	dirs, complete = []string{dir}, true
	for done := 0; done < len(dirs); {
		batch := dirs[done:min(len(dirs), done+walkAhead)]
		qs := make([]kernel.Question, len(batch))
		for i, d := range batch {
			qs[i] = kernel.Question{Op: kernel.List, Path: d, Max: maxDirs}
		}
		for i, a := range kernel.AskAll(src, qs) {
			if a.State != snapshot.Present {
				if done+i == 0 {
					return nil, false, fmt.Errorf("list %s: %s", dir, a.Err)
				}
				complete = complete && a.State == snapshot.Absent
				continue
			}
			names := a.Names()
			slices.Sort(names)
			for _, name := range names {
				if len(dirs) >= max {
					return dirs, false, nil
				}
				dirs = append(dirs, path.Join(batch[i], name))
			}
		}
		done += len(batch)
	}
	return dirs, complete, nil
}

// walkAhead is how many directories are listed at a time.
const walkAhead = 64

// Identity is a cgroup by its number: the inode number of its directory.
type Identity struct {
	ID   uint64
	Path string
}

// Identify lists all cgroups of the hierarchy that are mounted, parents before
// their children. It is complete unless a directory could not be listed.
func Identify(src kernel.Source, h Hierarchy) (all []Identity, complete bool, err error) {
	type dir struct {
		path string
		id   uint64 // 0: not known
	}
	dirs := []dir{{path: h.Point}}
	complete = true
	for i := 0; i < len(dirs); i++ {
		a := src.Ask(kernel.Question{Op: kernel.Inodes, Path: dirs[i].path, Max: maxDirs})
		if a.State != snapshot.Present {
			if i == 0 {
				return nil, false, fmt.Errorf("list %s: %s", h.Point, a.Err)
			}
			complete = complete && a.State == snapshot.Absent
		}
		for _, line := range a.Names() {
			number, name, _ := strings.Cut(line, " ")
			id, err := strconv.ParseUint(number, 10, 64)
			switch {
			case err != nil || name == "":
			case name == ".":
				dirs[i].id = id
			case len(dirs) >= maxDirs:
				complete = false
			default:
				dirs = append(dirs, dir{path.Join(dirs[i].path, name), id})
			}
		}
	}
	for _, d := range dirs {
		if p, ok := h.Cgroup(d.path); ok {
			all = append(all, Identity{d.id, p})
		}
	}
	return all, complete, nil
}
