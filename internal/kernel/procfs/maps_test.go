package procfs

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const mapsText = `55d0c8a00000-55d0c8a02000 r--p 00000000 fd:00 131075                     /usr/bin/cat
55d0c8a02000-55d0c8a07000 r-xp 00002000 fd:00 131075                     /usr/bin/cat
7f1a00000000-7f1a00021000 rw-p 00000000 00:00 0
7f1a1c000000-7f1a1c400000 rw-s 00000000 00:01 4                          /memfd:a b\012c (deleted)
7f1a1d000000-7f1a1d001000 r--s 00000000 103:ffff 18446744073709551615    /x
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
`

func TestMaps(t *testing.T) {
	got, err := ParseMaps([]byte(mapsText[:]))
	want := []MappedFile{
		{0x55d0c8a00000, 0x55d0c8a02000, 253 << 20, 131075, "/usr/bin/cat"},
		{0x7f1a1c000000, 0x7f1a1c400000, 1, 4, "/memfd:a b\nc (deleted)"},
		{0x7f1a1d000000, 0x7f1a1d001000, 0x103<<20 | 0xffff, 1<<64 - 1, "/x"},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	for _, bad := range []string{"x\n", "1-2 r--p 0 0:0\n", "2-1 r--p 0 0:0 1 /x\n", "1-2 r--p 0 00 1 /x\n", "1-2 r--p 0 ffff:1 1 /x\n", "1-2 r--p 0 0:fffffff 1 /x\n"} {
		if got, err := ParseMaps([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

func TestMapsOfThisProcess(t *testing.T) {
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skip(err)
	}
	if got, err := ParseMaps(b); err != nil || len(got) == 0 || got[0].Name == "" {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzMaps(f *testing.F) {
	f.Add([]byte(mapsText))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = ParseMaps(b) })
}
