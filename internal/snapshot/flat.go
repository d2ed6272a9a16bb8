package snapshot

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
)

// Parse fills s from a flat keyed file, lines of "key number". An empty file is
// an empty Stat; a file without one such line is an error.
//
// s must be the zero Stat or what an earlier Parse left. Its entries are
// overwritten in place: as long as the keys are last time's, nothing is
// allocated, and a caller who keeps Entries must keep a copy.
func (s *Stat) Parse(b []byte) error {
	if !s.refresh(b) {
		s.refill(b)
	}
	if len(s.Entries) == 0 && len(b) > 0 {
		return errors.New("expected lines of a key and a number")
	}
	return nil
}

// refresh parses a file that differs from the last one in its values only, and
// reports whether it was one. Last time's keys are distinct, so these are.
func (s *Stat) refresh(b []byte) bool {
	for i := range s.Entries {
		e := &s.Entries[i]
		k := len(e.Key)
		if len(b) <= k || b[k] != ' ' || string(b[:k]) != e.Key {
			return false
		}
		b = b[k+1:]
		var n uint64
		j := 0
		for j < len(b) && b[j]-'0' <= 9 {
			n = n*10 + uint64(b[j]-'0')
			j++
		}
		if j-1 >= 18 || j == 0 || j < len(b) && b[j] != '\n' {
			var ok bool
			if j = bytes.IndexByte(b, '\n'); j < 0 {
				j = len(b)
			}
			if e.Value, ok = Number(b[:j]); !ok {
				return false
			}
		} else {
			e.Value = int64(n)
		}
		b = b[min(j+1, len(b)):]
	}
	s.Repeated, s.Malformed = 0, 0
	return len(b) == 0
}

// refill parses anything. The keys share one copy of the file.
func (s *Stat) refill(b []byte) {
	// A line has four bytes at least: empty lines must not cost an entry each.
	lines := min(bytes.Count(b, []byte{'\n'}), len(b)/4) + 1
	*s = Stat{Entries: slices.Grow(s.Entries[:0], lines)}
	for text := string(b); text != ""; {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		key, digits, _ := strings.Cut(line, " ")
		n, ok := Number(digits)
		if !ok || key == "" {
			s.Malformed++
			continue
		}
		s.Entries = append(s.Entries, Entry{key, n})
	}
	s.Unique()
	clear(s.Entries[len(s.Entries):cap(s.Entries)])
}

// Unique drops every entry whose key stands earlier and counts it in Repeated.
func (s *Stat) Unique() {
	seen := make(map[string]struct{}, len(s.Entries))
	kept := s.Entries[:0]
	for _, e := range s.Entries {
		if seen[e.Key] = struct{}{}; len(seen) > len(kept) {
			kept = append(kept, e)
		}
	}
	s.Repeated += len(s.Entries) - len(kept)
	s.Entries = kept
}

// Number parses a decimal number as the kernel prints one. An unsigned number
// above MaxInt64 is the negative that it is in a signed 64-bit word: counters
// underflow. What does not fit in 64 bits is no number.
func Number[T ~string | ~[]byte](text T) (n int64, ok bool) {
	negative := len(text) > 0 && text[0] == '-'
	if negative {
		text = text[1:]
	}
	var u uint64
	for i := range len(text) {
		d := uint64(text[i] - '0')
		if d > 9 || u > math.MaxUint64/10 || u*10 > math.MaxUint64-d {
			return 0, false
		}
		u = u*10 + d
	}
	if negative {
		return -int64(u), len(text) > 0 && u <= 1<<63
	}
	return int64(u), len(text) > 0
}

// Unescape decodes the octal escapes (\040) with which the kernel prints names
// in tables whose columns are separated by blanks: linux fs/seq_file.c
// mangle_path. A backslash that begins no such escape stays.
func Unescape(name []byte) string {
	if bytes.IndexByte(name, '\\') < 0 {
		return string(name)
	}
	octal := func(c byte) bool { return c-'0' <= 7 }
	plain := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		if e := name[i:]; len(e) > 3 && e[0] == '\\' && e[1]-'0' <= 3 && octal(e[2]) && octal(e[3]) {
			plain = append(plain, (e[1]-'0')<<6|(e[2]-'0')<<3|(e[3]-'0'))
			i += 3
			continue
		}
		plain = append(plain, name[i])
	}
	return string(plain)
}
