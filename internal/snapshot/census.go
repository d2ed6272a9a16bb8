package snapshot

import (
	"math/bits"
	"strings"
	"time"
)

// Unknown stands for an amount of a census that this kernel or this run could not
// tell.
const Unknown int64 = -1

// CensusSource stands for the census where a reading names a file.
const CensusSource = "page census"

// CensusOff is why there is none, when nobody wanted one.
const CensusOff = "switched off"

// CensusGain is what a census tells.
const CensusGain = "file cache by file and cgroup, slab by cache, and what removed cgroups still hold"

// Engine is how a census was taken.
type Engine string

// The engines, the most telling first.
const (
	EngineBPF   Engine = "bpf"   // every page frame, by a program in the kernel
	EngineKcore Engine = "kcore" // every page frame, from /proc/kcore
	EngineKpage Engine = "kpage" // classes by live cgroup, from /proc/kpageflags and kpagecgroup; no file
	EngineFiles Engine = "files" // what processes have open or mapped, by cachestat or mincore; no split by cgroup
)

// Census is what memory cgroups are charged for, page by page: one pass over the
// node's page frames, or as much of it as a lesser engine could tell. It is no
// snapshot: pages move while it runs. Names and paths are the kernel's bytes and
// may hold anything but NUL.
type Census struct {
	Engine   Engine
	Complete bool // Files has every file with cache; else only those that could be reached
	Walked   bool // Groups has every memory cgroup, also those that hold nothing

	Start    time.Time
	Wall     time.Duration
	ReadOut  time.Duration // the part of Wall after the last slice
	PageSize int64
	Frames   int64   // page frames of RAM that were looked at
	Sampled  float64 // the share of all frames that amounts were estimated from; 0: no estimate, all were looked at
	Slices   CensusSlices
	Node     CensusNode
	Dropped  CensusDropped
	Recalled int      // inodes whose path an earlier census saw: the kernel has none any more
	Searched int      // inodes whose path was found by reading directories, for the same reason
	Doubts   []string // checks that failed, and what was left out for it
	Refused  []CensusRefusal

	Groups []CensusGroup // Groups[0] is nobody: memory that no cgroup is charged for
	Inodes []CensusInode
	Files  []CensusFile
	Slabs  []CensusSlab
}

// CensusRefusal is an engine that would have told more.
type CensusRefusal struct {
	Engine Engine
	State  State
	Why    string
}

// CensusSlices says how long the kernel was held, run by run.
type CensusSlices struct {
	Walkers          int // at the same time
	Count            int
	Median, P99, Max time.Duration
	Total            time.Duration
	// Long slices took more than 1 ms. Switches and Steal say what of that was not
	// their own: how often others got the processor, and what the hypervisor took of
	// all processors.
	Long     int
	Switches int64
	Steal    time.Duration
}

// CensusNode is what was seen of the node as a whole.
type CensusNode struct {
	Free     int64 // in free blocks or on a processor's free list
	Reserved int64 // by firmware, kernel image and boot allocations
	Offline  int64 // ballooned or not plugged in
	Slab     int64 // pages of slab and large kmalloc, charged or not
	Unowned  int64 // kernel memory that no cgroup is charged for, and not slab
	File     int64
}

// CensusDropped counts what there was no room for, each time that it was met. Anything
// but zero makes the lists incomplete.
type CensusDropped struct {
	Bytes                            int64 // memory that is in no group's sums
	Groups, Files, Inodes, Names     int64
	BadMappings, BadCharges, BadTail int64 // what looked wrong and was not followed
}

// Any reports whether anything is missing.
func (d CensusDropped) Any() bool { return d.Bytes+d.Groups+d.Files+d.Inodes+d.Names > 0 }

// CensusGroup is one memory cgroup with what it alone is charged for, without its
// children. Ancestors of a charged cgroup are listed even when they hold nothing.
type CensusGroup struct {
	ID     uint64 // of the cgroup: its directory's inode number
	Path   string // from the root of the hierarchy
	Parent int    // in Groups, -1 for none
	Dying  bool   // removed, but still charged; from 7.1 on its memory moves to the parent
	Usage  int64  // its page counter, with its children's; Unknown of the root, when not read, and when stale
	// MemoryID is the number, of 65535, that the memory controller gave it; 0 when
	// a dying group has given it back. Unknown when the kernel keeps it elsewhere.
	MemoryID int64

	Anon      PageState // private memory, without KSM
	KSM       int64
	File      PageState // file cache, with Shmem
	Shmem     int64     // the part of File that is tmpfs, memfd, shared anonymous or SysV
	Tables    int64     // page tables
	Slab      int64     // objects with their 8 bytes of bookkeeping each, and large kmalloc; may be Unknown
	Kernel    int64     // other kernel pages: stacks, vmalloc, pipe buffers
	Hugetlb   int64
	Other     int64 // charged, of no known kind
	Inherited int64 // the part of Anon and File that came from removed children; Unknown before 7.1
	Error     int64 // of an estimate: two standard errors of what it is charged for in all
}

// MaxBatch is how many pages a processor keeps back, at most, before it puts them on a
// list of the LRU: 15, or 31 of later kernels (linux include/linux/pagevec.h).
const MaxBatch = 31

// PageState is an amount of user memory by its state.
type PageState struct {
	Bytes int64
	// Active and Inactive are the kernel's lists. With the multi-generation LRU,
	// active means the two youngest generations, and inactive does not mean cold.
	Active, Inactive, Unevictable int64
	Isolated                      int64 // on no list at that moment
	Dirty                         int64 // waiting to be written; none of tmpfs, which has nowhere to go
	Writeback                     int64 // being written
	Mapped                        int64 // of folios with any page in a page table
	Referenced                    int64
	Marks                         int64 // each page as often as the multi-generation LRU remembers use of it, up to MaxMarks times; Unknown without
	Large                         int64 // in folios of more than one page
	Huge                          int64 // in folios of a page middle directory's size or more (2 MiB on x86-64)
}

// MaxMarks is how much use of a page the multi-generation LRU remembers at most: then
// one more does not show.
const MaxMarks = 5

// MagicTmpfs is the Magic of files that are memory and nothing else: on tmpfs, memfd and
// shared memory (linux include/uapi/linux/magic.h).
const MagicTmpfs = 0x01021994

// CensusInode is a file that has cache.
type CensusInode struct {
	Type       string // of the file system: ext4, tmpfs; up to 15 bytes
	Path       string // of one of its names, relative to its file system; empty when the kernel forgot it
	Magic      uint64
	Number     uint64
	Size       int64
	Device     uint32 // the kernel's s_dev: major << 20 | minor; not always st_dev
	Generation uint32
	Links      uint32
	Mode       uint16
	Deleted    bool // it had a name and has none any more
	Pseudo     bool // Path is a label, not a name: memfd:x, dev/zero, SYSV00000000
	Partial    bool // Path lacks directories above
}

// FileID identifies a file over several looks.
type FileID struct {
	Device     uint32 // the kernel's s_dev
	Number     uint64
	Generation uint32
}

// ID is the same in every census.
func (in *CensusInode) ID() FileID { return FileID{in.Device, in.Number, in.Generation} }

// KernelDevice is st_dev, as stat(2) tells it, as the kernel has it: linux
// include/linux/kdev_t.h, new_decode_dev and MKDEV.
func KernelDevice(dev uint64) uint32 {
	major, minor := uint32(dev>>8)&0xfff, uint32(dev)&0xff|uint32(dev>>12)&0xfff00
	return major<<20 | minor
}

// ByFile sums what groups are charged for of each file; within nil: all groups.
func (c *Census) ByFile(within []bool) map[FileID]PageState {
	sums := map[FileID]PageState{}
	for i := range c.Files {
		f := &c.Files[i]
		if f.Inode < 0 || within != nil && !within[f.Group] {
			continue
		}
		id := c.Inodes[f.Inode].ID()
		sum := sums[id]
		sum.Add(*f.PageState)
		sums[id] = sum
	}
	return sums
}

// Recall names files by an earlier census of the same node, for the kernel forgets a
// file's name before its pages. The file is the same; it may be called something else
// by now.
func (c *Census) Recall(earlier *Census) {
	nameless := map[FileID]*CensusInode{}
	for i := range c.Inodes {
		if in := &c.Inodes[i]; in.Path == "" && in.Number != 0 {
			nameless[in.ID()] = in
		}
	}
	if len(nameless) == 0 {
		return
	}
	for i := range earlier.Inodes {
		was := &earlier.Inodes[i]
		if was.Path == "" || was.Pseudo || was.Deleted {
			continue
		}
		in := nameless[was.ID()]
		if in == nil || in.Path != "" || in.Magic != was.Magic || in.Mode>>12 != was.Mode>>12 {
			continue
		}
		in.Path, in.Partial = was.Path, was.Partial
		c.Recalled++
	}
}

// Names is what Recall needs of c, for the largest files: at most limit of them. It
// shares no memory with c.
func (c *Census) Names(limit int) *Census {
	size := func(f *CensusFile) int {
		if f.Inode < 0 {
			return 0
		}
		if in := &c.Inodes[f.Inode]; in.Path == "" || in.Pseudo || in.Deleted || in.Number == 0 {
			return 0
		}
		return bits.Len64(uint64(max(f.Bytes, 0)))
	}
	var count [65]int
	for i := range c.Files {
		count[size(&c.Files[i])]++
	}
	least, n := 64, 0 // those of that size and more are no more than limit
	for least > 0 && n+count[least] <= limit {
		n += count[least]
		least--
	}
	spare := limit - n // for some of that size
	names := &Census{}
	for i := range c.Files {
		f := &c.Files[i]
		switch k := size(f); {
		case k == 0 || k < least:
			continue
		case k == least:
			if spare--; spare < 0 {
				continue
			}
		}
		in := c.Inodes[f.Inode]
		in.Path, in.Type = strings.Clone(in.Path), ""
		names.Inodes = append(names.Inodes, in)
	}
	return names
}

// CensusFile is what one group is charged of one inode.
type CensusFile struct {
	Group, Inode int // in Groups, Inodes; an Inode of -1 could not be read
	*PageState       // files that are alike share one: it is not written through
}

// CensusSlab is what one group is charged of one kernel cache. Group 0 has the pages of
// which no object is charged to anybody.
type CensusSlab struct {
	Group   int
	Cache   string
	Objects int64 // 0 in group 0
	Bytes   int64

	Reclaimable bool // the cache counts as SReclaimable
}

// Add adds o. What one of both does not know is Unknown.
func (m *PageState) Add(o PageState) {
	m.Bytes += o.Bytes
	m.Active = known(m.Active, o.Active)
	m.Inactive = known(m.Inactive, o.Inactive)
	m.Unevictable = known(m.Unevictable, o.Unevictable)
	m.Isolated = known(m.Isolated, o.Isolated)
	m.Dirty = known(m.Dirty, o.Dirty)
	m.Writeback = known(m.Writeback, o.Writeback)
	m.Mapped = known(m.Mapped, o.Mapped)
	m.Referenced = known(m.Referenced, o.Referenced)
	m.Marks = known(m.Marks, o.Marks)
	m.Large = known(m.Large, o.Large)
	m.Huge = known(m.Huge, o.Huge)
}

func known(a, b int64) int64 {
	if a == Unknown || b == Unknown {
		return Unknown
	}
	return a + b
}
