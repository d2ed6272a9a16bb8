// Package census owns one pass over the node's page frames: for every memory
// cgroup, the removed ones too, what it is charged for, by file, by kernel cache
// and by class, and in which state. It runs a BPF program that only reads kernel
// memory (census.bpf.c); one object file serves every kernel from 5.10 on, since
// all offsets come from the running kernel's BTF (layout.go).
//
// It must not know what the numbers mean for anybody, nor where a file system is
// mounted: paths are relative to the root of their file system. It believes no
// number before a page of its own came back right, and refuses a kernel that it
// cannot read, with the reason, in place of guessing.
//
// A census is no snapshot: pages move while it runs. Amounts are bytes. Names and
// paths are the kernel's bytes and may hold anything but NUL.
package census

import (
	"errors"
	"fmt"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// Why an engine is refused. errors.Is tells them apart.
var (
	ErrPrivilege = errors.New("not permitted")
	ErrKernel    = errors.New("not on this kernel")
	ErrSelfTest  = errors.New("the self-test failed")
)

// Refusal is the only error of Open and Scan besides the context's.
type Refusal struct {
	Kind error  // one of the above
	Gate string // what was being checked
	Why  string // what was expected, and what there was
	Err  error  // from below, if any
}

// Gates that are about what the kernel has.
const (
	gateTypes  = "type information"
	gateLayout = "layout"
)

// Gain is what a working census would have told.
const Gain = snapshot.CensusGain

func (r *Refusal) Error() string {
	s := fmt.Sprintf("no page census, %v: %s: %s", r.Kind, r.Gate, r.Why)
	if r.Err != nil {
		s += ": " + r.Err.Error()
	}
	told := strings.Contains(r.Why, "it would show") // of a lesser engine, which shows less
	if !told && (errors.Is(r.Kind, ErrPrivilege) || r.Gate == gateTypes || r.Gate == gateLayout) {
		s += "; it would show " + Gain
	}
	return s
}

// Unwrap gives the kind and the cause.
func (r *Refusal) Unwrap() []error {
	if r.Err == nil {
		return []error{r.Kind}
	}
	return []error{r.Kind, r.Err}
}
