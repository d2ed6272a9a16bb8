package advisory

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/memwhy/memwhy/internal/kversion"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Facts is a snapshot as the predicates see it.
type Facts struct {
	words.Printer
	s         *snapshot.Snapshot
	kernel    kversion.Version
	known     bool // kernel is a release
	release   string
	source    string // of release
	noRelease string

	dead   deadOwners
	kmemOn accounting
}

// Look takes a snapshot in, once for all that is asked of it.
func Look(p words.Printer, s *snapshot.Snapshot) *Facts {
	f := &Facts{Printer: p, s: s}
	switch r, ok := s.Release(); {
	case ok:
		f.release, f.source = r, release
		if s.Host.Kernel.State != snapshot.Present {
			f.source = s.Node.Version.Source
		}
		f.kernel, f.known = kversion.Parse(r)
	default:
		f.noRelease = p.Say("the release of the kernel was not read: %s", p.Of(s.Host.Kernel.Err))
	}
	f.dead = f.countDead()
	f.kmemOn = f.accounting()
	return f
}

// old reports an el7 kernel, or one that may be: that does not say what it is,
// or that somebody built from 3.x.
func (f *Facts) old() bool {
	k := f.kernel
	return !f.known || k.Vendor == kversion.EL7 || k.Vendor == kversion.Custom && k.Base[0] == 3
}

// counted is how many memory cgroups /proc/cgroups counts: on el7 the live
// ones alone, later the dying ones too.
func (f *Facts) counted() (int64, Evidence, bool) {
	r := f.s.Node.Controllers
	for _, c := range r.Value {
		if c.Name == "memory" && r.State == snapshot.Present {
			return c.Groups, Evidence{Source: r.Source, Value: "memory num_cgroups " + strconv.FormatInt(c.Groups, 10)}, true
		}
	}
	return 0, Evidence{}, false
}

// listed is how many directories of memory cgroups there are, the root among
// them, when all were listed.
func (f *Facts) listed() (int64, bool) {
	groups, ok := f.s.Kmem.Groups.Get()
	n := int64(len(groups))
	if counted, _, is := f.counted(); is && n < counted-counted/8-16 && f.old() {
		return 0, false // a tree of files with some of them left out
	}
	return n, ok
}

// deadOwners are removed cgroups that slab clones keep.
type deadOwners struct {
	known    bool
	seen     int64 // at least so many
	byIndex  int64 // by the largest index, so many unless live ones went since; 0 without
	clones   int64
	source   string // of clones
	evidence []Evidence
}

// leaking is from how many dead owners on there is a leak. Fewer may just be on
// their way out.
const leaking = 10

func (d deadOwners) leak() bool { return d.known && d.seen >= leaking }

func (f *Facts) countDead() deadOwners {
	c, ok := f.s.Kmem.Clones.Get()
	if !ok {
		return f.deadByCaches()
	}
	d := deadOwners{known: true, clones: int64(c.Clones), source: f.s.Kmem.Clones.Source}
	owners := int64(len(c.Owners))
	source := f.s.Kmem.Clones.Source
	if live, ok := f.listed(); ok {
		names := map[string]bool{}
		for _, g := range f.s.Kmem.Groups.Value {
			names[path.Base(g)] = true
		}
		index := 0
		for _, o := range c.Owners {
			if !names[o.Name] {
				d.seen++
			}
			index = max(index, o.Index)
		}
		d.evidence = append(d.evidence, Evidence{
			f.Say("%s own slab clones and are no directory any more (%d live); at least, for a dead pod above them has no clone of its own", f.Count(d.seen, "1 removed cgroup", "%d removed cgroups"), live),
			source, fmt.Sprintf("%d names CACHE(N:CGROUP) of %d owners", c.Clones, owners),
		})
		if below := int64(index) - live; d.leak() && below > 0 {
			d.byIndex = below
			d.evidence = append(d.evidence, Evidence{
				f.Say("an owner got the index %d: so many slots were taken when it was made, %d more than cgroups live now. Unless live ones were removed without a trace since, so many are dead, their pods included", index, below),
				source, "largest N: " + strconv.Itoa(index),
			})
		}
		return d
	}
	if n, e, ok := f.counted(); ok && f.old() {
		d.seen = max(0, owners-n)
		e.Statement = f.Say("%d owners of slab clones and at most %d live cgroups: at least %s", owners, n, f.Count(d.seen, "1 removed cgroup", "%d removed cgroups"))
		d.evidence = append(d.evidence, e, Evidence{f.Say("the directories could not be compared name by name: %s", f.Of(cmp.Or(f.s.Kmem.Groups.Err, words.Key("not all of them were listed")))), source, strconv.Itoa(c.Clones) + " clones"})
		return d
	}
	d.known = owners == 0
	return d
}

// deadByCaches is for nodes whose names in /sys/kernel/slab were not read: every
// clone is an object of the cache kmem_cache, and no cgroup has more clones than
// there are caches.
func (f *Facts) deadByCaches() deadOwners {
	var d deadOwners
	table, ok := f.s.Node.Slabs.Get()
	live, e, counted := f.counted()
	if !ok || !counted || !f.old() || len(table) == 0 {
		return d
	}
	objects, caches := int64(0), int64(len(table))
	for _, c := range table {
		if c.Name == "kmem_cache" {
			objects = c.ActiveObjects
		}
	}
	// Twice the caches and a few pages of free objects are no sign of anything.
	clones := objects - 2*caches - 64
	if owners := clones / caches; owners > live {
		d.known, d.clones, d.seen, d.source = true, clones, owners-live, f.s.Node.Slabs.Source
		d.evidence = []Evidence{
			{
				f.Say("at least %d slab clones, and so at least %s beside %d live ones: none has more clones than there are caches", clones, f.Count(d.seen, "1 removed cgroup", "%d removed cgroups"), live),
				f.s.Node.Slabs.Source, fmt.Sprintf("kmem_cache: %d active objects, %d caches", objects, caches),
			}, e,
		}
		d.evidence[1].Statement = f.Say("on el7 these are the live cgroups alone")
	}
	return d
}

// accounting is whether kernel memory of containers is accounted, read from
// behaviour first and from executables where that says nothing.
type accounting struct {
	on, off  bool // neither: it cannot be told
	evidence []Evidence
}

const slabinfoFile = "memory.kmem.slabinfo"

func (f *Facts) accounting() accounting {
	var a accounting
	if !f.old() {
		return a
	}
	on, off, example := 0, 0, ""
	for _, p := range f.s.Kmem.Probes {
		switch {
		case p.Slabs.State == snapshot.Present:
			if on++; on == 1 {
				example = p.Slabs.Source
			}
		case inputOutput(p.Slabs.Err):
			if off++; on == 0 {
				example = p.Slabs.Source
			}
		}
	}
	what := f.Say("of %d containers looked at, of %d, %s of %d is readable", len(f.s.Kmem.Probes), f.s.Kmem.Total, slabinfoFile, on)
	switch {
	case on > 0:
		a.on = true
		a.evidence = []Evidence{{f.Say("kernel memory accounting is on: %s", what), example, "readable"}}
	case off > 0 && off == len(f.s.Kmem.Probes):
		a.off = true
		a.evidence = []Evidence{{f.Say("kernel memory accounting is off: %s gives an error in all %s looked at, of %d", slabinfoFile, f.Count(int64(off), "1 container", "%d containers"), f.s.Kmem.Total), example, "Input/output error"}}
	case f.dead.clones > 0:
		a.on = true
		a.evidence = []Evidence{{f.Say("kernel memory accounting is or was on: there are slab clones of cgroups"), f.dead.source, fmt.Sprintf("at least %d clones", f.dead.clones)}}
	default:
		f.byBuilds(&a)
		return a
	}
	for _, b := range f.s.Kmem.Builds {
		a.evidence = append(a.evidence, f.build(b))
	}
	return a
}

func inputOutput(err string) bool {
	return strings.Contains(strings.ToLower(err), "input/output error")
}

// byBuilds decides by what kubelet and runc were built with, both of them.
func (f *Facts) byBuilds(a *accounting) {
	without := 0
	for _, b := range f.s.Kmem.Builds {
		a.evidence = append(a.evidence, f.build(b))
		switch known, nokmem := Nokmem(b); {
		case known && nokmem:
			without++
		case known:
			a.on = true
		}
	}
	a.off = without == len(f.s.Kmem.Builds) && without > 0
	if !a.on && !a.off {
		a.evidence = append(a.evidence, Evidence{
			f.Say("whether kernel memory is accounted cannot be told: no cgroup of a container says it, nor kubelet and runc both"), slabinfoFile, "no container",
		})
	}
}

// Nokmem says whether a build leaves kernel memory accounting alone. A Go
// program without the traces of either may be new enough to have neither.
func Nokmem(b snapshot.Build) (known, nokmem bool) {
	m, ok := b.Marks.Get()
	if !ok {
		return false, false
	}
	for _, t := range m.Texts {
		switch t {
		case "kernel memory accounting disabled in this runc build", "kmem_disabled.go", "-tags=nokmem":
			return true, true
		}
	}
	return slices.Contains(m.Texts, "cgroups/fs/kmem.go"), false
}

func (f *Facts) build(b snapshot.Build) Evidence {
	e := Evidence{Source: b.Path, Value: strings.Join(b.Marks.Value.Texts, ", ")}
	if b.Marks.Value.Go != "" {
		e.Value = strings.TrimPrefix(e.Value+", "+b.Marks.Value.Go, ", ")
	}
	switch known, nokmem := Nokmem(b); {
	case known && nokmem:
		e.Statement = f.Say("%s was built with the tag nokmem: it leaves kernel memory accounting alone", b.Program)
	case known:
		e.Statement = f.Say("%s was built without the tag nokmem: it switches kernel memory accounting on", b.Program)
	case b.Marks.State == snapshot.Absent:
		e.Statement = f.Say("%s does not run and is not where it is usually installed", b.Program)
		e.Value = b.Marks.Err
	case b.Marks.State != snapshot.Present:
		e.Statement = f.Say("%s was not looked at", b.Program)
		e.Value = b.Marks.Err
	case b.Marks.Value.Go != "" && !b.Marks.Value.Tags:
		e.Statement = f.Say("%s does not say whether it was built with the tag nokmem: Go names tags since 1.18", b.Program)
	default:
		e.Statement = f.Say("%s has no trace of the tag nokmem, nor of what it switches off", b.Program)
	}
	return e
}

// nokmem reports the boot option cgroup.memory=nokmem.
func (f *Facts) nokmem() (given, known bool) {
	args, ok := f.s.Node.BootArgs.Get()
	for _, w := range strings.Fields(args) {
		if v, is := strings.CutPrefix(w, "cgroup.memory="); is && slices.Contains(strings.Split(v, ","), "nokmem") {
			return true, ok
		}
	}
	return false, ok
}

func (f *Facts) bootOption() Evidence {
	given, known := f.nokmem()
	e := Evidence{Source: "/proc/cmdline", Statement: f.Say("cgroup.memory=nokmem is not on the kernel's command line"), Value: "no such word"}
	switch {
	case given:
		e.Statement, e.Value = f.Say("cgroup.memory=nokmem is on the kernel's command line"), "cgroup.memory=nokmem"
	case !known:
		e.Statement, e.Value = f.Say("the kernel's command line was not read"), f.s.Node.BootArgs.Err
	}
	return e
}
