package snapshot

// Kmem is what says for whom the kernel keeps slab, the removed ones among them.
// Kernels of the 3.x series clone slab caches for every cgroup; most of this is
// read of them only.
type Kmem struct {
	Version Version // of the memory controller; 0 when it was not found

	Clones Reading[SlabClones] // by the names in /sys/kernel/slab
	Groups Reading[[]string]   // the paths of all live memory cgroups
	Probes []KmemProbe         // some cgroups of containers, see Kmem.Total
	Total  int                 // how many cgroups of containers there are
	Held   []KmemHeld          // what live cgroups are charged for kernel memory, where removed ones leave theirs
	Root   Reading[Stat]       // v2: cgroup.stat of the root
	Builds []Build             // what kubelet and runc were built with
}

// SlabClones counts names of slab caches.
type SlabClones struct {
	Roots  int // caches of the whole node
	Clones int // caches of one cgroup, by name
	Merged int // caches of one cgroup that several names share
	Owners []CloneOwner
}

// CloneOwner is a cgroup, live or dead, that caches were cloned for. Two may
// have one name.
type CloneOwner struct {
	Index int    // its slot among the cgroups with kernel memory accounting
	Name  string // of its directory, without those above
	Count int    // of its clones
}

// KmemProbe is what one container's cgroup says of its kernel memory.
type KmemProbe struct {
	Cgroup   string
	Slabs    Reading[int] // rows of memory.kmem.slabinfo; its EIO is how an old kernel says that accounting is off
	Stat     Reading[Stat]
	Limit    Reading[int64]
	Kmem     Reading[int64] // memory.kmem.usage_in_bytes
	KmemFail Reading[int64] // memory.kmem.failcnt, a count
}

// KmemHeld is the kernel memory that is charged to a cgroup and those below it,
// the removed ones among them.
type KmemHeld struct {
	Cgroup string
	Kmem   Reading[int64] // memory.kmem.usage_in_bytes
	Procs  Reading[[]int] // in this very cgroup
	Own    bool           // may hold what processes of its own left, as a container, or a cgroup that nothing is known of and nothing is below
}

// Build is one executable of a program that creates cgroups.
type Build struct {
	Program string // kubelet, runc
	Path    string
	Marks   Reading[Marks]
}

// Marks are traces of how an executable was built.
type Marks struct {
	Texts []string // of those looked for, the ones in it
	Go    string   // the version of Go, when it is a Go program
	Tags  bool     // its build settings are in it, as since Go 1.18
}
