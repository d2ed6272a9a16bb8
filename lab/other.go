//go:build !linux

package lab

import (
	"context"
	"errors"
	"io"
)

// HolderCommand is the hidden argument of a holder, see the Linux file.
const HolderCommand = "__holds"

var errLinux = errors.New("labs need Linux")

// All is empty: every scenario needs Linux.
func All() []Scenario { return nil }

// Run needs Linux.
func Run(context.Context, string, Options, func(Truth) error) error { return errLinux }

// Hold needs Linux.
func Hold([]string, io.Reader, io.Writer) int { return 1 }

// Clean needs Linux.
func Clean(context.Context) ([]string, error) { return nil, errLinux }
