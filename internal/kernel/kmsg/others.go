package kmsg

import (
	"bytes"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// slub takes the lines of a slab cache that could not grow.
func (p *Parser) slub(l line, text []byte) *report {
	if rest, ok := bytes.CutPrefix(text, []byte("SLUB: Unable to allocate memory on ")); ok {
		return p.slubHead(l, rest)
	}
	if rest, ok := bytes.CutPrefix(text, []byte("SLAB: Unable to allocate memory on ")); ok {
		return p.slubHead(l, rest)
	}
	if rest, ok := bytes.CutPrefix(text, []byte("cache: ")); ok {
		r, _ := p.pick(l, func(o *report) bool { return o.Slab != nil && o.Slab.Cache == "" })
		if r != nil {
			describe(r.Slab, rest)
			r.Truncated = r.Truncated || l.cut || r.Slab.BufferBytes == nil
		}
		return r
	}
	if bytes.HasPrefix(text, []byte("node ")) && bytes.Contains(text, []byte(": slabs: ")) {
		r, _ := p.pick(l, func(o *report) bool { return o.Slab != nil && o.Slab.Cache != "" })
		if r != nil {
			add(&r.Slab.Slabs, value(text, "slabs: "))
			add(&r.Slab.Objects, value(text, "objs: "))
			add(&r.Slab.Free, value(text, "free: "))
		}
		return r
	}
	return nil
}

func (p *Parser) slubHead(l line, rest []byte) *report {
	for i := 0; i < len(p.open); {
		if p.open[i].Slab != nil {
			p.end(p.open[i], false)
			continue
		}
		i++
	}
	r := p.begin(snapshot.LogSlub, l)
	r.Slab = &snapshot.LogSlab{}
	at, g, ok := bytes.Cut(rest, []byte("gfp="))
	if i := bytes.LastIndex(at, []byte("node ")); i >= 0 {
		if n, _, ok := signed(at[i+5:]); ok {
			r.Slab.Node = &n
		}
	}
	if !ok {
		r.Truncated = true
		return r
	}
	gfp(r, append(g[:len(g):len(g)], ','))
	return r
}

// describe: "dentry(4:8d2c..), object size: 192, buffer size: 192, ...". The name
// in parentheses is the directory of a cgroup and may hold anything but a slash.
func describe(s *snapshot.LogSlab, rest []byte) {
	end := bytes.LastIndex(rest, []byte(", object size: "))
	if end < 0 {
		end = len(rest)
	}
	name := rest[:end]
	s.ObjectBytes, s.BufferBytes = value(rest[end:], "object size: "), value(rest[end:], "buffer size: ")
	s.Cache = clone(name)
	open := bytes.IndexByte(name, '(')
	if open <= 0 || name[len(name)-1] != ')' {
		return
	}
	n, cgroup, ok := number(name[open+1 : len(name)-1])
	if ok && len(cgroup) > 0 && cgroup[0] == ':' {
		s.Cache, s.Index, s.Cgroup = clone(name[:open]), &n, clone(cgroup[1:])
	}
}

func add(to **int64, n *int64) {
	switch {
	case n == nil || *n < 0:
	case *to == nil:
		v := *n
		*to = &v
	case **to <= 1<<58:
		**to += *n
	}
}

// pageAlloc takes "x: page allocation failure: order:4, mode:0x2080d0" and vmalloc's.
func (p *Parser) pageAlloc(l line, text []byte) *report {
	comm, rest, ok := bytes.Cut(text, []byte(": page allocation failure: "))
	if !ok {
		comm, rest, ok = bytes.Cut(text, []byte(": vmalloc: allocation failure, allocated "))
	}
	_, mode, hasMode := bytes.Cut(rest, []byte("mode:"))
	if !ok || len(comm) > 64 {
		return nil
	}
	for i := 0; i < len(p.open); {
		if p.open[i].Kind == snapshot.LogPageAlloc {
			p.end(p.open[i], false)
			continue
		}
		i++
	}
	r := p.begin(snapshot.LogPageAlloc, l)
	r.head, r.TriggerComm = true, clone(comm)
	if hasMode {
		gfp(r, append(mode[:len(mode):len(mode)], ','))
	} else {
		r.Truncated = true
	}
	r.Order = value(rest, "order:")
	if _, v, ok := bytes.Cut(rest, []byte("nodemask=")); ok {
		if i := bytes.Index(v, []byte(",cpuset=")); i >= 0 {
			v = v[:i]
		}
		r.mask(v)
	}
	return r
}

// others takes lines that stand alone or come late.
func (p *Parser) others(l line, text []byte) *report {
	switch {
	case bytes.HasPrefix(text, []byte("oom_reaper: reaped process ")):
		return p.reaped(after(text, "oom_reaper: reaped process "))
	case bytes.HasSuffix(text, []byte(" callbacks suppressed")):
		p.rateLimit(text)
	case bytes.HasPrefix(text, []byte("Out of memory and no killable processes")):
		r := p.verdictOf(l, snapshot.LogUnknownOOM, snapshot.LogVictim{PID: -1})
		r.Outcome = "no-victim"
		return r
	case bytes.HasPrefix(text, []byte("Tasks in ")) && bytes.HasSuffix(text, []byte(" are going to be killed due to memory.oom.group set")):
		r := p.last(l)
		if r != nil && r.Cgroup == 0 {
			r.Cgroup = snapshot.V2
		}
		return r
	}
	return nil
}

// reaped marks the victim, which may have been named long ago.
func (p *Parser) reaped(rest []byte) *report {
	v, _, ok := process(rest, "), now anon-rss:")
	for i := p.start - 1; ok && i >= 0 && i >= p.start-MaxRecords && i >= p.start-32; i-- {
		r := p.kept[i%MaxRecords]
		for j := range r.Victims {
			if r.Victims[j].PID == v.PID && r.Victims[j].Comm == v.Comm {
				r.Victims[j].Reaped = true
				return r
			}
		}
	}
	return nil
}

// rateLimit: "oom_kill_process: 70 callbacks suppressed", of functions whose
// messages are read here.
func (p *Parser) rateLimit(text []byte) {
	name, rest, ok := bytes.Cut(text, []byte(": "))
	if !ok || !bytes.Contains(name, []byte("oom")) && !bytes.Contains(name, []byte("slab")) && string(name) != "warn_alloc" && string(name) != "dump_header" {
		return
	}
	if n, tail, ok := number(rest); ok && string(tail) == " callbacks suppressed" && n < 1<<40 {
		p.log.Suppressed += n
		p.suppressed = n
	}
}

// runtime takes what a container runtime or the kubelet says of a cgroup that
// could not be made.
func (p *Parser) runtime(l line) *report {
	_, rest, ok := bytes.Cut(l.text, []byte("mkdir /sys/fs/cgroup"))
	if !ok || l.more {
		return nil
	}
	for _, e := range [...]string{": cannot allocate memory", ": no space left on device"} {
		if i := bytes.Index(rest, []byte(e)); i >= 0 {
			r := p.begin(snapshot.LogMkdir, l)
			r.Path, r.Error = "/sys/fs/cgroup"+clone(rest[:i]), e[2:]
			p.end(r, false)
			return r
		}
	}
	return nil
}
