package cgroupfs

import (
	"bytes"
	"errors"

	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// ParseNumber parses a file of one number. "max" is size.Unlimited.
func ParseNumber(b []byte) (int64, error) {
	b = bytes.TrimSuffix(b, []byte("\n"))
	if string(b) == "max" {
		return size.Unlimited, nil
	}
	n, ok := snapshot.Number(b)
	if !ok {
		return 0, errors.New(`expected one number or "max"`)
	}
	return n, nil
}

// noLimit is where version 1 limits stop limiting: the kernel prints 2^63-1,
// that rounded down to a page, or 2^64-1, depending on version and file.
const noLimit = 1 << 62

// ParseLimit is ParseNumber for a limit: what limits nothing is size.Unlimited.
func ParseLimit(b []byte) (int64, error) {
	n, err := ParseNumber(b)
	if err == nil && uint64(n) >= noLimit && b[0] != '-' {
		return size.Unlimited, nil
	}
	return n, err
}
