package census

import (
	"errors"
	"slices"
	"testing"
)

const iomem = `00000000-00000fff : Reserved
00001000-0009fbff : System RAM
000a0000-000fffff : Reserved
  000f0000-000fffff : System ROM
00100000-7ffdffff : System RAM
  01000000-01ffffff : Kernel code
  02000000-02000fff : System RAM
7ffe0000-7fffffff : Reserved
100000000-17fffffff : System RAM
`

func TestIomem(t *testing.T) {
	got, err := parseIomem([]byte(iomem), 4096)
	want := []frames{{1, 0x9f}, {0x100, 0x7ffe0}, {0x100000, 0x180000}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%x, %v", got, err)
	}
	// Whole pages only, whatever their size.
	if got, _ = parseIomem([]byte(iomem), 65536); !slices.Equal(got, []frames{{1, 9}, {0x10, 0x7ffe}, {0x10000, 0x18000}}) {
		t.Errorf("%x", got)
	}
}

func TestHiddenIomem(t *testing.T) {
	got, err := parseIomem([]byte("00000000-00000000 : System RAM\n00000000-00000000 : Reserved\n"), 4096)
	if !errors.Is(err, errHidden) || got != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestZoneinfo(t *testing.T) {
	got := parseZoneinfo([]byte("Node 0, zone      DMA\n        spanned  4095\n        present  3998\n  start_pfn:           1\n" +
		"Node 0, zone  Movable\n        spanned  0\n  start_pfn:           0\n" +
		"Node 0, zone   Normal\n        spanned  1048576\n  start_pfn:           1048576\n"))
	if !slices.Equal(got, []frames{{1, 4096}, {1048576, 2097152}}) {
		t.Errorf("%v", got)
	}
}

func TestCounters(t *testing.T) {
	got := parseCounters([]byte("nr_file_pages 12\nMemTotal:  100 kB\nbad x\n\n"))
	if len(got) != 2 || got["nr_file_pages"] != 12 || got["MemTotal"] != 100 {
		t.Errorf("%v", got)
	}
}

func FuzzRanges(f *testing.F) {
	f.Add([]byte(iomem))
	f.Add([]byte("spanned 3\nstart_pfn: 18446744073709551615\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ranges, _ := parseIomem(b, 4096)
		for _, r := range append(ranges, parseZoneinfo(b)...) {
			if r.start >= r.end {
				t.Errorf("%v", r)
			}
		}
		parseCounters(b)
	})
}
