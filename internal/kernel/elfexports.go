package kernel

import (
	"bytes"
	"io"
	"io/fs"
)

const (
	maxChain  = 64 // symbols of one bucket that are compared
	symBytes  = 24 // an entry of .dynsym of a 64-bit file
	hashBytes = 16 // the head of .gnu.hash
)

// elfExports says which of some functions a 64-bit ELF file defines for others to
// call, by the hash table that the dynamic loader uses: a few small reads, however
// many symbols there are. What is only called is not in that table.
func elfExports(r io.ReaderAt, functions []string) ([]string, error) {
	e, err := openELF(r)
	if err != nil {
		return nil, err
	}
	if !e.wide {
		return nil, fs.ErrNotExist
	}
	t := exports{elf: e, r: r}
	for name, s := range map[string]*span{".gnu.hash": &t.hash, ".dynsym": &t.symbols, ".dynstr": &t.strings} {
		row, err := e.row(name)
		if err != nil {
			return nil, err
		}
		s.at, s.size = e.order.Uint64(row[24:]), e.order.Uint64(row[32:])
		if s.at >= 1<<48 || s.size >= 1<<32 {
			return nil, fs.ErrNotExist
		}
	}
	head, ok := t.bytes(t.hash, 0, hashBytes)
	if !ok {
		return nil, fs.ErrNotExist
	}
	t.buckets, t.first = uint64(e.order.Uint32(head)), uint64(e.order.Uint32(head[4:]))
	t.bucketsAt = hashBytes + 8*uint64(e.order.Uint32(head[8:]))
	if t.buckets == 0 {
		return nil, fs.ErrNotExist
	}
	var found []string
	for _, name := range functions {
		if t.has(name) {
			found = append(found, name)
		}
	}
	return found, nil
}

type span struct{ at, size uint64 }

// exports is the hash table of the symbols of a file (the layout that GNU ld
// --hash-style=gnu and every later linker write).
type exports struct {
	elf
	r                      io.ReaderAt
	hash, symbols, strings span
	buckets, first         uint64
	bucketsAt              uint64 // in hash, behind the filter
}

// bytes reads a few of a section; false beyond its end or that of the file.
func (t *exports) bytes(s span, at uint64, n int) ([]byte, bool) {
	if at > s.size || uint64(n) > s.size-at {
		return nil, false
	}
	b := make([]byte, n)
	got, _ := t.r.ReadAt(b, int64(s.at+at))
	return b, got == n
}

func (t *exports) number(at uint64) (uint64, bool) {
	b, ok := t.bytes(t.hash, at, 4)
	if !ok {
		return 0, false
	}
	return uint64(t.order.Uint32(b)), true
}

func (t *exports) has(name string) bool {
	h := uint32(5381)
	for _, c := range []byte(name) {
		h = h*33 + uint32(c)
	}
	i, ok := t.number(t.bucketsAt + 4*(uint64(h)%t.buckets))
	if !ok || i < t.first {
		return false
	}
	for range maxChain {
		link, ok := t.number(t.bucketsAt + 4*t.buckets + 4*(i-t.first))
		switch {
		case !ok:
			return false
		case link|1 == uint64(h|1) && t.called(i, name):
			return true
		case link&1 == 1: // the last of its bucket
			return false
		}
		i++
	}
	return false
}

// called reports whether a symbol has a name, and a place in the file.
func (t *exports) called(i uint64, name string) bool {
	sym, ok := t.bytes(t.symbols, i*symBytes, symBytes)
	if !ok || t.order.Uint16(sym[6:]) == 0 {
		return false
	}
	b, ok := t.bytes(t.strings, uint64(t.order.Uint32(sym)), len(name)+1)
	return ok && bytes.Equal(b, append([]byte(name), 0))
}
