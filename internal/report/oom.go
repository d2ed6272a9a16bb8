package report

// OOMSchema is the name of the message of kernel logs.
const OOMSchema = "memwhy.oom/v1"

// OOM is what a kernel log says of memory that could not be had. The package's
// rule on nulls holds, with one difference: a null is what the log does not print.
type OOM struct {
	Schema          string      `json:"schema" jsonschema:"enum=memwhy.oom/v1"`
	Lang            string      `json:"lang,omitempty"`  // of sentences; absent: en
	Records         []OOMRecord `json:"records"`         // the newest 1000, oldest first
	Omitted         int64       `json:"omitted"`         // records older than those
	Suppressed      int64       `json:"suppressed"`      // messages that the kernel's rate limit dropped
	Overruns        int64       `json:"overruns"`        // times that the ring of the running node overtook the reader: something is missing
	LongLines       int64       `json:"longLines"`       // lines that may be of a record, of which only the first 16 KiB were looked at
	BytesRead       int64       `json:"bytesRead"`       // of the log
	LinesRead       int64       `json:"linesRead"`       //
	PageSizeAssumed int64       `json:"pageSizeAssumed"` // bytes: logs count some things in pages and do not say how large these are
}

// OOMRecord is one event of a log.
type OOMRecord struct {
	Kind            string           `json:"kind" jsonschema:"enum=memcg,enum=global,enum=unknown,enum=slub,enum=page-alloc,enum=mkdir"` // unknown: an OOM of which too little is left
	Summary         string           `json:"summary"`                                                                                    // one sentence
	Time            string           `json:"time"`                                                                                       // as the log prints it; empty when it does not
	UptimeSeconds   *float64         `json:"uptimeSeconds" jsonschema:"nullable"`
	Kernel          string           `json:"kernel"` // release; empty when not printed
	Trigger         OOMTrigger       `json:"trigger"`
	GFP             string           `json:"gfp"`
	Order           *int64           `json:"order" jsonschema:"nullable"` // 2^order pages were asked for
	NodeMask        string           `json:"nodeMask"`
	Constraint      string           `json:"constraint" jsonschema:"enum=,enum=none,enum=cpuset,enum=mempolicy,enum=memcg"`
	CgroupVersion   string           `json:"cgroupVersion" jsonschema:"enum=,enum=v1,enum=v2"`
	Whose           string           `json:"whose" jsonschema:"enum=,enum=self,enum=ancestor,enum=node"` // limit: of the victim's own cgroup, of one above it, or no limit but the node
	LimitKind       string           `json:"limitKind" jsonschema:"enum=,enum=memory,enum=memory+swap,enum=kmem"`
	LimitOwner      string           `json:"limitOwner"`               // cgroup; empty when not printed
	TaskCgroup      string           `json:"taskCgroup"`               // of the victim, as far as printed
	LimitOwnerName  string           `json:"limitOwnerName,omitempty"` // what people call the container or pod whose limit it is, where a runtime tells or told
	TaskName        string           `json:"taskName,omitempty"`       // and the victim's
	UsageBytes      *int64           `json:"usageBytes" jsonschema:"nullable"`
	LimitBytes      *int64           `json:"limitBytes" jsonschema:"nullable"` // null too when there is none
	Memory          *OOMCounter      `json:"memory,omitempty"`
	Swap            *OOMCounter      `json:"swap,omitempty"`       // cgroup v2
	MemorySwap      *OOMCounter      `json:"memorySwap,omitempty"` // cgroup v1
	Kmem            *OOMCounter      `json:"kmem,omitempty"`       // cgroup v1
	Full            OOMFull          `json:"full"`
	Stats           map[string]int64 `json:"stats"` // bytes, under the log's names; keys that count events are left out
	Tasks           *OOMTasks        `json:"tasks,omitempty"`
	Named           *OOMNamed        `json:"named,omitempty"` // whom the kernel chose, where that is not the victim itself
	Victims         []OOMVictim      `json:"victims"`         // at most 50
	MoreVictims     int64            `json:"moreVictims"`
	Outcome         string           `json:"outcome" jsonschema:"enum=,enum=killed,enum=no-victim,enum=panic,enum=already-exiting"`
	Slab            *OOMSlab         `json:"slab,omitempty"`
	Path            string           `json:"path,omitempty"`  // mkdir
	Error           string           `json:"error,omitempty"` // mkdir
	SuppressedFirst int64            `json:"suppressed"`      // messages dropped right before
	Truncated       bool             `json:"truncated"`       // parts are missing
	Interleaved     bool             `json:"interleaved"`     // with another report; who belongs to whom may be wrong, numbers that could not be told apart are null
	Advisories      []OOMAdvisory    `json:"advisories"`
}

// OOMTrigger is the process whose request could not be met: not the victim.
type OOMTrigger struct {
	PID  *int64 `json:"pid" jsonschema:"nullable"`
	Comm string `json:"comm"`
}

// OOMCounter is a usage and its limit.
type OOMCounter struct {
	UsageBytes *int64 `json:"usageBytes" jsonschema:"nullable"`
	LimitBytes *int64 `json:"limitBytes" jsonschema:"nullable"`
	Unlimited  bool   `json:"unlimited"`
	Failcnt    *int64 `json:"failcnt" jsonschema:"nullable"`
}

// OOMFull is what the cgroup, or the node, was full of.
type OOMFull struct {
	AnonBytes          *int64 `json:"anonBytes" jsonschema:"nullable"`
	FileBytes          *int64 `json:"fileBytes" jsonschema:"nullable"`  // with tmpfs where shmemBytes is null
	ShmemBytes         *int64 `json:"shmemBytes" jsonschema:"nullable"` // tmpfs and shared memory
	KernelBytes        *int64 `json:"kernelBytes" jsonschema:"nullable"`
	KernelAtLeast      bool   `json:"kernelAtLeast"`                            // kernelBytes is the sum of what is printed
	UnreclaimableBytes *int64 `json:"unreclaimableBytes" jsonschema:"nullable"` // usage without the file lists and reclaimable slab
}

// OOMClass is one of the classes of an OOMFull, by its name on a screen.
type OOMClass struct {
	Name  string
	Bytes *int64
}

// Classes lists them in the order of a screen; the bytes of one may be nil.
func (f *OOMFull) Classes() []OOMClass {
	return []OOMClass{{"anon", f.AnonBytes}, {"file", f.FileBytes}, {"shmem", f.ShmemBytes}, {"kernel", f.KernelBytes}, {"cannot free", f.UnreclaimableBytes}}
}

// OOMTasks sums the table of tasks.
type OOMTasks struct {
	Count    int64  `json:"count"`
	RSSBytes *int64 `json:"rssBytes" jsonschema:"nullable"` // shared pages once for each task
}

// OOMNamed is a thread or process that the kernel named.
type OOMNamed struct {
	PID  int64  `json:"pid"`
	Comm string `json:"comm"`
}

// OOMVictim is a killed process.
type OOMVictim struct {
	PID             int64  `json:"pid"`
	Comm            string `json:"comm"`
	Memcg           string `json:"memcg"` // empty when not printed
	AnonRSSBytes    *int64 `json:"anonRssBytes" jsonschema:"nullable"`
	FileRSSBytes    *int64 `json:"fileRssBytes" jsonschema:"nullable"`
	ShmemRSSBytes   *int64 `json:"shmemRssBytes" jsonschema:"nullable"`
	TotalVMBytes    *int64 `json:"totalVmBytes" jsonschema:"nullable"`
	PageTablesBytes *int64 `json:"pageTablesBytes" jsonschema:"nullable"`
	OOMScoreAdj     *int64 `json:"oomScoreAdj" jsonschema:"nullable"`
	UID             *int64 `json:"uid" jsonschema:"nullable"`
	Reaped          bool   `json:"reaped"` // the kernel took its memory before it had ended
}

// OOMSlab is a slab cache that could not grow.
type OOMSlab struct {
	Cache       string `json:"cache"`
	CgroupIndex *int64 `json:"cgroupIndex" jsonschema:"nullable"` // of the cgroup whose own cache it is
	Cgroup      string `json:"cgroup"`                            // last part of its path
	Node        *int64 `json:"node" jsonschema:"nullable"`        // -1: any
	ObjectBytes *int64 `json:"objectBytes" jsonschema:"nullable"`
	BufferBytes *int64 `json:"bufferBytes" jsonschema:"nullable"`
	Slabs       *int64 `json:"slabs" jsonschema:"nullable"`
	Objects     *int64 `json:"objects" jsonschema:"nullable"`
	Free        *int64 `json:"free" jsonschema:"nullable"`
}

// OOMAdvisory is a known defect that the record may be a sign of.
type OOMAdvisory struct {
	ID      string `json:"id"`
	Because string `json:"because"`
}
