package procfs

import (
	"strings"
	"testing"
)

func TestParseGoBuild(t *testing.T) {
	head := func(flags byte) string { return goMagic + "\x08" + string(flags) + strings.Repeat("\x00", 16) }
	for name, c := range map[string]struct{ bytes, want string }{
		"inline":             {head(2) + "\x08go1.26.8\x30", "go1.26.8"},
		"with an experiment": {head(2) + "\x10go1.26.8 X:synct", "go1.26.8"},
		"cut":                {head(2) + "\x50devel go1.27-", "go"},
		"nothing behind":     {head(2), "go"},
		"a length too long":  {head(2) + strings.Repeat("\xff", 11), "go"},
		"before 1.18":        {head(0) + "\x08\x01", "go"},
		"none":               {strings.Repeat("\x00", 64), ""},
		"short":              {goMagic, ""},
	} {
		got, err := ParseGoBuild([]byte(c.bytes))
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func FuzzParseGoBuild(f *testing.F) {
	f.Add([]byte(goMagic + "\x08\x02" + strings.Repeat("\x00", 16) + "\x08go1.26.8"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := ParseGoBuild(b); len(v) > len(b) || err != nil && v != "" {
			t.Errorf("%q, %v", v, err)
		}
	})
}
