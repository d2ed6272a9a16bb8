package diagnose

import (
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// behind is what of the kernel memory that no counter names stands behind descriptors
// of the target's processes, each byte once.
type behind struct {
	maps  int64 // of BPF, that are charged here as far as there is room for them
	pipes int64 // what waits in them

	all            int64 // of kernel memory without a name
	own            int64 // of all, in counters that hold BPF maps for the most part: vmalloc, percpu
	mapped, piped  int64 // what the descriptors say, which may be more than there is
	count          [2]int
	atMost         bool // a map takes as much only when it is full
	most           *snapshot.Process
	waiting        *snapshot.Process // with the most in its pipes
	asked, refused bool              // of BPF maps, any process
	looked, missed bool              // into pipes, of any process
}

// nameless are the accounts of kernel memory that no counter names.
var nameless = []string{ledger.Percpu, ledger.Vmalloc, ledger.Zswap, ledger.KernelOther, ledger.KernelUndivided}

func (f *facts) behind() *behind {
	if f.held == nil {
		f.held = ptr(f.behindOnce())
	}
	return f.held
}

func (f *facts) behindOnce() behind {
	b := behind{own: f.account(ledger.Vmalloc) + f.account(ledger.Percpu)}
	for _, p := range nameless {
		b.all += f.account(p)
	}
	if _, ok := f.w.Account(ledger.Stacks); !ok {
		n, _, _ := f.kernelStacks()
		b.all -= n // what of it is in these accounts
	}
	b.all = max(0, b.all)
	rest := max(0, b.all-f.account(ledger.Zswap))
	if f.node.ChargesBPF() {
		b.bpf(f.s.Processes, rest+fewBytes) // what was taken off for stacks is an estimate
	}
	b.maps = min(b.mapped, rest)
	b.pipe(f.s.Processes)
	b.pipes = min(b.piped, max(0, rest-max(b.own, b.maps)))
	return b
}

// bpf sums the maps. One that is larger than all there is was charged to another
// cgroup: that of who made it.
func (b *behind) bpf(ps []snapshot.Process, room int64) {
	seen := map[int64]bool{}
	var most int64
	for i := range ps {
		p := &ps[i]
		if p.BPF.Source == "" {
			continue
		}
		b.asked = b.asked || p.BPF.State == snapshot.Present
		b.refused = b.refused || refused(p.BPF.State)
		var own int64
		for _, m := range p.BPF.Value {
			if m.Bytes > room || m.ID != 0 && seen[m.ID] {
				continue
			}
			seen[m.ID] = true
			own = min(own+m.Bytes, maxSum)
			b.count[0]++
			b.atMost = b.atMost || m.Flags&snapshot.BPFNoPrealloc != 0
		}
		b.mapped = min(b.mapped+own, maxSum)
		if own > most {
			most, b.most = own, p
		}
	}
}

// pipe sums what waits in pipes, of which each page of data is one of the kernel's.
func (b *behind) pipe(ps []snapshot.Process) {
	seen := map[uint64]bool{}
	var most int64
	for i := range ps {
		p := &ps[i]
		if p.Pipes.Source != "" {
			b.looked = b.looked || p.Pipes.State == snapshot.Present
			b.missed = b.missed || refused(p.Pipes.State)
		}
		var own int64
		for _, x := range p.Pipes.Value {
			if x.Bytes <= 0 || seen[x.Inode] {
				continue
			}
			seen[x.Inode] = true
			own = min(own+x.Bytes, maxSum)
			b.count[1]++
		}
		b.piped = min(b.piped+own, maxSum)
		if own > most {
			most, b.waiting = own, p
		}
	}
}

// nothing reports that everybody was asked, and that nobody has a BPF map open, or any
// data in pipes.
func (b *behind) nothing() (maps, pipes bool) {
	return b.asked && !b.refused && b.mapped == 0, b.looked && !b.missed && b.piped < fewBytes
}

// room is the evidence for how much there is to explain.
func (f *facts) room() report.Evidence {
	e := f.balanced(f.Say("kernel memory without a counter of its own, by its parts"), nameless...)
	if f.target().Version == snapshot.V1 { // one counter, from which the rest was taken
		e.Source = f.target().KmemUsage.Source
	}
	return e
}
