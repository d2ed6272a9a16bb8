package procfs

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// A line of an amount in smaps: a key, its colon and blanks take 16 bytes, the
// digits at least 8, then " kB\n".
const (
	smapsKey  = 16
	smapsLine = 28
)

// maxSmapsAmount is more than any machine has, and less than what would make
// sums overflow at once.
const maxSmapsAmount = 1 << 56

// smapsVMA is about how many bytes of smaps one mapping takes.
const smapsVMA = 700

// ParseSmaps parses /proc/PID/smaps. Lines with keys that are not kept are
// skipped, whatever they hold. What is neither a mapping nor a line of one is an
// error, and so is a kept line without an amount that a machine could have.
//
// All mappings of one file have the same lines: Has is that of the first one,
// and one that lacks a line of the first is an error too.
func ParseSmaps(b []byte) (snapshot.Smaps, error) {
	p := smapsParser{names: map[string]string{}}
	p.s.Maps = make([]snapshot.Mapping, 0, len(b)/smapsVMA+1)
	for len(b) > 0 {
		if b = p.known(b); len(b) == 0 {
			break
		}
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		if !p.line(line) {
			return snapshot.Smaps{}, fmt.Errorf("mapping %d: %.60q is no line of smaps", len(p.s.Maps), line)
		}
		b = rest
	}
	if !p.whole() {
		return snapshot.Smaps{}, fmt.Errorf("mapping %d, the last one, lacks lines", len(p.s.Maps))
	}
	return p.s, nil
}

type smapsParser struct {
	s     snapshot.Smaps
	seen  snapshot.SmapsKeys // of the current mapping
	rows  []smapsRow         // the lines of amounts of the first mapping
	at    int                // the next of them
	names map[string]string
	last  string
}

type smapsRow struct {
	lead [smapsKey]byte
	bit  snapshot.SmapsKeys
}

// known takes the lines that are where those of the first mapping were.
func (p *smapsParser) known(b []byte) []byte {
	if len(p.s.Maps) < 2 {
		return b
	}
	m := &p.s.Maps[len(p.s.Maps)-1]
	for ; p.at < len(p.rows) && len(b) >= smapsLine; p.at++ {
		row := &p.rows[p.at]
		if [smapsKey]byte(b) != row.lead || b[smapsLine-1] != '\n' {
			break
		}
		if row.bit != 0 {
			n, ok := kilobytes(b[smapsKey : smapsLine-1])
			if !ok {
				break
			}
			*field(m, row.bit) = n
			p.seen |= row.bit
		}
		b = b[smapsLine:]
	}
	return b
}

// kilobytes parses eight places for digits and " kB".
func kilobytes(b []byte) (n int64, ok bool) {
	i := 0
	for i < 7 && b[i] == ' ' {
		i++
	}
	for ; i < 8; i++ {
		d := b[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = n*10 + int64(d)
	}
	return n << 10, b[8] == ' ' && b[9] == 'k' && b[10] == 'B'
}

func (p *smapsParser) line(line []byte) bool {
	if len(line) == 0 {
		return false
	}
	if c := line[0]; c-'0' <= 9 || c >= 'a' && c <= 'f' {
		return p.header(line)
	}
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || len(p.s.Maps) == 0 {
		return false
	}
	bit := smapsBit(line[:colon])
	if len(p.s.Maps) == 1 && len(line) == smapsLine-1 && colon < smapsKey {
		p.rows = append(p.rows, smapsRow{[smapsKey]byte(line), bit})
	}
	if bit == 0 {
		return true
	}
	n, kB, ok := amount(string(line[colon+1:]))
	if !ok || !kB || n < 0 || n > maxSmapsAmount || p.seen&bit != 0 {
		return false
	}
	p.seen |= bit
	*field(&p.s.Maps[len(p.s.Maps)-1], bit) = n
	return true
}

// whole reports whether the current mapping has the lines of the first one.
func (p *smapsParser) whole() bool {
	if len(p.s.Maps) == 1 {
		p.s.Has = p.seen
	}
	return len(p.s.Maps) == 0 || p.seen == p.s.Has
}

// header parses `start-end perms offset device inode   name`.
func (p *smapsParser) header(line []byte) bool {
	var m snapshot.Mapping
	ok := p.whole()
	if !ok {
		return false
	}
	if m.Start, line, ok = hexadecimal(line, '-'); !ok {
		return false
	}
	if m.End, line, ok = hexadecimal(line, ' '); !ok || m.End < m.Start || len(line) < 5 || line[4] != ' ' {
		return false
	}
	m.Perms = [4]byte(line)
	line = line[5:]
	for range 2 { // offset, device
		i := bytes.IndexByte(line, ' ')
		if i <= 0 {
			return false
		}
		line = line[i+1:]
	}
	digits := len(line)
	if i := bytes.IndexByte(line, ' '); i >= 0 {
		digits = i
	}
	inode, ok := snapshot.Number(line[:digits])
	if !ok {
		return false
	}
	m.Inode = uint64(inode)
	m.Name = p.name(bytes.TrimLeft(line[digits:], " "))
	p.s.Maps = append(p.s.Maps, m)
	p.seen, p.at = 0, 0
	return true
}

// name keeps one copy of each. A newline in it is printed as \012, a backslash
// as itself: linux fs/proc/task_mmu.c show_map_vma.
func (p *smapsParser) name(b []byte) string {
	if string(b) == p.last {
		return p.last
	}
	s, ok := p.names[string(b)]
	if !ok {
		s = strings.ReplaceAll(string(b), `\012`, "\n")
		p.names[string(b)] = s
	}
	if s == string(b) {
		p.last = s
	}
	return s
}

func hexadecimal(b []byte, stop byte) (n uint64, rest []byte, ok bool) {
	for i, c := range b {
		var d byte
		switch {
		case c-'0' <= 9:
			d = c - '0'
		case c >= 'a' && c <= 'f':
			d = c - 'a' + 10
		default:
			return n, b[i+1:], c == stop && i > 0 && i <= 16
		}
		n = n<<4 | uint64(d)
	}
	return 0, nil, false
}

func smapsBit(key []byte) snapshot.SmapsKeys {
	switch string(key) {
	case "Rss":
		return snapshot.SmapsRss
	case "Pss":
		return snapshot.SmapsPss
	case "Shared_Clean":
		return snapshot.SmapsSharedClean
	case "Shared_Dirty":
		return snapshot.SmapsSharedDirty
	case "Private_Clean":
		return snapshot.SmapsPrivateClean
	case "Private_Dirty":
		return snapshot.SmapsPrivateDirty
	case "Anonymous":
		return snapshot.SmapsAnonymous
	case "AnonHugePages":
		return snapshot.SmapsAnonHuge
	case "LazyFree":
		return snapshot.SmapsLazyFree
	case "Swap":
		return snapshot.SmapsSwap
	case "SwapPss":
		return snapshot.SmapsSwapPss
	}
	return 0
}

func field(m *snapshot.Mapping, bit snapshot.SmapsKeys) *int64 {
	switch bit {
	case snapshot.SmapsRss:
		return &m.Rss
	case snapshot.SmapsPss:
		return &m.Pss
	case snapshot.SmapsSharedClean:
		return &m.SharedClean
	case snapshot.SmapsSharedDirty:
		return &m.SharedDirty
	case snapshot.SmapsPrivateClean:
		return &m.PrivateClean
	case snapshot.SmapsPrivateDirty:
		return &m.PrivateDirty
	case snapshot.SmapsAnonymous:
		return &m.Anonymous
	case snapshot.SmapsAnonHuge:
		return &m.AnonHuge
	case snapshot.SmapsLazyFree:
		return &m.LazyFree
	case snapshot.SmapsSwap:
		return &m.Swap
	}
	return &m.SwapPss
}

// CountMaps counts the mappings of /proc/PID/maps.
func CountMaps(b []byte) (int, error) {
	if len(b) > 0 && b[len(b)-1] != '\n' {
		return 0, fmt.Errorf("no newline at its end")
	}
	return bytes.Count(b, []byte("\n")), nil
}

// MappedFiles gives the paths of the files in /proc/PID/maps, each once. The
// kernel escapes newlines in them and nothing else (linux fs/seq_file.c
// seq_file_path): a name that holds that escape cannot be told from one.
func MappedFiles(b []byte) ([]string, error) {
	var files []string
	seen := map[string]bool{}
	last := ""
	for line := range bytes.Lines(b) {
		at := bytes.IndexByte(line, '/')
		if at < 0 || line[len(line)-1] != '\n' {
			continue
		}
		name := line[at : len(line)-1]
		if string(name) == last {
			continue
		}
		if last = string(name); !seen[last] {
			seen[last] = true
			files = append(files, strings.ReplaceAll(last, `\012`, "\n"))
		}
	}
	return files, nil
}

// ParseSmapsRollup parses /proc/PID/smaps_rollup: the lines of smaps, summed, in
// bytes.
func ParseSmapsRollup(b []byte) (snapshot.Stat, error) {
	var s snapshot.Stat
	head, lines, _ := bytes.Cut(b, []byte("\n"))
	if !bytes.HasSuffix(head, []byte("[rollup]")) {
		return s, fmt.Errorf("%.60q does not begin a rollup", head)
	}
	s.Entries = make([]snapshot.Entry, 0, len(rollupKeys))
	next, unusual := 0, false // the key that should come, whether another one did
	for len(lines) > 0 {
		var line []byte
		line, lines, _ = bytes.Cut(lines, []byte("\n"))
		key, value, ok := bytes.Cut(line, []byte(":"))
		n, kB, isNumber := amount(string(value))
		if !ok || len(key) == 0 || !isNumber || !kB {
			s.Malformed++
			continue
		}
		i := next
		for i < len(rollupKeys) && rollupKeys[i] != string(key) {
			i++
		}
		if i == len(rollupKeys) { // unknown, or out of order, or a second time
			unusual = true
			s.Entries = append(s.Entries, snapshot.Entry{Key: string(key), Value: n})
			continue
		}
		next = i + 1
		s.Entries = append(s.Entries, snapshot.Entry{Key: rollupKeys[i], Value: n})
	}
	if unusual {
		s.Unique()
	}
	return s, nil
}

// rollupKeys cost no string each, and are in the order in which the kernel
// prints them.
var rollupKeys = []string{
	"Rss", "Pss", "Pss_Dirty", "Pss_Anon", "Pss_File", "Pss_Shmem", "Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty",
	"Referenced", "Anonymous", "KSM", "LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb", "Private_Hugetlb",
	"Swap", "SwapPss", "Locked",
}
