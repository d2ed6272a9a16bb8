package diagnose

import (
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/says"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/trend"
	"github.com/memwhy/memwhy/internal/words"
)

// The answers to a suspicion.
const (
	confirmed  = "confirmed"
	likely     = "likely"
	unlikely   = "unlikely"
	ruledOut   = "ruled-out"
	cannotTell = "cannot-tell"
)

// Suspicions answers the five that everybody has first: churn, leak, allocator,
// metric, mechanism. What needs two looks says so.
func Suspicions(p words.Printer, s *snapshot.Snapshot, w *ledger.Whole, found []report.Finding) []report.Suspicion {
	f := &facts{Printer: p, s: s, w: w, trend: trend.Of(s, w.Bound)}
	if w.Usage == 0 {
		var all []report.Suspicion
		for _, id := range []string{"churn", "leak", "allocator", "metric", "mechanism"} {
			all = append(all, report.Suspicion{ID: id, Answer: ruledOut, Because: p.Say("nothing is charged to this cgroup")})
		}
		all[len(all)-1] = f.mechanism(found)
		return all
	}
	return []report.Suspicion{f.churn(found), f.leaking(found), f.allocator(found), f.metric(found), f.mechanism(found)}
}

// anon is the anonymous memory, and what of the usage it is.
func (f *facts) anon() (bytes int64, share string, known bool) {
	_, known = f.w.Account(ledger.AnonOther)
	bytes = f.account(ledger.AnonOther) + f.account(ledger.AnonLazyFree) + f.account(ledger.AnonUnmapped)
	return bytes, f.Say("%s, %s of the usage", size.Text(bytes), size.Percent(bytes, f.w.Usage)), known
}

func (f *facts) churn(found []report.Finding) report.Suspicion {
	if f.trend != nil {
		if answer, ok := f.churning(found); ok {
			return answer
		}
	}
	bytes, share, known := f.anon()
	if known && 10*bytes < f.w.Usage {
		return report.Suspicion{ID: "churn", Answer: unlikely, Because: f.Say("allocations cannot hold more than anonymous memory: %s", share)}
	}
	return report.Suspicion{ID: "churn", Answer: cannotTell, Because: f.Say("one look has no rates: page faults and reclaim of two looks, 30 seconds apart, tell")}
}

// leaking: what only the owner frees can leak, be it the program's or the kernel's.
func (f *facts) leaking(found []report.Finding) report.Suspicion {
	const id = "leak"
	if f.trend != nil {
		if answer, ok := f.growing(found); ok {
			return answer
		}
	}
	held := f.w.UnreclaimableMax + f.w.ReclaimableSlab
	if f.w.ReclaimKnown && 10*held < f.w.Usage {
		return report.Suspicion{ID: id, Answer: unlikely, Because: f.Say("what could leak is %s, %s of the usage; the rest is page cache", size.Text(held), size.Percent(held, f.w.Usage))}
	}
	return report.Suspicion{ID: id, Answer: cannotTell, Because: f.Say("one look has no slope: two looks under the same load tell, hours apart for a slow one")}
}

func (f *facts) allocator(found []report.Finding) report.Suspicion {
	const id = "allocator"
	anon, share, known := f.anon()
	for _, x := range [][2]string{{codeRetained, confirmed}, {codeLazy, confirmed}, {codeTHP, likely}} {
		if r, ok := of(found, x[0]); ok && r.Confidence != low && 10*bytes(r) >= anon {
			return report.Suspicion{ID: id, Answer: x[1], Because: r.Title}
		}
	}
	if known && 10*anon < f.w.Usage {
		return report.Suspicion{ID: id, Answer: ruledOut, Because: f.Say("allocators hold anonymous memory: %s", share)}
	}
	if !known {
		return report.Suspicion{ID: id, Answer: cannotTell, Because: f.Say("how much anonymous memory there is, is not known")}
	}
	// What the accounts of runtimes cover, and whose do not.
	var managed, idle, pieces int64
	silent, fragmented, most := "", "", int64(0)
	for _, k := range f.keepers() {
		managed, idle, pieces = min(managed+k.managed, maxSum), min(idle+k.idle, maxSum), min(pieces+k.pieces, maxSum)
		for _, r := range k.all {
			if r.Pieces() > most {
				fragmented, most = f.Say("%s in %s", r.Title(f.Printer), f.processName(k.process)), r.Pieces()
			}
			if silent == "" && r.Heap.Idle < 0 && r.Unknown != "" && 4*k.anon >= anon {
				silent = f.Say("%s: %s", f.processName(k.process), r.Unknown)
			}
		}
	}
	if anon > 0 && 4*pieces >= anon && f.matters(pieces) {
		return report.Suspicion{ID: id, Answer: likely, Because: f.Say("%s is free in pieces between blocks in use, most of it by %s: fragmented, and nothing can give it back", size.Text(pieces), fragmented)}
	}
	because := f.Say("of %s that runtimes and allocators account for, %s is free and kept", size.Text(managed), size.Text(idle))
	switch {
	case 10*managed >= 8*anon && 10*idle < anon && silent == "":
		return report.Suspicion{ID: id, Answer: ruledOut, Because: because}
	case silent != "":
		return report.Suspicion{ID: id, Answer: cannotTell, Because: silent}
	case 2*managed >= anon:
		return report.Suspicion{ID: id, Answer: unlikely, Because: because}
	}
	return report.Suspicion{ID: id, Answer: cannotTell, Because: f.Say("what a heap holds and does not use only its runtime knows: %s, is mapped", share)}
}

func (f *facts) metric(found []report.Finding) report.Suspicion {
	const id = "metric"
	if r, ok := of(found, codeMisread); ok {
		return report.Suspicion{ID: id, Answer: confirmed, Because: r.Title}
	}
	if !f.w.ReclaimKnown {
		return report.Suspicion{ID: id, Answer: cannotTell, Because: f.Say("what can be freed is not known")}
	}
	ws, _, _ := says.WorkingSet(f.target(), f.w.Usage)
	over := ws - f.w.UnreclaimableMax
	because := f.Say("the working set is %s, what cannot be freed %s", size.Text(ws), size.Text(f.w.UnreclaimableMax))
	switch {
	case f.matters(over) && 4*over >= f.w.Usage && 2*over >= ws:
		return report.Suspicion{ID: id, Answer: likely, Because: f.Say("%s: an alert on the working set exaggerates", because)}
	case 10*max(over, -over) < max(f.w.Usage, 1):
		return report.Suspicion{ID: id, Answer: ruledOut, Because: f.Say("%s: they agree", because)}
	}
	return report.Suspicion{ID: id, Answer: unlikely, Because: because}
}

// mechanism is what cgroups, kernel or runtime do on their own. What is seen of the
// node and holds nothing of the target is no reason for its bytes.
func (f *facts) mechanism(found []report.Finding) report.Suspicion {
	const id = "mechanism"
	answer, because := unlikely, f.Say("no known fault of kernel, cgroup or runtime shows its signs here")
	for _, r := range found { // the gravest first
		if r.Severity == info || !slices.ContainsFunc([]string{"cgroup.", "kmem.", advisoryCode}, func(p string) bool { return strings.HasPrefix(r.Code, p) }) {
			continue
		}
		because = r.Code + ": " + r.Title
		switch {
		case bytes(r) > 0 && 10*bytes(r) >= f.w.Usage && r.Confidence == high:
			answer = confirmed
		case r.Bytes != nil || r.Severity != notice:
			answer = likely
		default:
			because += f.Say("; that is the node, and nothing of it is known to be charged here")
		}
		break
	}
	return report.Suspicion{ID: id, Answer: answer, Because: because}
}

func of(found []report.Finding, code string) (report.Finding, bool) {
	i := slices.IndexFunc(found, func(r report.Finding) bool { return r.Code == code })
	if i < 0 {
		return report.Finding{}, false
	}
	return found[i], true
}
