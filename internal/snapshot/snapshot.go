package snapshot

import "time"

// Version is the cgroup version whose memory controller a cgroup belongs to.
type Version int

// The two memory controllers.
const (
	V1 Version = 1
	V2 Version = 2
)

func (v Version) String() string {
	if v == V1 {
		return "v1"
	}
	return "v2"
}

// Snapshot is everything read for one target.
type Snapshot struct {
	Generated time.Time // zero when the source does not say, as a plain directory tree
	Replayed  bool      // read from a capture or a tree, not from the running kernel
	Host      Host
	Node      Node
	Kmem      Kmem
	Shares    Reading[[]Share] // of a node as a whole: the root, the two levels below it, containers, pods and units; parents first
	Log       Reading[KernelLog]
	Path      []Cgroup          // the target first, then its ancestors up to the root of the hierarchy
	Children  Reading[[]Cgroup] // right below a target that is a pod; else never read
	Census    Reading[*Census]
	Mounts    []MountTable        // who sees the files of the census under which path
	Users     Reading[[]FileUser] // who has files open or mapped, of the whole node
	Unasked   int                 // further processes, beyond the bound of Users
	Processes []Process           // of the target and its descendants, by PID; bounded, see PIDs
	PIDs      []int               // every process of the target and its descendants, ascending
	Outside   int                 // processes listed as PID 0: they live outside this PID namespace
	Names     *Names              // of containers, as far as somebody told; nil when nobody was asked
	Watch     *Watch              // earlier looks at the target; nil without any
	Cost      Cost
}

// Target is the cgroup asked about. A snapshot of a node alone has none.
func (s *Snapshot) Target() *Cgroup { return &s.Path[0] }

// Host identifies the machine.
type Host struct {
	Kernel     Reading[string] // release, as uname -r
	Distro     Reading[string] // PRETTY_NAME of os-release
	CgroupMode string          // v1, v2 or hybrid
	MGLRU      Reading[bool]   // the multi-generational LRU is in charge; Absent means the kernel has only the classic one
	CPUs       Reading[int]    // online
	PageSize   int64
	Nested     Reading[bool] // this process sees cgroup paths from within a namespace, the kernel's log does not
	Boot       Reading[string]
}

// Node is what the node's own files say.
type Node struct {
	Meminfo     Reading[Stat] // bytes, but HugePages_* which are counts
	Vmstat      Reading[Stat] // counts, as the kernel prints them
	Zones       Reading[[]Zone]
	Sockets     Reading[int64] // bytes in the buffers of TCP and UDP sockets of the whole node, by their protocols' accounts
	Buddy       Reading[[]Buddy]
	Slabs       Reading[[]SlabCache]
	Swaps       Reading[[]Swap]
	Controllers Reading[[]Controller]
	Pressure    Reading[Pressure]
	BootArgs    Reading[string] // /proc/cmdline
	Version     Reading[string] // /proc/version
	Dentries    Reading[Dentries]
	Tuning      Tuning
}

// Tuning is how the node was told to manage memory, and what compresses it. Only
// a reading of a node as a whole has it.
type Tuning struct {
	Overcommit      Reading[int64] // vm.overcommit_memory: 0, 1 or 2
	OvercommitRatio Reading[int64] // percent
	Swappiness      Reading[int64]
	MinFree         Reading[int64]  // bytes
	WatermarkScale  Reading[int64]  // of 10000
	THP             Reading[string] // always, madvise, never
	Zswap           Reading[bool]   // switched on
	Zram            Reading[[]Zram]
}

// Zram is one block device in compressed memory.
type Zram struct {
	Name               string
	Stored, Compressed int64 // before and after
	Used               int64 // with what the allocator needs
}

// Share is what one memory cgroup of the node is charged for.
type Share struct {
	Path  string
	Usage Reading[int64] // with those below it, unless Flat
	Flat  bool           // v1 without use_hierarchy: those below are not in Usage

	// Of those right below the root, and of all below a flat one.
	Stat Reading[Stat]
	Kmem Reading[int64] // v1
}

// Cgroup is one memory cgroup as its own files describe it. Fields of the other
// version are Absent.
type Cgroup struct {
	Path    string          // below the hierarchy's root, as in /proc/PID/cgroup; "/" for the root
	Inode   Reading[uint64] // of its directory: with the boot, that names a cgroup; only read of a target
	Dir     string          // its directory on the node
	Version Version

	Stat  Reading[Stat]  // memory.stat
	Usage Reading[int64] // memory.current, memory.usage_in_bytes
	Peak  Reading[int64] // memory.peak, memory.max_usage_in_bytes

	// Limits; size.Unlimited when there is none.
	Limit     Reading[int64] // memory.max, memory.limit_in_bytes
	High      Reading[int64] // v2
	Low       Reading[int64] // v2
	Min       Reading[int64] // v2
	SoftLimit Reading[int64] // v1

	SwapUsage  Reading[int64] // v2 memory.swap.current
	SwapLimit  Reading[int64] // v2 memory.swap.max
	MemswUsage Reading[int64] // v1, memory and swap together
	MemswLimit Reading[int64] // v1
	MemswPeak  Reading[int64] // v1
	SwapPeak   Reading[int64] // v2
	SwapHigh   Reading[int64] // v2, a limit
	ZswapUsage Reading[int64] // v2
	ZswapLimit Reading[int64] // v2

	KmemUsage Reading[int64] // v1
	KmemLimit Reading[int64] // v1
	KmemPeak  Reading[int64] // v1
	TCPUsage  Reading[int64] // v1 memory.kmem.tcp.*: a counter of its own, not part of Usage
	TCPLimit  Reading[int64] // v1
	TCPPeak   Reading[int64] // v1
	Slabs     Reading[[]SlabCache]

	Swappiness   Reading[int64] // v1, 0..100
	UseHierarchy Reading[int64] // v1, 0 or 1
	Failcnt      Reading[int64] // v1, count
	MemswFailcnt Reading[int64] // v1, count
	KmemFailcnt  Reading[int64] // v1, count
	TCPFailcnt   Reading[int64] // v1, count
	OOMGroup     Reading[int64] // v2, 0 or 1

	Events      Reading[Stat] // v2 memory.events, counts, subtree
	EventsLocal Reading[Stat] // v2 memory.events.local, counts
	SwapEvents  Reading[Stat] // v2
	OOMControl  Reading[Stat] // v1
	CgroupStat  Reading[Stat] // cgroup.stat, counts
	Pressure    Reading[Pressure]

	Procs       Reading[[]int] // PIDs in this very cgroup
	Descendants Reading[int]   // live cgroups below it
}

// Root reports whether c is the root of its hierarchy.
func (c *Cgroup) Root() bool { return c.Path == "/" }

// Hierarchical reports whether usage and limits of the cgroup cover those below it:
// always, but for version 1 with memory.use_hierarchy 0.
func (c *Cgroup) Hierarchical() bool {
	h, ok := c.UseHierarchy.Get()
	return c.Version == V2 || !ok || h != 0
}

// SlabCache is one row of a slabinfo table.
type SlabCache struct {
	Name                      string
	ActiveObjects, Objects    int64 // counts
	ObjectBytes, BytesPerSlab int64
	Slabs                     int64 // count
	Bytes                     int64 // Slabs * BytesPerSlab
}

// Zone is one zone of one NUMA node.
type Zone struct {
	Node                      int
	Name                      string
	Free, Min, Low, High      int64
	Spanned, Present, Managed int64
	StartPFN                  int64
	OnLists                   int64   // free and not in Free: on the lists of the processors
	Protection                []int64 // kept from allocations that may use a higher zone, by that zone
	Threshold                 int64   // in bytes: how much of a counter one processor may keep to itself
	Counters                  Stat    // every named counter of the zone as printed, mostly in pages; the node's own stand with its first zone
}

// Buddy is the free blocks of one zone, by order.
type Buddy struct {
	Node   int
	Zone   string
	Blocks []int64 // count of free blocks of 2^index pages
}

// Swap is one active swap area.
type Swap struct {
	Name, Kind  string
	Bytes, Used int64
	Priority    int
}

// Controller is one line of /proc/cgroups.
type Controller struct {
	Name      string
	Hierarchy int
	Groups    int64 // count; on some kernels dying ones are included
	Enabled   bool
}

// Pressure is one PSI file. Averages are percentages.
type Pressure struct {
	Some, Full PressureLine
	HasFull    bool
}

// PressureLine is one line of a PSI file.
type PressureLine struct {
	Avg10, Avg60, Avg300 float64
	Total                time.Duration
}

// NoCommand is the Err of an empty command line of a process that has memory.
const NoCommand = "empty: the process hides it, is just starting, or its pages cannot be read"

// Process is one process of the target.
type Process struct {
	PID     int
	Cgroup  string            // the memory cgroup whose cgroup.procs lists it
	Status  Reading[Status]   // Absent and Gone when it ended meanwhile
	Command Reading[[]string] // Absent with NoCommand when the kernel gives nothing
	Exe     Reading[string]

	Mappings  Reading[int] // count, by /proc/PID/maps: what reading smaps would cost
	Smaps     Reading[Smaps]
	Rollup    Reading[Stat]     // smaps_rollup, where smaps were not read
	GoVersion Reading[string]   // of what built the executable; Absent when it is no Go program
	Environ   Reading[[]string] // variables about memory that it started with; asked of the largest
	Heaps     Reading[Heaps]    // asked of the largest
	OpenFiles Reading[[]OpenFile]
	Pipes     Reading[[]Pipe]   // asked where the kernel keeps something for the target that nothing names
	BPF       Reading[[]BPFMap] // the same

	// Read when the target is watched.
	Times Reading[Times]
	IO    Reading[Stat] // /proc/PID/io

	Positions Reading[[]Position] // bounded, and of the first processes alone
}

// Status is /proc/PID/status.
type Status struct {
	Name         string
	State        string // one letter: R, S, D, Z, ...
	PPID         int
	KernelThread bool
	Fields       Stat // VmRSS, RssAnon, ... in bytes
}

// Cost is what taking the snapshot took.
type Cost struct {
	Wall, CPU time.Duration
	BytesRead int64
}
