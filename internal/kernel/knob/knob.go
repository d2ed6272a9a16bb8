// Package knob owns every write to the kernel: one function a knob, which says whom it
// reaches, on which kernels, and what its return codes mean. It must not know why a knob
// is turned, nor whether it should be; it never reads what an explanation needs.
//
// A cgroup is opened by its directory and must have the inode number that was planned
// for; its files are then opened relative to that directory, so that a cgroup made
// later under the same path is never written to. They are opened for blocking writes:
// with O_NONBLOCK, which os.OpenFile sets, memory.high does not reclaim (linux
// 6.18 mm/memcontrol.c, memory_high_write).
//
// Amounts are bytes, whole pages when they are written. A write may block for as long
// as reclaim does, and only a signal ends it: so that orders are carried out by a
// process of their own (Serve), which can be killed.
//
// Return codes and kernels were read in Linux 3.10 to 6.18 (mm/memcontrol.c,
// mm/memcontrol-v1.c, mm/vmscan.c, mm/fadvise.c) and tried on 5.10 to 7.2.
package knob

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Names of knobs that are files of a cgroup.
const (
	Reclaim    = "memory.reclaim"
	High       = "memory.high"
	SwapMax    = "memory.swap.max"
	Limit      = "memory.limit_in_bytes"
	ForceEmpty = "memory.force_empty"
)

// What a write came to.
var (
	ErrLess        = errors.New("less was given back than asked")
	ErrSwappiness  = errors.New("this kernel takes no swappiness with memory.reclaim")
	ErrInterrupted = errors.New("given up before it was done")
	ErrBusy        = errors.New("the kernel found nothing more to give back, or the cgroup in use")
	ErrAbsent      = errors.New("this kernel, or this cgroup, has no such knob")
	ErrGone        = errors.New("the cgroup is gone, or is another one now")
	ErrSet         = errors.New("somebody else set it meanwhile")
	ErrChanged     = errors.New("not the file that was planned")
	ErrGrown       = errors.New("read since it was looked at")
	ErrRefused     = errors.New("never opened")
	ErrDenied      = errors.New("not permitted")
	ErrValue       = errors.New("not an amount that is ever written")
	ErrOther       = errors.New("failed")
)

// kinds are the errors as they travel between processes.
var kinds = map[string]error{
	"less": ErrLess, "swappiness": ErrSwappiness, "interrupted": ErrInterrupted, "busy": ErrBusy, "absent": ErrAbsent, "gone": ErrGone, "set": ErrSet,
	"changed": ErrChanged, "grown": ErrGrown, "refused": ErrRefused, "denied": ErrDenied, "value": ErrValue, "other": ErrOther,
}

// fault is an error of one of the kinds, in words.
type fault struct {
	kind error
	text string
}

func (f *fault) Error() string {
	if f.text == "" {
		return f.kind.Error()
	}
	return f.kind.Error() + ": " + f.text
}

func (f *fault) Unwrap() error { return f.kind }

// Path is the kernel's bytes, which JSON has no strings for.
type Path string

// MarshalJSON implements json.Marshaler.
func (p Path) MarshalJSON() ([]byte, error) { return json.Marshal([]byte(p)) }

// UnmarshalJSON implements json.Unmarshaler.
func (p *Path) UnmarshalJSON(b []byte) error {
	var raw []byte
	err := json.Unmarshal(b, &raw)
	*p = Path(raw)
	return err
}

// Group is the directory of a cgroup below the node's root.
type Group struct {
	Root    Path             `json:"root"` // where the node's root file system is
	Dir     Path             `json:"dir"`
	Version snapshot.Version `json:"version"`
	ID      uint64           `json:"id"` // inode number, never 0
}

// Setting is a setting that is changed and put back: High, Limit or SwapMax. No limit
// is size.Unlimited.
type Setting struct {
	Name string `json:"name"`
	Was  int64  `json:"was"`
	Set  int64  `json:"set"`
}

// maxValue is the largest amount that is written: 64 PiB.
const maxValue = 1 << 56

// valid reports whether the setting is one that is ever written, of this version.
func (s *Setting) valid(v snapshot.Version) bool {
	known := v == snapshot.V1 && s.Name == Limit || v == snapshot.V2 && (s.Name == High || s.Name == SwapMax)
	return known && s.Set >= 0 && s.Set <= maxValue && s.Was > s.Set && (s.Was <= maxValue || s.Was == size.Unlimited)
}

// File is a file of which the cache is dropped.
type File struct {
	Root       Path   `json:"root"` // the node's
	PID        int    `json:"pid"`  // the path is below its root; 0: below the node's
	Path       Path   `json:"path"`
	FS         string `json:"fs"`
	Device     uint32 `json:"device"` // SDev of st_dev
	Inode      uint64 `json:"inode"`
	Generation uint32 `json:"generation"` // 0: not known
	Sync       bool   `json:"sync"`       // write what is dirty first
	Most       int64  `json:"most"`       // bytes of it in memory: with more it is left alone; 0: any amount
}

// Order is one write, for a process that carries orders out.
type Order struct {
	Group      Group    `json:"group"`
	Bytes      int64    `json:"bytes,omitempty"` // of Reclaim
	Swappiness *int     `json:"swappiness,omitempty"`
	Squeeze    *Setting `json:"squeeze,omitempty"` // lowered, then put back
	Hold       *Setting `json:"hold,omitempty"`    // memory.swap.max during Reclaim
	Empty      bool     `json:"empty,omitempty"`   // ForceEmpty
	File       *File    `json:"file,omitempty"`
}

// Reply is what an order came to.
type Reply struct {
	Had     snapshot.Reading[int64] `json:"had"`     // of a File, bytes of its cache before
	Dropped snapshot.Reading[int64] `json:"dropped"` // and of them, those that went
	Kind    string                  `json:"kind,omitempty"`
	Text    string                  `json:"text,omitempty"`
}

// Err is the reply's error, of one of the kinds of this package.
func (r *Reply) Err() error {
	if r.Kind == "" {
		return nil
	}
	kind := kinds[r.Kind]
	if kind == nil {
		kind = ErrOther
	}
	return &fault{kind, r.Text}
}

// reply tells an error to another process.
func reply(had, dropped snapshot.Reading[int64], err error) Reply {
	r := Reply{Had: had, Dropped: dropped}
	if err == nil {
		return r
	}
	r.Kind, r.Text = "other", err.Error()
	for name, kind := range kinds {
		if errors.Is(err, kind) {
			r.Kind, r.Text = name, ""
		}
	}
	var f *fault
	if errors.As(err, &f) {
		r.Text = f.text
	}
	return r
}

// Serve carries out the orders that arrive on in, one after the other, until in ends;
// that ends one under way too. The process that calls it has to end then: what is
// blocked in the kernel ends with it.
func Serve(in io.Reader, out io.Writer) error {
	orders, failed := make(chan Order), make(chan error, 1)
	go func() {
		for dec := json.NewDecoder(in); ; {
			var o Order
			if err := dec.Decode(&o); err != nil {
				failed <- err
				return
			}
			orders <- o
		}
	}()
	replies := make(chan Reply)
	enc := json.NewEncoder(out)
	if err := enc.Encode(Reply{}); err != nil { // it is there
		return err
	}
	for {
		select {
		case o := <-orders:
			go func() { replies <- carryOut(o) }()
		case r := <-replies:
			if err := enc.Encode(r); err != nil {
				return err
			}
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// carryOut carries out one order, in this process.
func carryOut(o Order) Reply {
	none := snapshot.Reading[int64]{State: snapshot.Absent, Err: "not a file"}
	if o.File != nil {
		return reply(DropCache(*o.File))
	}
	c, err := Open(o.Group)
	if err != nil {
		return reply(none, none, err)
	}
	defer c.Close()
	switch {
	case o.Squeeze != nil && o.Squeeze.Name == High:
		err = c.SqueezeHigh(*o.Squeeze)
	case o.Squeeze != nil && o.Squeeze.Name == Limit:
		err = c.SqueezeLimit(*o.Squeeze)
	case o.Empty:
		err = c.ForceEmpty()
	case o.Hold != nil:
		err = c.HoldSwap(*o.Hold, func() error { return c.Reclaim(o.Bytes, o.Swappiness) })
	case o.Bytes > 0:
		err = c.Reclaim(o.Bytes, o.Swappiness)
	default:
		err = ErrValue
	}
	return reply(none, none, err)
}

// Outcome is what became of a setting that was to be put back.
type Outcome string

// The outcomes.
const (
	PutBack   Outcome = "restored"
	Unchanged Outcome = "unchanged" // it had its old value
	Theirs    Outcome = "left"      // somebody set another value since
	Vanished  Outcome = "gone"      // the cgroup, or the boot
	Failing   Outcome = "failed"    // still to be put back
)
