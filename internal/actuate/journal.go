package actuate

import (
	"time"

	"github.com/memwhy/memwhy/internal/remedy"
)

// Recovered is a setting of a journal, and what became of it.
type Recovered struct {
	Group   remedy.Group
	Setting string // the file in the group's directory
	Was     string // before
	Set     string // by us
	Outcome string // one of the constants below
	Err     string
	PID     int // of the process that set it
	At      time.Time
}

// Outcomes of putting a setting back.
const (
	PutBack   = "restored"
	Unchanged = "unchanged" // it had its old value already
	Theirs    = "left"      // somebody set another value since
	Vanished  = "gone"      // the cgroup, or the boot
	Failing   = "failed"    // still to be put back
)

// Pending lists the journals in dir that a reclaim left, without touching anything.
// One that is under way is not pending. It is cheap when there is none.
func Pending(dir string) []Recovered { return nil }

// Recover puts back the settings of all pending journals in dir.
func Recover(dir string) ([]Recovered, error) { return nil, ErrNotYet }
