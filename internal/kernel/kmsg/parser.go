package kmsg

import (
	"bytes"
	"fmt"
	"math"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// Bounds.
const (
	MaxRecords = 1000     // kept, the newest
	maxLine    = 16 << 10 // bytes of a line that are looked at
	maxVictims = 50       // of a record
	maxStats   = 128      // keys of a record
	maxRows    = 16384    // process ids of a table that are kept to match a victim
	maxText    = 4 << 10  // bytes of a name or path
	maxOpen    = 8        // reports under way at the same time
	near       = 16       // lines after a dressed one that, undressed, continue its message
	patience   = 300      // lines that have nothing to do with a report, before it is taken as ended
)

// Parser takes a log piece by piece.
type Parser struct {
	log        snapshot.KernelLog
	open       []*report // under way, oldest first
	kept       []*report // ring of all records
	start      int64     // records ever
	tail       []byte    // a line without its end yet
	skip       bool      // of a long line, until its end
	since      int       // lines since one that had a dressing
	suppressed int64     // waits for its record
	taken      bool      // a line is part of a record; Keep resets it
	pageSize   int64
	next       [len(anchors)]int // see find
}

// New makes a parser. pageSize turns the pages of the log into bytes.
func New(pageSize int64) *Parser {
	return &Parser{since: near, pageSize: pageSize, log: snapshot.KernelLog{PageSize: pageSize}}
}

// Write takes the next piece of the log. It never fails.
func (p *Parser) Write(b []byte) (int, error) {
	n := len(b)
	p.log.Bytes += int64(n)
	p.log.Lines += int64(bytes.Count(b, newline))
	if p.skip || len(p.tail) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			p.keep(b)
			return n, nil
		}
		p.keep(b[:end])
		p.finishTail()
		b = b[end+1:]
	}
	if last := bytes.LastIndexByte(b, '\n'); last >= 0 {
		p.block(b[:last+1])
		b = b[last+1:]
	}
	p.keep(b)
	return n, nil
}

var newline = []byte("\n")

// numeric says whether a line begins like a block of keys that rsyslog joined.
func numeric(b []byte) bool {
	first, _, ok := bytes.Cut(b, []byte("#012"))
	if !ok {
		return false
	}
	_, v, ok := bytes.Cut(first, []byte(" "))
	return ok && digits(v) || bytes.HasPrefix(first, []byte("active_anon:"))
}

// keep adds to the line without an end, within its bound.
func (p *Parser) keep(b []byte) {
	if room := maxLine - len(p.tail); len(b) > room {
		b, p.skip = b[:room], true
	}
	p.tail = append(p.tail, b...)
}

func (p *Parser) finishTail() {
	if len(p.open) > 0 || interesting(p.tail) {
		p.line(p.tail, p.skip)
	} else {
		p.pass(p.tail)
	}
	p.tail, p.skip = p.tail[:0], false
}

// Close ends the log and gives what was found.
func (p *Parser) Close() snapshot.KernelLog {
	if len(p.tail) > 0 {
		p.log.Lines++
		p.finishTail()
	}
	for len(p.open) > 0 {
		p.end(p.open[0], true)
	}
	kept := min(p.start, MaxRecords)
	p.log.Records = make([]snapshot.LogRecord, 0, kept)
	for i := p.start - kept; i < p.start; i++ {
		p.log.Records = append(p.log.Records, p.kept[i%MaxRecords].LogRecord)
	}
	p.log.Omitted = p.start - kept
	return p.log
}

// block takes whole lines. While no report is under way, only lines with an
// anchor are looked at.
func (p *Parser) block(b []byte) {
	p.next = [len(anchors)]int{}
	for i := range p.next {
		p.next[i] = -1
	}
	for pos := 0; pos < len(b); {
		if len(p.open) == 0 {
			hit := p.find(b, pos)
			if hit == math.MaxInt {
				p.pass(b[pos : len(b)-1])
				return
			}
			if nl := bytes.LastIndexByte(b[pos:hit], '\n'); nl >= 0 {
				p.pass(b[pos : pos+nl])
				pos += nl + 1
			}
		}
		end := pos + bytes.IndexByte(b[pos:], '\n')
		l := b[pos:min(end, pos+maxLine)]
		if len(p.open) > 0 || interesting(l) {
			p.line(l, end-pos > maxLine)
		} else {
			p.pass(l)
		}
		pos = end + 1
	}
}

// pass skips lines, of which only matters how far the last dressed one is.
func (p *Parser) pass(b []byte) {
	for back := range near {
		nl := bytes.LastIndexByte(b, '\n')
		l := b[nl+1:]
		if _, dressed := undress(l[:min(len(l), maxLine)]); dressed {
			p.since = back
			return
		}
		if nl < 0 {
			p.since = min(p.since+back+1, near)
			return
		}
		b = b[:nl]
	}
	p.since = near
}

// anchors: every line that begins a record, or stands alone, has one of these.
var anchors = [...][]byte{
	[]byte("oom"), []byte("memory"), []byte("Killed proc"), []byte("as a result of limit of"),
	[]byte("allocation failure"), []byte("callbacks suppressed"), []byte("mkdir /sys/fs/cgroup"),
}

// find gives the first anchor at or after pos.
func (p *Parser) find(b []byte, pos int) int {
	first := math.MaxInt
	for i, a := range anchors {
		if p.next[i] < pos {
			p.next[i] = math.MaxInt
			if n := bytes.Index(b[pos:], a); n >= 0 {
				p.next[i] = pos + n
			}
		}
		first = min(first, p.next[i])
	}
	return first
}

func interesting(b []byte) bool {
	for _, a := range anchors {
		if bytes.Contains(b, a) {
			return true
		}
	}
	return false
}

// line takes one line as it stands in the log.
func (p *Parser) line(b []byte, cut bool) {
	b = bytes.TrimSuffix(b, []byte("\r"))
	l, dressed := undress(b)
	l.cut = cut
	if cut {
		p.log.LongLines++
	}
	if dressed {
		p.since = 0
	} else {
		l.more = p.since < near
		p.since = min(p.since+1, near)
	}
	if l.ring {
		l.text = unescape(l.text)
	}
	p.message(l)
}

// message takes one message. A name with a line break stays in its line; what no
// report has as it is may be a block of numbers. rsyslog writes its breaks as #012.
func (p *Parser) message(l line) {
	used := p.take(l)
	if used == nil && len(p.open) > 0 {
		text := l.text
		if !l.ring && numeric(text) {
			text = bytes.ReplaceAll(text, []byte("#012"), newline)
		}
		if bytes.Contains(text, newline) {
			l.more = true
			for part := range bytes.SplitSeq(text, newline) {
				l.text = part
				if r := p.take(l); r != nil {
					used = r
				}
			}
		}
	}
	if used != nil {
		p.taken = true
		if l.usec >= 0 {
			used.lastUsec = l.usec
		}
	}
	for i := 0; i < len(p.open); {
		r := p.open[i]
		if r == used {
			r.idle = 0
		} else if r.idle++; r.idle > patience || r.killed() && r.idle > patience/4 {
			p.end(r, false)
			continue
		}
		i++
	}
	if p.suppressed > 0 && used != nil {
		used.Suppressed += p.suppressed
		p.suppressed = 0
	}
}

// begin opens a record.
func (p *Parser) begin(kind snapshot.LogKind, l line) *report {
	if len(p.open) == maxOpen {
		p.end(p.open[0], false)
	}
	r := &report{LogRecord: snapshot.LogRecord{Kind: kind, Time: clone(l.stamp), Truncated: l.cut}, caller: clone(l.caller), lastUsec: l.usec}
	if l.usec >= 0 {
		r.UptimeMicros = &l.usec
		if l.ring {
			r.Time = fmt.Sprintf("%d.%06d", l.usec/1_000_000, l.usec%1_000_000)
		}
	}
	if len(p.kept) < MaxRecords {
		p.kept = append(p.kept, r)
	} else {
		p.kept[p.start%MaxRecords] = r
	}
	p.start++
	p.open = append(p.open, r)
	return r
}

// end closes a record. At the end of the log nobody knows what would have come.
func (p *Parser) end(r *report, log bool) {
	r.finish(log)
	for i, o := range p.open {
		if o == r {
			p.open = append(p.open[:i], p.open[i+1:]...)
			return
		}
	}
}

func clone(b []byte) string { return string(b[:min(len(b), maxText)]) }
