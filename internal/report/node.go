package report

import "time"

// NodeSchema names the message about a node.
const NodeSchema = "memwhy.node/v1"

// Bounds of the lists in a Node message.
const (
	MaxDying  = 100 // removed cgroups, the largest
	MaxPins   = 10  // of each, what holds it
	MaxShares = 100 // cgroups that own memory, the largest
)

// Node is what a node's memory is held by.
type Node struct {
	Schema     string        `json:"schema" jsonschema:"enum=memwhy.node/v1"`
	Lang       string        `json:"lang,omitempty"` // of sentences; absent: en
	Generated  *time.Time    `json:"generated" jsonschema:"nullable"`
	Host       Host          `json:"host"`
	Ledger     NodeLedger    `json:"ledger"`
	Watermarks Watermarks    `json:"watermarks"`
	Activity   []Activity    `json:"activity"` // of reclaim and compaction
	Swap       NodeSwap      `json:"swap"`
	Settings   []Setting     `json:"settings"`
	Available  NodeAvailable `json:"available"`
	Dying      Dying         `json:"dying"`
	Findings   []Finding     `json:"findings"` // about the node alone, the gravest first: node.*
	Doubts     []string      `json:"doubts"`
	NotSeen    []NotSeen     `json:"notSeen"`
	Cost       Cost          `json:"cost"`
}

// NodeLedger is MemTotal, cut twice. Classes and owners each sum to totalBytes.
type NodeLedger struct {
	TotalBytes  *int64      `json:"totalBytes" jsonschema:"nullable"` // MemTotal
	UsedBytes   *int64      `json:"usedBytes" jsonschema:"nullable"`  // what is not free
	Classes     []NodeClass `json:"classes"`                          // by the kernel's counters; the last one is unexplained
	Unexplained Unexplained `json:"unexplained"`                      // what no counter has; the bound is how far the counters themselves may be off
	Owners      []NodeOwner `json:"owners"`                           // by who is charged; the last one is unowned
	Unowned     Unexplained `json:"unowned"`                          // charged to nobody, and in no counter: drivers, GPU, packet rings
	Shares      []NodeShare `json:"shares"`                           // what the owners consist of, the largest first
	Omitted     []Omitted   `json:"omitted"`                          // of shares, by owner
	Doubts      []string    `json:"doubts"`                           // of its counters
}

// NodeClass is one leaf by class.
type NodeClass struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
	From  string `json:"from"` // the counters, by the kernel's names
}

// NodeOwner is one leaf by owner, or for containers, pods and the like the sum of
// their shares.
type NodeOwner struct {
	Owner string `json:"owner" jsonschema:"enum=containers,enum=pods,enum=system,enum=other,enum=root,enum=dying,enum=kernel,enum=hugetlb,enum=free,enum=unowned"`
	Bytes int64  `json:"bytes"`
	Count int    `json:"count,omitempty"` // of cgroups
	Note  string `json:"note"`            // what is in it
}

// NodeShare is what one cgroup, with those below it that have no share of their
// own, is charged for. Files are read one after the other, so that the share of a
// cgroup with others below it may be negative.
type NodeShare struct {
	Owner       string `json:"owner" jsonschema:"enum=containers,enum=pods,enum=system,enum=other"`
	Kind        string `json:"kind" jsonschema:"enum=container,enum=sandbox,enum=pod,enum=monitor,enum=unit,enum=other"`
	Name        string `json:"name"`
	Cgroup      string `json:"cgroup"`
	CgroupBytes string `json:"cgroupBytes,omitempty"` // base64, when that is not UTF-8
	ID          string `json:"id,omitempty"`
	PodUID      string `json:"podUid,omitempty"`
	Bytes       int64  `json:"bytes"`
}

// Watermarks say how far free memory is from where reclaim begins. Of the node they
// are the sum over the zones that are above; where none is, the best one's, which
// is not positive.
type Watermarks struct {
	AboveMinBytes  *int64     `json:"aboveMinBytes" jsonschema:"nullable"`  // below min, who allocates reclaims
	AboveLowBytes  *int64     `json:"aboveLowBytes" jsonschema:"nullable"`  // below low, kswapd wakes
	AboveHighBytes *int64     `json:"aboveHighBytes" jsonschema:"nullable"` // at high, kswapd sleeps
	Zones          []NodeZone `json:"zones"`
}

// NodeZone is one zone of one NUMA node.
type NodeZone struct {
	Node           int         `json:"node"`
	Zone           string      `json:"zone"`
	ManagedBytes   int64       `json:"managedBytes"`
	FreeBytes      int64       `json:"freeBytes"`
	OnListsBytes   int64       `json:"onListsBytes"` // free too, on the lists of processors; in no watermark
	MinBytes       int64       `json:"minBytes"`
	LowBytes       int64       `json:"lowBytes"`
	HighBytes      int64       `json:"highBytes"`
	ProtectedBytes int64       `json:"protectedBytes"` // kept from allocations that may use a higher zone: the next three are without it
	AboveMinBytes  int64       `json:"aboveMinBytes"`  // free - protected - min
	AboveLowBytes  int64       `json:"aboveLowBytes"`
	AboveHighBytes int64       `json:"aboveHighBytes"`
	Orders         []FreeOrder `json:"orders"` // empty when unknown
}

// FreeOrder is what a contiguous request of 2^order pages would meet.
type FreeOrder struct {
	Order  int   `json:"order"`
	Blocks int64 `json:"blocks"` // free, of this very order
	Fits   int64 `json:"fits"`   // how many such requests the free blocks of this and higher orders can serve
	Bytes  int64 `json:"bytes"`  // of those blocks
}

// Activity is one counter since boot. A rate needs two readings.
type Activity struct {
	Name  string `json:"name"` // of the counter; of a kernel that counts by zone the sum
	Count int64  `json:"count"`
	What  string `json:"what"`
}

// NodeSwap is where anonymous memory can go.
type NodeSwap struct {
	TotalBytes  *int64     `json:"totalBytes" jsonschema:"nullable"`
	FreeBytes   *int64     `json:"freeBytes" jsonschema:"nullable"`
	CachedBytes *int64     `json:"cachedBytes" jsonschema:"nullable"` // in memory and in swap
	Areas       []SwapArea `json:"areas"`
	Zswap       Zswap      `json:"zswap"`
	Zram        []Zram     `json:"zram"`
}

// SwapArea is one device or file.
type SwapArea struct {
	Name      string `json:"name"`
	NameBytes string `json:"nameBytes,omitempty"` // base64, when that is not UTF-8
	Kind      string `json:"kind"`
	Bytes     int64  `json:"bytes"`
	UsedBytes int64  `json:"usedBytes"`
	Priority  int    `json:"priority"`
}

// Zswap compresses what is on its way to swap.
type Zswap struct {
	Enabled     string `json:"enabled" jsonschema:"enum=yes,enum=no,enum=unknown"`
	PoolBytes   *int64 `json:"poolBytes" jsonschema:"nullable"`
	StoredBytes *int64 `json:"storedBytes" jsonschema:"nullable"` // before compression
}

// Zram is a block device in compressed memory.
type Zram struct {
	Name            string `json:"name"`
	StoredBytes     int64  `json:"storedBytes"`
	CompressedBytes int64  `json:"compressedBytes"`
	UsedBytes       int64  `json:"usedBytes"`
}

// Setting is how the node was told to manage memory.
type Setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

// NodeAvailable is what the kernel and the kubelet call available, which differ.
type NodeAvailable struct {
	MemAvailableBytes *int64 `json:"memAvailableBytes" jsonschema:"nullable"`
	Kubelet           Says   `json:"kubelet"`     // its eviction signal memory.available
	KubeletSeen       bool   `json:"kubeletSeen"` // a cgroup of it, or of its pods; without, nobody acts upon the number
}

// Dying are the removed memory cgroups that the kernel still keeps.
type Dying struct {
	Count     *int64       `json:"count" jsonschema:"nullable"`
	How       string       `json:"how" jsonschema:"enum=census,enum=counter,enum=at-least,enum=about,enum=unknown"` // where count is from; about is by the largest index of a slab cache
	Bytes     *int64       `json:"bytes" jsonschema:"nullable"`                                                     // what they are charged for themselves
	Groups    []DyingGroup `json:"groups"`                                                                          // the largest first; none where only their number is known
	Omitted   Omitted      `json:"omitted"`
	Inherited []Charge     `json:"inherited"` // living cgroups with memory of removed children, on kernels that hand it on (7.1)
	IDs       IDs          `json:"ids"`
	Evidence  []Evidence   `json:"evidence"` // of count and ids where no census tells
}

// DyingGroup is one removed cgroup.
type DyingGroup struct {
	Cgroup      string           `json:"cgroup"`                // its former path
	CgroupBytes string           `json:"cgroupBytes,omitempty"` // base64, when that is not UTF-8
	ID          string           `json:"id,omitempty"`          // of the container, by its path
	Runtime     string           `json:"runtime,omitempty"`
	PodUID      string           `json:"podUid,omitempty"`
	Name        string           `json:"name,omitempty"`                   // of the container or pod, as far as it is remembered
	Bytes       int64            `json:"bytes"`                            // of its own pages and slab objects
	UsageBytes  *int64           `json:"usageBytes" jsonschema:"nullable"` // its counter, with what it is charged for in advance and per CPU
	MemoryID    *int64           `json:"memoryId" jsonschema:"nullable"`   // of 65534; 0 when it gave it back
	Accounts    map[string]int64 `json:"accounts"`
	PinnedBy    []Pin            `json:"pinnedBy"` // the largest, at most 10
}

// Pin is what keeps a removed cgroup.
type Pin struct {
	Kind      string `json:"kind" jsonschema:"enum=file,enum=slab-cache"`
	Name      string `json:"name"`
	Path      string `json:"path,omitempty"`
	PathBytes string `json:"pathBytes,omitempty"` // base64, when path is not UTF-8
	Deleted   bool   `json:"deleted,omitempty"`
	Bytes     int64  `json:"bytes"`
}

// IDs are those of memory cgroups: without a free one no container starts.
type IDs struct {
	Max   int64  `json:"max"`
	Taken *int64 `json:"taken" jsonschema:"nullable"`
	Live  *int64 `json:"live" jsonschema:"nullable"`
	Dead  *int64 `json:"dead" jsonschema:"nullable"` // held by removed ones
	How   string `json:"how" jsonschema:"enum=census,enum=at-least,enum=unknown"`
}
