package report

import "time"

// NodeSchema names the message about a node.
const NodeSchema = "memwhy.node/v1"

// Bounds of the lists in a Node message.
const (
	MaxDying = 100 // removed cgroups, the largest
	MaxPins  = 10  // of each, what holds it
)

// Node is what a node's memory is held by. So far it is about removed cgroups.
type Node struct {
	Schema    string     `json:"schema" jsonschema:"enum=memwhy.node/v1"`
	Generated *time.Time `json:"generated" jsonschema:"nullable"`
	Host      Host       `json:"host"`
	Dying     Dying      `json:"dying"`
	Doubts    []string   `json:"doubts"`
	NotSeen   []NotSeen  `json:"notSeen"`
	Cost      Cost       `json:"cost"`
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
