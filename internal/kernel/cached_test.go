package kernel

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func someCached() CachedFiles {
	return CachedFiles{
		Files: []CachedFile{
			{Device: 8<<20 | 1, Inode: 1<<64 - 1, Links: 2, Mode: 0o100644, Size: 5, Magic: 0xef53, Bytes: 4096, Dirty: -1, Writeback: -1, Path: "a/b \n\xff\x1b"},
			{Path: ""},
		},
		Entries: 9, Refused: 1, Elsewhere: 2, TooLarge: 3, Mincore: 4, Stopped: "out of its share of time",
	}
}

func TestCachedAnswer(t *testing.T) {
	want := someCached()
	got, err := ParseCached(want.encode(nil))
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	whole := string(want.encode(nil))
	for name, bad := range map[string]string{
		"empty": "", "no end": whole[:len(whole)-1], "two ends": whole + "s 1 2 3 4 5 \x00", "kind": "x 1\x00", "short": "f 1 2\x00", "word": "s 1 2 3 4 x \x00",
	} {
		if c, err := ParseCached([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func FuzzParseCached(f *testing.F) {
	some := someCached()
	f.Add(some.encode(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCached(b)
		if err != nil {
			return
		}
		again, err := ParseCached(c.encode(nil))
		if d := cmp.Diff(c, again); err != nil || d != "" {
			t.Errorf("%v\n%s", err, d)
		}
	})
}
