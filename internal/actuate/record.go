package actuate

import (
	"errors"
	"time"
)

// Record is one reclaim, as it was noted.
type Record struct {
	ID      string    `json:"id"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"` // zero: its end was not noted

	// Who.
	UID      int    `json:"uid"`
	LoginUID int64  `json:"loginUid"` // -1 when none, or unknown
	User     string `json:"user,omitempty"`
	Sudo     string `json:"sudo,omitempty"` // what sudo said of its caller
	PID      int    `json:"pid"`
	Parent   int    `json:"ppid"`
	Caller   string `json:"caller,omitempty"` // name of the parent process
	Why      string `json:"why,omitempty"`
	Boot     string `json:"boot,omitempty"`

	// What.
	Path      string       `json:"path"`
	PathBytes []byte       `json:"pathBytes,omitempty"` // when Path is not UTF-8
	Cgroup    uint64       `json:"cgroup"`
	Want      int64        `json:"want"`
	Steps     int          `json:"steps"` // of the plan
	Knobs     []KnobRecord `json:"knobs,omitempty"`
	Files     []FileRecord `json:"files,omitempty"` // the first of them

	// Result.
	UsageBefore *int64   `json:"usageBefore"`
	UsageAfter  *int64   `json:"usageAfter"`
	Asked       int64    `json:"asked"`
	Freed       *int64   `json:"freed"`
	Stopped     string   `json:"stopped,omitempty"`
	Reason      string   `json:"reason,omitempty"`
	Restored    bool     `json:"restored"`
	Left        []string `json:"left,omitempty"`
	Recovered   []string `json:"recovered,omitempty"` // settings put back by others than the process itself
}

// KnobRecord sums the steps of one knob.
type KnobRecord struct {
	Knob   string `json:"knob"`
	Steps  int    `json:"steps"`
	Failed int    `json:"failed,omitempty"`
	Asked  int64  `json:"asked"`
	Freed  int64  `json:"freed"`
	Err    string `json:"err,omitempty"` // the first
}

// FileRecord is a file whose cache was given back, or was to be.
type FileRecord struct {
	Path      string `json:"path"`
	PathBytes []byte `json:"pathBytes,omitempty"`
	Bytes     int64  `json:"bytes"`
	Err       string `json:"err,omitempty"`
}

// ErrGarbled is told beside the records of a History: some lines are none.
var ErrGarbled = errors.New("not everything in the record of what was done can be read")

// History reads the record in dir, the oldest first. An error may come with records.
func History(dir string) ([]Record, error) { return nil, ErrNotYet }
