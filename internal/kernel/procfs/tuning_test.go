package procfs

import (
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestParseTuning(t *testing.T) {
	if n, err := ParseSetting([]byte("60\n")); n != 60 || err != nil {
		t.Error(n, err)
	}
	if n, err := ParseKiB([]byte("67584\n")); n != 67584<<10 || err != nil {
		t.Error(n, err)
	}
	if w, err := ParseChoice([]byte("always [madvise] never\n")); w != "madvise" || err != nil {
		t.Error(w, err)
	}
	if on, err := ParseSwitch([]byte("Y\n")); !on || err != nil {
		t.Error(on, err)
	}
	if on, err := ParseSwitch([]byte("N\n")); on || err != nil {
		t.Error(on, err)
	}
	z, err := ParseMMStat([]byte("  1073741824 268435456 271581184        0 271581184      123        0        4        0\n"))
	if want := (snapshot.Zram{Stored: 1 << 30, Compressed: 1 << 28, Used: 271581184}); z != want || err != nil {
		t.Errorf("%+v, %v", z, err)
	}
	for _, junk := range []string{"", "\n", "x", "[", "[]", "a [b\nc] d", "1 2", "99999999999999999999999"} {
		_, errs := ParseMMStat([]byte(junk))
		_, errn := ParseSetting([]byte(junk))
		_, errk := ParseKiB([]byte(junk))
		_, errc := ParseChoice([]byte(junk))
		_, errb := ParseSwitch([]byte(junk))
		if errs == nil || errn == nil || errk == nil || errc == nil || errb == nil {
			t.Errorf("%q: no error: %v %v %v %v %v", junk, errs, errn, errk, errc, errb)
		}
	}
	if n, err := ParseKiB([]byte("9223372036854775807")); err == nil {
		t.Error(n)
	}
}

func FuzzParseTuning(f *testing.F) {
	f.Add([]byte("always [madvise] never\n"))
	f.Add([]byte("1 2 3 4"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if w, err := ParseChoice(b); err == nil && w == "" {
			t.Error("an empty choice")
		}
		if z, err := ParseMMStat(b); err != nil && z != (snapshot.Zram{}) {
			t.Errorf("%+v with %v", z, err)
		}
		if n, err := ParseKiB(b); err == nil && n%1024 != 0 {
			t.Error(n)
		}
	})
}
