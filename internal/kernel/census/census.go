// Package census owns one pass over the node's page frames: for every memory
// cgroup, the removed ones too, what it is charged for, by file, by kernel cache
// and by class, and in which state. It runs a BPF program that only reads kernel
// memory (census.bpf.c); one object file serves every kernel from 5.10 on, since
// all offsets come from the running kernel's BTF (layout.go).
//
// It must not know what the numbers mean for anybody, nor where a file system is
// mounted: paths are relative to the root of their file system. It believes no
// number before a page of its own came back right, and refuses a kernel that it
// cannot read, with the reason, in place of guessing.
//
// A census is no snapshot: pages move while it runs. Amounts are bytes. Names and
// paths are the kernel's bytes and may hold anything but NUL.
package census

import (
	"errors"
	"fmt"
	"time"
)

// Unknown stands for an amount that this kernel or this run could not tell.
const Unknown int64 = -1

// Census is the result of one pass.
type Census struct {
	Start    time.Time
	Wall     time.Duration
	ReadOut  time.Duration // the part of Wall after the last slice
	PageSize int64
	Frames   int64 // page frames of RAM that were looked at
	Slices   Slices
	Node     Node
	Dropped  Dropped
	Doubts   []string // checks that failed, and what was left out for it

	Groups []Group // Groups[0] is nobody: memory that no cgroup is charged for
	Inodes []Inode
	Files  []File
	Slabs  []Slab
}

// Slices says how long the kernel was held, run by run.
type Slices struct {
	Count            int
	Median, P99, Max time.Duration
	Total            time.Duration
}

// Node is what was seen of the node as a whole.
type Node struct {
	Free     int64 // in free blocks or on a processor's free list
	Reserved int64 // by firmware, kernel image and boot allocations
	Offline  int64 // ballooned or not plugged in
	Slab     int64 // pages of slab and large kmalloc, charged or not
	Unowned  int64 // kernel memory that no cgroup is charged for, and not slab
	File     int64
}

// Dropped counts what there was no room for, each time that it was met. Anything
// but zero makes the lists incomplete.
type Dropped struct {
	Bytes                            int64 // memory that is in no group's sums
	Groups, Files, Inodes, Names     int64
	BadMappings, BadCharges, BadTail int64 // what looked wrong and was not followed
}

// Any reports whether anything is missing.
func (d Dropped) Any() bool { return d.Bytes+d.Groups+d.Files+d.Inodes+d.Names > 0 }

// Group is one memory cgroup with what it alone is charged for, without its
// children. Ancestors of a charged cgroup are listed even when they hold nothing.
type Group struct {
	ID     uint64 // of the cgroup: its directory's inode number
	Path   string // from the root of the hierarchy
	Parent int    // in Groups, -1 for none
	Dying  bool   // removed, but still charged; from 7.1 on its memory moves to the parent

	Anon      Memory // private memory, without KSM
	KSM       int64
	File      Memory // file cache, with Shmem
	Shmem     int64  // the part of File that is tmpfs, memfd, shared anonymous or SysV
	Tables    int64  // page tables
	Slab      int64  // objects with their 8 bytes of bookkeeping each, and large kmalloc; may be Unknown
	Kernel    int64  // other kernel pages: stacks, vmalloc, pipe buffers
	Hugetlb   int64
	Other     int64 // charged, of no known kind
	Inherited int64 // the part of Anon and File that came from removed children; Unknown before 7.1
}

// Memory is an amount of user memory by its state.
type Memory struct {
	Bytes int64
	// Active and Inactive are the kernel's lists. With the multi-generation LRU,
	// active means the two youngest generations, and inactive does not mean cold.
	Active, Inactive, Unevictable int64
	Isolated                      int64 // on no list at that moment
	Dirty                         int64 // waiting to be written; none of tmpfs, which has nowhere to go
	Writeback                     int64 // being written
	Mapped                        int64 // of folios with any page in a page table
	Referenced                    int64
	Large                         int64 // in folios of more than one page
	Huge                          int64 // in folios of a page middle directory's size or more (2 MiB on x86-64)
}

// Inode is a file that has cache.
type Inode struct {
	Type       string // of the file system: ext4, tmpfs; up to 15 bytes
	Magic      uint64
	Device     uint32 // the kernel's s_dev: major << 20 | minor; not always st_dev
	Number     uint64
	Generation uint32
	Links      uint32
	Size       int64
	Mode       uint16
	Path       string // of one of its names, relative to its file system; empty when the kernel forgot it
	Deleted    bool   // it had a name and has none any more
	Pseudo     bool   // Path is a label, not a name: memfd:x, dev/zero, SYSV00000000
	Partial    bool   // Path lacks directories above
}

// File is what one group is charged of one inode.
type File struct {
	Group, Inode int // in Groups, Inodes; an Inode of -1 could not be read
	Memory
}

// Slab is what one group is charged of one kernel cache. Group 0 has the pages of
// which no object is charged to anybody.
type Slab struct {
	Group   int
	Cache   string
	Objects int64 // 0 in group 0
	Bytes   int64
}

// Why an engine is refused. errors.Is tells them apart.
var (
	ErrPrivilege = errors.New("not permitted")
	ErrKernel    = errors.New("not on this kernel")
	ErrSelfTest  = errors.New("the self-test failed")
)

// Refusal is the only error of Open and Scan besides the context's.
type Refusal struct {
	Kind error  // one of the above
	Gate string // what was being checked
	Why  string // what was expected, and what there was
	Err  error  // from below, if any
}

// Gain is what a working census would have told.
const Gain = "file cache by file and cgroup, slab by cache, and what removed cgroups still hold"

func (r *Refusal) Error() string {
	s := fmt.Sprintf("no page census, %v: %s: %s", r.Kind, r.Gate, r.Why)
	if r.Err != nil {
		s += ": " + r.Err.Error()
	}
	return s
}

// Unwrap gives the kind and the cause.
func (r *Refusal) Unwrap() []error {
	if r.Err == nil {
		return []error{r.Kind}
	}
	return []error{r.Kind, r.Err}
}
