package snapshot

// KernelLog is what a kernel log says of memory that could not be had: the newest
// records, and how much was read to find them.
type KernelLog struct {
	Records    []LogRecord // in the order in which they began
	Omitted    int64       // earlier records, beyond the bound
	Suppressed int64       // messages of the functions that print such records, dropped by the kernel's rate limit
	Bytes      int64
	Lines      int64
	LongLines  int64 // cut at the bound of a line
	Overruns   int64 // times that the ring overtook its reader
	PageSize   int64 // with which pages became bytes
}

// LogKind is the kind of a LogRecord.
type LogKind string

// The kinds.
const (
	LogMemcgOOM   LogKind = "memcg"
	LogGlobalOOM  LogKind = "global"
	LogUnknownOOM LogKind = "unknown" // an OOM that says neither, as when only its first line is left
	LogSlub       LogKind = "slub"
	LogPageAlloc  LogKind = "page-alloc"
	LogMkdir      LogKind = "mkdir"
)

// LogRecord is one event of a kernel log. Nil numbers were not printed. All
// amounts are bytes.
type LogRecord struct {
	Kind         LogKind
	Time         string // as printed
	UptimeMicros *int64
	Kernel       string // release; empty when not printed
	TriggerPID   *int64
	TriggerComm  string
	GFP          string
	Order        *int64
	NodeMask     string
	Constraint   string  // none, cpuset, mempolicy, memcg; empty when not printed
	Cgroup       Version // 0 when the record does not tell
	LimitOwner   string  // the cgroup at its limit; empty for the node or when not printed
	TaskCgroup   string  // of the victim, or of the task named where that is printed

	Memory, Swap, MemorySwap, Kmem *LogCounter

	Stats   map[string]int64 // the names of the log
	Tasks   *LogTasks
	Named   *LogVictim // what "Kill process" named, before "Killed process" named the victim
	Victims []LogVictim
	Outcome string // killed, no-victim, panic, already-exiting; empty when the log does not tell
	Slab    *LogSlab
	Path    string // of mkdir
	Error   string // of mkdir

	MoreVictims int64 // beyond the bound
	Suppressed  int64 // by the rate limit, right before
	Truncated   bool  // parts are missing
	Interleaved bool  // another report was printed at the same time; what could not be told apart is nil
}

// LogCounter is a line of usage and limit.
type LogCounter struct {
	Usage, Limit *int64 // Limit is size.Unlimited when there is none
	Failcnt      *int64
}

// LogTasks sums the table of tasks.
type LogTasks struct {
	Count    int64
	RSSBytes *int64
}

// LogVictim is a killed process.
type LogVictim struct {
	PID    int64
	Comm   string
	Memcg  string
	UID    *int64
	Adj    *int64
	Reaped bool

	AnonRSS, FileRSS, ShmemRSS, TotalVM, PageTables *int64
}

// LogSlab is a slab cache that could not grow.
type LogSlab struct {
	Cache          string // without the cgroup
	Index          *int64 // of the cgroup whose cache it is
	Cgroup         string // last part of its path
	Node           *int64 // -1: any
	ObjectBytes    *int64
	BufferBytes    *int64
	Slabs, Objects *int64 // summed over the nodes
	Free           *int64
}
