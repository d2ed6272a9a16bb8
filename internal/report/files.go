package report

import "time"

// FilesSchema names the message about cached files.
const FilesSchema = "memwhy.files/v1"

// MaxFiles bounds the files of a Files message, unless more are asked for.
const MaxFiles = 1000

// Files lists what is cached of which file, the largest first.
type Files struct {
	Schema      string      `json:"schema" jsonschema:"enum=memwhy.files/v1"`
	Lang        string      `json:"lang,omitempty"` // of sentences; absent: en
	Generated   *time.Time  `json:"generated" jsonschema:"nullable"`
	Host        Host        `json:"host"`
	Target      *Target     `json:"target" jsonschema:"nullable"` // null for the node
	Totals      FileTotals  `json:"totals"`
	Files       []File      `json:"files"`
	Directories []Directory `json:"directories"` // with --depth, instead of files
	Omitted     Omitted     `json:"omitted"`     // of the list that is given
	Coverage    Coverage    `json:"coverage"`
	Doubts      []string    `json:"doubts"`
	NotSeen     []NotSeen   `json:"notSeen"`
	Cost        Cost        `json:"cost"`
}

// FileTotals are the sums over all files, those that are not listed too.
type FileTotals struct {
	Files int              `json:"files"`
	Bytes int64            `json:"bytes"`
	State map[string]int64 `json:"state"`
}

// File is what is cached of one file. State has active, inactive, unevictable,
// dirty, writeback, mapped, referenced, isolated, large (in folios of several
// pages) and huge, as far as they are known and not 0; they overlap.
type File struct {
	Kind          string           `json:"kind" jsonschema:"enum=image-layer,enum=writable-layer,enum=volume,enum=tmpfs,enum=root,enum=host,enum=memfd,enum=shared-anon,enum=sysv,enum=block-device,enum=no-name,enum=unmounted"`
	Path          string           `json:"path"`                    // as the container sees it, else as the node does, else within its file system; a label for what has no path
	PathBytes     string           `json:"pathBytes,omitempty"`     // base64, when path is not UTF-8
	HostPath      string           `json:"hostPath,omitempty"`      // as the node sees it, /proc/PID/root/... for what only a container sees
	HostPathBytes string           `json:"hostPathBytes,omitempty"` // base64, when hostPath is not UTF-8
	FS            string           `json:"fs"`
	Device        string           `json:"device"` // MAJOR:MINOR of the file system
	Inode         uint64           `json:"inode"`
	Generation    uint32           `json:"generation,omitempty"`
	SizeBytes     int64            `json:"sizeBytes"`
	Links         uint32           `json:"links"`
	Deleted       bool             `json:"deleted,omitempty"`
	Bytes         int64            `json:"bytes"`            // cached, and charged to the target; for the node, to anybody
	AtMost        bool             `json:"atMost,omitempty"` // bytes are all that is cached of the file, whoever is charged
	State         map[string]int64 `json:"state"`
	Volume        string           `json:"volume,omitempty"`   // name of the volume it is in
	Layer         string           `json:"layer,omitempty"`    // directory of the image's or the writable layer on the node
	SharedBy      int              `json:"sharedBy,omitempty"` // containers whose root has that layer
	ChargedTo     []Charge         `json:"chargedTo"`          // all cgroups, those outside of the target too; the largest first
	UsedBy        []User           `json:"usedBy"`             // processes that have it open or mapped, at most 10
}

// Charge is what a cgroup is charged for.
type Charge struct {
	Cgroup string `json:"cgroup"` // empty for memory that no cgroup is charged for
	Dying  bool   `json:"dying,omitempty"`
	Bytes  int64  `json:"bytes"`
}

// Directory sums the files below it.
type Directory struct {
	Path      string           `json:"path"`
	PathBytes string           `json:"pathBytes,omitempty"`
	Files     int              `json:"files"`
	Bytes     int64            `json:"bytes"`
	State     map[string]int64 `json:"state"`
}

// Coverage says how much of the cache the list accounts for.
type Coverage struct {
	Engine       string `json:"engine" jsonschema:"enum=bpf,enum=kcore,enum=kpage,enum=files,enum=none"`
	Complete     bool   `json:"complete"`                           // every file with cache was seen
	CounterBytes *int64 `json:"counterBytes" jsonschema:"nullable"` // what the kernel's own counter says of file and shmem
	FoundBytes   int64  `json:"foundBytes"`                         // in all files
	NamedBytes   int64  `json:"namedBytes"`                         // in files with a name
	Recalled     int    `json:"recalledFiles,omitempty"`            // of the node, whose name the kernel forgot and an earlier look knew
	Searched     int    `json:"searchedFiles,omitempty"`            // the same, whose name was found by reading directories
	Processes    int    `json:"processes"`                          // whose open files and mappings were looked at
	Unasked      int    `json:"unasked"`                            // processes that were not
}

// Census says how what was counted page by page agrees with the kernel's counters,
// which were read at another moment.
type Census struct {
	Engine      string       `json:"engine" jsonschema:"enum=bpf,enum=kcore,enum=kpage,enum=files"`
	Complete    bool         `json:"complete"` // every file with cache was seen
	Differences []Difference `json:"differences"`
}

// Difference is a class of memory by census and by counter.
type Difference struct {
	Account      string `json:"account"`
	CensusBytes  int64  `json:"censusBytes"`
	CounterBytes int64  `json:"counterBytes"`
}
