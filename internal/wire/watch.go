package wire

import (
	"time"

	"github.com/memwhy/memwhy/internal/capture"
	"github.com/memwhy/memwhy/internal/kernel"
)

// Look implements kernel.Look: it waits until then, and counts pages anew.
func (n *counting) Look(i int, after time.Duration) (kernel.Source, bool) {
	if i == 0 {
		n.began = time.Now()
	}
	select {
	case <-time.After(time.Until(n.began.Add(after))):
	case <-n.ctx.Done():
		return nil, false
	}
	if i == kernel.Last {
		n.keep.expect(false)
		return n, true
	}
	return n.anew(), true
}

// openSince opens a capture with an earlier one to compare it with.
func openSince(from, earlier string) (kernel.Source, error) {
	src, err := capture.Open(from)
	if err != nil || earlier == "" {
		return src, err
	}
	old, err := capture.Open(earlier)
	if err != nil {
		return nil, err
	}
	return capture.Since(src, old), nil
}
