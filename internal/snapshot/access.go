package snapshot

import "github.com/memwhy/memwhy/internal/words"

// Access is what this process may see of the node: who it is, where it runs, and
// what became of trying each source.
type Access struct {
	Host  Host
	Mode  string // of the cgroups: v1, v2 or hybrid; empty when there are none
	Own   Reading[Credentials]
	UIDs  Reading[[]byte] // /proc/self/uid_map
	User  Reading[string] // the namespaces, as their links read
	PID   Reading[string]
	Group Reading[string]

	Lockdown Reading[[]byte] // /sys/kernel/security/lockdown
	First    Reading[Status] // of process 1, which is always there

	Kdamonds []string // threads that may evict cold cache, as far as they can be seen
	Trials   []Trial
}

// Credentials are the rights of a process.
type Credentials struct {
	UID        int64 // effective
	Effective  uint64
	Bounding   uint64
	NoNewPrivs bool
	Seccomp    bool // a filter decides about system calls
}

// Trial is what became of trying a source.
type Trial struct {
	ID    string
	State State
	Err   string       // why State is not Present
	Notes []words.Text // what else there is to say
	Part  bool         // it tells a part of what it could, and Notes say which
}

// The sources that are tried.
const (
	TryCgroup    = "cgroup"
	TryProcesses = "processes"
	TryBPF       = "bpf"
	TryKcore     = "kcore"
	TryKpage     = "kpage"
	TryFiles     = "files"
	TryHeaps     = "heaps"

	TrySlabinfo = "slabinfo"
	TryPSI      = "psi"
	TryKmsg     = "kmsg"
)

// The bits of Credentials, of linux include/uapi/linux/capability.h.
const (
	CapDACOverride       = 1
	CapFowner            = 3
	CapSysRawIO          = 17
	CapSysPtrace         = 19
	CapSysAdmin          = 21
	CapSysResource       = 24
	CapSyslog            = 34
	CapPerfmon           = 38
	CapBPF               = 39
	CapCheckpointRestore = 40
)

// Has reports whether a right is in effect.
func (c Credentials) Has(capability int) bool { return c.Effective>>capability&1 == 1 }
