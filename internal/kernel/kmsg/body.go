package kmsg

import (
	"bytes"
	"strings"

	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// scaled turns n units into bytes; what no memory can have is nothing.
func scaled(n, unit int64) *int64 {
	if n < 0 || n > size.Unlimited/unit {
		return nil
	}
	if n *= unit; !size.Plausible(n) {
		return nil
	}
	return &n
}

// unlimitedKB and above is a limit of PAGE_COUNTER_MAX, rounded to the page, or of
// RES_COUNTER_MAX on el7: 9007199254740988 with pages of 4 KiB.
const unlimitedKB = 9007199254740991 - 64

// counters takes the lines of usage and limit.
func (p *Parser) counters(l line, text []byte) *report {
	for name, of := range map[string]func(*report) **snapshot.LogCounter{
		"memory: usage ":      func(r *report) **snapshot.LogCounter { return &r.Memory },
		"memory+swap: usage ": func(r *report) **snapshot.LogCounter { return &r.MemorySwap },
		"swap: usage ":        func(r *report) **snapshot.LogCounter { return &r.Swap },
		"kmem: usage ":        func(r *report) **snapshot.LogCounter { return &r.Kmem },
	} {
		rest, ok := bytes.CutPrefix(text, []byte(name))
		if !ok {
			continue
		}
		r, unsure := p.pick(l, func(o *report) bool { return o.oom() && !o.killed() && *of(o) == nil && o.Tasks == nil })
		if r == nil {
			return nil
		}
		r.isMemcg()
		switch {
		case strings.HasPrefix(name, "swap"):
			r.Cgroup = snapshot.V2
		case !strings.HasPrefix(name, "memory:"):
			r.Cgroup = snapshot.V1
		}
		if unsure { // whose it is cannot be told: nobody's
			for _, o := range p.open {
				if o.Interleaved && *of(o) == nil {
					*of(o) = &snapshot.LogCounter{}
				}
			}
			return r
		}
		c := &snapshot.LogCounter{}
		c.Usage = kB(text, "usage ")
		if n := value(rest, "limit "); n != nil && *n >= unlimitedKB {
			unlimited := size.Unlimited
			c.Limit = &unlimited
		} else {
			c.Limit = kB(rest, "limit ")
		}
		c.Failcnt = value(rest, "failcnt ")
		r.Truncated = r.Truncated || c.Failcnt == nil
		*of(r) = c
		return r
	}
	return nil
}

func (r *report) isMemcg() {
	r.body = true
	if r.Kind == snapshot.LogUnknownOOM {
		r.Kind = snapshot.LogMemcgOOM
	}
}

// names takes the lines that name the trigger, the cgroups and the kernel.
func (p *Parser) names(l line, text []byte) *report {
	switch {
	case bytes.HasPrefix(text, []byte("CPU: ")):
		return p.stackHead(l, text)
	case bytes.HasPrefix(text, []byte("Task in ")):
		return p.taskIn(l, text)
	case bytes.HasPrefix(text, []byte("Memory limit reached of cgroup ")):
		return p.owner(l, clone(after(text, "Memory limit reached of cgroup ")))
	case bytes.HasPrefix(text, []byte("Memory cgroup stats")):
		return p.statsOf(l, after(text, "Memory cgroup stats"))
	case bytes.HasPrefix(text, []byte("Mem-Info:")):
		r, _ := p.pick(l, func(o *report) bool { return (o.oom() || o.Kind == snapshot.LogPageAlloc) && !o.body && !o.killed() })
		if r == nil {
			return nil
		}
		r.body = true
		if r.Kind == snapshot.LogUnknownOOM {
			r.Kind = snapshot.LogGlobalOOM
		}
		return r
	}
	if i := bytes.Index(text, []byte(" cpuset=")); i > 0 && bytes.Contains(text[i:], []byte(" mems_allowed=")) {
		comm := string(text[:i])
		r, _ := p.pick(l, func(o *report) bool { return o.TriggerComm == comm && !o.body })
		return r
	}
	return nil
}

// stackHead: "CPU: 1 PID: 93 Comm: leaky Not tainted 3.10.0-1062.el7.x86_64 #1".
func (p *Parser) stackHead(l line, text []byte) *report {
	at, tainted := bytes.LastIndex(text, []byte(" Not tainted ")), 13
	if at < 0 {
		at, tainted = bytes.LastIndex(text, []byte(" Tainted: ")), 10
	}
	_, comm, ok := bytes.Cut(text[:max(at, 0)], []byte(" Comm: "))
	pid := value(text, " PID: ")
	if !ok || pid == nil {
		return nil
	}
	r, unsure := p.pick(l, func(o *report) bool {
		return o.TriggerPID == nil && o.head && !o.killed() && o.TriggerComm == string(comm)
	})
	if r == nil {
		return nil
	}
	if !unsure {
		r.TriggerPID = pid
	}
	version, _, _ := bytes.Cut(text[at+tainted:], []byte(" #"))
	r.Kernel = clone(version[bytes.LastIndexByte(version, ' ')+1:])
	return r
}

// taskIn: "Task in A killed as a result of limit of B". A cgroup may be called
// like the words in between; both paths are absolute.
func (p *Parser) taskIn(l line, text []byte) *report {
	task, owner, ok := bytes.Cut(after(text, "Task in "), []byte(" killed as a result of limit of "))
	if !ok {
		return nil
	}
	r := p.owner(l, clone(owner))
	r.TaskCgroup = clone(task)
	r.Truncated = r.Truncated || l.cut
	return r
}

// owner opens the body of a report of el7 to 4.19.
func (p *Parser) owner(l line, owner string) *report {
	r, _ := p.pick(l, func(o *report) bool { return o.oom() && !o.killed() && o.LimitOwner == "" && !o.body })
	if r == nil {
		r = p.orphan(l)
	}
	// When two are under way and neither has its body, the order of their heads is
	// the best guess; Interleaved says that it is one.
	r.isMemcg()
	r.LimitOwner = owner
	return r
}

// statsOf: ":", " for P:", " for P: k:vKB k:vKB". el7 to 4.19 print one line for
// each descendant, of that cgroup alone.
func (p *Parser) statsOf(l line, rest []byte) *report {
	path, keys := "", rest
	if v, ok := bytes.CutPrefix(rest, []byte(" for ")); ok {
		end := bytes.LastIndex(v, []byte(": cache:"))
		if end < 0 {
			end = bytes.LastIndexByte(v, ':')
		}
		if end < 0 {
			return nil
		}
		path, keys = clone(v[:end]), v[end:]
	}
	can := func(o *report) bool { return o.oom() && !o.killed() && o.Tasks == nil }
	r, unsure := p.pick(l, func(o *report) bool {
		return can(o) && path != "" && o.LimitOwner != "" && (path == o.LimitOwner || strings.HasPrefix(path, o.LimitOwner+"/") || o.LimitOwner == "/")
	})
	if r == nil {
		r, unsure = p.pick(l, func(o *report) bool { return can(o) && o.LimitOwner == "" })
	}
	if r == nil {
		r = p.orphan(l)
	}
	r.isMemcg()
	if r.LimitOwner == "" {
		r.LimitOwner = path
	}
	r.statStamp, r.statBytes, r.statMore, r.statLast = "", 0, true, ""
	if unsure {
		return r
	}
	for field := range bytes.FieldsSeq(keys) {
		k, v, ok := bytes.Cut(field, []byte(":"))
		if !ok || len(k) == 0 {
			continue
		}
		n, unit, ok := signed(v)
		if !ok || string(unit) != "KB" {
			r.Truncated = true
			continue
		}
		r.stat(string(k), scaled(n, 1024), true)
	}
	return r
}

// stat keeps a key. Lines of descendants add up; a value that cannot be an amount
// makes the key unknown.
func (r *report) stat(key string, n *int64, add bool) {
	if r.Stats == nil {
		r.Stats = map[string]int64{}
	}
	old, seen := r.Stats[key]
	switch {
	case n == nil:
		return
	case seen && add:
		if old+*n <= 1<<58 {
			r.Stats[key] = old + *n
		}
	case !seen && len(r.Stats) < maxStats:
		r.Stats[key] = *n
	}
}

// table takes the head of the table of tasks and its rows.
func (p *Parser) table(l line, text []byte) *report {
	if len(text) == 0 || text[0] != '[' {
		return nil
	}
	in, rest, ok := bytes.Cut(text[1:min(len(text), 600)], []byte("]"))
	if !ok {
		return nil
	}
	if string(bytes.TrimSpace(in)) == "pid" && bytes.Contains(rest, []byte(" tgid total_vm ")) {
		return p.tableHead(l, rest)
	}
	pid, left, ok := number(bytes.TrimLeft(in, " "))
	if !ok || len(bytes.TrimLeft(left, " ")) > 0 {
		return nil
	}
	var r *report
	for i := len(p.open) - 1; i >= 0; i-- {
		o := p.open[i]
		if o.columns == nil || o.killed() || len(l.caller) > 0 && o.caller != "" && o.caller != string(l.caller) {
			continue
		}
		if r != nil && (len(l.caller) == 0 || o.caller == "") && o.Named == nil && r.Named == nil {
			r.mixed, o.mixed, r.Interleaved, o.Interleaved = true, true, true, true
			break
		}
		if r == nil {
			r = o
		}
	}
	if r == nil {
		return nil
	}
	p.rowOf(r, pid, rest)
	return r
}

func (p *Parser) tableHead(l line, rest []byte) *report {
	r, _ := p.pick(l, func(o *report) bool { return o.oom() && !o.killed() && o.Tasks == nil })
	if r == nil {
		return nil
	}
	r.columns = strings.Fields(string(rest))
	zero := int64(0)
	r.Tasks = &snapshot.LogTasks{RSSBytes: &zero}
	r.rows = map[int64]row{}
	r.body = true
	return r
}

// rowOf reads a row by the head of its table. The name is the last column and may
// be anything.
func (p *Parser) rowOf(r *report, pid int64, rest []byte) {
	var rss *int64
	var t row
	columns := r.columns[:max(0, len(r.columns)-1)]
	for _, c := range columns {
		n, left, ok := signed(bytes.TrimLeft(rest, " "))
		if !ok {
			r.Truncated = true
			return
		}
		rest = left
		switch c {
		case "rss":
			rss = scaled(n, p.pageSize)
		case "uid":
			t.uid = &n
		case "oom_score_adj":
			t.adj = &n
		}
	}
	r.Tasks.Count++
	if len(r.rows) < maxRows {
		r.rows[pid] = t
	}
	if rss == nil || r.Tasks.RSSBytes == nil || *r.Tasks.RSSBytes+*rss > 1<<58 {
		r.Tasks.RSSBytes = nil
		return
	}
	*r.Tasks.RSSBytes += *rss
}
