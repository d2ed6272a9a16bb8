package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Bounds of what is read of an executable to find one section.
const (
	maxSections     = 4096
	maxSectionNames = 64 << 10
)

// elfSection returns the first max bytes of a section of an ELF file. What is no
// ELF file, or has no such section, is fs.ErrNotExist. It reads the header, the
// table of sections and their names, and trusts none of them.
func elfSection(r io.ReaderAt, name string, max int) ([]byte, error) {
	e, err := openELF(r)
	if err != nil {
		return nil, err
	}
	row, err := e.row(name)
	if err != nil {
		return nil, err
	}
	return e.content(r, row, max)
}

// openELF reads the table of sections and their names.
func openELF(r io.ReaderAt) (e elf, err error) {
	h := make([]byte, 64)
	if n, err := r.ReadAt(h, 0); n < len(h) || string(h[:4]) != "\x7fELF" {
		return e, notExist(err)
	}
	e = elf{order: binary.LittleEndian, wide: h[4] == 2}
	if h[5] == 2 {
		e.order = binary.BigEndian
	}
	at, entry := e.word(h, 40, 32), int(e.order.Uint16(e.pick(h, 58, 46)))
	count, strings := int(e.order.Uint16(e.pick(h, 60, 48))), int(e.order.Uint16(e.pick(h, 62, 50)))
	if least := 40 + 24*b2i(e.wide); entry < least || entry > 256 || count > maxSections || strings >= count {
		return e, fs.ErrNotExist
	}
	table := make([]byte, entry*count)
	if n, err := r.ReadAt(table, int64(at)); n < len(table) {
		return e, notExist(err)
	}
	for i := range count {
		e.rows = append(e.rows, table[i*entry:(i+1)*entry])
	}
	e.names, err = e.content(r, e.rows[strings], maxSectionNames)
	return e, err
}

// row is that of the table of a section.
func (e elf) row(name string) ([]byte, error) {
	want := append([]byte(name), 0)
	for _, row := range e.rows {
		if o := int64(e.order.Uint32(row)); o < int64(len(e.names)) && bytes.HasPrefix(e.names[o:], want) {
			return row, nil
		}
	}
	return nil, fs.ErrNotExist
}

type elf struct {
	order binary.ByteOrder
	wide  bool
	rows  [][]byte // of the table of sections
	names []byte   // of sections
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// pick is the bytes from the offset of the 64-bit or of the 32-bit form.
func (e elf) pick(b []byte, wide, narrow int) []byte {
	if e.wide {
		return b[wide:]
	}
	return b[narrow:]
}

func (e elf) word(b []byte, wide, narrow int) uint64 {
	if e.wide {
		return e.order.Uint64(b[wide:])
	}
	return uint64(e.order.Uint32(b[narrow:]))
}

// content is the beginning of the section of a row of the table.
func (e elf) content(r io.ReaderAt, row []byte, max int) ([]byte, error) {
	at, size := e.word(row, 24, 16), e.word(row, 32, 20)
	b := make([]byte, min(size, uint64(max)))
	if n, err := r.ReadAt(b, int64(at)); n < len(b) {
		return nil, fmt.Errorf("a section of %d bytes at %d: %w", size, at, notExist(err))
	}
	return b, nil
}

// notExist makes the end of the file, wherever it was met, "no such section".
func notExist(err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fs.ErrNotExist
	}
	return err
}
