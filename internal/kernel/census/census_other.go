//go:build !linux

package census

import (
	"context"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// Engine is nowhere but on Linux.
type Engine struct{}

// Open refuses.
func Open(context.Context) (*Engine, error) {
	return nil, &Refusal{Kind: ErrKernel, Gate: "system", Why: "a page census needs Linux"}
}

// Try refuses.
func Try(ctx context.Context) error { _, err := Open(ctx); return err }

// Scan refuses.
func (*Engine) Scan(context.Context) (*snapshot.Census, error) { _, err := Open(nil); return nil, err }

// Close does nothing.
func (*Engine) Close() error { return nil }
