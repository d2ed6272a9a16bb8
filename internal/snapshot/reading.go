// Package snapshot owns what was read at one instant about one memory cgroup,
// its ancestors, its processes and its node: plain data, each fact with its
// state, its source and its time. It must not know how a fact was read, on
// which operating system, or what it means.
//
// Every amount is in bytes; a name that counts says so.
package snapshot

import "time"

// State says what became of a question to the kernel.
type State uint8

// The four answers. The zero value is Failed: a reading that nobody made must
// never pass for a zero or for "this kernel has none".
const (
	Failed  State = iota // it should be there and could not be read
	Present              // read
	Absent               // this kernel, or this cgroup, has no such thing
	Denied               // needs a privilege that this process lacks
)

func (s State) String() string {
	switch s {
	case Present:
		return "present"
	case Absent:
		return "absent"
	case Denied:
		return "denied"
	default:
		return "failed"
	}
}

// ParseState is the inverse of String; anything else is Failed.
func ParseState(s string) State {
	for _, st := range []State{Present, Absent, Denied} {
		if st.String() == s {
			return st
		}
	}
	return Failed
}

// Vanished is the Err of an Absent reading whose cgroup or process ended
// between two reads: an ordinary result, not a failure.
const Vanished = "vanished while it was read"

// Reading is one fact as read.
type Reading[T any] struct {
	Value  T
	State  State
	Source string    // the path on the node that a user can cat
	At     time.Time // when it was read
	Err    string    // why State is not Present, in words
}

// Get returns the value and whether it was read.
func (r Reading[T]) Get() (T, bool) { return r.Value, r.State == Present }

// Gone reports that the thing read had just ceased to exist.
func (r Reading[T]) Gone() bool { return r.State == Absent && r.Err == Vanished }

// Entry is one line of a flat keyed kernel file.
type Entry struct {
	Key   string
	Value int64
}

// Stat is a flat keyed kernel file (memory.stat, vmstat, memory.events): all
// its keys in file order, the unknown ones too. A value that the kernel printed
// as an underflowed unsigned number reads as the negative that it is.
type Stat struct {
	Entries   []Entry
	Repeated  int // lines whose key had been seen before; the first one counts
	Malformed int // lines that are not "key number"
}

// Get returns the value of key; false means that the file has no such key.
func (s *Stat) Get(key string) (int64, bool) {
	for i := range s.Entries {
		if s.Entries[i].Key == key {
			return s.Entries[i].Value, true
		}
	}
	return 0, false
}
