package heaps

import (
	"encoding/binary"
	"regexp"
	"slices"

	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// CPython has small objects in pools of one size, and pools in arenas that it maps
// (Objects/obmalloc.c; since 3.12 Include/internal/pycore_obmalloc.h). An array of
// arena objects says where they are; it is found by any pointer into it, since the
// first pool of an arena says which entry is its own.
const (
	arenaObject = 48 // address, pool_address, nfreepools and ntotalpools, freepools, nextarena, prevarena
	poolHead    = 48 // count, freeblock, nextpool, prevpool, arenaindex and szidx, nextoffset and maxnextoffset
	sizeClasses = 64

	maxPythonArenas = 64 << 10
	maxCandidates   = 1 << 16
	maxUnusedAtOnce = 4 << 10 // entries: the array doubles, so half of it may be unused
	maxPools        = 4 << 10 // whose heads are read
)

// shapes are the sizes of pools and arenas: since 3.10, and before.
var shapes = []poolShape{{16 << 10, 1 << 20}, {4 << 10, 256 << 10}}

type poolShape struct{ pool, arena uint64 }

var pythonFile = regexp.MustCompile(`^(libpython3\.|python3(\.|$))`)

// pythonArena is an entry of the array.
type pythonArena struct {
	address, carved uint64 // carved: up to where pools were ever used
	free, total     uint64 // pools
}

func (a *pythonArena) first(s poolShape) uint64 { return (a.address + s.pool - 1) &^ (s.pool - 1) }

// python sums the arenas of small objects. What is larger than 512 bytes malloc has.
func (r *reader) python() (*snapshot.PythonHeap, string) {
	var pointers []uint64
	r.variables(func(m *snapshot.Mapping) bool { return pythonFile.MatchString(base(m)) }, func(_ uint64, b []byte) bool {
		for i := 0; i+8 <= len(b) && len(pointers) < maxCandidates; i += 8 {
			if w := binary.LittleEndian.Uint64(b[i:]); w%16 == 0 && r.plain(w) {
				pointers = append(pointers, w)
			}
		}
		return false
	})
	slices.Sort(pointers) // a page is read once
	var h *snapshot.PythonHeap
	for _, p := range slices.Compact(pointers) {
		for _, s := range shapes {
			a, ok := r.pythonArena(p, s)
			if !ok || a.carved <= a.first(s) {
				continue
			}
			index, _, ok := r.pool(a.first(s), s)
			if at := p - arenaObject*index; ok && index < maxPythonArenas && at <= p {
				if more := r.pythonArenas(at, s); more != nil && (h == nil || more.Arenas > h.Arenas) {
					h = more
				}
			}
		}
		if h != nil {
			return h, ""
		}
	}
	if r.loads <= 0 || r.steps <= 0 {
		return nil, words.Key("what may be read of one process was used up before its arenas were found")
	}
	return nil, words.Key("no arenas of small objects were found in the variables of Python: PYTHONMALLOC, or a build without them")
}

// pythonArena reads an entry that fits in every respect.
func (r *reader) pythonArena(at uint64, s poolShape) (pythonArena, bool) {
	w, ok := r.words(at, arenaObject/8)
	if !ok {
		return pythonArena{}, false
	}
	a := pythonArena{w[0], w[1], w[2] & (1<<32 - 1), w[2] >> 32}
	inside := func(p uint64) bool { return p >= a.address && p <= a.address+s.arena && p%s.pool == 0 }
	m := r.mapping(a.address)
	total := s.arena / s.pool
	if a.address%s.pool != 0 {
		total--
	}
	return a, a.address != 0 && a.address%pageBytes == 0 && m != nil && r.plain(a.address) && m.End-a.address >= s.arena &&
		inside(a.carved) && a.total == total && a.free <= total && (w[3] == 0 || inside(w[3]))
}

// pool reads the head of a pool that was used at some time: which arena it says it
// is of, and what of it objects use. One that is free has none.
func (r *reader) pool(at uint64, s poolShape) (arena, used uint64, ok bool) {
	w, ok := r.words(at, poolHead/8)
	if !ok {
		return 0, 0, false
	}
	const half = 1<<32 - 1
	count, class, last := w[0]&half, w[4]>>32, w[5]>>32
	if class >= sizeClasses || last >= s.pool {
		return 0, 0, false
	}
	size := s.pool - last // of an object, as many bytes as its class says by 16, before 3.7 by 8
	if size != 16*(class+1) && size != 8*(class+1) {
		return 0, 0, false
	}
	return w[4] & half, count * size, count*size <= s.pool-poolHead
}

// pythonArenas sums an array, as far as its entries fit; nil when none does.
func (r *reader) pythonArenas(at uint64, s poolShape) *snapshot.PythonHeap {
	h := &snapshot.PythonHeap{}
	var arenas []pythonArena
	unused := 0
	for i := uint64(0); i < maxPythonArenas && unused < maxUnusedAtOnce; i++ {
		entry := at + i*arenaObject
		a, ok := r.pythonArena(entry, s)
		if !ok {
			w, read := r.words(entry, 1)
			if !read || w[0] != 0 {
				break // behind its end
			}
			unused++
			continue
		}
		if a.carved > a.first(s) {
			if index, _, ok := r.pool(a.first(s), s); ok && index != i {
				break
			}
		}
		unused = 0
		arenas = append(arenas, a)
		used := int64((a.total - a.free) * s.pool)
		resident, ok := r.resident(a.address, a.address+s.arena)
		h.Idle += max(0, resident-used) // of a pool in use a few pages may not be there yet
		h.AtLeast = h.AtLeast || !ok
	}
	if len(arenas) == 0 {
		return nil
	}
	h.Arenas, h.System = len(arenas), int64(len(arenas))*int64(s.arena)
	h.Used = min(r.used(arenas, s), h.System)
	h.Idle = min(h.Idle, h.System-h.Used)
	return h
}

// used is how much objects fill of the pools in use, in all arenas: of each some pools
// that are evenly spread are looked at.
func (r *reader) used(arenas []pythonArena, s poolShape) int64 {
	step := uint64((len(arenas)*int(s.arena/s.pool) + maxPools - 1) / maxPools)
	var sum, known, unknown float64 // bytes: of objects, of the pools in use where they are, of other pools in use
	for i := range arenas {
		a := &arenas[i]
		var pools, bytes uint64
		for p := a.first(s) + uint64(i)%step*s.pool; p < a.carved; p += step * s.pool {
			if _, used, ok := r.pool(p, s); ok && used > 0 {
				pools, bytes = pools+1, bytes+used
			}
		}
		inUse := float64((a.total - a.free) * s.pool)
		if pools == 0 {
			unknown += inUse
			continue
		}
		sum += inUse * float64(bytes) / float64(pools*s.pool)
		known += inUse
	}
	if known == 0 {
		return int64(unknown)
	}
	return int64(sum + unknown*sum/known)
}
