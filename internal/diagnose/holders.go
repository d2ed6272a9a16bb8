package diagnose

import (
	"fmt"
	"path"

	"github.com/memwhy/memwhy/internal/mapping"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/runtimes"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// program is what a process runs: its executable, or its name where that is not known.
func program(p *snapshot.Process) string {
	if p.Exe.Value != "" {
		return path.Base(p.Exe.Value)
	}
	return p.Status.Value.Name
}

// manyAlike says that processes of one program hold most of it together, where none
// does alone.
func (f *facts) manyAlike(list []anonHolder, all int64) string {
	type group struct {
		bytes, most int64
		count       int
	}
	groups := map[string]*group{}
	for _, h := range list { // the most first
		name := program(h.process)
		g := groups[name]
		if g == nil {
			g = &group{most: h.bytes}
			groups[name] = g
		}
		g.bytes, g.count = min(g.bytes+h.bytes, maxSum), g.count+1
		if g.count > 1 && 2*g.bytes > all && name != "" && 8*h.bytes >= g.most {
			for _, rest := range list { // all of that program
				if program(rest.process) == name && rest.bytes < h.bytes {
					g.count++
				}
			}
			return f.Say("; most of it is held by %d processes of %s, each with memory of its own, the largest with %s", g.count, name, size.Text(g.most))
		}
	}
	return ""
}

// native says that most of what a process holds is not the heap that its runtime
// accounts for.
func (f *facts) native(h anonHolder) string {
	r, ok := f.outside(h)
	if !ok {
		return ""
	}
	return f.Say("; only %s of it is the heap that %s accounts for: the rest is outside of it, as direct buffers, stacks and malloc are", size.Text(r.Heap.Committed), r.Title(f.Printer))
}

// outside is the runtime of a process whose heap is less than half of what it holds.
func (f *facts) outside(h anonHolder) (runtimes.Runtime, bool) {
	for _, r := range runtimes.Of(f.Printer, h.process) {
		if r.Name == runtimes.JVM || r.Name == runtimes.Go {
			return r, r.Heap.Committed >= 0 && 2*r.Heap.Committed < h.bytes && h.bytes >= manyBytes
		}
	}
	return runtimes.Runtime{}, false
}

// copies finds what forked children still share with their parents: whoever writes to
// such a page gets a copy of its own, which is charged.
func (f *facts) copies() (words string, e []report.Evidence) {
	parents := map[int]*snapshot.Process{}
	for i := range f.s.Processes {
		parents[f.s.Processes[i].PID] = &f.s.Processes[i]
	}
	var sum, most int64
	count := 0
	var of, child *snapshot.Process
	for i := range f.s.Processes {
		p := &f.s.Processes[i]
		parent := parents[p.Status.Value.PPID]
		n := sharedAnon(p)
		if parent == nil || parent == p || program(parent) != program(p) || n < fewBytes {
			continue
		}
		sum, count = min(sum+n, maxSum), count+1
		if n > most {
			most, of, child = n, parent, p
		}
		if len(e) < 3 {
			e = append(e, report.Evidence{Statement: f.Say("%s is a fork of %s and still shares with it", f.processName(p), f.processName(parent)), Source: fmt.Sprintf("/proc/%d/smaps", p.PID), Value: fmt.Sprint(n)})
		}
	}
	if !f.matters(sum) {
		return "", nil
	}
	if count > 1 {
		return f.Say("; %d forks of %s share memory with it: what anybody writes to is copied, up to %s more", count, f.processName(of), size.Text(sum)), e
	}
	return f.Say("; %s is a fork of %s: what either writes to is copied, up to %s more", f.processName(child), f.processName(of), size.Text(sum)), e
}

// sharedAnon is the private memory of a process that another one maps too.
func sharedAnon(p *snapshot.Process) (bytes int64) {
	maps, ok := p.Smaps.Get()
	if !ok || !maps.Has.All(snapshot.SmapsAnonymous|snapshot.SmapsSharedClean|snapshot.SmapsSharedDirty) {
		return 0
	}
	for i := range maps.Maps {
		if m := &maps.Maps[i]; m.Perms[3] == 'p' {
			bytes = min(bytes+max(0, min(m.Anonymous, m.SharedClean+m.SharedDirty)), maxSum)
		}
	}
	return bytes
}

// mostly is the kind of mappings that holds most of it.
func (f *facts) mostly(h anonHolder) string {
	parts := mapping.Parts(h.process, 1)
	if len(parts) == 0 {
		return ""
	}
	return f.Say(", mostly %s", f.Of(parts[0].Name))
}
