package explain

import (
	"cmp"
	"slices"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// holders opens the accounts that the files at hand can open: anonymous memory
// by process, slab by cache where the cgroup has a table of its own.
func holders(s *snapshot.Snapshot, l *ledger.Ledger) ([]report.Holder, []report.Omitted) {
	all, omitted := []report.Holder{}, []report.Omitted{}
	for _, list := range [][]report.Holder{processHolders(s, l), slabHolders(s, l)} {
		slices.SortStableFunc(list, func(a, b report.Holder) int { return cmp.Compare(b.Bytes, a.Bytes) })
		if len(list) > report.MaxHolders {
			o := report.Omitted{Account: list[0].Account, Count: len(list) - report.MaxHolders}
			for _, h := range list[report.MaxHolders:] {
				o.Bytes += h.Bytes
			}
			omitted = append(omitted, o)
			list = list[:report.MaxHolders]
		}
		all = append(all, list...)
	}
	return all, omitted
}

func processHolders(s *snapshot.Snapshot, l *ledger.Ledger) []report.Holder {
	var list []report.Holder
	for i := range s.Processes {
		p := &s.Processes[i]
		st, ok := p.Status.Get()
		anon, haveAnon := st.Fields.Get("RssAnon")
		if !ok || !haveAnon || !size.Plausible(anon) {
			continue
		}
		h := report.Holder{Kind: "process", Account: ledger.AnonOther, Bytes: anon, PID: p.PID, State: map[string]int64{}}
		h.Name, _ = name(st.Name)
		for key, field := range map[string]string{"rss": "VmRSS", "rssFile": "RssFile", "rssShmem": "RssShmem", "swap": "VmSwap"} {
			if v, ok := st.Fields.Get(field); ok && size.Plausible(v) {
				h.State[key] = v
			}
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

func slabHolders(s *snapshot.Snapshot, l *ledger.Ledger) []report.Holder {
	if _, ok := l.Account(ledger.Slab); !ok {
		return nil
	}
	var list []report.Holder
	for _, c := range s.Target().Slabs.Value {
		if c.Bytes <= 0 || !size.Plausible(c.Bytes) {
			continue
		}
		h := report.Holder{
			Kind: "slab-cache", Account: ledger.Slab, Bytes: c.Bytes,
			State: map[string]int64{"objects": c.Objects, "activeObjects": c.ActiveObjects},
		}
		h.Name, _ = name(c.Name)
		list = append(list, h)
	}
	return list
}
