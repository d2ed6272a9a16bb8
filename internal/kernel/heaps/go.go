package heaps

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// The Go runtime's gcController begins with GOGC, GOMEMLIMIT and the least heap
// that is collected, which follows from GOGC: that tells it from everything else,
// in stripped programs too. Further on are three accounts of the heap (go
// src/runtime/mgcpacer.go, since 1.19; 1.21 moved them). The offsets are those
// that DWARF has in programs of 1.20.14, 1.21.13, 1.22.12, 1.23.12, 1.24.13,
// 1.25.7 and 1.26.8.
const (
	goFirst, goMoved, goLast = 20, 21, 26

	goHeapBefore = 248
	goHeapSince  = 272
	goLength     = goHeapSince + 48

	goLeastHeap = 4 << 20 // of GOGC 100
	goPage      = 8 << 10
)

// goHeap finds the accounts of the Go runtime.
func (r *reader) goHeap(version string) (heap *snapshot.GoHeap, why string) {
	minor, ok := goMinor(version)
	if !ok || minor < goFirst || minor > goLast {
		return nil, fmt.Sprintf("how this version of Go accounts for its heap is not known, but for 1.%d to 1.%d", goFirst, goLast)
	}
	at := goHeapSince
	if minor < goMoved {
		at = goHeapBefore
	}
	var rw uint64
	for i := range r.maps {
		if writable(&r.maps[i]) {
			rw += r.maps[i].End - r.maps[i].Start
		}
	}
	twice := false
	r.variables(r.program(), func(_ uint64, b []byte) bool {
		for i := 0; i+goLength <= len(b); i += 8 {
			if !goHead(b[i:]) {
				continue
			}
			h, ok := goAccounts(b[i:], at, rw)
			if !ok {
				continue
			}
			twice = heap != nil
			heap = h
		}
		return twice
	})
	switch {
	case twice:
		return nil, words.Key("the accounts of the Go runtime were not found for sure")
	case heap == nil:
		return nil, words.Key("the accounts of the Go runtime were not found in its variables")
	}
	return heap, ""
}

// goHead reports that b may begin with a gcController. Hardly anything else may, and this
// is small enough to be asked of every word.
func goHead(b []byte) bool {
	return binary.LittleEndian.Uint32(b[4:]) == 0 && binary.LittleEndian.Uint64(b[16:]) != 0
}

// goAccounts reads b, which has the head of one, as a gcController, if it is one.
func goAccounts(b []byte, at int, rw uint64) (*snapshot.GoHeap, bool) {
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }
	percent, least := int32(uint32(word(0))), word(16)
	if percent < -1 || least != goLeastHeap*uint64(int64(percent))/100 {
		return nil, false
	}
	limit, inUse, released, free := word(8), word(at), word(at+8), word(at+16)
	allocated, freed, ready := word(at+24), word(at+32), word(at+40)
	for _, n := range []uint64{inUse, released, free} {
		if n > 1<<48 || n%goPage != 0 {
			return nil, false
		}
	}
	if limit > 1<<63-1 || inUse == 0 || allocated < freed || ready < inUse+free || ready > 1<<48 || inUse+free > rw {
		return nil, false
	}
	return &snapshot.GoHeap{
		Percent: int64(percent), Limit: int64(limit), InUse: int64(inUse), Free: int64(free), Released: int64(released),
	}, true
}

// goMinor is the 26 of go1.26.8.
func goMinor(version string) (int, bool) {
	rest, ok := strings.CutPrefix(version, "go1.")
	if !ok {
		return 0, false
	}
	end := strings.IndexFunc(rest, func(c rune) bool { return c < '0' || c > '9' })
	if end < 0 {
		end = len(rest)
	}
	n, err := strconv.Atoi(rest[:end])
	return n, err == nil
}
