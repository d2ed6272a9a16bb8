// Package oom owns what a record of a kernel log means: whose limit was hit, what
// was full of what, what of it nothing could have freed, in fields and in one
// sentence. It is pure. It must not know how logs are written nor where they are.
package oom

import (
	"strings"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Report tells what a log holds. With a redactor the names of processes and
// cgroups are hidden. Containers have the names that named knows, which may be
// nil.
func Report(p words.Printer, log *snapshot.KernelLog, hide *identity.Redactor, named *snapshot.Names) *report.OOM {
	r := &report.OOM{
		Schema: report.OOMSchema, Lang: p.Lang(), Records: make([]report.OOMRecord, 0, len(log.Records)),
		Omitted: log.Omitted, Suppressed: log.Suppressed, Overruns: log.Overruns, LongLines: log.LongLines,
		BytesRead: log.Bytes, LinesRead: log.Lines, PageSizeAssumed: log.PageSize,
	}
	n := names{p, hide, named}
	for i := range log.Records {
		rec := record(&log.Records[i], n)
		rec.Advisories = advisories(p, log, i)
		r.Records = append(r.Records, rec)
	}
	return r
}

// names makes names fit for the message.
type names struct {
	words.Printer
	hide  *identity.Redactor
	named *snapshot.Names
}

func (n names) comm(s string) string {
	if n.hide != nil {
		return n.hide.Name(s)
	}
	s, _ = printable.UTF8(s)
	return s
}

func (n names) path(s string) string {
	if n.hide != nil {
		return n.hide.Path(s)
	}
	s, _ = printable.UTF8(s)
	return s
}

// title is what a person calls the container or the pod of a cgroup; empty when
// nobody told. Units and the like are called by their path.
func (n names) title(path string) string {
	w := identity.Of(path, n.named)
	if w.Title == "" || w.Title == w.Name || path == "" {
		return ""
	}
	if n.hide == nil {
		return plain(w.Title)
	}
	parts := strings.Split(w.Title, "/")
	for i, p := range parts {
		parts[i] = n.hide.Name(p)
	}
	return strings.Join(parts, "/")
}

func plain(s string) string {
	s, _ = printable.UTF8(s)
	return s
}

func record(l *snapshot.LogRecord, n names) report.OOMRecord {
	r := report.OOMRecord{
		Kind: string(l.Kind), Time: plain(l.Time), Kernel: plain(l.Kernel),
		Trigger: report.OOMTrigger{PID: l.TriggerPID, Comm: n.comm(l.TriggerComm)},
		GFP:     plain(l.GFP), Order: l.Order, NodeMask: plain(l.NodeMask), Constraint: l.Constraint,
		LimitOwner: n.path(l.LimitOwner), TaskCgroup: n.path(l.TaskCgroup),
		LimitOwnerName: n.title(l.LimitOwner), TaskName: n.title(l.TaskCgroup),
		Memory: counter(l.Memory), Swap: counter(l.Swap), MemorySwap: counter(l.MemorySwap), Kmem: counter(l.Kmem),
		Stats: map[string]int64{}, Victims: make([]report.OOMVictim, 0, len(l.Victims)), MoreVictims: l.MoreVictims,
		Outcome: l.Outcome, Path: n.path(l.Path), Error: l.Error,
		SuppressedFirst: l.Suppressed, Truncated: l.Truncated, Interleaved: l.Interleaved,
	}
	for k, v := range l.Stats {
		r.Stats[plain(k)] = v
	}
	if l.UptimeMicros != nil {
		s := float64(*l.UptimeMicros) / 1e6
		r.UptimeSeconds = &s
	}
	if l.Cgroup != 0 {
		r.CgroupVersion = l.Cgroup.String()
	}
	if r.Memory != nil {
		r.UsageBytes, r.LimitBytes = r.Memory.UsageBytes, r.Memory.LimitBytes
	}
	if l.Tasks != nil {
		r.Tasks = &report.OOMTasks{Count: l.Tasks.Count, RSSBytes: l.Tasks.RSSBytes}
	}
	people(&r, l, n)
	if l.Slab != nil {
		r.Slab = slab(l.Slab, n)
	}
	r.Whose, r.LimitKind, r.Full = whose(l), limitKind(l), full(l)
	r.Summary = sentence(n.Printer, &r, l)
	return r
}

func people(r *report.OOMRecord, l *snapshot.LogRecord, n names) {
	for _, v := range l.Victims {
		r.Victims = append(r.Victims, report.OOMVictim{
			PID: v.PID, Comm: n.comm(v.Comm), Memcg: n.path(v.Memcg), AnonRSSBytes: v.AnonRSS, FileRSSBytes: v.FileRSS,
			ShmemRSSBytes: v.ShmemRSS, TotalVMBytes: v.TotalVM, PageTablesBytes: v.PageTables, OOMScoreAdj: v.Adj, UID: v.UID, Reaped: v.Reaped,
		})
	}
	if l.Named != nil && (len(l.Victims) == 0 || l.Named.PID != l.Victims[0].PID) {
		r.Named = &report.OOMNamed{PID: l.Named.PID, Comm: n.comm(l.Named.Comm)}
	}
}

func slab(s *snapshot.LogSlab, n names) *report.OOMSlab {
	return &report.OOMSlab{
		Cache: plain(s.Cache), CgroupIndex: s.Index, Cgroup: n.path(s.Cgroup), Node: s.Node, ObjectBytes: s.ObjectBytes,
		BufferBytes: s.BufferBytes, Slabs: s.Slabs, Objects: s.Objects, Free: s.Free,
	}
}

func counter(c *snapshot.LogCounter) *report.OOMCounter {
	if c == nil {
		return nil
	}
	r := &report.OOMCounter{UsageBytes: c.Usage, LimitBytes: c.Limit, Failcnt: c.Failcnt}
	if c.Limit != nil && *c.Limit == size.Unlimited {
		r.LimitBytes, r.Unlimited = nil, true
	}
	return r
}
