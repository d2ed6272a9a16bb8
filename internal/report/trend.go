package report

import "time"

// Bounds of a trend.
const (
	MaxSamples = 64
	MaxMovers  = 10
)

// Trend is what several looks at the target say together.
type Trend struct {
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Seconds  float64   `json:"seconds"`
	Captures bool      `json:"captures,omitempty"` // two captures, with nothing seen between them
	Lines    []Line    `json:"lines"`              // usage first
	Counts   []Count   `json:"counts"`             // of memory.stat, by how much each went on
	Activity []Work    `json:"activity"`
	Movers   []Mover   `json:"movers"`  // processes that were there at both ends, that whose anonymous memory changed most first; at most 10
	Started  int       `json:"started"` // processes of the last look that were not there at the first
	Ended    int       `json:"ended"`

	Restarted bool       `json:"restarted,omitempty"` // none of the processes of the first look is left, and others began
	Files     []FileMove `json:"files,omitempty"`     // whose cache changed or was used, by two censuses; what grew most first; at most 10
}

// FileMove is what became of the cache of one file.
type FileMove struct {
	Name        string `json:"name"`
	Path        string `json:"path,omitempty"`      // as the container sees it, or in its file system
	PathBytes   string `json:"pathBytes,omitempty"` // base64, when path is not UTF-8
	BeforeBytes int64  `json:"beforeBytes"`
	AfterBytes  int64  `json:"afterBytes"`
	UsedBytes   int64  `json:"usedBytes,omitempty"` // at least so much of it was read again
	By          []User `json:"by,omitempty"`        // at most 4; how: reads, writes, or io: it alone read or wrote enough
}

// Line is an amount over time. A change within noiseBytes is none.
type Line struct {
	Path           string   `json:"path" jsonschema:"enum=usage,enum=anon,enum=file,enum=shmem,enum=kernel,enum=sock"` // usage, or a class of accounts
	Shape          string   `json:"shape" jsonschema:"enum=flat,enum=rising,enum=plateau,enum=sawtooth,enum=falling,enum=unsettled"`
	BytesPerSecond int64    `json:"bytesPerSecond"` // the median slope of all pairs of samples
	ChangeBytes    int64    `json:"changeBytes"`    // the last sample minus the first
	NoiseBytes     int64    `json:"noiseBytes"`     // what the kernel's batching may hide
	Samples        []Sample `json:"samples"`
}

// Sample is one amount.
type Sample struct {
	Seconds float64 `json:"seconds"` // since from
	Bytes   int64   `json:"bytes"`
}

// Count is by how much a counter went on.
type Count struct {
	Name   string `json:"name"` // as the file spells it
	Source string `json:"source"`
	Count  int64  `json:"count"`
}

// Work is what the tasks did.
type Work struct {
	Kind   string `json:"kind" jsonschema:"enum=cpu,enum=disk-read,enum=disk-written,enum=calls"` // calls: bytes read and written by system calls, sockets and pipes included
	Amount *int64 `json:"amount" jsonschema:"nullable"`                                           // nanoseconds of cpu, else bytes
	Source string `json:"source"`
}

// Mover is a process that was there at both ends.
type Mover struct {
	PID       int    `json:"pid"`
	Name      string `json:"name"`
	AnonBytes int64  `json:"anonBytes"`           // change of its anonymous memory
	Part      string `json:"part,omitempty"`      // the kind of its mappings that grew most
	PartBytes int64  `json:"partBytes,omitempty"` // by how much
	ReadBytes *int64 `json:"readBytes,omitempty"` // by system calls
}
