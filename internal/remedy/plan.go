// Package remedy owns plans: how many bytes a container shall give back, by which
// knob of the kernel, in which steps, and what stops them. It is pure: it must not
// know how a knob is written nor how a plan is shown, and it never acts.
//
// Amounts are bytes. A plan is made of one snapshot and holds for the boot and the
// cgroup it was made of; whoever acts checks again just before.
package remedy

import (
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// Knob is an interface of the kernel that gives memory back.
type Knob string

// The knobs, the mildest first.
const (
	FileCache  Knob = "fadvise"               // POSIX_FADV_DONTNEED of one whole file
	Reclaim    Knob = "memory.reclaim"        // v2, since 5.19
	High       Knob = "memory.high"           // v2: lowered and restored; throttles meanwhile
	Limit      Knob = "memory.limit_in_bytes" // v1: lowered and restored; a burst meanwhile can be OOM-killed
	ForceEmpty Knob = "memory.force_empty"    // v1: everything, hot or not
)

// Group is a memory cgroup. ID tells it from a later one of the same path.
type Group struct {
	Path    string // below the hierarchy's root
	Dir     string // its directory on the node
	Version snapshot.Version
	ID      uint64 // inode number of Dir; 0 when unknown
}

// File is one file whose cache a step gives back.
type File struct {
	PID        int    // it is opened below /proc/PID/root; 0: below the node's root
	Path       string // absolute there; the kernel's bytes
	FS         string // type of its file system
	Device     uint32 // the kernel's s_dev, as in snapshot.CensusInode
	Inode      uint64
	Generation uint32
	Bytes      int64 // of it in memory, all charged to the group
	Dirty      int64
	Most       int64 // of it in memory when it is dropped: more was read since it was looked at; 0: any amount
}

// Step is one write, or one file.
type Step struct {
	Knob  Knob
	Group Group // whose knob is written; of a file, who is charged for it
	Bytes int64 // to be given back by it

	File *File // of FileCache
	Sync bool  // write what is dirty first

	Swappiness *int // with Reclaim, where the kernel takes it: 0 leaves anonymous memory alone
	KeepSwap   bool // memory.swap.max is held at what is swapped already while the step runs
}

// Restores reports whether the step changes a setting that has to be put back.
func (s Step) Restores() bool { return s.Knob == High || s.Knob == Limit || s.KeepSwap }

// Chooses reports whether the kernel chooses the pages, a bounded number in each step.
func (k Knob) Chooses() bool { return k == Reclaim || k == High || k == Limit }

// Guards stop a plan between two steps. Zero switches a guard off, but for Floor.
type Guards struct {
	Floor         int64         // never below this usage
	Time          time.Duration // for all steps together
	StepTime      time.Duration // for one write, which is given up then
	Stall         float64       // percent of a step's time that the target, or the node, stalls on memory (PSI some)
	Refaults      int64         // bytes of the target read again after it was evicted, in all
	Returns       int64         // of them, within two steps of a knob that Chooses, with their pauses
	MajorFaults   int64         // count, of the target, in all
	ReadBytes     int64         // read from disks by the target, in all
	Growth        int64         // that usage may grow during a step that lowers a limit, and during Pause
	Pause         time.Duration // before each further step of a knob that Chooses: what was in use comes back, and shows
	Neighbours    []Group       // who share files with the target, or could
	NeighbourLoss int64         // of file cache, that any of them may lose in all
}

// Plan is what would be done.
type Plan struct {
	Target Group
	Usage  int64  // when it was made
	Want   int64  // to be given back
	To     *int64 // usage that it is to come down to, whoever frees what; nil: the steps are what is wanted
	Drift  int64  // by how much usage is off for what processors keep charged in advance
	Expect int64  // what the steps should give
	Error  int64  // Expect is right within this
	Steps  []Step // of a Decision, those of its Picked first, in that order
	Guards Guards
}
