package render

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/words"
)

// Node renders where a node's memory is, for one screen.
func Node(r *report.Node) []byte {
	p := &page{Printer: words.In(r.Lang), width: Width}
	p.fold("  ", 3, p.nodeAnswer(r))
	p.line("%s", p.nodeHost(r))
	for _, f := range r.Findings[:min(len(r.Findings), 2)] {
		p.fold("  ", 2, strings.ToUpper(f.Severity)+" "+f.Code+": "+f.Title)
	}
	cuts(p, r)
	end := &page{Printer: p.Printer, width: Width}
	end.fold("  ", 2, p.sinceBoot(r))
	end.fold("  ", 2, p.told(r))
	end.fold("  ", 2, p.kubelet(r))
	room := Height - strings.Count(p.String(), "\n") - strings.Count(end.String(), "\n")
	doubts := p.nodeDoubts(r)
	room -= min(len(doubts), 1)
	zones := byManaged(r)
	zones = zones[:min(len(zones), 3, max(0, room-3))]
	room -= len(zones) + min(len(zones), 1)
	shares := r.Ledger.Shares[:min(len(r.Ledger.Shares), 3, max(0, room))]
	for len(shares) > 0 && shares[len(shares)-1].Bytes < size.MiB/10 { // the largest come first
		shares = shares[:len(shares)-1]
	}
	largestShares(p, shares)
	room -= len(shares)
	zoneTable(p, zones, []int{3, 9})
	p.Write(end.Bytes())
	room += min(len(doubts), 1)
	p.doubts(doubts, room)
	return p.Bytes()
}

// nodeAnswer is the first sentence: what is in use, by owner where that is known.
func (p *page) nodeAnswer(r *report.Node) string {
	n := &r.Ledger
	if n.TotalBytes == nil {
		return p.Say("Where this node's memory is cannot be told: there is no MemTotal.")
	}
	unit, text := size.Like(*n.TotalBytes)
	var parts []string
	add := func(name string, bytes int64) {
		if s := text(bytes); s != "0.0" {
			parts = append(parts, name+" "+s)
		}
	}
	for _, o := range n.Owners {
		switch o.Owner {
		case "free":
		case "other":
			add(p.Say("other cgroups"), o.Bytes)
		default:
			add(o.Owner, o.Bytes)
		}
	}
	if len(n.Owners) == 0 {
		for _, c := range classGroups(r) {
			if c.name != "free" {
				add(c.name, c.bytes)
			}
		}
	}
	return p.Say("%s of %s %s are in use: %s; %s.", text(*n.UsedBytes), text(*n.TotalBytes), unit, p.Join(parts), p.toReclaim(r))
}

func (p *page) toReclaim(r *report.Node) string {
	above := r.Watermarks.AboveLowBytes
	switch {
	case above == nil:
		return p.Say("how far that is from reclaim is not known")
	case *above <= 0:
		return p.Say("free memory is at or below the low watermark of every zone")
	}
	unit, text := size.Like(*above)
	return p.Say("free memory is %s %s above the low watermark", text(*above), unit)
}

func (p *page) nodeHost(r *report.Node) string {
	s := p.Say("kernel %s, cgroup %s, %s LRU", p.orUnknown(r.Host.Kernel), r.Host.CgroupMode, r.Host.LRU)
	if r.Host.CPUs != nil {
		s += p.Say(", %d CPUs", *r.Host.CPUs)
	}
	return s
}

type amount struct {
	name  string
	bytes int64
}

// classGroups are the classes that fit beside the owners.
func classGroups(r *report.Node) (rows []amount) {
	at := map[string]int{}
	for _, c := range r.Ledger.Classes {
		name, _, _ := strings.Cut(c.Path, "/")
		switch {
		case strings.HasPrefix(c.Path, "kernel/slab"):
			name = "slab"
		case name == "kernel":
			name = "other kernel"
		}
		if _, ok := at[name]; !ok {
			at[name] = len(rows)
			rows = append(rows, amount{name: name})
		}
		rows[at[name]].bytes += c.Bytes
	}
	return slices.DeleteFunc(rows, func(a amount) bool { return a.bytes == 0 && a.name != "unexplained" })
}

// cuts are the two ledgers side by side.
func cuts(p *page, r *report.Node) {
	if r.Ledger.TotalBytes == nil {
		return
	}
	classes := classGroups(r)
	var owned []string
	for _, o := range r.Ledger.Owners {
		if o.Bytes == 0 && o.Owner != "unowned" {
			continue
		}
		s := layout("  %-12s %11s", o.Owner, size.MiBs(o.Bytes))
		if o.Count > 0 {
			s += p.Say("  in %d", o.Count)
		}
		owned = append(owned, s)
	}
	if len(owned) == 0 {
		owned = []string{p.Say("  not known")}
	}
	p.line("%-40s%s", p.Say("BY OWNER, MiB of %s", size.MiBs(*r.Ledger.TotalBytes)), p.Say("BY CLASS, MiB of the same"))
	for i := range max(len(owned), len(classes)) {
		left, right := "", ""
		if i < len(owned) {
			left = owned[i]
		}
		if i < len(classes) {
			right = layout("  %-12s %11s", classes[i].name, size.MiBs(classes[i].bytes))
		}
		p.line("%-40s%s", left, right)
	}
}

// shareName is a name, an id, or the end of a path.
func (p *page) shareName(s *report.NodeShare) string {
	switch {
	case s.Name != "":
		return s.Name
	case s.ID != "":
		return s.Kind + " " + short(s.ID)
	case s.PodUID != "":
		return p.Say("pod %s", s.PodUID)
	}
	return s.Cgroup
}

func largestShares(p *page, shares []report.NodeShare) {
	for i := range shares {
		s := &shares[i]
		lead := p.Say("largest")
		if i > 0 {
			lead = ""
		}
		p.line("%-7s %11s  %-10s %s", lead, size.MiBs(s.Bytes), s.Owner, printable.Fit(printable.Text(p.shareName(s)), Width-33))
	}
}

func byManaged(r *report.Node) []report.NodeZone {
	zones := slices.Clone(r.Watermarks.Zones)
	slices.SortStableFunc(zones, func(a, b report.NodeZone) int { return cmp.Compare(b.ManagedBytes, a.ManagedBytes) })
	return zones
}

// zoneTable shows zones with how many requests of some orders they can serve.
func zoneTable(p *page, zones []report.NodeZone, orders []int) {
	const row = "%-12s %9s %7s %7s %7s %9s"
	if len(zones) == 0 {
		return
	}
	heading := layout(row, "ZONE, MiB", "FREE", "MIN", "LOW", "HIGH", "ABOVE LOW")
	for _, o := range orders {
		heading += fmt.Sprintf(" %10s", fmt.Sprintf("ORDER %d", o))
	}
	p.line("%s", heading)
	for _, z := range zones {
		s := layout(row, fmt.Sprintf("%d %s", z.Node, printable.Fit(printable.Text(z.Zone), 9)), size.MiBs(z.FreeBytes),
			size.MiBs(z.MinBytes), size.MiBs(z.LowBytes), size.MiBs(z.HighBytes), size.MiBs(z.AboveLowBytes))
		for _, o := range orders {
			fits := "?"
			if len(z.Orders) > 0 {
				fits = "0"
			}
			if o < len(z.Orders) {
				fits = fmt.Sprint(z.Orders[o].Fits)
			}
			s += fmt.Sprintf(" %10s", fits)
		}
		p.line("%s", s)
	}
}

func since(r *report.Node, name string) string {
	for _, a := range r.Activity {
		if a.Name == name {
			return fmt.Sprint(a.Count)
		}
	}
	return "?"
}

func (p *page) sinceBoot(r *report.Node) string {
	if len(r.Activity) == 0 {
		return p.Say("SINCE BOOT  not known")
	}
	c := func(name string) string { return since(r, name) }
	return p.Say("SINCE BOOT  kswapd took back %s pages; allocations %s, in %s stalls; compaction stalls %s; swapped out %s; OOM kills %s (rates need two readings)",
		c("pgsteal_kswapd"), c("pgsteal_direct"), c("allocstall"), c("compact_stall"), c("pswpout"), c("oom_kill"))
}

// told is how the node was told to manage memory, in short.
func (p *page) told(r *report.Node) string {
	parts := []string{p.swapText(r)}
	if z := r.Swap.Zswap; z.Enabled != "no" || z.PoolBytes != nil && *z.PoolBytes > 0 {
		parts = append(parts, "zswap "+cmp.Or(map[string]string{"yes": "on", "no": "off"}[z.Enabled], z.Enabled)+p.pool(z.PoolBytes))
	}
	for _, z := range r.Swap.Zram {
		if z.UsedBytes > 0 {
			parts = append(parts, z.Name+" "+size.Text(z.UsedBytes))
		}
	}
	for _, s := range r.Settings {
		switch s.Name {
		case "transparent_hugepage":
			parts = append(parts, "THP "+s.Value)
		case "vm.overcommit_memory", "vm.swappiness", "vm.min_free_kbytes":
			parts = append(parts, strings.TrimPrefix(s.Name, "vm.")+" "+s.Value)
		}
	}
	return p.Say("SET  %s", p.Join(parts))
}

func (p *page) pool(n *int64) string {
	if n == nil || *n == 0 {
		return ""
	}
	return p.Say(", pool %s", size.Text(*n))
}

func (p *page) swapText(r *report.Node) string {
	w := &r.Swap
	switch {
	case w.TotalBytes == nil || w.FreeBytes == nil:
		return p.Say("swap unknown")
	case *w.TotalBytes == 0:
		return p.Say("no swap")
	}
	return p.Say("swap %s, %s used", size.Text(*w.TotalBytes), size.Text(*w.TotalBytes-*w.FreeBytes))
}

func (p *page) kubelet(r *report.Node) string {
	k := &r.Available.Kubelet
	s := p.Say("AVAILABLE  MemAvailable %s; %s %s", mib(r.Available.MemAvailableBytes, p.Say("unknown")), k.Tool, mib(k.Bytes, p.Say("unknown")))
	if k.Bytes != nil {
		s += " " + formula(report.Says{Terms: k.Terms})
	}
	if !r.Available.KubeletSeen {
		s += p.Say(" (no kubelet seen)")
	}
	return s
}

// nodeDoubts are what was strange, and what could not be seen of the ledger or at
// all. What a kernel does not have is no news.
func (p *page) nodeDoubts(r *report.Node) []string {
	all := slices.Concat(r.Doubts, r.Ledger.Doubts)
	for _, m := range r.NotSeen {
		if m.State == "absent" && m.Key != "ledger.owners" || strings.HasPrefix(m.Key, "dying.") || strings.HasPrefix(m.Key, "host.") || m.Key == "generated" {
			continue
		}
		all = append(all, p.Say("not seen: %s (%s: %s)", m.WouldShow, m.Source, m.Why))
	}
	return all
}

// NodeWide renders all of r but the removed cgroups one by one.
func NodeWide(r *report.Node) []byte {
	p := &page{Printer: words.In(r.Lang)}
	p.line("%s", p.nodeAnswer(r))
	p.line("%s", p.Join([]string{p.nodeHost(r), p.orUnknown(r.Host.Distro)}))
	allFindings(p, r.Findings)
	n := &r.Ledger
	p.line("BY OWNER, in bytes")
	for _, o := range n.Owners {
		count := ""
		if o.Count > 0 {
			count = fmt.Sprintf("%d: ", o.Count)
		}
		p.line("  %-28s %15d  %s%s", o.Owner, o.Bytes, count, o.Note)
	}
	if n.TotalBytes != nil && len(n.Owners) > 0 {
		p.line("  %-28s %15d  = MemTotal; unowned is within %s", "sum", *n.TotalBytes, p.optional(n.Unowned.BoundBytes))
	}
	p.line("BY CLASS, in bytes")
	for _, c := range n.Classes {
		p.line("  %-28s %15d  %s", c.Path, c.Bytes, c.From)
	}
	if n.TotalBytes != nil {
		p.line("  %-28s %15d  = MemTotal; unexplained is within %s", "sum", *n.TotalBytes, p.optional(n.Unexplained.BoundBytes))
	}
	if len(n.Shares) > 0 {
		p.line("SHARES, in bytes, of each cgroup without those listed")
	}
	for i := range n.Shares {
		s := &n.Shares[i]
		p.line("  %-10s %-10s %15d  %s", s.Owner, s.Kind, s.Bytes, strings.TrimSpace(strings.TrimPrefix(p.shareName(s)+"  "+s.Cgroup, s.Cgroup+"  ")))
	}
	for _, o := range n.Omitted {
		p.line("  %-10s %-10s %15d  %d more", o.Account, "", o.Bytes, o.Count)
	}
	p.line("WATERMARKS")
	zoneTable(p, r.Watermarks.Zones, nil)
	p.line("FREE BLOCKS, how many requests of 2^order pages they can serve")
	for _, z := range r.Watermarks.Zones {
		var fits []string
		for _, o := range z.Orders {
			fits = append(fits, fmt.Sprintf("%d:%d", o.Order, o.Fits))
		}
		p.line("  %d %-8s %s", z.Node, z.Zone, cmp.Or(strings.Join(fits, " "), p.Say("unknown")))
	}
	p.line("SINCE BOOT; a rate needs two readings")
	for _, a := range r.Activity {
		p.line("  %-30s %15d  %s", a.Name, a.Count, a.What)
	}
	p.line("SWAP  %s", p.swapText(r))
	for _, a := range r.Swap.Areas {
		p.line("  %-28s %-10s %15d  used %d, priority %d", a.Name, a.Kind, a.Bytes, a.UsedBytes, a.Priority)
	}
	p.line("  zswap %s, pool %s, stored %s", r.Swap.Zswap.Enabled, p.optional(r.Swap.Zswap.PoolBytes), p.optional(r.Swap.Zswap.StoredBytes))
	for _, z := range r.Swap.Zram {
		p.line("  %-28s stored %d, compressed %d, used %d", z.Name, z.StoredBytes, z.CompressedBytes, z.UsedBytes)
	}
	p.line("SETTINGS")
	for _, s := range r.Settings {
		p.line("  %-28s %15s  %s", s.Name, s.Value, s.Source)
	}
	p.line("%s", p.kubelet(r))
	p.line("REMOVED CGROUPS  %s", p.dyingAnswer(&r.Dying))
	p.foot(slices.Concat(r.Doubts, r.Ledger.Doubts), r.NotSeen, r.Cost)
	return p.Bytes()
}
