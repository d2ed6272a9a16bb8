package report

import "time"

// ReclaimSchema names the message about memory that is, or would be, given back.
const ReclaimSchema = "memwhy.reclaim/v1"

// Reclaim is a plan, and what became of it.
type Reclaim struct {
	Schema    string         `json:"schema" jsonschema:"enum=memwhy.reclaim/v1"`
	Lang      string         `json:"lang,omitempty"` // of sentences; absent: en
	Generated *time.Time     `json:"generated" jsonschema:"nullable"`
	Host      Host           `json:"host"`
	Target    Target         `json:"target"`
	Plan      ReclaimPlan    `json:"plan"`
	Result    *ReclaimResult `json:"result" jsonschema:"nullable"` // null: nothing was done
	Dying     *ReclaimDying  `json:"dying,omitempty"`              // when removed cgroups below the target are released; usage is what they hold then
	Keep      *ReclaimKeep   `json:"keep,omitempty"`               // when usage is kept for a while; the plan is what it begins with
	NotSeen   []NotSeen      `json:"notSeen"`
}

// MaxTurns bounds ReclaimKeep.Turns.
const MaxTurns = 100

// ReclaimKeep is what became of keeping usage at an amount. A counter that nothing tells
// is left out.
type ReclaimKeep struct {
	KeepBytes       int64          `json:"keepBytes"`
	EveryMs         int64          `json:"everyMs"`
	ForMs           int64          `json:"forMs"`
	TookMs          int64          `json:"tookMs"`
	UsageFirstBytes int64          `json:"usageFirstBytes"`
	UsageLastBytes  int64          `json:"usageLastBytes"`
	FreedBytes      int64          `json:"freedBytes"`            // by how much usage fell in turns, in all
	SavedBytes      int64          `json:"savedBytes"`            // of that, less what was read again, on average over the time
	RereadBytes     *int64         `json:"rereadBytes,omitempty"` // of files that were given back, in memory again
	RefaultBytes    *int64         `json:"refaultBytes,omitempty"`
	MajorFaults     *int64         `json:"majorFaults,omitempty"`
	ReadBytes       *int64         `json:"readBytes,omitempty"` // from devices, for whatever reason
	StallMs         *int64         `json:"stallMs,omitempty"`
	TurnCount       int            `json:"turnCount"`
	Acted           int            `json:"acted"`    // turns that gave something back
	Backoffs        int            `json:"backoffs"` // turns that did nothing because the target felt it
	Turns           []KeepTurn     `json:"turns"`    // the last, at most 100
	Met             bool           `json:"met"`      // usage is what it was to be
	Restored        bool           `json:"restored"`
	Interrupted     bool           `json:"interrupted,omitempty"`
	Stopped         string         `json:"stopped,omitempty"` // the guard that ended it
	Because         string         `json:"because,omitempty"`
	Blind           []ReclaimBlind `json:"blind"`
}

// KeepTurn is one look, and what was done then.
type KeepTurn struct {
	AfterMs    int64  `json:"afterMs"`
	UsageBytes int64  `json:"usageBytes"`
	AskedBytes int64  `json:"askedBytes"`
	FreedBytes int64  `json:"freedBytes"`
	Stopped    string `json:"stopped,omitempty"` // by this guard
	Because    string `json:"because,omitempty"`
}

// ReclaimPlan says what would be done.
type ReclaimPlan struct {
	UsageBytes     int64           `json:"usageBytes"`
	WantBytes      int64           `json:"wantBytes"`         // to be given back
	ToBytes        *int64          `json:"toBytes,omitempty"` // usage that it is to come down to, whoever frees what
	ExpectBytes    int64           `json:"expectBytes"`       // what the steps should give
	ErrorBytes     int64           `json:"errorBytes"`        // expectBytes is right within this
	Cost           ReclaimCost     `json:"cost,omitzero"`
	ReachableBytes int64           `json:"reachableBytes"` // the lowest usage without swap, roughly
	WindowMs       int64           `json:"windowMs"`       // over which use was observed; 0: not at all
	Knobs          []ReclaimKnob   `json:"knobs"`
	Files          []ReclaimFile   `json:"files"` // the largest, at most 1000
	FileCount      int             `json:"fileCount"`
	Spared         []ReclaimSpared `json:"spared"` // files that are left alone, by reason
	Guards         ReclaimGuards   `json:"guards"`
	Offers         []string        `json:"offers"` // what else could be done
	Doubts         []string        `json:"doubts"`
}

// ReclaimCost says which accounts the plan takes from, and what that may cost.
type ReclaimCost struct {
	FileBytes      int64 `json:"fileBytes"`      // of page cache
	SlabBytes      int64 `json:"slabBytes"`      // of shrinkable slab, as expected of the kernel's choice
	RereadBytes    int64 `json:"rereadBytes"`    // at most, read from disks if all of it is used again
	WritebackBytes int64 `json:"writebackBytes"` // written to disks first
}

// ReclaimKnob is one interface of the kernel, with all steps that use it.
type ReclaimKnob struct {
	Knob    string `json:"knob" jsonschema:"enum=fadvise,enum=memory.reclaim,enum=memory.high,enum=memory.limit_in_bytes,enum=memory.force_empty"`
	Steps   int    `json:"steps"`
	Bytes   int64  `json:"bytes"`
	Because string `json:"because"`
	Undo    string `json:"undo"`
}

// ReclaimFile is a file that is given back as a whole.
type ReclaimFile struct {
	Kind       string   `json:"kind"`
	Path       string   `json:"path"`
	PathBytes  string   `json:"pathBytes,omitempty"` // base64, when path is not UTF-8
	Bytes      int64    `json:"bytes"`
	DirtyBytes int64    `json:"dirtyBytes"`
	Because    string   `json:"because"`
	UsedBy     []string `json:"usedBy"`

	RereadBytes *int64 `json:"rereadBytes,omitempty"` // of it in memory again after --verify
}

// ReclaimSpared counts files that are left alone for one reason.
type ReclaimSpared struct {
	Because string `json:"because"`
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"`
	Example string `json:"example"`
}

// ReclaimGuards stop the steps. 0 is no guard.
type ReclaimGuards struct {
	FloorBytes         int64   `json:"floorBytes"` // usage is not brought below it
	TimeMs             int64   `json:"timeMs"`
	StepTimeMs         int64   `json:"stepTimeMs"`
	StallPercent       float64 `json:"stallPercent"` // of time, target or node
	RefaultBytes       int64   `json:"refaultBytes"`
	MajorFaults        int64   `json:"majorFaults"`
	ReadBytes          int64   `json:"readBytes"`
	GrowthBytes        int64   `json:"growthBytes"`
	Neighbours         int     `json:"neighbours"`
	NeighbourLossBytes int64   `json:"neighbourLossBytes"`
}

// ReclaimResult is what became of a plan.
type ReclaimResult struct {
	UsageBeforeBytes *int64           `json:"usageBeforeBytes" jsonschema:"nullable"`
	UsageAfterBytes  *int64           `json:"usageAfterBytes" jsonschema:"nullable"`
	FreedBytes       *int64           `json:"freedBytes" jsonschema:"nullable"` // by how much usage fell
	AskedBytes       int64            `json:"askedBytes"`
	DroppedBytes     int64            `json:"droppedBytes"`        // cache of single files that went, as far as the kernel tells
	GoneBytes        int64            `json:"goneBytes,omitempty"` // planned, and out of memory before it was dropped: somebody else freed it
	Steps            int              `json:"steps"`
	Met              bool             `json:"met"` // what was planned is out of memory, within errorBytes; with toBytes: usage is there
	Stopped          string           `json:"stopped,omitempty"`
	Because          string           `json:"because,omitempty"`
	Restored         bool             `json:"restored"` // every setting is what it was
	Left             []string         `json:"left"`
	Failures         []ReclaimFailure `json:"failures"`
	Blind            []ReclaimBlind   `json:"blind"` // guards that could not look
	VerifyMs         int64            `json:"verifyMs"`
	RereadBytes      *int64           `json:"rereadBytes,omitempty"` // of the files, in memory again after verifyMs
	RecordError      string           `json:"recordError,omitempty"`

	WorkingSetBeforeBytes *int64          `json:"workingSetBeforeBytes,omitempty"` // when it was planned
	WorkingSetAfterBytes  *int64          `json:"workingSetAfterBytes,omitempty"`
	Accounts              []ReclaimChange `json:"accounts,omitempty"` // by the kernel's counters alone; they sum to usage
}

// ReclaimChange is an account of the target when it was planned, and afterwards; null where
// it was not told.
type ReclaimChange struct {
	Path        string `json:"path"`
	BeforeBytes *int64 `json:"beforeBytes" jsonschema:"nullable"`
	AfterBytes  *int64 `json:"afterBytes" jsonschema:"nullable"`
}

// ReclaimDying is about removed cgroups that the kernel keeps.
type ReclaimDying struct {
	Count     int            `json:"count"` // before
	Bytes     int64          `json:"bytes"` // that they are charged for
	Releases  int            `json:"releases"`
	Went      *int           `json:"went,omitempty"`      // of them, as counted afterwards
	BytesLeft *int64         `json:"bytesLeft,omitempty"` // that those of them which are left are charged for
	Losers    []ReclaimLoser `json:"losers"`              // living cgroups that the kernel may take from as well
	Rest      []DyingGroup   `json:"rest"`                // those that stay, the largest first
	Omitted   Omitted        `json:"omitted"`
	Inherited []Charge       `json:"inherited"` // by living cgroups, on kernels that hand memory on (7.1)
}

// ReclaimLoser is a living cgroup that may lose by a plan.
type ReclaimLoser struct {
	Cgroup      string `json:"cgroup"`
	MostBytes   int64  `json:"mostBytes"`
	ExpectBytes int64  `json:"expectBytes"`
}

// ReclaimFailure counts steps that failed, or were not tried, for one reason.
type ReclaimFailure struct {
	Because string `json:"because"`
	Steps   int    `json:"steps"`
	Bytes   int64  `json:"bytes"`
	Example string `json:"example,omitempty"`
	Skipped bool   `json:"skipped,omitempty"` // not tried: a last look spoke against it
}

// ReclaimBlind is a guard without its signal.
type ReclaimBlind struct {
	Guard  string `json:"guard"`
	Source string `json:"source"`
	State  string `json:"state" jsonschema:"enum=absent,enum=denied,enum=failed"`
	Why    string `json:"why"`
}
