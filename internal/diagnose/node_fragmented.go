package diagnose

import (
	"fmt"
	"strings"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

var nodeFragmented = Rule{
	Code:    codeFragmented,
	Title:   "memory is free, and not in pieces that are large enough",
	NoBytes: "free memory is nobody's: what is missing is its order, not bytes",
	find:    fragmented,
	Doc: Doc{
		Means: `The kernel gives out memory in blocks of 2^order contiguous pages, and some of its own requests need more than one: stacks of threads (order 2), slab of large objects (up to 3), network buffers, tables, huge pages (order 9 on x86-64). Free memory that is cut into small pieces cannot serve them until compaction has moved what lies between. ` +
			`Few large blocks alone are common on a node that has run for a while, and harmless: it is a finding where requests failed, or compaction is at work in vain.`,
		Grades: "warning: such a request of order 1 to 3 ended in an OOM kill while memory was free, or failed and there still is hardly a block of that order. notice: one failed in the past, or one above order 3, which never kills; within a watch more compaction failed than succeeded, and blocks of order 3 or less are rare. info: requests failed that may not wait (GFP_ATOMIC), as drivers retry; since boot most compaction was in vain and such blocks are rare; within a watch most huge pages were not had. What the log has is one grade less where the target is a cgroup.",
		Needs:  []string{"the kernel's log: page allocation failure: order:N, OOM with order=N", "/proc/buddyinfo and /proc/zoneinfo: what is free in which pieces", "/proc/vmstat; --watch or two captures, for compaction that goes on"},
		Verify: []string{
			"cat /proc/buddyinfo   # free blocks of order 0, 1, 2 ... by zone", "dmesg | grep -E 'page allocation failure: order:[1-9]|invoked oom-killer.*order=[1-9]'",
			"grep -E 'compact_(stall|fail|success)|thp_fault_(alloc|fallback)' /proc/vmstat   # twice", "cat /proc/pagetypeinfo   # root: which blocks hold what cannot be moved",
		},
		Do: []string{
			"echo 1 > /proc/sys/vm/compact_memory, in a quiet hour: moves what can be moved; what the kernel itself holds stays",
			"vm.min_free_kbytes higher: more is kept free, in larger pieces; it is taken from everybody",
			"fewer large requests: slub_max_order=1 at boot, a smaller MTU than jumbo frames, transparent huge pages only where asked for (madvise)",
			"less of what pins: slab of containers long gone (cgroup.dying), pinned buffers; what is pinned for good goes with a reboot",
		},
		Owner:   "platform; kernel for what asks for large blocks",
		Stories: `"My container was OOM-killed because memory is fragmented": limits of containers are counted page by page, fragmentation does not matter to them. A request above order 3 never kills anybody, it fails. "There are gigabytes free, so it cannot be memory" is wrong: one order-2 request that finds no block fails a fork.`,
	},
}

const (
	stackOrder  = 2 // the stack of a thread
	costlyOrder = 3 // above it requests fail and never kill (linux PAGE_ALLOC_COSTLY_ORDER)
	hugeOrder   = 9
	muchFree    = 64 // requests that free memory would serve, were it in one piece
	hardly      = 16 // no more than this part of it is in large enough blocks
)

// pieces is the free memory of a node above what it keeps, and how it is cut.
type pieces struct {
	known bool
	above int64   // bytes above the high watermark, where nobody reclaims
	low   int64   // watermark of all zones together
	fits  []int64 // by order: how many such requests the free blocks serve
	page  int64
}

// pieces takes zones that ordinary requests may take from: free above the high
// watermark and what is kept from them.
func (f *facts) pieces() (p pieces) {
	zones, ok1 := f.s.Node.Zones.Get()
	buddies, ok2 := f.s.Node.Buddy.Get()
	p = pieces{known: ok1 && ok2 && len(buddies) > 0, page: max(f.s.Host.PageSize, 1), fits: make([]int64, 32)}
	for i := range zones {
		z := &zones[i]
		if z.Managed <= 0 || !size.Plausible(z.Free) || !size.Plausible(z.High) || !size.Plausible(z.Low) {
			continue
		}
		p.low = min(p.low+z.Low, maxSum)
		kept := int64(0)
		for _, n := range z.Protection {
			kept = max(kept, n)
		}
		if above := z.Free - kept - z.High; above > 0 && p.add(buddies, z) {
			p.above = min(p.above+above, maxSum)
		}
	}
	return p
}

// add adds the free blocks of a zone, from the largest order down.
func (p *pieces) add(buddies []snapshot.Buddy, z *snapshot.Zone) bool {
	for i := range buddies {
		b := &buddies[i]
		if b.Node != z.Node || b.Zone != z.Name || len(b.Blocks) > len(p.fits) {
			continue
		}
		pages := int64(0)
		for order := len(b.Blocks) - 1; order >= 0; order-- {
			if n := b.Blocks[order]; n > 0 && n < 1<<44>>order {
				pages += n << order
			}
			p.fits[order] += pages >> order
		}
		return true
	}
	return false
}

// lacks reports that memory is free for many requests of an order and hardly any of it
// is in blocks that are large enough for one. A few are kept from ordinary requests, and
// buddyinfo does not say which.
func (p *pieces) lacks(order int) bool {
	each := p.page << order
	return p.known && order < len(p.fits) && p.above >= muchFree*each && p.fits[order] <= p.above/each/hardly
}

// lacking is the smallest order that is lacking, 0 when none up to those of huge pages is.
func (p *pieces) lacking() int {
	for order := 1; order <= hugeOrder; order++ {
		if p.lacks(order) {
			return order
		}
	}
	return 0
}

// failed are the requests for contiguous pages that the log has as not met.
type failed struct {
	list         []*snapshot.LogRecord
	kills, small int // of them: OOM kills; of order 1 to 3 that could wait
	least        int // order of those
	free         bool
}

// failures leaves out what failed because memory was short, as far as the log says
// how much was free.
func (f *facts) failures(low int64) (x failed) {
	for i := range f.s.Log.Value.Records {
		l := &f.s.Log.Value.Records[i]
		kill := l.Kind == snapshot.LogGlobalOOM
		if l.Order == nil || *l.Order < 1 || *l.Order > 31 || !kill && l.Kind != snapshot.LogPageAlloc || kill && l.Constraint != "" && l.Constraint != "none" {
			continue
		}
		free, told := l.Stats["free"]
		if kill && (!told || *l.Order > costlyOrder) || told && (low <= 0 || free <= low) {
			continue
		}
		x.list, x.free = append(x.list, l), x.free || told
		order := int(*l.Order)
		if kill {
			x.kills++
		}
		if order <= costlyOrder && !strings.Contains(l.GFP, "GFP_ATOMIC") && !strings.Contains(l.GFP, "GFP_NOWAIT") {
			if x.small++; x.least == 0 || order < x.least {
				x.least = order
			}
		}
	}
	return x
}

// vmstatGrew is by how much a counter of the node went on within a watch.
func (f *facts) vmstatGrew(key string) (n int64, ok bool) {
	if f.s.Watch == nil || f.s.Watch.First == nil {
		return 0, false
	}
	then, ok1 := f.s.Watch.First.Node.Vmstat.Value.Get(key)
	now, ok2 := f.s.Node.Vmstat.Value.Get(key)
	return now - then, ok1 && ok2 && then >= 0 && now >= then
}

func fragmented(f *facts) []report.Finding {
	p := f.pieces()
	r := report.Finding{Code: codeFragmented, Confidence: medium}
	if x := f.failures(p.low); len(x.list) > 0 {
		f.requestsFailed(&r, &x, &p)
	} else if !f.compactsInVain(&r, &p) {
		return nil
	}
	if e, ok := f.buddyEvidence(&p); ok {
		r.Evidence = append(r.Evidence, e)
	}
	r.Evidence = append(r.Evidence, f.compaction())
	r.Remedies = []report.Remedy{
		{Kind: "look", Command: "cat /proc/buddyinfo /proc/pagetypeinfo; grep compact_ /proc/vmstat", Cost: f.Say("none")},
		{Kind: "configure", Command: "echo 1 > /proc/sys/vm/compact_memory", Cost: f.Say("processor time of the node for some seconds; what the kernel itself holds does not move")},
	}
	return []report.Finding{r}
}

func (f *facts) requestsFailed(r *report.Finding, x *failed, p *pieces) {
	last := x.list[len(x.list)-1]
	still := x.small > 0 && p.lacks(x.least)
	if x.free {
		r.Confidence = high
	} else if !still {
		r.Confidence = low
	}
	grade := 0
	switch {
	case x.kills > 0 || still:
		grade = 2
	case x.small > 0 || *last.Order > costlyOrder:
		grade = 1
	}
	if !f.whole() && grade > 0 { // the first line of a cgroup is about it, not about the past of its node
		grade--
	}
	r.Severity = severities[grade]
	times := f.timesText(int64(len(x.list)))
	switch {
	case x.kills > 0:
		r.Title = f.Say("the node killed for want of contiguous pages while memory was free, %s; last for 2^%d pages", times, *last.Order)
	case still:
		r.Title = f.Say("requests for contiguous pages failed %s, last for 2^%d of them, and still there is hardly a free block for as many", times, *last.Order)
	default:
		r.Title = f.Say("requests for contiguous pages failed %s, last for 2^%d of them", times, *last.Order)
	}
	for i := len(x.list) - 1; i >= 0 && len(x.list)-i <= 3; i-- {
		t := f.told(x.list[i])
		r.Evidence = append(r.Evidence, report.Evidence{Statement: t.Summary, Source: f.s.Log.Source, Value: f.moment(t)})
	}
}

// compactsInVain grades what the counters say where the log has nothing.
func (f *facts) compactsInVain(r *report.Finding, p *pieces) bool {
	order := p.lacking()
	if order == 0 {
		return false
	}
	if stalls, ok := f.vmstatGrew("compact_stall"); ok && order <= costlyOrder {
		if fails, ok := f.vmstatGrew("compact_fail"); ok && fails > 0 && 2*fails > stalls {
			r.Severity = notice
			r.Title = f.Say("hardly a free block of 2^%d pages while %s are free: within %s programs had to compact memory %s, %d of them in vain", order, size.Text(p.above), f.window(), f.timesText(stalls), fails)
			return true
		}
		return false
	}
	if missed, ok := f.vmstatGrew("thp_fault_fallback"); ok {
		charged, _ := f.vmstatGrew("thp_fault_fallback_charge") // at a limit of a cgroup
		had, ok := f.vmstatGrew("thp_fault_alloc")
		if missed -= charged; ok && missed > had {
			r.Severity = info
			r.Title = f.Say("hardly a free block for a huge page while %s are free: within %s faults did not get %d of the %d that they asked for", size.Text(p.above), f.window(), missed, missed+had)
			return true
		}
		return false
	}
	fails, ok1 := f.s.Node.Vmstat.Value.Get("compact_fail")
	good, ok2 := f.s.Node.Vmstat.Value.Get("compact_success")
	if !ok1 || !ok2 || order > costlyOrder || fails <= max(good, 0) {
		return false
	}
	r.Severity, r.Confidence = info, low
	r.Title = f.Say("hardly a free block of 2^%d pages while %s are free; compaction since boot was in vain %s, and succeeded %s", order, size.Text(p.above), f.timesText(fails), f.timesText(good))
	return true
}

// buddyEvidence says which requests free memory serves.
func (f *facts) buddyEvidence(p *pieces) (report.Evidence, bool) {
	if !p.known {
		return report.Evidence{}, false
	}
	var parts []string
	for _, order := range []int{0, 1, stackOrder, costlyOrder, hugeOrder} {
		parts = append(parts, fmt.Sprintf("%d: %d", order, p.fits[order]))
	}
	return report.Evidence{
		Statement: f.Say("how many requests of each order the free blocks serve; %s are free above the high watermark", size.Text(p.above)),
		Source:    f.s.Node.Buddy.Source, Value: strings.Join(parts, ", "),
	}, true
}

func (f *facts) compaction() report.Evidence {
	var parts []string
	for _, key := range []string{"compact_stall", "compact_fail", "compact_success"} {
		if n, ok := f.s.Node.Vmstat.Value.Get(key); ok {
			parts = append(parts, fmt.Sprintf("%s %d", key, n))
		}
	}
	return report.Evidence{Statement: f.Say("compaction since boot"), Source: f.s.Node.Vmstat.Source, Value: strings.Join(parts, ", ")}
}
