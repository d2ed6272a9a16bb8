package procfs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestParseSwaps(t *testing.T) {
	for name, want := range map[string][]snapshot.Swap{
		"3.10.0-1062.el7.x86_64": nil,
		"6.18":                   nil,
		"6.1-made": {
			{Name: "/dev/dm-1", Kind: "partition", Bytes: 8388604 << 10, Used: 123904 << 10, Priority: -2},
			{Name: "/var/swap file", Kind: "file", Bytes: 1048572 << 10, Priority: 10},
			{Name: "/swapfile (deleted)", Kind: "file", Bytes: 99999996 << 10, Used: 4 << 10, Priority: -3},
		},
	} {
		got, err := ParseSwaps(fixture(t, "swaps", name))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestParseSwapsOddRows(t *testing.T) {
	got, err := ParseSwaps([]byte("Filename\n/a b\xff \\134 file 1 2 -3"))
	want := []snapshot.Swap{{Name: "/a b\xff \\", Kind: "file", Bytes: 1024, Used: 2048, Priority: -3}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, junk := range []string{"", "\n", "/a file 1 2 3\n", "Filename\n\n", "Filename\nfile 1 2 3\n", "Filename\n/a file 1 2\n", "Filename\n/a file x 2 3\n", "Filename\n/a file 9223372036854775807 2 3\n", "Filename\n/a file 1 2 2147483648\n"} {
		if got, err := ParseSwaps([]byte(junk)); err == nil {
			t.Errorf("%q: %v, want an error", junk, got)
		}
	}
}

func FuzzParseSwaps(f *testing.F) {
	seed(f, "swaps")
	f.Fuzz(func(t *testing.T, b []byte) {
		swaps, err := ParseSwaps(b)
		if err != nil && swaps != nil || len(swaps) > strings.Count(string(b), "\n") {
			t.Fatalf("%d rows, %v", len(swaps), err)
		}
		for _, s := range swaps {
			if s.Name == "" || s.Bytes%1024 != 0 || s.Used%1024 != 0 || strings.ContainsAny(s.Kind, " \t\n") {
				t.Errorf("%+v", s)
			}
		}
	})
}
