// Package explain owns the one sentence of the product: from a snapshot to a
// report that says why this memory is charged here. It must not know how the
// snapshot was taken or how the report will look. It is pure.
package explain

import (
	"encoding/base64"
	"time"

	"github.com/memwhy/memwhy/internal/advisory"
	"github.com/memwhy/memwhy/internal/diagnose"
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/says"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/trend"
	"github.com/memwhy/memwhy/internal/words"
)

// Report explains the target of s. The only error is ledger.ErrNoUsage: without
// the kernel's total there is nothing to explain.
func Report(p words.Printer, s *snapshot.Snapshot) (*report.Report, error) {
	w, err := ledger.Explain(s)
	if err != nil {
		return nil, err
	}
	r := &report.Report{
		Schema:    report.Schema,
		Lang:      p.Lang(),
		Generated: generated(s),
		Host:      host(s),
		Target:    target(s),
		Numbers:   numbers(s, w),
		Limits:    limits(w),
		Accounts:  accounts(w.Ledger),
		Doubts:    append([]string{}, told(p, w.Doubts)...),
		Omitted:   []report.Omitted{},
		Cost: report.Cost{
			WallMs: ms(s.Cost.Wall), CPUMs: ms(s.Cost.CPU),
			BytesRead: s.Cost.BytesRead,
		},
	}
	r.Unexplained.Bytes = w.UnexplainedBytes()
	if w.Bound >= 0 {
		r.Unexplained.BoundBytes = &w.Bound
		if b := r.Unexplained.Bytes; b > w.Bound || -b > w.Bound {
			r.Doubts = append(r.Doubts, p.Say("%s are unexplained, more than the kernel's batching allows (%s)", size.Text(b), size.Text(w.Bound)))
		}
	}
	r.Says = saying(p, s, w)
	if inactiveKmem(s.Target()) {
		r.Doubts = append(r.Doubts, p.Say("kernel memory is not charged to this cgroup: its kmem accounting is off (memory.kmem.slabinfo gives EIO)"))
	}
	r.Holders, r.Omitted = holders(p, s, w.Ledger)
	r.Census = agreement(s)
	r.Cost.Census = censusCost(s)
	r.Doubts = append(r.Doubts, processDoubts(p, s, w.Ledger)...)
	r.Doubts = append(r.Doubts, censusDoubts(p, s)...)
	r.Doubts = append(r.Doubts, swapDoubts(p, s, w)...)
	r.Risks = risks(p, s, w)
	node := advisory.Look(p, s)
	judged, err := node.ForTarget()
	if err != nil {
		return nil, err
	}
	r.Advisories = advisories(p, judged)
	r.Findings = diagnose.Find(p, s, w, node, judged)
	over := trend.Of(s, w.Bound)
	r.Trend = trendOf(p, s, over)
	if s.Watch != nil {
		for _, d := range s.Watch.Doubts {
			r.Doubts = append(r.Doubts, p.Of(d))
		}
	}
	r.Suspicions = diagnose.Suspicions(p, s, w, r.Findings)
	r.Verdict = verdict(p, w, r.Findings)
	missing := &missingList{Printer: p}
	r.Children = children(s, w, missing)
	missing.activity(over)
	r.NotSeen = append(notSeen(p, s, w, r), missing.rows...)
	return r, nil
}

func saying(p words.Printer, s *snapshot.Snapshot, w *ledger.Whole) []report.Says {
	rows := []report.Says{}
	for _, n := range says.All(p, s, w.Usage) {
		row := report.Says{Tool: n.Tool, Formula: n.Formula(), Terms: []report.Term{}, Note: n.Note}
		for _, t := range n.Terms {
			row.Terms = append(row.Terms, report.Term{Sign: string(t.Sign), Name: t.Name, Bytes: t.Bytes})
		}
		if n.Known {
			row.Bytes = &n.Bytes
		}
		reported(&row, s)
		rows = append(rows, row)
	}
	return rows
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func generated(s *snapshot.Snapshot) *time.Time {
	if s.Generated.IsZero() {
		return nil
	}
	t := s.Generated.UTC().Truncate(time.Millisecond)
	return &t
}

func host(s *snapshot.Snapshot) report.Host {
	h := report.Host{CgroupMode: s.Host.CgroupMode, LRU: diagnose.LRU(s)}
	release, _ := s.Release()
	h.Kernel, _ = printable.UTF8(release)
	h.Distro, _ = printable.UTF8(s.Host.Distro.Value)
	if n, ok := s.Host.CPUs.Get(); ok {
		h.CPUs = &n
	}
	if mem, ok := s.Node.Meminfo.Get(); ok {
		if n, ok := mem.Get("MemTotal"); ok {
			h.MemTotalBytes = &n
		}
	}
	return h
}

// name returns a name for JSON, and its exact bytes when it is not UTF-8.
func name(s string) (text, exact string) {
	text, changed := printable.UTF8(s)
	if changed {
		exact = base64.StdEncoding.EncodeToString([]byte(s))
	}
	return text, exact
}

func numbers(s *snapshot.Snapshot, w *ledger.Whole) report.Numbers {
	n := report.Numbers{UsageBytes: w.Usage}
	t := s.Target()
	if t.Stat.State == snapshot.Present {
		ws, _, _ := says.WorkingSet(t, w.Usage)
		n.WorkingSetBytes = &ws
	}
	if rss, _, ok := says.RSS(t); ok {
		n.RSSBytes = &rss
	}
	if w.ReclaimKnown {
		n.UnreclaimableBytes = ptr(w.UnreclaimableMax)
		n.UnreclaimableMinBytes = ptr(w.UnreclaimableMin)
		n.UnreclaimableMaxBytes = ptr(w.UnreclaimableMax)
		n.ReclaimableBytes = ptr(w.Reclaimable)
	}
	if l, ok := w.Deciding(true); ok {
		n.LimitBytes = ptr(l.Bytes)
		n.LimitOwner, _ = name(l.Cgroup)
	}
	if p, ok := t.Peak.Get(); ok && size.Plausible(p) {
		n.PeakBytes = &p
	}
	return n
}

func ptr[T any](v T) *T { return &v }

func limits(w *ledger.Whole) []report.Limit {
	rows := []report.Limit{}
	for _, l := range w.Limits {
		cgroup, _ := name(l.Cgroup)
		knob, _ := name(l.Knob)
		rows = append(rows, report.Limit{
			Cgroup: cgroup, Knob: knob, LimitBytes: l.Bytes, UsageBytes: l.Usage,
			UnreclaimableBytes: l.UnreclaimableMax, MarginBytes: l.Margin(),
		})
	}
	return rows
}

func accounts(l *ledger.Ledger) []report.Account {
	rows := []report.Account{}
	for _, a := range l.Accounts {
		st := a.State
		if st == nil {
			st = map[string]int64{}
		}
		row := report.Account{Path: a.Path, Bytes: a.Bytes, Reclaim: string(a.Reclaim), Derived: a.Derived, State: st}
		if a.Counted {
			row.How = "census"
		}
		rows = append(rows, row)
	}
	return rows
}

func risks(p words.Printer, s *snapshot.Snapshot, w *ledger.Whole) report.Risks {
	kill, throttle := risk(p, w, true), risk(p, w, false)
	kill.Because += oomCount(p, s.Target())
	if s.Target().Version == snapshot.V1 {
		throttle.Because = p.Say("cgroup v1 has no memory.high")
	}
	return report.Risks{
		Kill: kill, Throttle: throttle,
		Evict: report.Risk{Level: string(ledger.UnknownRisk), Because: p.Say("the kubelet's thresholds are not read")},
	}
}

func risk(p words.Printer, w *ledger.Whole, kills bool) report.Risk {
	level, l, why := w.Risk(p, kills)
	r := report.Risk{Level: string(level), Because: printable.Text(why)}
	if level != ledger.NoRisk && level != ledger.UnknownRisk {
		r.MarginBytes = ptr(l.Margin())
	}
	return r
}

// oomCount is the lifetime count; one snapshot cannot say when, so it does not
// raise the level.
func oomCount(p words.Printer, c *snapshot.Cgroup) string {
	for _, file := range []snapshot.Reading[snapshot.Stat]{c.Events, c.OOMControl} {
		if st, ok := file.Get(); ok {
			if n, ok := st.Get("oom_kill"); ok && n > 0 {
				// With its group the one that was chosen is counted once more: linux
				// mm/oom_kill.c oom_kill_process.
				if group, _ := c.OOMGroup.Get(); group == 1 && n > 2 {
					return p.Say("; up to %s of it OOM-killed since it was made: with memory.oom.group the kernel counts one twice", p.Count(n, "1 process", "%d processes"))
				}
				return p.Say("; %s of it OOM-killed since it was made", p.Count(n, "1 process", "%d processes"))
			}
		}
	}
	return ""
}
