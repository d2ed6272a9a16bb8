package heaps

import (
	"encoding/binary"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// An arena of glibc's malloc (malloc/malloc.c, struct malloc_state) around its
// bins: 127 heads of rings of free chunks. A head that is empty points at itself,
// less the two words that a chunk has before its links. Before the bins is the top chunk, behind them a ring of all
// arenas. The bins begin 112 bytes into an arena since 2.27, 104 before.
const (
	bins     = 127
	binBytes = 16
	binsEnd  = bins * binBytes

	atTop    = -16
	atNext   = binsEnd + 16
	atSystem = binsEnd + 40

	arenaWords = (binsEnd + 56) / 8
	maxArenas  = 4096

	flags    = 7 // of a chunk's size
	keeps    = 48
	minChunk = 32
)

var binsBegin = []uint64{112, 104}

// glibc sums the arenas. Nothing is found in a program that never used malloc, or
// uses another one.
func (r *reader) glibc() (*snapshot.GlibcHeap, string) {
	file := libc
	if !r.dynamic() {
		file = r.program()
	}
	var first, begin uint64
	var ring []uint64
	r.variables(file, func(at uint64, b []byte) bool {
		first, begin, ring = r.mainArena(at, b)
		return first != 0
	})
	if first == 0 {
		if !r.dynamic() {
			return nil, "" // another C library, or none
		}
		return nil, words.Key("malloc was never used, or its arenas were not found in the variables of the C library")
	}
	h := &snapshot.GlibcHeap{Arenas: len(ring)}
	for _, a := range ring {
		if !r.arena(h, a+begin) {
			h.AtLeast = true
		}
	}
	h.Free = min(h.Free, h.System)
	h.Idle = min(h.Idle, h.Free)
	return h, ""
}

func libc(m *snapshot.Mapping) bool {
	name := base(m)
	return m.Inode != 0 && (name == "libc.so.6" || strings.HasPrefix(name, "libc-2."))
}

// dynamic reports whether glibc is a library of its own.
func (r *reader) dynamic() bool {
	for i := range r.maps {
		if libc(&r.maps[i]) {
			return true
		}
	}
	return false
}

// mainArena finds the arena among variables: heads of which one is empty at least
// (the last is never used), all others lead into plain memory, and behind them is
// a ring of arenas that leads back.
func (r *reader) mainArena(at uint64, b []byte) (first, begin uint64, ring []uint64) {
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }
	head := func(i int) bool {
		for _, w := range []uint64{word(i), word(i + 8)} {
			if w != at+uint64(i)-16 && !r.plain(w) {
				return false
			}
		}
		return true
	}
	for i := 0; i+16 <= len(b); i += 8 {
		if self := at + uint64(i) - 16; word(i) != self || word(i+8) != self {
			continue
		}
		for row := i; row >= 0 && row > i-binsEnd; row -= binBytes {
			if row+binsEnd+56 > len(b) {
				continue
			}
			for _, begin := range binsBegin {
				arena := at + uint64(row) - begin
				if next := word(row + atNext); uint64(row) < begin || next != arena && !r.plain(next) {
					continue
				}
				if !all(bins, func(k int) bool { return head(row + k*binBytes) }) {
					continue
				}
				if ring := r.ring(arena, begin); ring != nil {
					return arena, begin, ring
				}
			}
		}
	}
	return 0, 0, nil
}

func all(n int, is func(int) bool) bool {
	for i := range n {
		if !is(i) {
			return false
		}
	}
	return true
}

// plain reports whether an address is in writable memory that no file backs.
func (r *reader) plain(at uint64) bool {
	m := r.mapping(at)
	return m != nil && writable(m) && m.Inode == 0
}

// ring follows the arenas until it is back at the first.
func (r *reader) ring(first, begin uint64) []uint64 {
	ring := []uint64{first}
	for a := first; len(ring) <= maxArenas; {
		w, ok := r.words(a+begin+atNext, 1)
		if !ok {
			return nil
		}
		if a = w[0]; a == first {
			return ring
		}
		if !r.plain(a) {
			return nil
		}
		ring = append(ring, a)
	}
	return nil
}

// arena adds one, by the address of its bins. It reports whether it saw all.
func (r *reader) arena(h *snapshot.GlibcHeap, at uint64) bool {
	w, ok := r.words(at-16, arenaWords+2)
	if !ok {
		return false
	}
	system, top := w[2+atSystem/8], w[0]
	if system == 0 {
		return true // never used
	}
	if system > 1<<48 {
		return false
	}
	h.System += int64(system)
	all := true
	if size, _, _, ok := r.chunk(top); ok {
		all = r.free(h, top, size)
	}
	for i := range uint64(bins) {
		head := at + i*binBytes - 16
		before := head
		for p := w[2+2*i]; p != head; {
			size, fd, bk, ok := r.chunk(p)
			if !ok || bk != before { // the budget is spent, or the program changes it now
				all = false
				break
			}
			all = r.free(h, p, size) && all
			before, p = p, fd
		}
	}
	return all
}

// chunk reads the head of a free chunk, which lies in one mapping.
func (r *reader) chunk(at uint64) (size, fd, bk uint64, ok bool) {
	if at%16 != 0 || !r.plain(at) {
		return 0, 0, 0, false
	}
	w, ok := r.words(at, 4)
	if !ok {
		return 0, 0, 0, false
	}
	size = w[1] &^ flags
	return size, w[2], w[3], size >= minChunk && size <= r.mapping(at).End-at
}

// free adds a free chunk, and of it the whole pages that are resident.
func (r *reader) free(h *snapshot.GlibcHeap, at, size uint64) bool {
	h.Free += int64(size)
	start, end := (at+keeps+pageBytes-1)&^(pageBytes-1), (at+size)&^(pageBytes-1)
	if start >= end {
		return true
	}
	n, ok := r.resident(start, end)
	h.Idle += n
	return ok
}
