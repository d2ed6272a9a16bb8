package render

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestColumns(t *testing.T) {
	for s, want := range map[string]int{"": 0, "abc": 3, "页缓存": 6, "a，b": 4, "e\u0301": 1, "\ufffd": 1} {
		if got := columns(s); got != want {
			t.Errorf("%q takes %d columns, want %d", s, got, want)
		}
	}
}

func TestBreakAt(t *testing.T) {
	for _, c := range []struct {
		s    string
		most int
		head string
	}{
		{"one two three", 8, "one two"},
		{"one two three", 7, "one two"},
		{"onetwothree", 4, "onet"},
		{"页缓存和匿名内存", 7, "页缓存"},
		{"页缓存，匿名内存", 6, "页缓"}, // no line begins with a comma
		{"页缓（存匿名内存", 6, "页缓"}, // none ends with what opens
		{"页缓存 1.5 GiB 多", 10, "页缓存 1.5"},
	} {
		got := c.s[:breakAt(c.s, 0, c.most)]
		if got != c.head {
			t.Errorf("%q breaks after %q, want %q", c.s, got, c.head)
		}
	}
}

// No line is wider than the page, and no character is cut.
func FuzzFold(f *testing.F) {
	f.Add("页缓存：读写过、未见有人使用的文件；其中大部分是 /var/log/a.log，共 2.0 GiB（88%）。再多一点字。")
	f.Add(strings.Repeat("，", 100))
	f.Fuzz(func(t *testing.T, s string) {
		p := &page{width: 20}
		p.fold("  ", 5, s)
		for line := range strings.Lines(p.String()) {
			if line = strings.TrimSuffix(line, "\n"); columns(line) > 20 || !utf8.ValidString(line) {
				t.Errorf("%q: %d columns", line, columns(line))
			}
		}
	})
}
