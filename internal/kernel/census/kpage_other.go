//go:build !linux

package census

import (
	"context"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Kpage refuses.
func Kpage(context.Context, kernel.Source, bool) (*snapshot.Census, error) { return nil, TryKpage() }

// TryKpage refuses.
func TryKpage() error {
	return &Refusal{Kind: ErrKernel, Gate: "system", Why: "a page census needs Linux"}
}

// Kcore refuses.
func Kcore(context.Context) (*snapshot.Census, error) { return nil, TryKpage() }

// TryKcore refuses.
func TryKcore() error { return TryKpage() }
