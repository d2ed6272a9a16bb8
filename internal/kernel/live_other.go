//go:build !linux

package kernel

import (
	"errors"
	"io"
)

// Live is the running node; only Linux has one.
type Live struct{ Source }

// OpenLive always fails here: captures and trees can be explained on any
// system, a running kernel only where it runs.
func OpenLive(string) (*Live, error) {
	return nil, errors.New("a running node can only be read on Linux; use --from with a capture")
}

// Socket always fails here.
func (l *Live) Socket(string) (here string, close func() error, err error) {
	return "", nil, errors.New("only on Linux")
}

// Ring is the kernel's own log; only Linux has one.
type Ring struct {
	io.Reader
	Overruns int64
}

// OpenLog always fails here.
func OpenLog(string) (*Ring, error) {
	return nil, errors.New("the log of a running kernel can only be read on Linux; parse a saved one")
}

// Close does nothing.
func (l *Ring) Close() error { return nil }

// PageSize is that of most machines.
func PageSize() int64 { return 4096 }

func widen(any) {}

// Close does nothing.
func (l *Live) Close() error { return nil }
