// Package report owns the message memwhy.report/v1 and its siblings
// memwhy.list/v1, memwhy.oom/v1, memwhy.advisories/v1 and memwhy.doctor/v1: the
// fields, their names, units and codec. It must not know how a number came to be
// or how it will look on a screen.
//
// Amounts are bytes. A null is a number that could not be had; notSeen has an
// entry with the same key. Changes are additive: a name, once published, keeps
// its meaning.
package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// The names of the messages.
const (
	Schema     = "memwhy.report/v1"
	ListSchema = "memwhy.list/v1"

	AdvisoriesSchema = "memwhy.advisories/v1"
)

// Bounds of the lists in a message.
const (
	MaxHolders = 50  // of each account
	MaxPIDs    = 100 // of a target
	MaxParts   = 10  // of a process, without the one that is the rest
	MaxUsers   = 10  // of a file
)

// Report explains one memory cgroup.
type Report struct {
	Schema      string      `json:"schema" jsonschema:"enum=memwhy.report/v1"`
	Generated   *time.Time  `json:"generated" jsonschema:"nullable"` // when the node was read; null when the source does not say
	Lang        string      `json:"lang,omitempty"`                  // of sentences; absent: en
	Host        Host        `json:"host"`
	Target      Target      `json:"target"`
	Verdict     Verdict     `json:"verdict"`
	Numbers     Numbers     `json:"numbers"`
	Limits      []Limit     `json:"limits"`
	Accounts    []Account   `json:"accounts"`
	Unexplained Unexplained `json:"unexplained"`
	Children    []Child     `json:"children,omitempty"` // of a pod: what it consists of, the largest first; they sum to numbers.usageBytes
	Says        []Says      `json:"says"`
	Holders     []Holder    `json:"holders"`
	Census      *Census     `json:"census,omitempty"` // of the target; absent without one
	Omitted     []Omitted   `json:"omitted"`
	Risks       Risks       `json:"risks"`
	Findings    []Finding   `json:"findings"`        // the most dangerous first
	Trend       *Trend      `json:"trend,omitempty"` // absent with one look
	Suspicions  []Suspicion `json:"suspicions"`      // what everybody suspects first, each answered
	Advisories  []Advisory  `json:"advisories"`      // with evidence; of kernel memory of removed containers also what is mitigated or unknown
	Doubts      []string    `json:"doubts"`          // what was seen and is strange
	NotSeen     []NotSeen   `json:"notSeen"`
	Cost        Cost        `json:"cost"`
}

// Host is the machine.
type Host struct {
	Kernel        string `json:"kernel"` // empty when unknown
	Distro        string `json:"distro"`
	CgroupMode    string `json:"cgroupMode" jsonschema:"enum=v1,enum=v2,enum=hybrid,enum=unknown"`
	LRU           string `json:"lru" jsonschema:"enum=classic,enum=mglru,enum=unknown"` // the page reclaim engine; working sets of different engines do not compare
	CPUs          *int   `json:"cpus" jsonschema:"nullable"`                            // online
	MemTotalBytes *int64 `json:"memTotalBytes" jsonschema:"nullable"`
}

// Target is the cgroup asked about, what its path says of the container, and
// what the runtime or the kubelet says of it. What nobody says is absent.
type Target struct {
	Kind            string            `json:"kind,omitempty" jsonschema:"enum=container,enum=sandbox,enum=pod,enum=monitor,enum=unit,enum=other"`
	Name            string            `json:"name,omitempty"`        // what a person calls it, and memwhy takes: namespace/pod/container, namespace/pod, or a name
	Cgroup          string            `json:"cgroup"`                // as in /proc/PID/cgroup; bytes that are not UTF-8 stand as \xNN
	CgroupBytes     string            `json:"cgroupBytes,omitempty"` // base64 of the name, when it is not UTF-8
	CgroupVersion   string            `json:"cgroupVersion" jsonschema:"enum=v1,enum=v2"`
	ID              string            `json:"id,omitempty"`
	Runtime         string            `json:"runtime,omitempty"` // docker, containerd, cri-o, podman; absent when neither the path nor the runtime says
	PodUID          string            `json:"podUid,omitempty"`
	QoS             string            `json:"qos,omitempty"`
	Namespace       string            `json:"namespace,omitempty"`
	Pod             string            `json:"pod,omitempty"`
	Container       string            `json:"container,omitempty"`
	Image           string            `json:"image,omitempty"`
	RuntimeVersion  string            `json:"runtimeVersion,omitempty"`
	NamedBy         string            `json:"namedBy,omitempty"` // the socket or the URL that said the names
	Labels          map[string]string `json:"labels,omitempty"`  // of a container with those of its pod; at most 64
	State           string            `json:"state,omitempty"`   // as the runtime says: running, exited, ...
	RestartCount    *int64            `json:"restartCount,omitempty"`
	RequestBytes    int64             `json:"requestBytes,omitempty"`    // as the container was asked for
	SpecLimitBytes  int64             `json:"specLimitBytes,omitempty"`  // as the container was asked for; what binds is in limits
	LastTermination *Termination      `json:"lastTermination,omitempty"` // of the container before this one in its place, or of itself when it has ended
	PIDs            []int             `json:"pids"`                      // at most 100
	PIDCount        int               `json:"pidCount"`
}

// Termination is how a container ended.
type Termination struct {
	Reason     string    `json:"reason,omitempty"`    // OOMKilled, Error, Completed, ... as the runtime says
	OOMKilled  bool      `json:"oomKilled,omitempty"` // the kernel's log tells of an OOM kill in it, and it ended by SIGKILL
	ExitCode   *int64    `json:"exitCode,omitempty"`
	FinishedAt time.Time `json:"finishedAt"`
}

// Verdict is the answer in one sentence.
type Verdict struct {
	Text    string `json:"text"`
	Code    string `json:"code,omitempty"`                                                     // of the finding that the text is about, where it is not the class
	Account string `json:"account"`                                                            // the largest class: the first part of an account's path
	Bytes   int64  `json:"bytes"`                                                              // in that class
	Reclaim string `json:"reclaim" jsonschema:"enum=can,enum=partly,enum=cannot,enum=unknown"` // whether the kernel can take the class back
}

// Numbers are the figures with names.
type Numbers struct {
	UsageBytes            int64  `json:"usageBytes"`                            // memory.current, memory.usage_in_bytes: what limits and the OOM killer look at
	WorkingSetBytes       *int64 `json:"workingSetBytes" jsonschema:"nullable"` // as container_memory_working_set_bytes
	RSSBytes              *int64 `json:"rssBytes" jsonschema:"nullable"`        // as container_memory_rss: anonymous memory, never the processes' RSS
	UnreclaimableBytes    *int64 `json:"unreclaimableBytes" jsonschema:"nullable"`
	UnreclaimableMinBytes *int64 `json:"unreclaimableMinBytes" jsonschema:"nullable"`
	UnreclaimableMaxBytes *int64 `json:"unreclaimableMaxBytes" jsonschema:"nullable"`
	ReclaimableBytes      *int64 `json:"reclaimableBytes" jsonschema:"nullable"`
	LimitBytes            *int64 `json:"limitBytes" jsonschema:"nullable"` // the deciding limit on the path to the root; null when there is none
	LimitOwner            string `json:"limitOwner"`                       // the cgroup whose limit it is
	PeakBytes             *int64 `json:"peakBytes" jsonschema:"nullable"`
}

// Limit is one limit on the way from the target to the root.
type Limit struct {
	Cgroup             string `json:"cgroup"`
	Knob               string `json:"knob"` // the file that sets it
	LimitBytes         int64  `json:"limitBytes"`
	UsageBytes         int64  `json:"usageBytes"`         // of that cgroup, as this limit counts
	UnreclaimableBytes int64  `json:"unreclaimableBytes"` // of that cgroup, siblings included
	MarginBytes        int64  `json:"marginBytes"`        // limit - unreclaimable
}

// Account is one leaf of the ledger; the leaves sum to numbers.usageBytes.
type Account struct {
	Path    string           `json:"path"`
	Bytes   int64            `json:"bytes"`
	Reclaim string           `json:"reclaim" jsonschema:"enum=free,enum=reread,enum=writeback,enum=swap,enum=pinned,enum=mixed,enum=unknown"`
	Derived bool             `json:"derived,omitempty"`                      // what was left over, not a counter
	How     string           `json:"how,omitempty" jsonschema:"enum=census"` // counted page by page where no counter tells
	State   map[string]int64 `json:"state"`                                  // margins given by the kernel; they overlap and need not sum to bytes
}

// Child is one part of a pod: a container, its sandbox, another cgroup below it,
// or what is charged to the pod itself and to none of these: tmpfs that
// containers before them left behind, for one. Files are read one after the
// other, so that of a busy pod the remainder is only about right, and may be
// negative.
type Child struct {
	Kind               string           `json:"kind" jsonschema:"enum=container,enum=sandbox,enum=pod,enum=monitor,enum=unit,enum=other,enum=remainder"`
	Name               string           `json:"name"` // within the pod
	Cgroup             string           `json:"cgroup"`
	CgroupBytes        string           `json:"cgroupBytes,omitempty"`
	ID                 string           `json:"id,omitempty"`
	UsageBytes         int64            `json:"usageBytes"`
	WorkingSetBytes    *int64           `json:"workingSetBytes,omitempty"`
	UnreclaimableBytes *int64           `json:"unreclaimableBytes,omitempty"`
	LimitBytes         *int64           `json:"limitBytes,omitempty"` // its own
	Largest            Largest          `json:"largest"`
	Accounts           map[string]int64 `json:"accounts"` // by class, the first part of an account's path; they sum to usageBytes
	PIDCount           int              `json:"pidCount"`
}

// Unexplained is usage minus all accounts.
type Unexplained struct {
	Bytes      int64  `json:"bytes"`                            // signed
	BoundBytes *int64 `json:"boundBytes" jsonschema:"nullable"` // what the kernel's batching allows
}

// Says is what another tool shows for this target.
type Says struct {
	Tool    string `json:"tool"`
	Bytes   *int64 `json:"bytes" jsonschema:"nullable"`
	Formula string `json:"formula"` // with live values, in bytes
	Terms   []Term `json:"terms"`   // of the formula
	Note    string `json:"note,omitempty"`

	Reported []Reported `json:"reported,omitempty"` // what the tools themselves said just then
}

// Reported is a number that a tool gave, and how far bytes, which is computed
// from the kernel's files, is from it. Samples are of different moments.
type Reported struct {
	Bytes           int64      `json:"bytes"`
	DifferenceBytes *int64     `json:"differenceBytes" jsonschema:"nullable"` // bytes of the row minus these
	Source          string     `json:"source"`
	At              *time.Time `json:"at,omitempty"` // of its sample
}

// Term is one operand of a formula.
type Term struct {
	Sign  string `json:"sign" jsonschema:"enum=+,enum=-"`
	Name  string `json:"name"` // as the kernel's file names it
	Bytes int64  `json:"bytes"`
}

// Holder is a thing that holds bytes of an account.
type Holder struct {
	Kind      string           `json:"kind" jsonschema:"enum=process,enum=slab-cache,enum=cgroup,enum=file,enum=directory,enum=not-attributed"` // a directory is the sum of files that are listed too
	Name      string           `json:"name"`
	Account   string           `json:"account"`
	Bytes     int64            `json:"bytes"`
	AtMost    bool             `json:"atMost,omitempty"`                                                    // bytes is an upper bound: what the file has on disk, not what of it is cached
	How       string           `json:"how,omitempty" jsonschema:"enum=smaps,enum=smaps_rollup,enum=status"` // of a process: where bytes is from; of status it counts shared pages in full
	State     map[string]int64 `json:"state"`
	Deleted   bool             `json:"deleted,omitempty"`
	PID       int              `json:"pid,omitempty"`
	Path      string           `json:"path,omitempty"`      // of the executable, for a process; of the file, as the one who opened it sees it
	PathBytes string           `json:"pathBytes,omitempty"` // base64, when path is not UTF-8
	Command   []string         `json:"command,omitempty"`   // argv[0] and memory-related flags; nothing else of the command line
	Parts     []Part           `json:"parts,omitempty"`     // of a process: what its bytes are, the largest first; they sum to bytes
	Runtimes  []Runtime        `json:"runtimes,omitempty"`  // of a process: who manages its memory, languages before allocators
	UsedBy    []User           `json:"usedBy,omitempty"`    // of a file: who keeps it open

	// Of a file that a census found.
	Where     string   `json:"where,omitempty" jsonschema:"enum=image-layer,enum=writable-layer,enum=volume,enum=tmpfs,enum=root,enum=host,enum=memfd,enum=shared-anon,enum=sysv,enum=block-device,enum=no-name,enum=unmounted"`
	HostPath  string   `json:"hostPath,omitempty"`
	Volume    string   `json:"volume,omitempty"`
	ChargedTo []Charge `json:"chargedTo,omitempty"`
}

// Part is the anonymous memory of one kind of mappings of a process.
type Part struct {
	Kind  string           `json:"kind" jsonschema:"enum=heap,enum=stack,enum=anon,enum=go-heap,enum=named,enum=file-private,enum=rest"`
	Name  string           `json:"name"`
	How   string           `json:"how,omitempty"` // how it was recognised, where the kernel does not say
	Bytes int64            `json:"bytes"`
	Count int              `json:"count"` // mappings
	State map[string]int64 `json:"state"`
}

// Runtime is a language runtime or an allocator that manages memory of a process.
type Runtime struct {
	Name     string            `json:"name" jsonschema:"enum=go,enum=jvm,enum=node,enum=python,enum=glibc-malloc,enum=jemalloc,enum=tcmalloc,enum=mimalloc,enum=musl-malloc,enum=v8,enum=ruby,enum=dotnet,enum=unrecognised"`
	Version  string            `json:"version,omitempty"`
	How      string            `json:"how"`               // it was recognised
	Settings map[string]string `json:"settings"`          // about memory: from the environment and the command line, or as they are in force
	Heap     map[string]int64  `json:"heap"`              // reservedBytes, committedBytes, usedBytes, idleBytes, limitBytes, metaspaceBytes: those that the runtime tells
	Arenas   int               `json:"arenas,omitempty"`  // of malloc or of Python
	AtLeast  bool              `json:"atLeast,omitempty"` // idleBytes is a lower bound
	Unknown  string            `json:"unknown,omitempty"` // why idleBytes is not there
	Cure     string            `json:"cure,omitempty"`    // what gives idle memory back, or bounds the heap
}

// User is a process that keeps a file open or mapped.
type User struct {
	Cgroup string `json:"cgroup,omitempty"` // its memory cgroup; absent where only the target's processes are asked
	PID    int    `json:"pid"`
	How    string `json:"how"` // fd N, open, mapped
}

// Omitted says what a bounded list left out.
type Omitted struct {
	Account string `json:"account"`
	Count   int    `json:"count"`
	Bytes   int64  `json:"bytes"`
}

// Risks are three and never one.
type Risks struct {
	Kill     Risk `json:"kill"`
	Evict    Risk `json:"evict"`
	Throttle Risk `json:"throttle"`
}

// Risk is one graded risk.
type Risk struct {
	Level       string `json:"level" jsonschema:"enum=none,enum=low,enum=raised,enum=high,enum=critical,enum=unknown"`
	MarginBytes *int64 `json:"marginBytes" jsonschema:"nullable"`
	Because     string `json:"because"`
}

// NotSeen is a source that could not be read, or a number that it would give.
type NotSeen struct {
	Key       string `json:"key,omitempty"` // of the null, or of the account that is not listed
	Source    string `json:"source"`        // what a user can try to read
	State     string `json:"state" jsonschema:"enum=absent,enum=denied,enum=failed"`
	Why       string `json:"why"`
	WouldShow string `json:"wouldShow"`
}

// Advisory is what a known fault means for the node.
type Advisory struct {
	ID       string     `json:"id"`
	Title    string     `json:"title"`
	Class    string     `json:"class" jsonschema:"enum=kernel-leak,enum=kernel-id-exhaustion,enum=accounting,enum=reclaim,enum=runtime,enum=metric-misread,enum=perf"`
	Verdict  string     `json:"verdict" jsonschema:"enum=not-affected,enum=version-only,enum=version-and-evidence,enum=evidence-despite-version,enum=mitigated,enum=unknown"`
	Evidence []Evidence `json:"evidence"`
}

// Evidence is a statement, where to read it again, and what stood there.
type Evidence struct {
	Statement string `json:"statement"`
	Source    string `json:"source"`
	Value     string `json:"value"`
}

// Advisories are all known faults, applied to a node.
type Advisories struct {
	Schema     string     `json:"schema" jsonschema:"enum=memwhy.advisories/v1"`
	Lang       string     `json:"lang,omitempty"` // of sentences; absent: en
	Generated  *time.Time `json:"generated" jsonschema:"nullable"`
	Host       Host       `json:"host"`
	Advisories []Advisory `json:"advisories"` // what matters most first
	NotSeen    []NotSeen  `json:"notSeen"`
}

// Cost is what the reading took.
type Cost struct {
	WallMs    float64 `json:"wallMs"`
	CPUMs     float64 `json:"cpuMs"`
	BytesRead int64   `json:"bytesRead"`

	Census *CensusCost `json:"census,omitempty"` // part of the above
}

// CensusCost is what counting the pages took.
type CensusCost struct {
	Engine string  `json:"engine" jsonschema:"enum=bpf,enum=kcore,enum=kpage,enum=files"`
	Frames int64   `json:"frames"` // page frames that were looked at
	WallMs float64 `json:"wallMs"`
}

// List ranks the memory cgroups of a node that hold processes.
type List struct {
	Schema     string     `json:"schema" jsonschema:"enum=memwhy.list/v1"`
	Lang       string     `json:"lang,omitempty"` // of sentences; absent: en
	Generated  *time.Time `json:"generated" jsonschema:"nullable"`
	Host       Host       `json:"host"`
	Scope      string     `json:"scope,omitempty" jsonschema:"enum=containers,enum=all"` // all: every memory cgroup that holds processes
	Containers []Listed   `json:"containers"`
	NotSeen    []NotSeen  `json:"notSeen"`
}

// Listed is one row of a List.
type Listed struct {
	Target  Target  `json:"target"`
	Numbers Numbers `json:"numbers"`
	Largest Largest `json:"largest"`
	Risk    Risk    `json:"risk"` // of being killed
	// file cache that may be cold, at most: inactive, clean, not mapped; with MGLRU also what is read again and again
	ColdMaxBytes *int64 `json:"coldMaxBytes" jsonschema:"nullable"`
	// the same, at least: with a census, which tells of each file how much of it is in which state
	ColdMinBytes *int64 `json:"coldMinBytes,omitempty"`
}

// Largest is the largest class of a row.
type Largest struct {
	Account string `json:"account"`
	Bytes   int64  `json:"bytes"`
}

// Encode writes v as indented JSON. File names stand as they are: nothing is
// escaped for HTML, which a page has to do itself.
func Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode the report: %w", err)
	}
	return b.Bytes(), nil
}
