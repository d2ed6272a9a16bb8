package snapshot

import "time"

// Names is what container runtimes and the kubelet said of the containers of a
// node, or what is remembered of an earlier answer. Names and labels are as a
// user chose them: any bytes, of bounded length.
type Names struct {
	Sources    []NameSource `json:"sources"`
	Containers []Named      `json:"containers"`

	byID, byPod map[string]int
}

// NameSource is one that was asked.
type NameSource struct {
	Kind    string    `json:"kind"`              // cri, docker, podman, kubelet, checkpoint
	Address string    `json:"address"`           // a socket or URL; a file
	Runtime string    `json:"runtime,omitempty"` // name and version as it says them
	State   State     `json:"state"`
	Err     string    `json:"err,omitempty"`
	At      time.Time `json:"at"`
}

// NamedKind says what a Named is.
type NamedKind string

// The kinds. A sandbox is the container that keeps a pod's namespaces (pause).
const (
	NamedContainer NamedKind = "container"
	NamedSandbox   NamedKind = "sandbox"
	NamedPod       NamedKind = "pod"
)

// Named is one container, or one pod without its containers.
type Named struct {
	Kind      NamedKind         `json:"kind"`
	Source    int               `json:"source"` // index of Names.Sources
	Runtime   string            `json:"runtime,omitempty"`
	ID        string            `json:"id,omitempty"`   // lower-case hex
	Name      string            `json:"name,omitempty"` // within its pod, or of docker or podman
	Namespace string            `json:"namespace,omitempty"`
	Pod       string            `json:"pod,omitempty"`
	PodUID    string            `json:"podUid,omitempty"`
	Sandbox   string            `json:"sandbox,omitempty"` // id
	Image     string            `json:"image,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	QoS       string            `json:"qos,omitempty"`
	State     string            `json:"state,omitempty"` // created, running, exited, ...
	Restarts  *int64            `json:"restarts,omitempty"`
	Request   int64             `json:"request,omitempty"` // bytes; 0: none, or not known
	Limit     int64             `json:"limit,omitempty"`   // bytes; 0: none, or not known
	Last      *Termination      `json:"last,omitempty"`    // of this container when it has ended, else of the one before it
	PID       int               `json:"pid,omitempty"`
	Cgroup    string            `json:"cgroup,omitempty"` // path as the runtime says it
	Says      []ToolSays        `json:"says,omitempty"`
}

// Termination is how a container ended.
type Termination struct {
	ID       string    `json:"id,omitempty"` // of the container that ended, where each run has its own
	Reason   string    `json:"reason,omitempty"`
	ExitCode *int64    `json:"exitCode,omitempty"`
	At       time.Time `json:"at"`
}

// ToolSays is a number that a tool itself gave.
type ToolSays struct {
	Tool  string    `json:"tool"` // as package says calls it
	Bytes int64     `json:"bytes"`
	From  string    `json:"from"` // the question it answered
	At    time.Time `json:"at"`   // of its sample; zero when it does not say
}

// Index makes finding fast. It is to be called once, when all are there. Of a
// pod that several name, its own record or its sandbox goes before its
// containers.
func (n *Names) Index() *Names {
	n.byID, n.byPod = map[string]int{}, map[string]int{}
	for i := range n.Containers {
		c := &n.Containers[i]
		if _, dup := n.byID[c.ID]; c.ID != "" && !dup {
			n.byID[c.ID] = i
		}
		if c.PodUID == "" {
			continue
		}
		if before, ok := n.byPod[c.PodUID]; !ok || n.Containers[before].Kind == NamedContainer && c.Kind != NamedContainer {
			n.byPod[c.PodUID] = i
		}
	}
	return n
}

// ByID finds a container by its whole id.
func (n *Names) ByID(id string) (*Named, bool) {
	if n == nil {
		return nil, false
	}
	i, ok := n.byID[id]
	if !ok {
		return nil, false
	}
	return &n.Containers[i], true
}

// ByPod finds what names a pod.
func (n *Names) ByPod(uid string) (*Named, bool) {
	if n == nil {
		return nil, false
	}
	i, ok := n.byPod[uid]
	if !ok {
		return nil, false
	}
	return &n.Containers[i], true
}

// MarshalText makes a state a word in JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is its inverse; what is no state is Failed.
func (s *State) UnmarshalText(b []byte) error {
	*s = ParseState(string(b))
	return nil
}
