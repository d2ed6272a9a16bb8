package explain

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/memwhy/memwhy/internal/advisory"
	"github.com/memwhy/memwhy/internal/diagnose"
	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/says"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Node says where a node's memory is, by class and by owner, how far it is from
// reclaim, and which removed cgroups it still keeps.
func Node(p words.Printer, s *snapshot.Snapshot) *report.Node {
	r := &report.Node{
		Schema: report.NodeSchema, Lang: p.Lang(), Generated: generated(s), Host: host(s), Doubts: append([]string{}, censusDoubts(p, s)...),
		Watermarks: watermarks(s), Activity: activity(p, s), Swap: nodeSwap(s), Settings: settings(s), Available: available(p, s),
		Dying: dying(p, s), Findings: diagnose.OfNode(p, s),
		Cost: report.Cost{WallMs: ms(s.Cost.Wall), CPUMs: ms(s.Cost.CPU), BytesRead: s.Cost.BytesRead, Census: censusCost(s)},
	}
	r.Host.CgroupMode = cmp.Or(r.Host.CgroupMode, "unknown")
	l := &missingList{Printer: p, rows: []report.NotSeen{}}
	l.hostNulls(s, r.Generated, r.Host)
	r.Ledger = nodeLedger(s, l)
	r.Doubts = append(r.Doubts, unavailable(p, r)...)
	l.node(s, r)
	l.dying(s, r)
	r.NotSeen = l.rows
	return r
}

// nodeLedger cuts MemTotal.
func nodeLedger(s *snapshot.Snapshot, l *missingList) report.NodeLedger {
	n := report.NodeLedger{
		Classes: []report.NodeClass{}, Owners: []report.NodeOwner{}, Shares: []report.NodeShare{}, Omitted: []report.Omitted{}, Doubts: []string{},
	}
	c, ok := ledger.NodeClasses(s)
	if !ok {
		return n
	}
	n.TotalBytes, n.UsedBytes = &c.Total, ptr(c.Total-c.Sum("free"))
	for _, row := range c.Rows {
		n.Classes = append(n.Classes, report.NodeClass{Path: row.Path, Bytes: row.Bytes, From: row.From})
	}
	n.Unexplained = remainder(c.Unexplained(), c.Bound)
	l.missing(c.Missing)
	n.Doubts = append(n.Doubts, told(l.Printer, c.Doubts)...)
	if o, ok := ledger.NodeOwners(s, c); ok {
		owners(l.Printer, &n, s, o)
		l.missing(o.Missing)
		n.Doubts = append(n.Doubts, told(l.Printer, o.Doubts)...)
	}
	return n
}

func remainder(bytes, bound int64) report.Unexplained {
	u := report.Unexplained{Bytes: bytes}
	if bound >= 0 {
		u.BoundBytes = &bound
	}
	return u
}

// The owners that consist of shares.
const (
	ownContainers = "containers"
	ownPods       = "pods"
	ownSystem     = "system"
	ownOther      = "other"
)

func owners(p words.Printer, n *report.NodeLedger, s *snapshot.Snapshot, o *ledger.Owned) {
	groups := map[string]*report.NodeOwner{}
	for _, g := range []report.NodeOwner{
		{Owner: ownContainers, Note: p.Say("containers, with the sandboxes of pods")},
		{Owner: ownPods, Note: p.Say("charged to pods and to none of their containers: what those before them left, tmpfs for one")},
		{Owner: ownSystem, Note: p.Say("systemd's units, and what runtimes keep beside containers")},
		{Owner: ownOther, Note: p.Say("other cgroups")},
	} {
		groups[g.Owner] = &g
	}
	for _, part := range o.Parts {
		row := share(part, s.Names)
		g := groups[row.Owner]
		g.Bytes += row.Bytes
		g.Count++
		n.Shares = append(n.Shares, row)
	}
	for _, key := range []string{ownContainers, ownPods, ownSystem, ownOther} {
		n.Owners = append(n.Owners, *groups[key])
	}
	kernel := p.Say("kernel memory that no cgroup is charged for: slab, page tables, stacks, percpu, vmalloc")
	if o.KernelBlurred {
		kernel += p.Say("; what cgroups are charged for is one number here, and all of it was taken off")
	}
	n.Owners = append(n.Owners, report.NodeOwner{Owner: "root", Bytes: o.Root, Note: p.Say("processes of no cgroup, and files that they or the kernel read")})
	if o.Dying != 0 || s.Census.State == snapshot.Present && s.Census.Value.Walked {
		n.Owners = append(n.Owners, report.NodeOwner{Owner: "dying", Bytes: o.Dying, Note: p.Say("still charged to removed cgroups: see memwhy node --dying")})
	}
	n.Owners = append(
		n.Owners,
		report.NodeOwner{Owner: "kernel", Bytes: o.Kernel, Note: kernel},
		report.NodeOwner{Owner: "hugetlb", Bytes: o.HugeTLB, Note: p.Say("reserved huge pages, used or not")},
		report.NodeOwner{Owner: "free", Bytes: o.Free, Note: p.Say("free blocks, and free pages on the lists of processors")},
		report.NodeOwner{Owner: "unowned", Bytes: o.Unowned, Note: p.Say("in no counter and charged to nobody: drivers, packet rings, pages of the kernel itself; memwhy explain / names rings that a process has mapped")},
	)
	n.Unowned = remainder(o.Unowned, o.Bound)
	slices.SortStableFunc(n.Shares, func(a, b report.NodeShare) int { return cmp.Compare(b.Bytes, a.Bytes) })
	boundShares(n)
}

func boundShares(n *report.NodeLedger) {
	if len(n.Shares) <= report.MaxShares {
		return
	}
	var order []string
	rest := map[string]*report.Omitted{}
	for _, row := range n.Shares[report.MaxShares:] {
		if rest[row.Owner] == nil {
			rest[row.Owner] = &report.Omitted{Account: row.Owner}
			order = append(order, row.Owner)
		}
		rest[row.Owner].Count++
		rest[row.Owner].Bytes += row.Bytes
	}
	n.Shares = n.Shares[:report.MaxShares]
	slices.Sort(order)
	for _, owner := range order {
		n.Omitted = append(n.Omitted, *rest[owner])
	}
}

func share(p ledger.Part, names *snapshot.Names) report.NodeShare {
	w := identity.Of(p.Share.Path, names)
	row := report.NodeShare{Owner: ownOther, Kind: kind(&w), Name: text(w.Title), ID: w.ID, PodUID: w.PodUID, Bytes: p.Bytes}
	row.Cgroup, row.CgroupBytes = name(p.Share.Path)
	switch {
	case w.Kind == identity.Container:
		row.Owner = ownContainers
	case w.Kind == identity.Pod, w.QoS != "", strings.Contains(path.Base(p.Share.Path), "kubepods"):
		row.Owner = ownPods
	case w.Kind == identity.Unit, w.Kind == identity.Monitor:
		row.Owner = ownSystem
	}
	if w.Dir != p.Share.Path { // below what it names
		row.Name = row.Cgroup
	}
	return row
}

func watermarks(s *snapshot.Snapshot) report.Watermarks {
	w := report.Watermarks{Zones: []report.NodeZone{}}
	for i := range s.Node.Zones.Value {
		z := &s.Node.Zones.Value[i]
		if z.Managed == 0 && z.Free == 0 || !plausible(z.Managed, z.Free, z.Min, z.Low, z.High, z.OnLists) {
			continue
		}
		row := report.NodeZone{
			Node: z.Node, ManagedBytes: z.Managed, FreeBytes: z.Free, OnListsBytes: z.OnLists,
			MinBytes: z.Min, LowBytes: z.Low, HighBytes: z.High, Orders: orders(s, z),
		}
		row.Zone, _ = name(z.Name)
		for _, kept := range z.Protection {
			if size.Plausible(kept) {
				row.ProtectedBytes = max(row.ProtectedBytes, kept)
			}
		}
		free := z.Free - row.ProtectedBytes
		row.AboveMinBytes, row.AboveLowBytes, row.AboveHighBytes = free-z.Min, free-z.Low, free-z.High
		w.Zones = append(w.Zones, row)
	}
	above := func(of func(*report.NodeZone) int64) *int64 {
		if len(w.Zones) == 0 {
			return nil
		}
		sum, best := int64(0), of(&w.Zones[0])
		for i := range w.Zones {
			n := of(&w.Zones[i])
			sum, best = sum+max(0, n), max(best, n)
		}
		if best <= 0 {
			return &best
		}
		return &sum
	}
	w.AboveMinBytes = above(func(z *report.NodeZone) int64 { return z.AboveMinBytes })
	w.AboveLowBytes = above(func(z *report.NodeZone) int64 { return z.AboveLowBytes })
	w.AboveHighBytes = above(func(z *report.NodeZone) int64 { return z.AboveHighBytes })
	return w
}

func plausible(all ...int64) bool {
	return !slices.ContainsFunc(all, func(n int64) bool { return !size.Plausible(n) })
}

// orders sums the free blocks from the largest order down.
func orders(s *snapshot.Snapshot, z *snapshot.Zone) []report.FreeOrder {
	rows := []report.FreeOrder{}
	i := slices.IndexFunc(s.Node.Buddy.Value, func(b snapshot.Buddy) bool { return b.Node == z.Node && b.Zone == z.Name })
	if i < 0 {
		return rows
	}
	blocks := s.Node.Buddy.Value[i].Blocks
	if len(blocks) > 32 {
		return rows
	}
	pages := int64(0)
	for order := len(blocks) - 1; order >= 0; order-- {
		if blocks[order] < 0 || blocks[order] > 1<<44>>order {
			return []report.FreeOrder{}
		}
		pages += blocks[order] << order
		rows = append(rows, report.FreeOrder{Order: order, Blocks: blocks[order], Fits: pages >> order, Bytes: pages * s.Host.PageSize})
	}
	slices.Reverse(rows)
	return rows
}

// activities are counters of reclaim and compaction. Until 4.8 some were kept by
// zone, and allocstall is since (linux include/linux/vm_event_item.h).
var activities = []struct{ name, what string }{
	{"pageoutrun", words.Key("times that kswapd ran")},
	{"pgscan_kswapd", words.Key("pages that kswapd looked at")},
	{"pgsteal_kswapd", words.Key("pages that kswapd took back")},
	{"kswapd_low_wmark_hit_quickly", words.Key("times that kswapd had just stopped and fell below low again")},
	{"kswapd_high_wmark_hit_quickly", words.Key("times that kswapd had just stopped and fell below high again")},
	{"allocstall", words.Key("times that an allocation had to reclaim itself")},
	{"pgscan_direct", words.Key("pages that allocations looked at themselves")},
	{"pgsteal_direct", words.Key("pages that allocations took back themselves")},
	{"compact_stall", words.Key("times that an allocation had to compact itself")},
	{"compact_fail", words.Key("of those, in vain")},
	{"compact_success", words.Key("of those, with success")},
	{"pswpin", words.Key("pages read from swap")},
	{"pswpout", words.Key("pages written to swap")},
	{"thp_fault_fallback", words.Key("huge pages that faults did not get")},
	{"oom_kill", words.Key("processes killed for want of memory, of cgroups too")},
}

func activity(p words.Printer, s *snapshot.Snapshot) []report.Activity {
	rows := []report.Activity{}
	for _, a := range activities {
		sum, found := int64(0), false
		for _, suffix := range []string{"", "_dma", "_dma32", "_normal", "_high", "_movable", "_device"} {
			if n, ok := s.Node.Vmstat.Value.Get(a.name + suffix); ok && n >= 0 && sum+n >= 0 {
				sum, found = sum+n, true
			}
		}
		if found {
			rows = append(rows, report.Activity{Name: a.name, Count: sum, What: p.Of(a.what)})
		}
	}
	return rows
}

// memory is a line of /proc/meminfo; nil when it is not there.
func memory(s *snapshot.Snapshot, key string) *int64 {
	if n, ok := s.Node.Meminfo.Value.Get(key); ok && size.Plausible(n) {
		return &n
	}
	return nil
}

func nodeSwap(s *snapshot.Snapshot) report.NodeSwap {
	w := report.NodeSwap{
		TotalBytes: memory(s, "SwapTotal"), FreeBytes: memory(s, "SwapFree"), CachedBytes: memory(s, "SwapCached"),
		Areas: []report.SwapArea{}, Zram: []report.Zram{},
		Zswap: report.Zswap{Enabled: "unknown", PoolBytes: memory(s, "Zswap"), StoredBytes: memory(s, "Zswapped")},
	}
	for _, a := range s.Node.Swaps.Value {
		row := report.SwapArea{Bytes: a.Bytes, UsedBytes: a.Used, Priority: a.Priority}
		row.Name, row.NameBytes = name(a.Name)
		row.Kind = text(a.Kind)
		w.Areas = append(w.Areas, row)
	}
	switch on, ok := s.Node.Tuning.Zswap.Get(); {
	case ok && on:
		w.Zswap.Enabled = "yes"
	case ok, s.Node.Tuning.Zswap.State == snapshot.Absent: // built without
		w.Zswap.Enabled = "no"
	}
	for _, z := range s.Node.Tuning.Zram.Value {
		w.Zram = append(w.Zram, report.Zram{Name: text(z.Name), StoredBytes: z.Stored, CompressedBytes: z.Compressed, UsedBytes: z.Used})
	}
	return w
}

func settings(s *snapshot.Snapshot) []report.Setting {
	rows := []report.Setting{}
	t := &s.Node.Tuning
	add := func(name, value, source string, known bool) {
		if known {
			rows = append(rows, report.Setting{Name: name, Value: value, Source: source})
		}
	}
	for _, n := range []struct {
		name string
		r    *snapshot.Reading[int64]
	}{
		{"vm.overcommit_memory", &t.Overcommit},
		{"vm.overcommit_ratio", &t.OvercommitRatio},
		{"vm.swappiness", &t.Swappiness},
		{"vm.watermark_scale_factor", &t.WatermarkScale},
	} {
		v, ok := n.r.Get()
		add(n.name, strconv.FormatInt(v, 10), n.r.Source, ok)
	}
	free, ok := t.MinFree.Get()
	add("vm.min_free_kbytes", strconv.FormatInt(free/size.KiB, 10), t.MinFree.Source, ok)
	thp, ok := t.THP.Get()
	add("transparent_hugepage", text(thp), t.THP.Source, ok)
	for _, key := range []string{"CommitLimit", "Committed_AS"} {
		if n := memory(s, key); n != nil {
			add(key, strconv.FormatInt(*n/size.KiB, 10)+" kB", s.Node.Meminfo.Source, true)
		}
	}
	return rows
}

func available(p words.Printer, s *snapshot.Snapshot) report.NodeAvailable {
	n := says.NodeAvailable(p, s)
	a := report.NodeAvailable{
		MemAvailableBytes: memory(s, "MemAvailable"),
		Kubelet:           report.Says{Tool: n.Tool, Formula: n.Formula(), Terms: []report.Term{}, Note: n.Note},
	}
	for _, t := range n.Terms {
		a.Kubelet.Terms = append(a.Kubelet.Terms, report.Term{Sign: string(t.Sign), Name: t.Name, Bytes: t.Bytes})
	}
	if n.Known {
		a.Kubelet.Bytes = &n.Bytes
	}
	for _, c := range append(slices.Clone(s.Kmem.Groups.Value), "") {
		base := path.Base(c)
		a.KubeletSeen = a.KubeletSeen || base == "kubelet.service" || strings.Contains(base, "kubepods")
	}
	if !a.KubeletSeen && n.Known {
		a.Kubelet.Note = p.Say("no kubelet seen here: what it would say")
	}
	return a
}

// unavailable says what a kubelet takes for available that nothing else can have: before
// Kubernetes 1.37 (HugepageAwareEviction) it does not know of huge pages, which are in
// the capacity and in no usage. So a node runs out before it evicts.
func unavailable(p words.Printer, r *report.Node) []string {
	i := slices.IndexFunc(r.Ledger.Classes, func(c report.NodeClass) bool { return c.Path == ledger.HugeTLB })
	if i < 0 || r.Ledger.Classes[i].Bytes == 0 || !r.Available.KubeletSeen || r.Available.Kubelet.Bytes == nil {
		return nil
	}
	return []string{p.Say("a kubelet before 1.37 takes %s of huge pages for available, which nothing else can have: it evicts so much too late", size.Text(r.Ledger.Classes[i].Bytes))}
}

func (l *missingList) missing(all []ledger.Missing) {
	for _, m := range all {
		l.add(m.Key, m.Source, m.State, l.Tell(m.Err), l.Tell(m.WouldShow))
	}
}

// node adds what is null or was not read of all but the removed cgroups.
func (l *missingList) node(s *snapshot.Snapshot, r *report.Node) {
	mem, zones := s.Node.Meminfo, s.Node.Zones
	n := &r.Ledger
	null(l, "ledger.totalBytes", n.TotalBytes == nil, mem, l.Say("no usable line %s", "MemTotal"), l.Say("where the node's memory is"))
	null(l, "ledger.usedBytes", n.UsedBytes == nil, mem, l.Say("no usable line %s", "MemTotal"), l.Say("how much of it is in use"))
	null(l, "ledger.unexplained.boundBytes", n.Unexplained.BoundBytes == nil, s.Host.CPUs, l.Say("no ledger"), l.Say("how far the counters may be off"))
	null(l, "ledger.unowned.boundBytes", n.Unowned.BoundBytes == nil, s.Host.CPUs, l.Say("no ledger by owner"), l.Say("how far the counters may be off"))
	if inside, ok := s.Host.Nested.Get(); ok && inside && len(n.Owners) == 0 {
		l.add("ledger.owners", s.Shares.Source, snapshot.Denied, l.Say("this process is in a cgroup namespace and sees a part of the tree"), l.Say("which cgroups own the node's memory"))
	} else if len(n.Owners) == 0 {
		why := cmp.Or(s.Shares.Err, l.Say("the root of the cgroup tree is not mounted here, or there is no MemTotal"))
		l.add("ledger.owners", s.Shares.Source, absentUnlessFailed(s.Shares.State), why, l.Say("which cgroups own the node's memory"))
	} else if s.Shares.State != snapshot.Present {
		l.add("", s.Shares.Source, s.Shares.State, s.Shares.Err, l.Say("the other cgroups: theirs is in what is above them, or unowned"))
	}
	for _, w := range []struct {
		key string
		n   *int64
	}{{"Min", r.Watermarks.AboveMinBytes}, {"Low", r.Watermarks.AboveLowBytes}, {"High", r.Watermarks.AboveHighBytes}} {
		null(l, "watermarks.above"+w.key+"Bytes", w.n == nil, zones, l.Say("no zone has memory"), l.Say("how far free memory is from reclaim"))
	}
	unread(l, s.Node.Vmstat, l.Say("what kswapd and direct reclaim did since boot"))
	unread(l, s.Node.Buddy, l.Say("whether free memory is fragmented"))
	unread(l, s.Log, l.Say("whether requests for contiguous pages failed"))
	unread(l, s.Node.Swaps, l.Say("the swap areas"))
	for _, w := range []struct {
		key, line string
		n         *int64
		shows     string
	}{
		{"swap.totalBytes", "SwapTotal", r.Swap.TotalBytes, l.Say("how much swap there is")},
		{"swap.freeBytes", "SwapFree", r.Swap.FreeBytes, l.Say("how much swap is free")},
		{"swap.cachedBytes", "SwapCached", r.Swap.CachedBytes, l.Say("what is in memory and in swap")},
		{"swap.zswap.poolBytes", "Zswap", r.Swap.Zswap.PoolBytes, l.Say("what zswap holds")},
		{"swap.zswap.storedBytes", "Zswapped", r.Swap.Zswap.StoredBytes, l.Say("what zswap holds, before compression")},
		{"available.memAvailableBytes", "MemAvailable", r.Available.MemAvailableBytes, l.Say("the kernel's own estimate")},
	} {
		null(l, w.key, w.n == nil, mem, l.Say("no usable line %s", w.line), w.shows)
	}
	t := &s.Node.Tuning
	l.settings([]snapshot.Reading[int64]{t.Overcommit, t.OvercommitRatio, t.Swappiness, t.WatermarkScale, t.MinFree})
	unread(l, t.THP, l.Say("whether transparent huge pages are on"))
	if r.Swap.Zswap.Enabled == "unknown" {
		unread(l, t.Zswap, l.Say("whether zswap is on"))
	}
	if t.Zram.State != snapshot.Absent {
		unread(l, t.Zram, l.Say("what zram devices hold"))
	}
	root := snapshot.Reading[int]{State: s.Shares.State, Source: s.Shares.Source, Err: s.Shares.Err}
	null(l, "available.kubelet.bytes", r.Available.Kubelet.Bytes == nil, root, l.Say("this kernel has no statistics of the root cgroup"), l.Say("what the kubelet would call available"))
}

// settings adds one entry for all that could not be read for the same reason.
func (l *missingList) settings(all []snapshot.Reading[int64]) {
	said := map[string]int{} // where in rows
	for _, r := range all {
		if r.State == snapshot.Present || r.Source == "" {
			continue
		}
		key := r.State.String() + r.Err
		if i, ok := said[key]; ok {
			l.rows[i].WouldShow += ", " + path.Base(r.Source)
			continue
		}
		unread(l, r, l.Say("settings: %s", path.Base(r.Source)))
		said[key] = len(l.rows) - 1
	}
}

func absentUnlessFailed(s snapshot.State) snapshot.State {
	if s == snapshot.Present {
		return snapshot.Absent
	}
	return s
}

// unread adds a source without which a part is empty.
func unread[T any](l *missingList, r snapshot.Reading[T], wouldShow string) {
	if r.State != snapshot.Present && r.Source != "" {
		l.add("", r.Source, r.State, r.Err, wouldShow)
	}
}

// dying says which removed cgroups are kept and what holds them. With a census
// each is listed, without one they are counted where the kernel's files tell.
func dying(p words.Printer, s *snapshot.Snapshot) report.Dying {
	d := report.Dying{
		How: "unknown", Groups: []report.DyingGroup{}, Inherited: []report.Charge{}, Evidence: []report.Evidence{},
		IDs: report.IDs{Max: advisory.MaxIDs, How: "unknown"},
	}
	if c, ok := s.Census.Get(); ok && c.Walked {
		countedDying(&d, s)
	} else {
		toldDying(p, &d, advisory.Look(p, s))
	}
	return d
}
