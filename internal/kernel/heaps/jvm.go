package heaps

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// What HotSpot maps of /tmp/hsperfdata_USER/PID, for jstat(1) to read (jdk
// src/hotspot/share/runtime/perfMemory.hpp, perfData.cpp): a head, then entries
// of a name and a number or a string.
const (
	perfMagic   = 0xcafec0c0 // in the order of bytes of Java, big-endian
	perfHead    = 32
	perfEntry   = 20
	maxPerf     = 4 << 20
	maxEntries  = 16 << 10
	maxPerfName = 128
	perfPage    = 4 << 10
)

// jvm reads what a JVM publishes of its heap, and finds that heap.
func (r *reader) jvm() (*snapshot.JVMHeap, string) {
	for i := range r.maps {
		m := &r.maps[i]
		n := m.End - m.Start
		if m.Inode == 0 || m.Perms != perfPerms || !perfName.MatchString(m.Name) || n < perfHead || n > maxPerf {
			continue
		}
		b := r.bulk(m.Start, int(n))
		if b == nil {
			break
		}
		counters, err := perfData(b)
		if err != nil {
			return nil, err.Error()
		}
		h, ok := counters.heap()
		if !ok {
			return nil, words.Key("the JVM does not publish sizes of its heap that hold together: not with this collector, or not during a collection")
		}
		r.javaHeap(h)
		return h, ""
	}
	return nil, words.Key("the JVM publishes nothing: it is not HotSpot, or was started with -XX:-UsePerfData or -XX:+PerfDisableSharedMem")
}

// javaHeap finds the mappings of the heap: neighbours that together are as large
// as what was reserved for it.
func (r *reader) javaHeap(h *snapshot.JVMHeap) {
	for i := range r.maps {
		if !private(&r.maps[i]) {
			continue
		}
		start := r.maps[i].Start
		for j := i; j < len(r.maps) && private(&r.maps[j]) && r.maps[j].End-start <= uint64(h.Reserved); j++ {
			if j > i && r.maps[j].Start != r.maps[j-1].End {
				break
			}
			if r.maps[j].End-start == uint64(h.Reserved) {
				h.Resident, h.Found = r.resident(start, r.maps[j].End)
				return
			}
		}
	}
}

// private reports whether m may be part of a Java heap: plain memory, in use or
// reserved, or objects from the archive of classes.
func private(m *snapshot.Mapping) bool {
	return m.Perms[3] == 'p' && m.Perms[2] == '-' && (m.Inode == 0 || strings.HasSuffix(m.Name, ".jsa"))
}

// perf are the counters about memory; nothing else of the data is kept, which has
// the whole command line among it.
type perf struct {
	numbers map[string]int64
	texts   map[string]string
}

var (
	perfName  = regexp.MustCompile(`/hsperfdata_[^/]+/[0-9]{1,10}( \(deleted\))?$`)
	perfPerms = [4]byte{'r', 'w', '-', 's'}

	perfNumbers = regexp.MustCompile(`^sun\.gc\.(generation\.[01]\.(capacity|maxCapacity|space\.[0-9]\.used)|metaspace\.(capacity|used|maxCapacity))$`)
	perfTexts   = regexp.MustCompile(`^(java\.property\.java\.vm\.version|sun\.gc\.policy\.name|sun\.gc\.collector\.[01]\.name)$`)
	perfValue   = regexp.MustCompile(`^[0-9A-Za-z.+_: -]{1,64}$`)
)

// perfData parses the data, and trusts none of it.
func perfData(b []byte) (perf, error) {
	c := perf{map[string]int64{}, map[string]string{}}
	if len(b) < perfHead || binary.BigEndian.Uint32(b) != perfMagic || b[4] != 1 || b[5] != 2 {
		return c, fmt.Errorf("what the JVM publishes is in no known format")
	}
	if b[7] != 1 {
		return c, fmt.Errorf("the JVM is just starting")
	}
	le := binary.LittleEndian
	at, count := uint64(le.Uint32(b[24:])), le.Uint32(b[28:])
	for range min(count, maxEntries) {
		if at+perfEntry > uint64(len(b)) {
			break
		}
		e := b[at:]
		length, name, data := uint64(le.Uint32(e)), uint64(le.Uint32(e[4:])), uint64(le.Uint32(e[16:]))
		vector, kind := uint64(le.Uint32(e[8:])), e[12]
		if length < perfEntry || length > uint64(len(e)) || name > data || data > length {
			break
		}
		key, _, ok := strings.Cut(string(e[name:min(data, name+maxPerfName)]), "\x00")
		switch {
		case !ok:
		case kind == 'J' && vector == 0 && data+8 <= length && perfNumbers.MatchString(key):
			if n := int64(le.Uint64(e[data:])); n >= 0 && n <= 1<<48 {
				c.numbers[key] = n
			}
		case kind == 'B' && vector > 0 && perfTexts.MatchString(key):
			text, _, _ := strings.Cut(string(e[data:min(length, data+vector)]), "\x00")
			if perfValue.MatchString(text) {
				c.texts[key] = text
			}
		}
		at += length
	}
	return c, nil
}

// heap sums the generations. Collectors that move regions between them may make
// either the whole heap, and publish a few bytes more than that.
func (c perf) heap() (*snapshot.JVMHeap, bool) {
	h := &snapshot.JVMHeap{Version: c.texts["java.property.java.vm.version"], Metaspace: c.numbers["sun.gc.metaspace.capacity"], Collector: c.collector()}
	regions := strings.Contains(h.Collector, "G1") || strings.Contains(h.Collector, "Shenandoah")
	for key, n := range c.numbers {
		whole := n &^ (perfPage - 1)
		switch {
		case strings.Contains(key, ".space."):
			h.Used += n
		case !strings.HasPrefix(key, "sun.gc.generation."):
		case strings.HasSuffix(key, ".capacity"):
			h.Committed += whole
		case regions:
			h.Reserved = max(h.Reserved, whole)
		default:
			h.Reserved += whole
		}
	}
	return h, h.Reserved > 0 && h.Used <= h.Committed && h.Committed <= h.Reserved
}

func (c perf) collector() string {
	if old := c.texts["sun.gc.collector.1.name"]; old != "" {
		return old
	}
	return c.texts["sun.gc.collector.0.name"]
}
