// Package printable owns showing names that a container chose: file names,
// process names, cgroup names, in whatever bytes. What it returns cannot move a
// cursor, start a line or hide behind its neighbours. It must not know where a
// name came from or where it goes.
package printable

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Text makes s safe for one line of a terminal or a log: control and format
// characters and bytes that are not UTF-8 become \n, \x1b, \u202e and so on. A
// backslash stays as it is, since unit names are full of them.
func Text(s string) string {
	if clean(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		s = s[n:]
	}
	return b.String()
}

func clean(s string) bool {
	for _, r := range s {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			return false
		}
	}
	return true
}

// UTF8 makes s a valid string for JSON: bytes that are not UTF-8 become \xNN.
// changed says so; the exact bytes then have to travel beside it.
func UTF8(s string) (text string, changed bool) {
	if utf8.ValidString(s) {
		return s, false
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[0])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String(), true
}

// Fit shortens s to at most width characters, keeping both ends: the beginning
// of a path says where, the end says what.
func Fit(s string, width int) string {
	r := []rune(s)
	if len(r) <= width {
		return s
	}
	if width < 8 {
		return string(r[:max(width, 0)])
	}
	head := (width - 2) / 2
	return string(r[:head]) + ".." + string(r[len(r)-(width-2-head):])
}
