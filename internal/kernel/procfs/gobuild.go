package procfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
)

// The head of what Go's linker writes: a magic, the size of a pointer, flags.
// Since Go 1.18 the version follows it as a string behind its length.
const (
	goMagic  = "\xff Go buildinf:"
	goHead   = 32
	goInline = 2 // a flag
)

// ParseGoBuild returns the version of Go in the beginning of a .go.buildinfo
// section, or "go" where it is elsewhere: before 1.18.
//
// go src/debug/buildinfo/buildinfo.go.
func ParseGoBuild(b []byte) (string, error) {
	if len(b) < goHead || !bytes.HasPrefix(b, []byte(goMagic)) {
		return "", errors.New("expected Go build information")
	}
	if b[len(goMagic)+1]&goInline == 0 {
		return "go", nil
	}
	n, k := binary.Uvarint(b[goHead:])
	rest := b[goHead+max(k, 0):]
	if k <= 0 || n > uint64(len(rest)) {
		return "go", nil // longer than what was asked for
	}
	version, _, _ := strings.Cut(string(rest[:n]), " ")
	return version, nil
}
