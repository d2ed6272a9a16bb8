package explain

import (
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/mapping"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/runtimes"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// states are the lines of status that a process holder has.
var states = map[string]string{"rss": "VmRSS", "rssAnon": "RssAnon", "rssFile": "RssFile", "rssShmem": "RssShmem", "swap": "VmSwap"}

// processHolders lists processes by their anonymous memory, shared pages once
// where the kernel was asked for shares.
func processHolders(w words.Printer, s *snapshot.Snapshot) []report.Holder {
	var list []report.Holder
	for i := range s.Processes {
		p := &s.Processes[i]
		st, ok := p.Status.Get()
		if !ok {
			continue
		}
		anon, how, ok := mapping.Anon(p)
		if !ok {
			continue
		}
		h := report.Holder{Kind: "process", Account: ledger.AnonOther, Bytes: anon, How: how, PID: p.PID, State: map[string]int64{}, Parts: parts(p)}
		h.Name, _ = name(st.Name)
		h.Runtimes = managers(w, p)
		for key, field := range states {
			if v, ok := st.Fields.Get(field); ok && size.Plausible(v) {
				h.State[key] = v
			}
		}
		if v, ok := mapping.PSS(p); ok {
			h.State["pss"] = v
		}
		if v, ok := mapping.LazyFree(p); ok {
			h.State["lazyFree"] = v
		}
		if exe, ok := p.Exe.Get(); ok {
			h.Path, h.PathBytes = name(exe)
		}
		for _, arg := range p.Command.Value {
			text, _ := name(arg)
			h.Command = append(h.Command, text)
		}
		list = append(list, h)
	}
	return list
}

func parts(p *snapshot.Process) []report.Part {
	var rows []report.Part
	for _, part := range mapping.Parts(p, report.MaxParts) {
		row := report.Part{Kind: part.Kind, How: part.How, Bytes: part.Bytes, Count: part.Count, State: part.State}
		row.Name, _ = name(part.Name)
		rows = append(rows, row)
	}
	return rows
}

// managers are the runtimes and allocators of a process.
func managers(w words.Printer, p *snapshot.Process) []report.Runtime {
	var rows []report.Runtime
	for _, r := range runtimes.Of(w, p) {
		row := report.Runtime{Name: r.Name, How: r.How, Settings: map[string]string{}, Heap: map[string]int64{}, Arenas: r.Heap.Arenas, AtLeast: r.Heap.AtLeast, Cure: r.Cure}
		row.Version, _ = name(r.Version)
		row.How, _ = name(r.How)
		row.Unknown, _ = name(r.Unknown)
		for _, s := range r.Settings {
			key, _ := name(s.Name)
			row.Settings[key], _ = name(s.Value)
		}
		for key, bytes := range map[string]int64{
			"reservedBytes": r.Heap.Reserved, "committedBytes": r.Heap.Committed, "usedBytes": r.Heap.Used, "idleBytes": r.Heap.Idle, "limitBytes": r.Heap.Limit, "metaspaceBytes": r.Heap.Classes,
		} {
			if bytes >= 0 {
				row.Heap[key] = bytes
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// anonOf is what the counters say of anonymous memory that processes map.
func anonOf(l *ledger.Ledger) (bytes int64, known bool) {
	other, known := l.Account(ledger.AnonOther)
	lazy, _ := l.Account(ledger.AnonLazyFree)
	return other.Bytes + lazy.Bytes, known
}

// slack is how far counters and processes may differ without a reason: they are
// read one after another, and the kernel counts in batches.
func slack(l *ledger.Ledger) int64 { return max(l.Bound, 1<<20) }

// notAttributed is the anonymous memory that no process could be found to hold:
// of processes that ended, that live elsewhere or could not be read.
func notAttributed(s *snapshot.Snapshot, l *ledger.Ledger, procs []report.Holder) (report.Holder, bool) {
	anon, known := anonOf(l)
	h := report.Holder{Kind: "not-attributed", Name: "not attributed", Account: ledger.AnonOther, Bytes: anon, State: map[string]int64{}}
	for _, p := range procs {
		if h.Bytes < 0 {
			break
		}
		h.Bytes -= p.Bytes
	}
	return h, known && len(procs) > 0 && h.Bytes > slack(l)
}

// processDoubts are the contradictions between what processes map and what is
// charged here.
func processDoubts(p words.Printer, s *snapshot.Snapshot, l *ledger.Ledger) []string {
	var doubts []string
	var sum, lazy, huge int64
	shares, seen := true, false
	for i := range s.Processes {
		p := &s.Processes[i]
		if n, how, ok := mapping.Anon(p); ok {
			shares = shares && how != mapping.ByStatus && size.Plausible(sum)
			if shares {
				sum += n
			}
		}
		if n, ok := mapping.LazyFree(p); ok && size.Plausible(lazy) {
			lazy, seen = lazy+n, true
		}
		if n, ok := mapping.Huge(p); ok && size.Plausible(huge) {
			huge += n
		}
	}
	anon, known := anonOf(l)
	if known && shares && sum > anon+slack(l) {
		doubts = append(doubts, p.Say("its processes map %s more anonymous memory than is charged here: it was charged elsewhere, before they moved here", size.Text(sum-anon)))
	}
	account, known := l.Account(ledger.AnonLazyFree)
	if known && seen && lazy > account.Bytes+slack(l) {
		doubts = append(doubts, p.Say("LazyFree of its processes is %s, the counters show %s of it: more of anon/other can be taken back than they tell", size.Text(lazy), size.Text(account.Bytes)))
	}
	other, _ := l.Account(ledger.AnonOther)
	thp, counted := other.State["thp"]
	mapped := min(huge-max(0, sum-anon), other.Bytes) // but for what is charged elsewhere
	if counted && shares && mapped > thp+max(slack(l), 4<<20, other.Bytes/4) {
		doubts = append(doubts, p.Say("huge pages: the counter says %s, its processes map %s: before 5.12 each CPU keeps up to 32 huge pages to itself", size.Text(thp), size.Text(mapped)))
	}
	return doubts
}
