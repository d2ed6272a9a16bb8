// Package actuate owns acting: it runs the steps of a remedy.Plan one after the
// other, looks at guards before and after each, puts back what a step changed,
// whatever ends it, and notes who did what. It must not know what would be worth
// doing (that is package remedy), nor how a knob is written (kernel/knob), nor how
// a result is shown.
//
// Amounts are bytes. A signal that could not be read is no signal: it is reported
// in Result.Blind and never taken for zero.
//
// # Nothing stays changed
//
// A setting that a step lowers is in a journal, on stable storage, before it is
// written: what it was, what it becomes, of which cgroup of which boot. The process
// that writes it puts it back in the same breath. When memwhy dies before that, a
// guardian, a child that holds the end of a pipe, puts it back; when both die, the
// journal is left, which Pending finds and Recover replays.
//
// Putting back compares first: only in the same boot, in the directory with the same
// inode number, and while the setting still has the value that was written here. The
// kernel has no compare-and-set, so whoever sets it between our look and our write,
// some microseconds, is overruled; so is who sets it to the very value we had set.
//
// The journal is bound to a boot and has to be there at the worst of times, so it
// belongs on a tmpfs of the node (DefaultJournal), where it waits for no disk. What
// was done is of interest for long: DefaultState.
package actuate

import (
	"time"

	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Where things are noted, for root. Both are made when they are needed, for their
// owner alone. That somebody made /var/lib/memwhy is the consent to remember names
// there (package names), so what is made here is another directory.
const (
	DefaultJournal = "/run/memwhy"
	DefaultState   = "/var/log/memwhy"
)

// Options say how to act.
type Options struct {
	Root    string // where the node's root file system is; empty: /
	State   string // directory of the record of what was done
	Journal string // directory of the journal and of locks; empty: State

	Meter    Meter
	Guardian []string // the command that runs ServeGuardian
	Writer   []string // the command that runs ServeWriter

	Check func(remedy.Step) error // looks once more, just before; an error skips the step
	Gone  func(remedy.Step) bool  // whether nothing of a file that was not where it was is in memory; asked when all is done
	Each  func(Done)              // is told of every step, when it is over
	Why   string                  // in the record: the command line, or the policy
}

// Meter reads what guards look at. Its methods fail as a whole only when the group
// is gone or cannot be read at all; a signal that is missing is a Reading that says
// so.
type Meter interface {
	Read(remedy.Group) (Sample, error)
	Node() (NodeSample, error)
}

// Sample is one look at a group, all below it included. Refaults, Activations,
// MajorFaults, ReadBytes and Stall only grow.
type Sample struct {
	At          time.Time
	Usage       snapshot.Reading[int64]
	Cache       snapshot.Reading[int64] // of files, without tmpfs and shared memory
	Reclaimable snapshot.Reading[int64] // on the lists of file pages, and slab that can be shrunk
	Refaults    snapshot.Reading[int64] // bytes of files that were read again after they were evicted
	Activations snapshot.Reading[int64] // of them, bytes that came back soon enough to count as hot
	MajorFaults snapshot.Reading[int64] // count
	ReadBytes   snapshot.Reading[int64] // from devices; a stacked device counts at each level
	Stall       snapshot.Reading[time.Duration]
}

// NodeSample is one look at the node.
type NodeSample struct {
	At    time.Time
	Stall snapshot.Reading[time.Duration] // PSI some, memory
}

// Done is a step that is over.
type Done struct {
	Step    remedy.Step
	Asked   int64                   // of the kernel; less than Step.Bytes near the floor
	Freed   int64                   // by how much usage fell meanwhile; negative when it grew
	Had     snapshot.Reading[int64] // of a file: what was in memory just before, where the kernel can tell
	Dropped snapshot.Reading[int64] // and what of that went
	Wall    time.Duration
	Err     error
}

// Result is what became of a plan.
type Result struct {
	Steps         []Done
	Before, After Sample
	Asked, Freed  int64        // Freed is the difference of usage; see Before and After for whether it was read
	Met           bool         // the goal of the plan is met, whoever freed what
	Gone          int64        // of files: what was planned and not in memory any more when its turn came
	Stopped       string       // the guard that stopped it, one of the constants below; empty when none did
	Why           words.Text   // that guard's reason, in words
	Restored      bool         // every setting is what it was before
	Left          []words.Text // what is not, and why
	Blind         []Blind      // guards that could not look
	RecordErr     error        // the record of what was done could not be completed
}

// Blind is a guard that saw nothing for want of its signal.
type Blind struct {
	Guard, Source string
	State         snapshot.State
	Err           string
}

// Guards, as Result.Stopped names them.
const (
	ByFloor       = "floor"
	ByTime        = "time"
	ByStepTime    = "step-time"
	ByStall       = "stall"
	ByNodeStall   = "node-stall"
	ByRefaults    = "refaults"
	ByMajorFaults = "major-faults"
	ByReads       = "read-bytes"
	ByGrowth      = "growth"
	ByNeighbour   = "neighbour"
	ByInterrupt   = "interrupted"
	ByGuardian    = "guardian"  // the process that would put settings back is gone
	ByBlindness   = "not-seen"  // usage, without which nothing is done
	ByTarget      = "target"    // gone, or changed by somebody else
	ByRestore     = "restoring" // a setting could not be put back
)

// Errors of Run before anything was done.
var (
	ErrBusy    = words.Errorf("another reclaim of this cgroup is under way")
	ErrPending = words.Errorf("an earlier reclaim of this cgroup left a setting changed: recover it first")
	ErrPlan    = words.Errorf("not a plan that can be run")
	ErrJournal = words.Errorf("the journal cannot be kept")
	ErrRecord  = words.Errorf("what is done could not be recorded")
)

// ErrGone is a file of which nothing is in memory any more that could be given back.
var ErrGone = words.Errorf("nothing of it is in memory any more")

// ErrSkipped is a step that was not tried, because one like it had failed.
var ErrSkipped = words.Errorf("not tried")
