package printable

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		`system-foo\x2dbar.slice`: `system-foo\x2dbar.slice`,
		"a\nb":                    `a\nb`,
		"\x1b[31mred":             `\x1b[31mred`,
		"\xff\xfe":                `\xff\xfe`,
		"\u202egnp.exe":           `\u202egnp.exe`,
		"\u009b31m":               `\u009b31m`,
		"内存":                      "内存",
	} {
		if got := Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestUTF8(t *testing.T) {
	if got, changed := UTF8("a\xffb\n"); got != "a\\xffb\n" || !changed {
		t.Errorf("got %q, %v", got, changed)
	}
	if got, changed := UTF8("内存\x1b"); got != "内存\x1b" || changed {
		t.Errorf("got %q, %v", got, changed)
	}
}

func TestFitKeepsBothEnds(t *testing.T) {
	if got := Fit("/kubepods/burstable/pod/container", 20); got != "/kubepods..container" || len(got) != 20 {
		t.Errorf("got %q", got)
	}
	if got := Fit("short", 20); got != "short" {
		t.Errorf("got %q", got)
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\x1b]0;x\a\xc0\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		got := Text(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }) {
			t.Errorf("Text(%q) = %q", s, got)
		}
		if u, _ := UTF8(s); !utf8.ValidString(u) {
			t.Errorf("UTF8(%q) = %q", s, u)
		}
	})
}
