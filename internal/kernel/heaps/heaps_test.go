package heaps

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// memory is mappings with their bytes; those without are not resident.
type memory struct {
	maps  []snapshot.Mapping
	bytes [][]byte
	asked int64
}

const page = 4 << 10

func (m *memory) add(start uint64, perms, name string, inode uint64, size int, b []byte) []byte {
	m.maps = append(m.maps, snapshot.Mapping{Start: start, End: start + uint64(size), Perms: [4]byte([]byte(perms)), Name: name, Inode: inode})
	m.bytes = append(m.bytes, b)
	return b
}

func (m *memory) Read(at uint64, b []byte) bool {
	m.asked++
	for i, x := range m.maps {
		if at >= x.Start && at < x.End && at-x.Start+uint64(len(b)) <= uint64(len(m.bytes[i])) {
			copy(b, m.bytes[i][at-x.Start:])
			return true
		}
	}
	return false
}

func (m *memory) Resident(start, end uint64) (int64, bool) {
	var n int64
	for i, x := range m.maps {
		if from, to := max(start, x.Start), min(end, x.Start+uint64(len(m.bytes[i]))); from < to {
			n += int64(to - from)
		}
	}
	return n, true
}

func put(b []byte, at int, words ...uint64) {
	for i, w := range words {
		binary.LittleEndian.PutUint64(b[at+8*i:], w)
	}
}

// arena lays one out in b, which is at an address: empty bins, but for chunks in
// the first one.
func arena(b []byte, at uint64, begin int, next, top, system uint64, chunks ...uint64) {
	put(b, begin-16, top)
	for i := range bins {
		head := at + uint64(begin+i*16) - 16
		put(b, begin+i*16, head, head)
	}
	put(b, begin+binsEnd+16, next)
	put(b, begin+binsEnd+40, system, system)
	if len(chunks) > 0 {
		put(b, begin, chunks[0], chunks[len(chunks)-1])
	}
}

// chunks writes heads of free chunks of a bin into heap.
func chunks(heap []byte, at, head, size uint64, list ...uint64) {
	for i, c := range list {
		before, after := head, head
		if i > 0 {
			before = list[i-1]
		}
		if i+1 < len(list) {
			after = list[i+1]
		}
		put(heap, int(c-at), 0, size|1, after, before)
	}
}

const (
	libcAt = 0x7f0000000000
	heapAt = 0x550000000000
	moreAt = 0x7e0000000000
)

// twoArenas has 16 pages of heap, two free chunks of 3 pages in it and a top of
// one, and as much in a second arena.
func twoArenas(begin int) *memory {
	m := &memory{}
	m.add(0x400000, "r-xp", "/bin/x", 7, page, make([]byte, page))
	heap := m.add(heapAt, "rw-p", "[heap]", 0, 16*page, make([]byte, 16*page))
	more := m.add(moreAt, "rw-p", "", 0, 16*page, make([]byte, 16*page))
	data := m.add(libcAt, "rw-p", "/usr/lib/libc.so.6", 9, 2*page, make([]byte, 2*page))
	first, second := uint64(libcAt+256), uint64(moreAt+32)
	list := []uint64{heapAt + page, heapAt + 5*page}
	arena(data[256:], first, begin, second, heapAt+15*page, 16*page, list...)
	chunks(heap, heapAt, first+uint64(begin)-16, 3*page, list...)
	put(heap, 15*page, 0, page|1)
	list = []uint64{moreAt + 2*page, moreAt + 6*page}
	arena(more[32:], second, begin, first, moreAt+15*page, 16*page, list...)
	chunks(more, moreAt, second+uint64(begin)-16, 3*page, list...)
	put(more, 15*page, 0, page|1)
	return m
}

func TestGlibc(t *testing.T) {
	want := snapshot.GlibcHeap{Arenas: 2, System: 32 * page, Free: 14 * page, Idle: 8 * page}
	for _, begin := range []int{112, 104} {
		m := twoArenas(begin)
		h := Read(m, m.maps, "")
		if h.Glibc == nil || *h.Glibc != want || !slices.Equal(h.Libraries, []string{"libc.so.6"}) {
			t.Errorf("bins at %d: %+v, want %+v", begin, h.Glibc, want)
		}
	}
	for name, spoil := range map[string]func(m *memory){
		"a chunk that leads out":       func(m *memory) { put(m.bytes[1], page+16, 0xdead0000) },
		"a chunk of no size":           func(m *memory) { put(m.bytes[1], page+8, 1) },
		"a chunk without an end":       func(m *memory) { put(m.bytes[1], page+8, 1<<40) },
		"a ring without an end":        func(m *memory) { put(m.bytes[1], 5*page+16, heapAt+page) },
		"an odd chunk":                 func(m *memory) { put(m.bytes[1], page+16, heapAt+5*page+8) },
		"a chunk in the library":       func(m *memory) { put(m.bytes[1], page+16, libcAt+page) },
		"a chunk swapped out":          func(m *memory) { m.bytes[1] = m.bytes[1][:4*page] },
		"half of the heap swapped out": func(m *memory) { m.bytes[1] = m.bytes[1][:5*page+8] },
	} {
		m := twoArenas(112)
		spoil(m)
		if h := Read(m, m.maps, "").Glibc; h == nil || !h.AtLeast || h.Free > want.Free || h.Idle > want.Idle || h.Free < 3*page {
			t.Errorf("%s: %+v", name, h)
		}
	}
	// Hardly a bin is empty.
	m := twoArenas(112)
	for i := 1; i < bins-1; i++ {
		p := uint64(heapAt + 9*page + 32*i)
		put(m.bytes[3], 256+112+16*i, p, p)
	}
	if h := Read(m, m.maps, "").Glibc; h == nil || h.System != want.System || h.Arenas != 2 {
		t.Errorf("hardly a bin is empty: %+v", h)
	}
	for name, spoil := range map[string]func(m *memory){
		"no ring":               func(m *memory) { put(m.bytes[3], 256+112+binsEnd+16, 0) },
		"a ring elsewhere":      func(m *memory) { put(m.bytes[2], 32+112+binsEnd+16, moreAt+32) },
		"bins that lead out":    func(m *memory) { put(m.bytes[3], 256+112+16*60, 0xdead0000) },
		"no bins":               func(m *memory) { clear(m.bytes[3]) },
		"variables swapped out": func(m *memory) { m.bytes[3] = nil },
	} {
		m := twoArenas(112)
		spoil(m)
		if h := Read(m, m.maps, ""); h.Glibc != nil || len(h.Unknown) != 1 || h.Unknown[0].Runtime != snapshot.RuntimeGlibc {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

// More chunks than the budget allows are told to be more.
func TestGlibcBudget(t *testing.T) {
	m := &memory{}
	const n = 2 * maxSteps
	heap := m.add(heapAt, "rw-p", "[heap]", 0, n*64, make([]byte, n*64))
	data := m.add(libcAt, "rw-p", "/usr/lib/libc-2.31.so", 9, page, make([]byte, page))
	var list []uint64
	for i := range uint64(n) {
		list = append(list, heapAt+64*i)
	}
	arena(data, libcAt, 112, libcAt, 0, n*64, list...)
	chunks(heap, heapAt, libcAt+112-16, 48, list...)
	h := Read(m, m.maps, "").Glibc
	if h == nil || !h.AtLeast || h.Free < 48*min(maxSteps, 64*maxLoads)/2 || m.asked > maxLoads {
		t.Errorf("%+v, %d questions", h, m.asked)
	}
}

// controller lays out what Go has at the beginning of its gcController.
func controller(b []byte, at int, percent int32, inUse, released, free uint64) {
	put(b, 0, uint64(uint32(percent)), 1<<63-1, goLeastHeap*uint64(int64(percent))/100)
	put(b, at, inUse, released, free, 1<<30, 1<<29, inUse+free+page)
}

func TestGo(t *testing.T) {
	for version, at := range map[string]int{"go1.20.14": 248, "go1.21.0": 272, "go1.26.8": 272, "go1.25-devel": 272} {
		for _, percent := range []int32{100, 20, -1} {
			m := &memory{}
			m.add(0x400000, "r-xp", "/bin/x", 7, page, nil)
			data := m.add(0x401000, "rw-p", "/bin/x", 7, 2*page, make([]byte, 2*page))
			m.add(0xc000000000, "rw-p", "", 0, 64<<20, nil)
			controller(data[800:], at, percent, 5<<20, 3<<20, 1<<20)
			want := snapshot.GoHeap{Percent: int64(percent), Limit: 1<<63 - 1, InUse: 5 << 20, Released: 3 << 20, Free: 1 << 20}
			h := Read(m, m.maps, version)
			if h.Go == nil || *h.Go != want || h.Glibc != nil || len(h.Unknown) != 0 {
				t.Errorf("%s: %+v", version, h)
			}
			controller(data[3000:], at, 100, 5<<20, 3<<20, 1<<20)
			if h := Read(m, m.maps, version); h.Go != nil || len(h.Unknown) != 1 {
				t.Errorf("two of them: %+v", h)
			}
			clear(data)
			controller(data, at, percent, 5<<40, 0, 0)
			if h := Read(m, m.maps, version); h.Go != nil || len(h.Unknown) != 1 {
				t.Errorf("more than is mapped: %+v", h)
			}
		}
	}
	for _, version := range []string{"go1.12", "go1.99.1", "go", "devel", "go1."} {
		m := &memory{}
		m.add(0x400000, "rw-p", "/bin/x", 7, page, make([]byte, page))
		if h := Read(m, m.maps, version); h.Go != nil || len(h.Unknown) != 1 || !strings.Contains(h.Unknown[0].Why, "this version") {
			t.Errorf("%s: %+v", version, h)
		}
	}
}

// perfFile is what a JVM publishes.
func perfFile(numbers map[string]int64, texts map[string]string) []byte {
	b := make([]byte, 32<<10)
	binary.BigEndian.PutUint32(b, perfMagic)
	b[4], b[5], b[7] = 1, 2, 1
	le := binary.LittleEndian
	at, count := perfHead, 0
	entry := func(name string, kind byte, vector int, data []byte) {
		e := b[at:]
		start := (perfEntry + len(name) + 8) &^ 7
		length := (start + len(data) + 7) &^ 7
		le.PutUint32(e, uint32(length))
		le.PutUint32(e[4:], perfEntry)
		le.PutUint32(e[8:], uint32(vector))
		e[12] = kind
		le.PutUint32(e[16:], uint32(start))
		copy(e[perfEntry:], name)
		copy(e[start:], data)
		at += length
		count++
	}
	for name, n := range numbers {
		entry(name, 'J', 0, le.AppendUint64(nil, uint64(n)))
	}
	for name, s := range texts {
		entry(name, 'B', len(s)+1, append([]byte(s), 0))
	}
	le.PutUint32(b[24:], perfHead)
	le.PutUint32(b[28:], uint32(count))
	return b
}

var serial = map[string]int64{
	"sun.gc.generation.0.capacity": 30 << 20, "sun.gc.generation.1.capacity": 70 << 20,
	"sun.gc.generation.0.maxCapacity": 100 << 20, "sun.gc.generation.1.maxCapacity": 200 << 20,
	"sun.gc.generation.0.space.0.used": 10 << 20, "sun.gc.generation.1.space.0.used": 20 << 20,
	"sun.gc.metaspace.capacity": 5 << 20, "sun.os.hrt.frequency": 1,
}

func jvm(b []byte) *memory {
	m := &memory{}
	m.add(0x400000, "r-xp", "/opt/java", 3, page, nil)
	m.add(0x6c0000000, "rw-p", "", 0, 100<<20, make([]byte, 60<<20))
	m.add(0x6c0000000+100<<20, "---p", "", 0, 200<<20, nil)
	m.add(0x7f1000000000, "r-xp", "/opt/lib/libjvm.so", 4, page, nil)
	m.add(0x7f2000000000, "rw-s", "/tmp/hsperfdata_me/17", 5, len(b), b)
	return m
}

func TestJVM(t *testing.T) {
	secret := map[string]string{
		"java.property.java.vm.version": "17.0.15+6", "sun.gc.collector.1.name": "Serial full collection pauses",
		"sun.rt.javaCommand": "a.b.Main --password=hunter2", "java.rt.vmArgs": "-Dpassword=hunter2",
	}
	m := jvm(perfFile(serial, secret))
	h := Read(m, m.maps, "")
	want := snapshot.JVMHeap{
		Version: "17.0.15+6", Collector: "Serial full collection pauses", Reserved: 300 << 20, Committed: 100 << 20, Used: 30 << 20,
		Metaspace: 5 << 20, Found: true, Resident: 60 << 20,
	}
	if h.JVM == nil || *h.JVM != want {
		t.Errorf("%+v, want %+v", h.JVM, want)
	}
	regions := maps.Clone(serial)
	regions["sun.gc.generation.0.maxCapacity"], regions["sun.gc.generation.1.maxCapacity"] = 300<<20+24, 300<<20+8
	regions["sun.gc.generation.1.capacity"] = 270<<20 + 8
	secret["sun.gc.collector.1.name"], want.Collector, want.Committed = "G1 full collection pauses", "G1 full collection pauses", 300<<20
	m = jvm(perfFile(regions, secret))
	if h := Read(m, m.maps, ""); h.JVM == nil || *h.JVM != want {
		t.Errorf("%+v, want %+v", h.JVM, want)
	}
	for name, b := range map[string][]byte{
		"empty": make([]byte, page), "no counters": perfFile(nil, nil), "used above committed": perfFile(map[string]int64{
			"sun.gc.generation.0.capacity": page, "sun.gc.generation.0.maxCapacity": 9 * page, "sun.gc.generation.0.space.0.used": 2 * page,
		}, nil),
	} {
		m := jvm(b)
		if h := Read(m, m.maps, ""); h.JVM != nil || len(h.Unknown) != 1 {
			t.Errorf("%s: %+v", name, h)
		}
	}
	m = jvm(nil)
	m.maps = m.maps[:4]
	if h := Read(m, m.maps, ""); h.JVM != nil || len(h.Unknown) != 1 || !strings.Contains(h.Unknown[0].Why, "PerfData") {
		t.Errorf("%+v", h)
	}
}

func FuzzPerfData(f *testing.F) {
	f.Add(perfFile(serial, map[string]string{"java.property.java.vm.version": "17.0.15+6"})[:2<<10])
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := perfData(b)
		if err != nil && len(c.numbers)+len(c.texts) > 0 {
			t.Error(err)
		}
		if h, ok := c.heap(); ok && (h.Used < 0 || h.Used > h.Committed || h.Committed > h.Reserved) {
			t.Errorf("%+v", h)
		}
	})
}

// Whatever is in the memory of a process, reading it ends within the budget and
// makes sums that hold.
func FuzzRead(f *testing.F) {
	m := twoArenas(112)
	f.Add(m.bytes[3][:4<<10], m.bytes[1][:2*page], "go1.26.8")
	data := make([]byte, page)
	controller(data, 272, 100, 5<<20, 0, 0)
	f.Add(data, []byte{}, "go1.21")
	f.Fuzz(func(t *testing.T, data, heap []byte, version string) {
		m := &memory{}
		m.add(0x400000, "r-xp", "/bin/x", 7, page, nil)
		m.add(0x401000, "rw-p", "/bin/x", 7, page+len(data), data)
		m.add(heapAt, "rw-p", "[heap]", 0, page+len(heap), heap)
		m.add(libcAt, "rw-p", "/usr/lib/libc.so.6", 9, page+len(data), data)
		m.add(0x7f2000000000, "rw-s", "/tmp/hsperfdata_me/17", 5, page+len(data), data)
		h := Read(m, m.maps, version)
		if g := h.Glibc; g != nil && (g.Free < 0 || g.Idle < 0 || g.Free > g.System || g.Arenas < 1) {
			t.Errorf("%+v", g)
		}
		if m.asked > maxLoads {
			t.Errorf("%d questions", m.asked)
		}
	})
}

// What is resident is read in few pieces, and the rest is zero.
func TestBulk(t *testing.T) {
	for _, resident := range []int{0, 1, 5, 37, 64, 100} {
		m := &memory{}
		b := make([]byte, resident*page)
		for i := range b {
			b[i] = byte(i/page) | 1
		}
		m.add(1<<20, "rw-p", "", 0, 100*page, b)
		r := &reader{Memory: m, loads: 200}
		got := r.bulk(1<<20, 100*page-8)
		if r.loads != 100 || len(got) != 100*page-8 || !bytes.Equal(got[:min(len(b), len(got))], b[:min(len(b), len(got))]) || len(bytes.Trim(got[min(len(b), len(got)):], "\x00")) != 0 {
			t.Errorf("%d of 100 pages: %d loads left", resident, r.loads)
		}
		if m.asked > 14 {
			t.Errorf("%d of 100 pages: read in %d pieces", resident, m.asked)
		}
		if r.bulk(1<<20, 100*page) == nil || r.bulk(1<<20, page) != nil {
			t.Errorf("of 200 pages %d are left", r.loads)
		}
	}
}
