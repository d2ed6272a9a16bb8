//go:build !linux

package kernel

import "errors"

// Live is the running node; only Linux has one.
type Live struct{ Source }

// OpenLive always fails here: captures and trees can be explained on any
// system, a running kernel only where it runs.
func OpenLive(string) (*Live, error) {
	return nil, errors.New("a running node can only be read on Linux; use --from with a capture")
}

func widen(any) {}

// Close does nothing.
func (l *Live) Close() error { return nil }
