package kmsg

import (
	"bytes"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// verdict takes "<prefix>: Kill process ..." and "Killed process ...". The first
// names a thread, the second is right after it and names the victim: pid and name
// differ, so they belong together by being neighbours.
func (p *Parser) verdict(l line, text []byte) *report {
	kind := snapshot.LogUnknownOOM
	text = bytes.TrimPrefix(text, []byte("Kernel panic - not syncing: "))
	rest, ok := bytes.CutPrefix(text, []byte("Memory cgroup out of memory: "))
	if ok {
		kind = snapshot.LogMemcgOOM
	} else if rest, ok = bytes.CutPrefix(text, []byte("Out of memory: ")); ok {
		kind = snapshot.LogGlobalOOM
	} else if rest, ok = bytes.CutPrefix(text, []byte("Out of memory (oom_kill_allocating_task): ")); ok {
		kind = snapshot.LogGlobalOOM
	} else {
		rest = text
	}
	if named, ok := bytes.CutPrefix(rest, []byte("Kill process ")); ok {
		return p.named(l, kind, named)
	}
	if victim, ok := bytes.CutPrefix(rest, []byte("Killed process ")); ok {
		return p.kill(l, kind, victim)
	}
	if kind == snapshot.LogUnknownOOM {
		return nil
	}
	return p.noVerdict(l, kind, rest)
}

func (p *Parser) named(l line, kind snapshot.LogKind, rest []byte) *report {
	v, tail, ok := process(rest, ") score ", ") sharing same memory")
	if !ok {
		return nil
	}
	if bytes.HasPrefix(tail, []byte(") sharing")) { // another process of the same memory, after the victim
		if r := p.last(l); r != nil {
			r.victim(v)
			return r
		}
		return nil
	}
	r := p.verdictOf(l, kind, v)
	r.Named = &v
	return r
}

func (p *Parser) kill(l line, kind snapshot.LogKind, rest []byte) *report {
	v, tail, ok := process(rest, ") total-vm:", "), UID ")
	if !ok {
		return nil
	}
	v.TotalVM = kB(tail, "total-vm:")
	v.AnonRSS = kB(tail, "anon-rss:")
	v.FileRSS = kB(tail, "file-rss:")
	v.ShmemRSS = kB(tail, "shmem-rss:")
	v.PageTables = kB(tail, "pgtables:")
	v.Adj = value(tail, "oom_score_adj:")
	if v.UID = value(tail, "UID:"); v.UID == nil {
		v.UID = value(tail, "UID ")
	}
	var r *report
	if kind == snapshot.LogUnknownOOM { // the second of two lines
		named := func(o *report) bool { return o.oom() && o.Named != nil && len(o.Victims) == 0 }
		if r, _ = p.pick(l, func(o *report) bool { return named(o) && o.Named.PID == v.PID }); r == nil {
			r, _ = p.pick(l, func(o *report) bool { return named(o) && o.idle == 0 })
		}
	}
	if r == nil {
		r = p.verdictOf(l, kind, v)
	}
	if t, ok := r.rows[v.PID]; ok {
		if v.Adj == nil {
			v.Adj = t.adj
		}
		if v.UID == nil {
			v.UID = t.uid
		}
	}
	r.Truncated = r.Truncated || v.TotalVM == nil || v.AnonRSS == nil || v.FileRSS == nil
	if r.summaryPID() == v.PID {
		v.Memcg = r.TaskCgroup
		r.Named = nil
	}
	r.victim(v)
	return r
}

// summaryPID is the pid of the line "oom-kill:", which names the victim before
// its verdict does.
func (r *report) summaryPID() int64 {
	if r.Named == nil || r.Named.Memcg == "" {
		return -1
	}
	return r.Named.PID
}

func (r *report) victim(v snapshot.LogVictim) {
	for i := range r.Victims { // a group kill names the first one twice
		if r.Victims[i].PID == v.PID && r.Victims[i].Comm == v.Comm {
			return
		}
	}
	if len(r.Victims) == maxVictims {
		r.MoreVictims++
		return
	}
	r.Victims = append(r.Victims, v)
}

// noVerdict: "Out of memory and ..." has no colon; what is left here are a victim
// that dies anyway, and panics.
func (p *Parser) noVerdict(l line, kind snapshot.LogKind, rest []byte) *report {
	outcome, pid := "", int64(-1)
	switch {
	case bytes.HasPrefix(rest, []byte("OOM victim ")) && bytes.HasSuffix(rest, []byte("is already exiting. Skip killing the task")):
		outcome = "already-exiting"
		if n, _, ok := number(after(rest, "OOM victim ")); ok {
			pid = n
		}
	case bytes.HasSuffix(rest, []byte("panic_on_oom is enabled")), bytes.HasPrefix(rest, []byte("System is deadlocked")):
		outcome = "panic"
	default:
		return nil
	}
	r := p.verdictOf(l, kind, snapshot.LogVictim{PID: pid})
	r.Outcome = outcome
	return r
}

// verdictOf finds the report that a verdict ends: the one whose summary or table
// has the process, else the oldest without a verdict. A further verdict after the
// summary of one is a group kill.
func (p *Parser) verdictOf(l line, kind snapshot.LogKind, v snapshot.LogVictim) *report {
	fits := func(o *report) bool {
		return o.oom() && o.Outcome == "" && (kind == snapshot.LogUnknownOOM || o.Kind == snapshot.LogUnknownOOM || o.Kind == kind)
	}
	r, _ := p.pick(l, func(o *report) bool {
		_, listed := o.rows[v.PID]
		return fits(o) && len(o.Victims) == 0 && (listed && !o.mixed || o.summaryPID() == v.PID)
	})
	if r == nil { // of several, the one that its own process began
		r, _ = p.pick(l, func(o *report) bool { return fits(o) && o.mixed && len(o.Victims) == 0 && o.TriggerComm == v.Comm })
	}
	if r == nil {
		r, _ = p.pick(l, func(o *report) bool { return fits(o) && len(o.Victims) == 0 && o.summaryPID() < 0 })
	}
	if r == nil {
		r, _ = p.pick(l, func(o *report) bool { return fits(o) && len(o.Victims) > 0 && o.idle == 0 })
	}
	if r == nil {
		r = p.orphan(l)
	}
	if kind != snapshot.LogUnknownOOM {
		r.Kind = kind
	}
	return r
}

// last is the newest report with a victim.
func (p *Parser) last(l line) *report {
	for i := len(p.open) - 1; i >= 0; i-- {
		if o := p.open[i]; o.oom() && len(o.Victims) > 0 && (o.caller == "" || len(l.caller) == 0 || o.caller == string(l.caller)) {
			return o
		}
	}
	return nil
}

// process reads "81 (appserver) ..." up to the last of the ends: the name in
// front of them may hold anything.
func process(b []byte, ends ...string) (v snapshot.LogVictim, tail []byte, ok bool) {
	pid, rest, ok := number(b)
	if !ok || !bytes.HasPrefix(rest, []byte(" (")) {
		return v, nil, false
	}
	rest = rest[2:]
	end := -1
	for _, e := range ends {
		if i := bytes.LastIndex(rest, []byte(e)); i >= 0 && (end < 0 || i < end) {
			end = i
		}
	}
	if end < 0 {
		return v, nil, false
	}
	return snapshot.LogVictim{PID: pid, Comm: clone(rest[:end])}, rest[end:], true
}

// summary takes "oom-kill:constraint=...", whose fields are cut out at the known
// keys, from the end where what stands before may be anything.
func (p *Parser) summary(l line, text []byte) *report {
	rest, ok := bytes.CutPrefix(text, []byte("oom-kill:constraint=CONSTRAINT_"))
	if !ok {
		return nil
	}
	name, fields, _ := bytes.Cut(rest, []byte(","))
	owner, whole := "", false
	kind := snapshot.LogUnknownOOM
	var task []byte
	if _, v, ok := bytes.Cut(fields, []byte(",oom_memcg=")); ok {
		kind = snapshot.LogMemcgOOM
		var o []byte
		o, task, whole = bytes.Cut(v, []byte(",task_memcg="))
		if whole { // else the path may be cut
			owner = clone(o)
		}
	} else if _, v, ok := bytes.Cut(fields, []byte(",global_oom,task_memcg=")); ok {
		kind, task, whole = snapshot.LogGlobalOOM, v, true
	}
	free := func(o *report) bool {
		return o.oom() && !o.killed() && o.summaryPID() < 0 && (o.Kind == snapshot.LogUnknownOOM || kind == snapshot.LogUnknownOOM || o.Kind == kind)
	}
	r, _ := p.pick(l, func(o *report) bool { return free(o) && owner != "" && o.LimitOwner == owner })
	if r == nil {
		r, _ = p.pick(l, func(o *report) bool { return free(o) && (owner == "" || o.LimitOwner == "") })
	}
	if r == nil {
		r = p.orphan(l)
	}
	r.Constraint = constraint(string(name))
	if kind != snapshot.LogUnknownOOM {
		r.Kind = kind
	}
	if owner != "" {
		r.LimitOwner = owner
	}
	if mask, ok := bytes.CutPrefix(fields, []byte("nodemask=")); ok && r.NodeMask == "" {
		if i := bytes.Index(mask, []byte(",cpuset=")); i >= 0 {
			r.mask(mask[:i])
		}
	}
	memcg, v, ok := summaryTask(task)
	if !whole || !ok {
		r.Truncated = true
		return r
	}
	r.TaskCgroup, v.Memcg = memcg, memcg
	r.Named = &v
	return r
}

// summaryTask reads "<path>,task=<comm>,pid=<n>,uid=<n>". A path may hold any of
// these words; a comm has 15 bytes.
func summaryTask(b []byte) (memcg string, v snapshot.LogVictim, ok bool) {
	at := bytes.LastIndex(b, []byte(",pid="))
	if at < 0 {
		return "", v, false
	}
	pid, rest, ok := number(b[at+5:])
	uid := value(rest, ",uid=")
	if !ok || uid == nil {
		return "", v, false
	}
	for i := max(0, at-21); i < at; i++ {
		if comm, ok := bytes.CutPrefix(b[i:at], []byte(",task=")); ok {
			return clone(b[:i]), snapshot.LogVictim{PID: pid, Comm: clone(comm), UID: uid}, true
		}
	}
	return "", v, false
}

func constraint(s string) string {
	switch s {
	case "NONE", "CPUSET", "MEMCG":
		return strings.ToLower(s)
	case "MEMORY_POLICY":
		return "mempolicy"
	}
	return ""
}

// kB reads "key:123kB".
func kB(b []byte, key string) *int64 {
	_, v, ok := bytes.Cut(b, []byte(key))
	if !ok {
		return nil
	}
	n, rest, ok := number(v)
	if !ok || len(rest) < 2 || rest[0]|0x20 != 'k' || rest[1]|0x20 != 'b' {
		return nil
	}
	return scaled(n, 1024)
}

// value reads the number behind a key.
func value(b []byte, key string) *int64 {
	_, v, ok := bytes.Cut(b, []byte(key))
	if !ok {
		return nil
	}
	n, _, ok := signed(v)
	if !ok {
		return nil
	}
	return &n
}
