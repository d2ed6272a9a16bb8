package render

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// wide reports a character that takes two columns of a terminal.
func wide(r rune) bool {
	k := width.LookupRune(r).Kind()
	return k == width.EastAsianWide || k == width.EastAsianFullwidth
}

func runeColumns(r rune) int {
	switch {
	case r < utf8.RuneSelf:
		return 1
	case unicode.Is(unicode.Mn, r):
		return 0
	case wide(r):
		return 2
	}
	return 1
}

// columns is how wide s is on a terminal.
func columns(s string) (n int) {
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

// within is how many bytes of s fit in so many columns.
func within(s string, most int) int {
	n := 0
	for i, r := range s {
		if n += runeColumns(r); n > most {
			return i
		}
	}
	return len(s)
}

// cell is a text that a verb pads by the columns it takes, not by its characters.
type cell string

// Format prints for fmt.
func (c cell) Format(f fmt.State, _ rune) {
	s := string(c)
	if to, ok := f.Width(); ok {
		fill := strings.Repeat(" ", max(0, to-columns(s)))
		if f.Flag('-') {
			s += fill
		} else {
			s = fill + s
		}
	}
	_, _ = io.WriteString(f, s)
}

// layout is fmt.Sprintf with texts as cells.
func layout(format string, args ...any) string {
	cells := make([]any, len(args))
	for i, a := range args {
		if s, ok := a.(string); ok {
			a = cell(s)
		}
		cells[i] = a
	}
	return fmt.Sprintf(format, cells...)
}

// What may not begin a line, and what may not end one.
const (
	closing = "，。、；：！？）》」』】”’…—%,.;:!?)]"
	opening = "（《「『【“‘(["
)

// breakAt is where to break a line that is wider than most columns: at the last
// space, or between characters of which one is wide, as far as punctuation lets it;
// where neither is, after the last column.
func breakAt(s string, indent, most int) int {
	best, n := 0, 0
	var before rune
	for i, r := range s {
		switch {
		case n > most:
		case r == ' ':
			best = i
		case i > 0 && (wide(r) || wide(before)) && before != ' ' && !strings.ContainsRune(closing, r) && !strings.ContainsRune(opening, before):
			best = i
		}
		if n += runeColumns(r); n > most+1 {
			break
		}
		before = r
	}
	if best <= indent {
		return within(s, most)
	}
	return best
}
