package heaps

import (
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// pools lays out an arena of a shape: so many pools that objects use, so many that
// are free, the rest never used.
func pools(b []byte, s poolShape, index, class uint64, used, free int) {
	size := 16 * (class + 1)
	for i := range used + free {
		count := uint64(0)
		if i < used {
			count = (s.pool - poolHead) / size
		}
		put(b, i*int(s.pool), count, 0, 0, 0, index|class<<32, (s.pool-size)<<32)
	}
}

// interpreter is one with three arenas in entries 0, 2 and 3 of the array; 1 is not
// used. A variable points to the third.
func interpreter(s poolShape) *memory {
	const data, heap, arenas = 0x500000, 0x10000000, 0x20000000
	m := &memory{}
	m.add(0x400000, "r-xp", "/usr/bin/python3.11", 5, page, make([]byte, page))
	put(m.add(data, "rw-p", "/usr/bin/python3.11", 5, 2*page, make([]byte, 2*page)), 4000, heap+0x40, heap+0x20+3*arenaObject)
	array := m.add(heap, "rw-p", "[heap]", 0, 4*page, make([]byte, 4*page))
	n := int(s.arena / s.pool)
	for i, x := range []struct{ entry, used, free int }{{0, n, 0}, {2, 10, 20}, {3, 1, 0}} {
		at := arenas + uint64(i)*s.arena
		touched := x.used + x.free
		pools(m.add(at, "rw-p", "", 0, int(s.arena), make([]byte, touched*int(s.pool))), s, uint64(x.entry), 3, x.used, x.free)
		put(array, 0x20+x.entry*arenaObject, at, at+uint64(touched)*s.pool, uint64(n-x.used)|uint64(n)<<32)
	}
	put(array, 0x20+4*arenaObject, 0x1234) // no entry any more
	return m
}

func TestPython(t *testing.T) {
	for _, s := range shapes {
		n := int64(s.arena / s.pool)
		used := (n + 11) * (int64(s.pool-poolHead) / 64 * 64)
		want := snapshot.PythonHeap{Arenas: 3, System: 3 * int64(s.arena), Used: used, Idle: 20 * int64(s.pool)}
		m := interpreter(s)
		if h := Read(m, m.maps, ""); h.Python == nil || *h.Python != want {
			t.Errorf("%+v: %+v, want %+v", s, h.Python, want)
		}
		// A part of the pools stands for all of them.
		r := &reader{Memory: m, maps: m.maps, steps: maxSteps, loads: 20, pages: maxResident}
		if h, _ := r.python(); h == nil || *h != want {
			t.Errorf("%+v: %+v", s, h)
		}
		// What is resident is not known of all.
		r = &reader{Memory: m, maps: m.maps, steps: maxSteps, loads: maxLoads, pages: int64(s.arena)}
		if h, _ := r.python(); h == nil || !h.AtLeast || h.Idle > want.Idle || h.Used != want.Used || h.System != want.System {
			t.Errorf("%+v: %+v", s, h)
		}
	}
}

func TestNotPython(t *testing.T) {
	for name, spoil := range map[string]func(m *memory){
		"no pointer":        func(m *memory) { clear(m.bytes[1]) },
		"no array":          func(m *memory) { clear(m.bytes[2]) },
		"another's pools":   func(m *memory) { put(m.bytes[5], 4*8, 7|3<<32) },
		"no class of sizes": func(m *memory) { put(m.bytes[5], 4*8, 3|99<<32) },
	} {
		m := interpreter(shapes[0])
		spoil(m)
		h := Read(m, m.maps, "")
		if h.Python != nil || len(h.Unknown) == 0 || h.Unknown[len(h.Unknown)-1].Runtime != snapshot.RuntimePython {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

// Whatever a process writes into its memory, the sums hold and the budget too.
func FuzzPython(f *testing.F) {
	for i, s := range shapes {
		m := interpreter(s)
		f.Add(i == 0, m.bytes[1][:64], m.bytes[2][:512], m.bytes[4][:256])
	}
	f.Fuzz(func(t *testing.T, large bool, variables, array, first []byte) {
		s := shapes[1]
		if large {
			s = shapes[0]
		}
		m := interpreter(s)
		copy(m.bytes[1], variables)
		copy(m.bytes[2], array)
		copy(m.bytes[4], first)
		h := Read(m, m.maps, "")
		if err := h.Check(); err != nil {
			t.Errorf("%v: %+v", err, h.Python)
		}
		if m.asked > maxLoads {
			t.Errorf("%d questions", m.asked)
		}
	})
}
