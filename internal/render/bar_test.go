package render

import (
	"testing"

	"github.com/memwhy/memwhy/internal/report"
)

func TestLargestHeap(t *testing.T) {
	const mib = 1 << 20
	parts := []report.Part{{Kind: "anon", Bytes: 90 * mib}}
	for _, c := range []struct {
		runtime string
		heap    map[string]int64
		want    string
	}{
		{"glibc-malloc", map[string]int64{"idleBytes": 60 * mib, "usedBytes": 30 * mib}, "of it free in malloc 60.0 MiB"},
		{"go", map[string]int64{"idleBytes": 200 * mib}, "of it free in Go 100.0 MiB"}, // of shared memory, more than its share
		{"go", map[string]int64{"idleBytes": 10 * mib, "usedBytes": 80 * mib}, "of it mmap 90.0 MiB"},
		{"jvm", map[string]int64{"idleBytes": 10 * mib, "usedBytes": 60 * mib}, "of it JVM heap 70.0 MiB"},
		{"jvm", map[string]int64{"usedBytes": 60 * mib}, "of it mmap 90.0 MiB"},
		{"python", map[string]int64{}, "of it mmap 90.0 MiB"},
		{"jemalloc", map[string]int64{}, "of it mmap 90.0 MiB (jemalloc, not looked into)"},
		{"v8", map[string]int64{}, "of it mmap 90.0 MiB (V8, not looked into)"},
		{"unrecognised", map[string]int64{}, "of it mmap 90.0 MiB"},
	} {
		h := report.Holder{Bytes: 100 * mib, Parts: parts, Runtimes: []report.Runtime{{Name: c.runtime, Heap: c.heap}}}
		if got := (&page{}).largestPart(h); got != c.want {
			t.Errorf("%s %v: %q, want %q", c.runtime, c.heap, got, c.want)
		}
	}
}
