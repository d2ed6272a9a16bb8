//go:build !linux

package knob

import (
	"errors"

	"github.com/memwhy/memwhy/internal/snapshot"
)

var errLinux = errors.New("only Linux has cgroups")

// Cgroup is an open cgroup; only Linux has one.
type Cgroup struct{}

// Open always fails here.
func Open(Group) (*Cgroup, error) { return nil, errLinux }

// Close does nothing.
func (c *Cgroup) Close() {}

// Get always fails here, as all below.
func (c *Cgroup) Get(string) (int64, error) { return 0, errLinux }

// Reclaim always fails here.
func (c *Cgroup) Reclaim(int64, *int) error { return errLinux }

// SqueezeHigh always fails here.
func (c *Cgroup) SqueezeHigh(Setting) error { return errLinux }

// SqueezeLimit always fails here.
func (c *Cgroup) SqueezeLimit(Setting) error { return errLinux }

// HoldSwap always fails here.
func (c *Cgroup) HoldSwap(Setting, func() error) error { return errLinux }

// ForceEmpty always fails here.
func (c *Cgroup) ForceEmpty() error { return errLinux }

// Restore always fails here.
func (c *Cgroup) Restore(Setting) (Outcome, error) { return Failing, errLinux }

// Droppable is false for all here.
func Droppable(string) bool { return false }

// DropCache always fails here.
func DropCache(File) (had, dropped snapshot.Reading[int64], err error) {
	none := snapshot.Reading[int64]{State: snapshot.Absent, Err: errLinux.Error()}
	return none, none, errLinux
}

// Settle always fails here.
func Settle() error { return errLinux }
