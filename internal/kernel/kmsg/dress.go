package kmsg

import (
	"bytes"
)

// line is a line without its dressing.
type line struct {
	text   []byte
	stamp  []byte // as printed
	usec   int64  // since boot; -1 when the stamp does not say
	caller []byte // T123 or C0, of kernels that print it
	user   bool   // not printed by the kernel
	ring   bool   // from /dev/kmsg
	more   bool   // a further line of the same message
	cut    bool   // longer than the bound
}

// undress takes off what dmesg, /dev/kmsg, a journal or syslog put around a line.
// The second result says whether there was anything.
func undress(b []byte) (line, bool) {
	l := line{text: b, usec: -1}
	if rest, ok := ringHeader(b, &l); ok {
		l.text = rest
		return l, true
	}
	some := false
	if rest, fac, ok := priority(l.text); ok {
		l.text, l.user, some = rest, fac != 0, true
	}
	if rest, ok := decoded(l.text); ok {
		l.text, some = rest, true
	}
	if rest, ok := logTime(l.text, &l); ok {
		l.text, some = rest, true
	} else if rest, ok := bytes.CutPrefix(l.text, []byte("kernel: ")); ok {
		l.text, some = rest, true
	}
	if rest, ok := bracket(l.text, &l); ok {
		l.text, some = rest, true
		if _, rest, ok := bytes.Cut(l.text, []byte(" ")); ok { // journalctl -o short-monotonic
			if rest, ok = bytes.CutPrefix(rest, []byte("kernel: ")); ok && !bytes.HasPrefix(rest, []byte("invoked oom-killer")) {
				l.text = rest
			}
		}
	}
	return l, some
}

// ringHeader: "6,123,456,-,caller=T1;text".
func ringHeader(b []byte, l *line) ([]byte, bool) {
	if len(b) == 0 || b[0] < '0' || b[0] > '9' {
		return nil, false
	}
	head, _, ok := bytes.Cut(b[:min(len(b), 160)], []byte(";"))
	if !ok {
		return nil, false
	}
	prio, rest, ok1 := number(head)
	_, rest, ok2 := number(after(rest, ","))
	stamp := after(rest, ",")
	usec, rest, ok3 := number(stamp)
	if !ok1 || !ok2 || !ok3 || len(rest) < 2 || rest[0] != ',' {
		return nil, false
	}
	l.usec, l.user, l.stamp, l.ring = usec, prio>>3 != 0, stamp[:len(stamp)-len(rest)], true
	if _, c, ok := bytes.Cut(rest, []byte(",caller=")); ok {
		l.caller = c
	}
	return b[len(head)+1:], true
}

// priority: "<6>", of a serial console or of dmesg -r.
func priority(b []byte) (rest []byte, facility int64, ok bool) {
	if len(b) < 3 || b[0] != '<' {
		return nil, 0, false
	}
	n, rest, ok := number(b[1:])
	if !ok || n > 1023 || len(rest) == 0 || rest[0] != '>' {
		return nil, 0, false
	}
	return rest[1:], n >> 3, true
}

// decoded: "kern  :warn  : ", of dmesg -x.
func decoded(b []byte) ([]byte, bool) {
	if !bytes.HasPrefix(b, []byte("kern  :")) || len(b) < 15 || b[13] != ':' {
		return nil, false
	}
	return b[15:], true
}

// bracket: "[ 123.456789] ", "[Thu Dec  7 00:05:14 2017] ", and the caller after it.
func bracket(b []byte, l *line) ([]byte, bool) {
	if len(b) < 4 || b[0] != '[' {
		return nil, false
	}
	end := bytes.IndexByte(b[:min(len(b), 48)], ']')
	if end < 0 {
		return nil, false
	}
	in := bytes.TrimLeft(b[1:end], " ")
	if usec, ok := seconds(in); ok {
		l.usec = usec
	} else if !humanTime(in) {
		return nil, false
	}
	if l.stamp == nil || l.usec >= 0 {
		l.stamp = in
	}
	rest := b[end+1:]
	if len(rest) > 3 && rest[0] == '[' {
		if end := bytes.IndexByte(rest[:min(len(rest), 16)], ']'); end > 0 {
			c := bytes.TrimLeft(rest[1:end], " ")
			if len(c) > 1 && (c[0] == 'T' || c[0] == 'C') && digits(c[1:]) {
				l.caller, rest = c, rest[end+1:]
			}
		}
	}
	if len(rest) > 0 && rest[0] == ' ' {
		rest = rest[1:]
	}
	return rest, true
}

func seconds(b []byte) (int64, bool) {
	s, rest, ok := number(b)
	if !ok || len(rest) != 7 || rest[0] != '.' || s > 1<<40 {
		return 0, false
	}
	frac, rest, ok := number(rest[1:])
	return s*1_000_000 + frac, ok && len(rest) == 0
}

// humanTime: "Thu Dec  7 00:05:14 2017", or "+0.000021" and the like of dmesg -d.
func humanTime(b []byte) bool {
	if len(b) == 24 && b[3] == ' ' && b[7] == ' ' && b[13] == ':' && b[16] == ':' {
		return true
	}
	return len(b) > 4 && (b[0] == '+' || b[0] == '<') && bytes.IndexByte(b, '.') > 0 && bytes.Trim(b, "+<>. 0123456789") == nil
}

// logTime: the time, host and tag of syslog or a journal, or the time of
// dmesg --time-format iso.
func logTime(b []byte, l *line) ([]byte, bool) {
	n := 0
	switch {
	case len(b) > 16 && b[3] == ' ' && b[6] == ' ' && b[9] == ':' && b[12] == ':' && b[15] == ' ' && alpha(b[0]) && alpha(b[1]) && alpha(b[2]):
		n = 15
	case len(b) > 20 && b[4] == '-' && b[7] == '-' && b[10] == 'T' && b[13] == ':' && b[16] == ':' && digits(b[:4]):
		if n = bytes.IndexByte(b[:min(len(b), 40)], ' '); n < 0 {
			return nil, false
		}
	default:
		return nil, false
	}
	l.stamp = b[:n]
	rest := b[n+1:]
	if n > 19 && b[19] == ',' {
		return rest, true
	}
	_, rest, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		return nil, false
	}
	tag, rest, ok := bytes.Cut(rest, []byte(": "))
	if !ok || bytes.IndexByte(tag, ' ') >= 0 {
		return nil, false
	}
	l.user = string(tag) != "kernel"
	return rest, true
}

// unescape turns the \xNN of /dev/kmsg into bytes.
func unescape(b []byte) []byte {
	i := bytes.Index(b, []byte(`\x`))
	if i < 0 {
		return b
	}
	out := append(make([]byte, 0, len(b)), b[:i]...)
	for ; i < len(b); i++ {
		if b[i] == '\\' && i+3 < len(b) && b[i+1] == 'x' {
			hi, lo := hex(b[i+2]), hex(b[i+3])
			if hi >= 0 && lo >= 0 {
				out = append(out, byte(hi<<4|lo))
				i += 3
				continue
			}
		}
		out = append(out, b[i])
	}
	return out
}

func hex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

func alpha(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func digits(b []byte) bool {
	n, rest, ok := number(b)
	return ok && len(rest) == 0 && n >= 0
}

// number reads the digits at the start of b; more than 18 are none.
func number(b []byte) (int64, []byte, bool) {
	var n int64
	i := 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		if i == 18 {
			return 0, b, false
		}
		n = n*10 + int64(b[i]-'0')
	}
	return n, b[i:], i > 0
}

// signed reads a number with an optional minus.
func signed(b []byte) (int64, []byte, bool) {
	if len(b) > 0 && b[0] == '-' {
		n, rest, ok := number(b[1:])
		return -n, rest, ok
	}
	return number(b)
}

// after drops a prefix; without it there is nothing.
func after(b []byte, prefix string) []byte {
	rest, _ := bytes.CutPrefix(b, []byte(prefix))
	if len(rest) == len(b) {
		return nil
	}
	return rest
}
