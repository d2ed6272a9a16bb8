// Package lab owns scenarios: programs that put memory in a known place of a
// cgroup of their own, and write down the truth about it. It is the judge of
// memwhy's answers, so it must not use any of memwhy's readers or reckoning.
//
// Amounts are bytes.
package lab

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// TruthSchema names the message that a running scenario writes.
const TruthSchema = "memwhy.truth/v1"

// Scenario puts memory in one known place.
type Scenario struct {
	Name    string
	Summary string
	Finding string // the code that a diagnosis should come to
	healthy bool   // nothing is wrong with it
	needs   place
	limit   func(Options) int64     // of the cgroup; nil: what the options say
	plant   func(job, *Truth) error // runs in the process that holds the memory, inside of the cgroup
}

// place is where a scenario's files go.
type place int

const (
	nowhere place = iota
	disk
	tmpfs
)

// Find returns the scenario with that name.
func Find(name string) (Scenario, bool) {
	for _, s := range All() {
		if s.Name == name {
			return s, true
		}
	}
	return Scenario{}, false
}

// Options of a run.
type Options struct {
	Bytes  int64  // to plant, 64 MiB when 0
	Dir    string // for files: on a real disk, /var/tmp when empty
	Limit  int64  // of the cgroup, none when 0
	Parent string // cgroup path below which to make the cgroup; v1: that of this process, v2: the root when empty
}

// Truth is what a scenario knows about its cgroup.
type Truth struct {
	Schema         string    `json:"schema"`
	Scenario       string    `json:"scenario"`
	Cgroup         string    `json:"cgroup"`    // as in /proc/PID/cgroup
	CgroupDir      string    `json:"cgroupDir"` // its directory
	CgroupVersion  string    `json:"cgroupVersion"`
	PIDs           []int     `json:"pids"`
	NotHere        string    `json:"notHere,omitempty"` // why this kernel cannot show it; then nothing is held
	Accounts       []Account `json:"accounts"`
	Holders        []Holder  `json:"holders"`
	Finding        string    `json:"finding"`
	Findings       []string  `json:"findings,omitempty"`    // codes that have to be among the findings
	Cause          *Cause    `json:"cause,omitempty"`       // the first of the findings that have bytes
	Also           []Cause   `json:"also,omitempty"`        // further ones that have to be found, wherever
	Healthy        bool      `json:"healthy,omitempty"`     // no finding may be above info
	ToleranceBytes int64     `json:"toleranceBytes"`        // of each amount: the holder itself uses some memory too
	LimitOwner     string    `json:"limitOwner,omitempty"`  // the cgroup whose limit decides
	KillAtLeast    string    `json:"killAtLeast,omitempty"` // the risk of being killed: this level or a worse one
	Throttle       string    `json:"throttle,omitempty"`    // the level of being throttled
	OOMKills       int       `json:"oomKills,omitempty"`    // processes of the cgroup that the kernel killed
	Watch          *Watch    `json:"watch,omitempty"`       // what goes on; then one look is not enough
}

// Watch is what goes on while a scenario is held, and what looking for so long has to
// tell of it.
type Watch struct {
	Seconds   int        `json:"seconds"`
	Since     time.Time  `json:"since"`           // when it began
	Until     *time.Time `json:"until,omitempty"` // when it ended, if it does
	Line      string     `json:"line,omitempty"`  // the class that moves, or that has to stand still
	Shape     string     `json:"shape,omitempty"` // what it does
	Leak      []string   `json:"leak,omitempty"`  // answers to that suspicion that are right; none: any
	Churn     []string   `json:"churn,omitempty"`
	Restarted bool       `json:"restarted,omitempty"` // its processes are replaced

	lasts time.Duration // what Until will say; 0: it does not end
}

// Account is an amount in a leaf of the ledger.
type Account struct {
	Path   string            `json:"path"`
	Bytes  int64             `json:"bytes"`
	State  map[string]int64  `json:"state,omitempty"`  // margins of the account, by their names in the report
	Unseen map[string]string `json:"unseen,omitempty"` // margins that this kernel cannot show, and why
	Within []string          `json:"within,omitempty"` // where the bytes are when the kernel has no such account, nearest first

	BytesPerSecond int64 `json:"bytesPerSecond,omitempty"` // by which it grows while something goes on
}

// Cause is what one look at the planted memory can prove; Finding may be more.
type Cause struct {
	Code   string `json:"code"`
	Bytes  int64  `json:"bytes"`
	Census bool   `json:"census,omitempty"` // only a census tells
	Asks   bool   `json:"asks,omitempty"`   // only what the process answers tells

	BytesPerSecond int64    `json:"bytesPerSecond,omitempty"` // and so much for each second that it was watched
	ToleranceBytes int64    `json:"toleranceBytes,omitempty"` // if not that of the truth
	SinceBegin     bool     `json:"sinceBegin,omitempty"`     // not of each second that it was watched, but of each since Watch.Since
	Names          []string `json:"names,omitempty"`          // all of which its title has: the process, the kind of mapping, the file
}

// Holder is a thing that holds an amount.
type Holder struct {
	Kind    string `json:"kind"` // process, file, or cgroup (a removed one)
	Name    string `json:"name"`
	Account string `json:"account"`
	Bytes   int64  `json:"bytes"`
	PID     int    `json:"pid,omitempty"`
	Path    string `json:"path,omitempty"`
	Deleted bool   `json:"deleted,omitempty"`
}

// add notes an amount, and where it is on kernels without such an account.
func (t *Truth) add(path string, bytes int64, within ...string) *Account {
	t.Accounts = append(t.Accounts, Account{Path: path, Bytes: bytes, Within: within})
	return &t.Accounts[len(t.Accounts)-1]
}

// state notes a margin of the account.
func (a *Account) state(name string, bytes int64) {
	if a.State == nil {
		a.State = map[string]int64{}
	}
	a.State[name] = bytes
}

// cause notes what has to be found first.
func (t *Truth) cause(code string, bytes int64) *Cause {
	t.Cause = &Cause{Code: code, Bytes: bytes}
	return t.Cause
}

// counted notes a cause that only a census tells.
func (t *Truth) counted(code string, bytes int64) *Cause {
	c := t.cause(code, bytes)
	c.Census = true
	return c
}

// planted is the sum of what the truth says.
func (t *Truth) planted() (sum int64) {
	for _, a := range t.Accounts {
		sum += a.Bytes
	}
	return sum
}

// tolerance is 2 % or 4 MiB, whichever is more.
func tolerance(bytes int64) int64 { return max(bytes/50, 4<<20) }

// job is what the holding process is told.
type job struct {
	Scenario  string
	Role      string // of a further process of the scenario; empty: the holder
	Bytes     int64
	Limit     int64 // of the cgroup, none when 0
	V2        bool
	Cgroup    string
	WorkDir   string // exists; empty when the scenario needs no files
	Mounted   bool   // WorkDir is a mount of its own
	CgroupDir string
	ParentDir string
}

const prefix = "memwhy-lab-"

// name is the name of a run's cgroup and work directory: it leads back to the
// process that owns it, by its id and its start time, so that a later process
// with the same id is not taken for the owner.
func name(scenario string, pid int, start uint64) string {
	return fmt.Sprintf("%s%s-%d-%d", prefix, scenario, pid, start)
}

var namePattern = regexp.MustCompile(`^memwhy-lab-([a-z0-9-]+)-([0-9]+)-([0-9]+)$`)

// parseName is the inverse of name.
func parseName(s string) (scenario string, pid int, start uint64, ok bool) {
	m := namePattern.FindStringSubmatch(s)
	if m == nil {
		return "", 0, 0, false
	}
	pid, err1 := strconv.Atoi(m[2])
	start, err2 := strconv.ParseUint(m[3], 10, 64)
	return m[1], pid, start, err1 == nil && err2 == nil
}
