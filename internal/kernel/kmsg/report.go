package kmsg

import (
	"bytes"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// report is a record under way.
type report struct {
	snapshot.LogRecord
	caller   string
	lastUsec int64
	idle     int // lines since the last one that belonged here

	head, body bool // the first line, and anything of what was full, were seen
	columns    []string
	rows       map[int64]row
	mixed      bool // rows of another table may be among these

	statStamp string // of the first line of a block of keys
	statBytes int    // of the block, while it may be one message
	statLast  string
	statMore  bool // all lines of the block have one stamp
}

type row struct{ uid, adj *int64 }

func (r *report) oom() bool {
	switch r.Kind {
	case snapshot.LogMemcgOOM, snapshot.LogGlobalOOM, snapshot.LogUnknownOOM:
		return true
	}
	return false
}

// killed says that the report proper is over: what follows are afterthoughts.
func (r *report) killed() bool { return len(r.Victims) > 0 || r.Outcome != "" }

// finish draws the conclusions that need the whole record.
func (r *report) finish(log bool) {
	r.cutStats()
	if r.mixed {
		r.Tasks = nil
	}
	if r.oom() {
		r.finishOOM(log)
	}
	for _, c := range [...]**snapshot.LogCounter{&r.Memory, &r.Swap, &r.MemorySwap, &r.Kmem} {
		if *c != nil && **c == (snapshot.LogCounter{}) {
			*c = nil
		}
	}
	r.rows = nil
}

func (r *report) finishOOM(log bool) {
	switch {
	case len(r.Victims) > 0:
		r.Outcome = "killed"
	case r.Outcome == "" && r.body && !log:
		r.Outcome = "no-victim"
	}
	if !r.head || r.Outcome == "" || !r.body && r.Kind == snapshot.LogMemcgOOM {
		r.Truncated = true
	}
	if r.Kind == snapshot.LogMemcgOOM && r.Constraint == "" {
		r.Constraint = "memcg"
	}
}

// cutStats drops the last key of a block that filled one message of the kernel
// (1024 bytes with its prefix): its value may be cut too.
func (r *report) cutStats() {
	if r.statMore && r.statBytes >= 960 && r.statBytes <= 1024 && r.statLast != "" {
		delete(r.Stats, r.statLast)
		r.Truncated = true
	}
	r.statLast = ""
}

// take gives a line to the record it belongs to, or begins one. Nil means that
// it is about something else.
func (p *Parser) take(l line) *report {
	if l.user {
		return p.runtime(l)
	}
	text := bytes.TrimLeft(l.text, " ")
	if l.more {
		return p.numbers(l, text)
	}
	if comm, rest, ok := bytes.Cut(l.text, []byte(" invoked oom-killer: gfp_mask=")); ok && l.comm(comm) {
		return p.headLine(l, comm, rest)
	}
	for _, take := range [...]func(*Parser, line, []byte) *report{
		(*Parser).verdict, (*Parser).summary, (*Parser).slub, (*Parser).pageAlloc, (*Parser).others, (*Parser).counters, (*Parser).table,
		(*Parser).names, (*Parser).numbers,
	} {
		if r := take(p, l, text); r != nil {
			return r
		}
	}
	return p.runtime(l)
}

// comm says whether a name can be that of a task: 15 bytes, as dmesg and journals
// escape them at most four times as many. What stands before the words may be
// longer where the dressing is one that is not known.
func (l line) comm(b []byte) bool {
	switch {
	case l.ring:
		return len(b) <= 15
	case l.stamp != nil:
		return len(b) <= 60
	}
	return true
}

// headLine begins a report. Others of the same moment stay under way: two CPUs
// may print at once.
func (p *Parser) headLine(l line, comm, rest []byte) *report {
	for i := 0; i < len(p.open); {
		o := p.open[i]
		late := l.usec >= 0 && o.lastUsec >= 0 && (l.usec-o.lastUsec > 1_000_000 || l.usec < o.lastUsec)
		same := o.caller == string(l.caller) && o.caller != "" || o.TriggerComm == string(comm)
		if !o.oom() || o.killed() || late || same || o.body && o.Tasks != nil && o.idle > 0 {
			p.end(o, false)
			continue
		}
		i++
	}
	r := p.begin(snapshot.LogUnknownOOM, l)
	r.head = true
	r.TriggerComm = clone(comm)
	gfp(r, rest)
	if _, v, ok := bytes.Cut(rest, []byte("nodemask=")); ok {
		r.mask(v[:max(0, bytes.Index(v, []byte(" order=")))])
	}
	return r
}

// mask keeps a nodemask; without one the kernel prints "(null)".
func (r *report) mask(b []byte) {
	if b = bytes.TrimRight(b, ", "); string(b) != "(null)" {
		r.NodeMask = clone(b)
	}
}

// gfp reads "0xd0(GFP_KERNEL), ... order=0".
func gfp(r *report, rest []byte) {
	end := bytes.IndexAny(rest, ",) ")
	if open := bytes.IndexByte(rest, '('); open >= 0 && (end < 0 || open < end) {
		if c := bytes.IndexByte(rest, ')'); c >= 0 {
			end = c + 1
		}
	}
	if end >= 0 {
		r.GFP = clone(rest[:end])
	} else {
		r.Truncated = true
	}
	if _, v, ok := bytes.Cut(rest, []byte("order=")); ok {
		if n, _, ok := signed(v); ok {
			r.Order = &n
		}
	}
}

// pick finds the record of a line among those under way: the one of the line's
// caller, else the oldest that can take it. When several could, which is unknown.
func (p *Parser) pick(l line, can func(*report) bool) (r *report, unsure bool) {
	for _, o := range p.open {
		if !can(o) || l.usec >= 0 && o.lastUsec >= 0 && l.usec-o.lastUsec > 5_000_000 {
			continue
		}
		if len(l.caller) > 0 && o.caller != "" {
			if o.caller == string(l.caller) {
				return o, false
			}
			continue
		}
		if r != nil {
			unsure = true
			o.Interleaved, r.Interleaved = true, true
			continue
		}
		r = o
	}
	return r, unsure
}

// orphan is a record whose beginning is not in the log.
func (p *Parser) orphan(l line) *report {
	r := p.begin(snapshot.LogUnknownOOM, l)
	r.Truncated = true
	return r
}
