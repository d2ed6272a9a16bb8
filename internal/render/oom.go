package render

import (
	"strings"

	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/words"
)

// Sizes of the short form.
const (
	oomRecords = 4
	oomPath    = 44
)

// OOM renders what a kernel log holds: the newest records, or all when wide.
func OOM(o *report.OOM, wide bool) []byte {
	p := page{Printer: words.In(o.Lang), width: Width}
	if wide {
		p.width = 0
	}
	groups := repeats(o.Records)
	shown := groups
	if !wide {
		shown = groups[max(0, len(groups)-oomRecords):]
	}
	if n := len(groups) - len(shown); n > 0 {
		p.line("- and %d earlier: see -o wide", n)
	}
	for _, g := range shown {
		p.record(g, wide)
	}
	if len(groups) == 0 {
		p.line("No OOM kill, failed allocation or refused cgroup in this log.")
	}
	p.line("%s in %s, %s", p.Count(int64(len(o.Records))+o.Omitted, "1 record", "%d records"), p.Count(o.LinesRead, "1 line", "%d lines"), size.Text(o.BytesRead))
	for _, note := range []struct {
		n    int64
		text string
	}{
		{o.Omitted, words.Key("- %d older records are counted, not kept")},
		{o.Suppressed, words.Key("- %d messages were dropped by the kernel's rate limit: there was more than this")},
		{o.Overruns, words.Key("- the kernel wrote faster than it was read, %d times: something is missing")},
		{o.LongLines, words.Key("- %d lines were too long: only their first 16 KiB were looked at")},
	} {
		if note.n > 0 {
			p.line(note.text, note.n)
		}
	}
	return p.Bytes()
}

// repeat is a record, and how often one of the same kind and words follows it.
type repeat struct {
	*report.OOMRecord
	times int
}

func repeats(records []report.OOMRecord) []repeat {
	var groups []repeat
	for i := range records {
		r := &records[i]
		if n := len(groups); n > 0 && r.Slab != nil && groups[n-1].Slab != nil && groups[n-1].Summary == r.Summary {
			groups[n-1].times++
			continue
		}
		groups = append(groups, repeat{r, 1})
	}
	return groups
}

func (p *page) record(r repeat, wide bool) {
	text := r.Summary
	if !wide && r.LimitOwner != "" {
		text = strings.Replace(text, r.LimitOwner, printable.Fit(printable.Text(r.LimitOwner), oomPath), 1)
	}
	if r.Time != "" {
		text = "[" + r.Time + "] " + text
	}
	if r.times > 1 {
		text += p.Say(" (%d times)", r.times)
	}
	p.fold("  ", 4, text)
	if n := p.numbers(r.OOMRecord, wide); n != "" {
		p.line("  %s", n)
	}
	if r.Named != nil {
		p.line("  the kernel had chosen %s (pid %d)", r.Named.Comm, r.Named.PID)
	}
	if r.Truncated {
		p.line("  doubt: parts of this report are not in the log")
	}
	if r.Interleaved {
		p.line("  doubt: printed together with another report; who belongs to which is a guess")
	}
	for _, a := range r.Advisories {
		p.line("  maybe %s: %s", a.ID, a.Because)
	}
	if wide {
		p.recordRest(r.OOMRecord)
	}
}

// numbers is the line of amounts.
func (p *page) numbers(r *report.OOMRecord, wide bool) string {
	var parts []string
	for _, c := range r.Full.Classes() {
		if c.Bytes != nil {
			parts = append(parts, c.Name+" "+size.Text(*c.Bytes))
		}
	}
	if r.Tasks != nil && r.Tasks.RSSBytes != nil && (wide || r.Full.AnonBytes == nil) {
		parts = append(parts, p.Say("%s with RSS %s", p.Count(r.Tasks.Count, "1 task", "%d tasks"), size.Text(*r.Tasks.RSSBytes)))
	}
	return p.Join(parts)
}

func (p *page) recordRest(r *report.OOMRecord) {
	for _, c := range []struct {
		name string
		*report.OOMCounter
	}{{"memory", r.Memory}, {"swap", r.Swap}, {"memory+swap", r.MemorySwap}, {"kmem", r.Kmem}} {
		if c.OOMCounter != nil && c.UsageBytes != nil {
			limit := p.Say("unlimited")
			if c.LimitBytes != nil {
				limit = size.Text(*c.LimitBytes)
			}
			p.line("  %-12s %s, limit %s", c.name, size.Text(*c.UsageBytes), limit)
		}
	}
	for _, v := range r.Victims {
		p.line("  killed       %s (pid %d) %s", v.Comm, v.PID, v.Memcg)
	}
	if r.Trigger.Comm != "" {
		p.line("  asked        %s, gfp %s, kernel %s", r.Trigger.Comm, r.GFP, r.Kernel)
	}
}
