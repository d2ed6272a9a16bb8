package gather

import (
	"path"
	"strings"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Bounds of what advisories need.
const (
	maxSlabNames  = 250_000 // a node that leaked 42 000 cgroups has 56 000
	maxGroups     = 70_000  // 65 534 is the most that there are on cgroup v1
	maxNear       = 5_000   // of them in an explanation, on an old kernel
	maxListed     = 500     // on later ones, where they are no more than a number,
	minCounted    = 1_000   // and only where the kernel counts more: fewer dying ones are no matter
	maxProbes     = 64      // cgroups of containers whose kernel memory is looked at
	maxHeld       = 1_000   // cgroups whose kernel memory is read, to see what removed ones left: all or none
	maxComms      = 2_000   // processes outside of containers whose name is read
	maxExecutable = 256 << 20
)

// Node reads what advisories need, without a target. A node whose memory
// controller cannot be found is read as far as it goes.
func Node(src kernel.Source, opt Options) *snapshot.Snapshot {
	s := &snapshot.Snapshot{}
	h, err := cgroupfs.Find(src, opt.ForeignRoot)
	s.Host = host(src, h)
	s.Node = node(src, s.Host.PageSize)
	s.Kmem = kmem(src, h, err, oldKernel(s))
	if err == nil {
		s.Kmem.Groups = groups(src, h, maxGroups)
		if oldKernel(s) {
			s.Kmem.Probes, s.Kmem.Total = probes(src, h, s.Kmem.Groups.Value)
			s.Kmem.Held = held(src, h, s.Kmem.Groups)
			s.Kmem.Builds = builds(src, h, s.Kmem.Groups.Value)
		}
	}
	o := src.Origin()
	s.Generated, s.Replayed, s.Cost = o.Generated, o.Replay, o.Cost
	return s
}

// nodeOfTarget reads the part of it that an explanation can afford. On version 2
// the kernel itself counts removed cgroups that it keeps.
func nodeOfTarget(src kernel.Source, h cgroupfs.Hierarchy, s *snapshot.Snapshot) {
	old := oldKernel(s)
	s.Kmem = kmem(src, h, nil, old)
	if !old {
		s.Kmem.Groups = notRead[[]string](h.Point)
		if h.Version == snapshot.V1 && counted(s) > minCounted {
			s.Kmem.Groups = groups(src, h, maxListed)
		}
		return
	}
	s.Kmem.Groups = groups(src, h, maxNear)
	s.Kmem.Probes, s.Kmem.Total = probes(src, h, s.Kmem.Groups.Value)
	s.Kmem.Held = held(src, h, s.Kmem.Groups)
}

// counted is how many memory cgroups the kernel counts, the dying among them.
func counted(s *snapshot.Snapshot) int64 {
	for _, c := range s.Node.Controllers.Value {
		if c.Name == "memory" {
			return c.Groups
		}
	}
	return 0
}

// oldKernel is one that clones slab caches into /sys/kernel/slab itself, or one
// that does not say.
func oldKernel(s *snapshot.Snapshot) bool {
	release, ok := s.Release()
	return !ok || strings.TrimSpace(release) == "" || strings.HasPrefix(release, "3.")
}

func notRead[T any](source string) snapshot.Reading[T] {
	return snapshot.Reading[T]{State: snapshot.Absent, Source: source, Err: "not read: this kernel does not keep it there, or too few to matter"}
}

func kmem(src kernel.Source, h cgroupfs.Hierarchy, noController error, old bool) snapshot.Kmem {
	const slab = "/sys/kernel/slab"
	k := snapshot.Kmem{
		Clones: notRead[snapshot.SlabClones](slab),
		Groups: snapshot.Reading[[]string]{Source: "/sys/fs/cgroup/memory"},
		Root:   notRead[snapshot.Stat]("/sys/fs/cgroup/cgroup.stat"),
	}
	if old {
		a := src.Ask(kernel.Question{Op: kernel.Names, Path: slab, Max: maxSlabNames})
		k.Clones = snapshot.Reading[snapshot.SlabClones]{State: a.State, Source: slab, At: a.At, Err: a.Err}
		if a.State == snapshot.Present {
			k.Clones.Value = procfs.CountClones(a.Names())
		}
	}
	if noController != nil {
		k.Groups.Err = noController.Error()
		return k
	}
	k.Version = h.Version
	if h.Version == snapshot.V2 {
		k.Root = kernel.Value(src, path.Join(h.Point, "cgroup.stat"), maxFile, parseStat)
	}
	return k
}

// groups lists the live cgroups.
func groups(src kernel.Source, h cgroupfs.Hierarchy, max int) snapshot.Reading[[]string] {
	r := snapshot.Reading[[]string]{State: snapshot.Present, Source: h.Point}
	dirs, complete, err := cgroupfs.Walk(src, h.Point, max)
	for _, d := range dirs {
		if c, ok := h.Cgroup(d); ok {
			r.Value = append(r.Value, c)
		}
	}
	switch {
	case err != nil:
		r.State, r.Err = snapshot.Failed, err.Error()
	case !complete:
		r.State, r.Err = snapshot.Failed, "not all of the directories were listed"
	}
	return r
}

// probes asks the cgroups of containers for their kernel memory.
func probes(src kernel.Source, h cgroupfs.Hierarchy, all []string) (list []snapshot.KmemProbe, total int) {
	if h.Version != snapshot.V1 {
		return nil, 0
	}
	for _, cgroup := range all {
		if identity.Parse(cgroup).ID == "" {
			continue
		}
		if total++; total > maxProbes {
			continue
		}
		dir, _ := h.Dir(cgroup)
		file := func(name string) string { return path.Join(dir, name) }
		list = append(list, snapshot.KmemProbe{
			Cgroup: cgroup,
			Slabs: kernel.Value(src, file("memory.kmem.slabinfo"), maxFile, func(b []byte) (int, error) {
				caches, err := procfs.ParseSlabinfo(b, src.Origin().PageSize)
				return len(caches), err
			}),
			Stat:     kernel.Value(src, file("memory.stat"), maxFile, parseStat),
			Limit:    kernel.Value(src, file("memory.limit_in_bytes"), maxFile, cgroupfs.ParseLimit),
			Kmem:     kernel.Value(src, file("memory.kmem.usage_in_bytes"), maxFile, cgroupfs.ParseNumber),
			KmemFail: kernel.Value(src, file("memory.kmem.failcnt"), maxFile, cgroupfs.ParseNumber),
		})
	}
	return list, total
}

// held asks every live cgroup but the root what it is charged for kernel memory.
func held(src kernel.Source, h cgroupfs.Hierarchy, all snapshot.Reading[[]string]) []snapshot.KmemHeld {
	if h.Version != snapshot.V1 || all.State != snapshot.Present || len(all.Value) > maxHeld {
		return nil
	}
	parents := map[string]bool{}
	for _, cgroup := range all.Value {
		parents[path.Dir(cgroup)] = true
	}
	var list []snapshot.KmemHeld
	for _, cgroup := range all.Value {
		if cgroup == "/" {
			continue
		}
		dir, _ := h.Dir(cgroup)
		list = append(list, snapshot.KmemHeld{
			Cgroup: cgroup,
			// The kubelet puts processes into containers alone.
			Own:   identity.Parse(cgroup).ID != "" || !parents[cgroup] && !strings.Contains(cgroup, "kubepods"),
			Kmem:  kernel.Value(src, path.Join(dir, "memory.kmem.usage_in_bytes"), maxFile, cgroupfs.ParseNumber),
			Procs: cgroupfs.ReadProcs(src, dir),
		})
	}
	return list
}

func parseStat(b []byte) (s snapshot.Stat, err error) {
	err = cgroupfs.ParseStat(b, &s)
	return s, err
}

// creators are the programs that create cgroups of containers, where they are
// usually installed. A container runs under runc for a moment only.
var creators = map[string][]string{
	"kubelet": {"/usr/bin/kubelet", "/usr/local/bin/kubelet", "/opt/bin/kubelet", "/opt/kubernetes/bin/kubelet"},
	"runc":    {"/usr/bin/runc", "/usr/sbin/runc", "/usr/local/bin/runc", "/usr/local/sbin/runc", "/usr/bin/docker-runc", "/usr/libexec/docker/docker-runc-current"},
}

// builds searches the executables of kubelet and runc: those that run outside of
// containers, or else the first that is where it is usually installed.
func builds(src kernel.Source, h cgroupfs.Hierarchy, all []string) (list []snapshot.Build) {
	running := map[string]string{}
	asked := 0
	for _, cgroup := range all {
		if id := identity.Parse(cgroup); id.ID != "" || id.PodUID != "" {
			continue
		}
		dir, _ := h.Dir(cgroup)
		for _, pid := range cgroupfs.ReadProcs(src, dir).Value {
			if asked++; pid == 0 || asked > maxComms {
				continue
			}
			comm := kernel.Value(src, procFile(pid, "comm"), 64, func(b []byte) (string, error) { return strings.TrimSuffix(string(b), "\n"), nil })
			if _, wanted := creators[comm.Value]; wanted && running[comm.Value] == "" {
				running[comm.Value] = procFile(pid, "exe")
			}
		}
	}
	for _, program := range []string{"kubelet", "runc"} {
		files := creators[program]
		if exe := running[program]; exe != "" {
			files = append([]string{exe}, files...)
		}
		list = append(list, build(src, program, files))
	}
	return list
}

// build takes the first executable that can be searched, or else tells of the
// first that is there.
func build(src kernel.Source, program string, files []string) (first snapshot.Build) {
	for i, file := range files {
		a := src.Ask(kernel.Question{Op: kernel.Marks, Path: file, Max: maxExecutable})
		b := snapshot.Build{Program: program, Path: file, Marks: kernel.Parsed(a, file, procfs.ParseMarks)}
		if a.State == snapshot.Present {
			return b
		}
		if i == 0 || first.Marks.State == snapshot.Absent && a.State != snapshot.Absent {
			first = b
		}
	}
	return first
}
