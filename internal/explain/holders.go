package explain

import (
	"cmp"
	"slices"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// holders opens the accounts that can be opened: anonymous memory by process; with
// a census file cache and shared memory by file, slab by cache, removed cgroups;
// without one slab by cache where the cgroup has a table of its own, and files
// that were deleted and are still open.
func holders(p words.Printer, s *snapshot.Snapshot, l *ledger.Ledger) ([]report.Holder, []report.Omitted) {
	all, omitted := []report.Holder{}, []report.Omitted{}
	procs := processHolders(p, s)
	files, shmem := fileHolders(s, l)
	slabs := slabHolders(s, l)
	var directories, dying []report.Holder
	if c, ok := s.Census.Get(); ok && len(c.Files) > 0 {
		directories, files, shmem = censusFiles(s, l)
	}
	if c, ok := s.Census.Get(); ok {
		dying = dyingHolders(s)
		if len(c.Slabs) > 0 {
			slabs = censusSlabs(s, l)
		}
	}
	for _, list := range [][]report.Holder{procs, slabs, directories, files, shmem, dying} {
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
	if h, ok := notAttributed(s, l, procs); ok {
		all = append(all, h)
	}
	return all, omitted
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
