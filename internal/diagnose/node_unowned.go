package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

var nodeUnowned = Rule{
	Code:    codeUnowned,
	Title:   "memory of the node that is in no account",
	NoBytes: "the target is a cgroup that is not charged for it: only of the node as a whole it is a part",
	find:    unowned,
	Doc: Doc{
		Means: `MemTotal less all that the kernel counts leaves pages that are in no counter and charged to no cgroup: rings of packet sockets and of perf that a process has mapped, a balloon of the hypervisor, buffers of a driver or a GPU, pages of a module, or pages that leaked. ` +
			`No limit of a container holds them, and no eviction gives them back. Where a mapping or a counter names them, the bytes are what that says; else they are the whole rest.`,
		Grades: "info: rings or a balloon that are named, from 1/256 of MemTotal on; a rest that grew within a watch, or that is a tenth of MemTotal. notice: a quarter of MemTotal, or growth over 10 minutes and more. What firmware, drivers and the kernel always have is less than that, and silent; buffers of TCP and UDP and what cgroups are charged for otherwise are taken off.",
		Needs:  []string{"/proc/meminfo, /proc/zoneinfo, /proc/vmstat, /proc/net/sockstat", "smaps of processes below the target: explain / sees the node's largest", "--watch or two captures, for growth"},
		Verify: []string{
			"memwhy node -o wide   # BY CLASS, unexplained", "grep -E 'socket:|perf_event' /proc/<pid>/maps   # rings that are mapped, in full",
			"ss -0 -pem   # packet sockets and who has them", "grep balloon /proc/vmstat", "cat /proc/spl/kstat/zfs/arcstats   # the cache of ZFS is in no counter either",
		},
		Do: []string{
			"a ring: make it smaller where it was asked for (tcpdump -B, ring-size of an IDS, PACKET_RX_RING), or stop the capture: it is given back at once",
			"a driver: ethtool -g and -l show its rings and queues; fewer or shorter ones need less",
			"a balloon: the hypervisor gives it back; size the guest for its load",
			"growth that nothing names: the module or driver that came last; a reboot gives a leak back",
		},
		Owner:   "platform; app, where it maps the ring; kernel, where a module leaks",
		Stories: `"free shows 20 GiB used, the pods sum to 12, so the pods leak": what no pod is charged for is not the pods'. ps shows a mapped ring in RSS and the cgroup does not have it: both are right.`,
	},
}

// ring is memory of the kernel's that a process has mapped and that no counter has.
type ring struct {
	process *snapshot.Process
	kind    string
	bytes   int64
}

// rings finds such mappings by what they are of. Packet rings are mapped page by page
// and are in Rss; those of perf are as large as their mapping.
func (f *facts) rings() (list []ring, sum int64) {
	for i := range f.s.Processes {
		p := &f.s.Processes[i]
		smaps, _ := p.Smaps.Get()
		var packet, perf int64
		for k := range smaps.Maps {
			switch m := &smaps.Maps[k]; {
			case strings.HasPrefix(m.Name, "socket:[") && m.Inode != 0:
				packet = min(packet+max(0, m.Pss), maxSum)
			case m.Name == "anon_inode:[perf_event]":
				perf = min(perf+max(0, int64(m.End-m.Start)), maxSum)
			}
		}
		for _, r := range []ring{{p, f.Say("rings of packet sockets"), packet}, {p, f.Say("rings of perf"), perf}} {
			if r.bytes > 0 {
				list, sum = append(list, r), min(sum+r.bytes, maxSum)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b ring) int { return cmp.Compare(b.bytes, a.bytes) })
	return list, sum
}

// rest is what no account has, at one look.
type rest struct {
	bytes, total, bound int64
	blind               bool  // the kernel does not count all that it can have
	split               bool  // what cgroups are charged for otherwise is known, and taken off
	kmem                int64 // what they are charged for of all kinds, where it is not: version 1
	evidence            []report.Evidence
}

// restOf cuts MemTotal, and takes off what else is known to have pages that no class
// counts. A meminfo that somebody made up for a container is no node's.
func (f *facts) restOf(s *snapshot.Snapshot) (r rest, ok bool) {
	c, ok := ledger.NodeClasses(s)
	if !ok || c.Bound < 0 || s.Node.Zones.State != snapshot.Present {
		return r, false
	}
	managed := int64(0)
	for _, z := range s.Node.Zones.Value {
		managed = min(managed+max(0, z.Managed), maxSum)
	}
	if c.Total < managed-managed/50 {
		return r, false
	}
	r = rest{bytes: c.Unexplained(), total: c.Total, bound: c.Bound, blind: len(c.Missing) > 0}
	r.evidence = append(r.evidence, report.Evidence{
		Statement: f.Say("MemTotal less all that the kernel counts, give or take %s", size.Text(r.bound)),
		Source:    s.Node.Meminfo.Source, Value: fmt.Sprint(r.bytes),
	})
	if n, ok := s.Node.Sockets.Get(); ok && n > 0 {
		r.bytes -= n
		r.evidence = append(r.evidence, report.Evidence{Statement: f.Say("of it buffers of TCP and UDP, at most"), Source: s.Node.Sockets.Source, Value: fmt.Sprint(n)})
	}
	if r.blind {
		r.evidence = append(r.evidence, report.Evidence{Statement: f.Say("this kernel does not count, so that it may be this"), Source: s.Node.Meminfo.Source, Value: missingClasses(c)})
	}
	if e := r.takeCharged(s, c); e.Value != "" {
		e.Statement = f.Say("of it what cgroups are charged for, as pipes are")
		r.evidence = append(r.evidence, e)
	}
	return r, true
}

func missingClasses(c *ledger.Classes) string {
	var all []string
	for _, m := range c.Missing {
		all = append(all, strings.TrimPrefix(m.Key, "ledger.classes/"))
	}
	return strings.Join(all, ", ")
}

// takeCharged takes off kernel memory that cgroups are charged for and no class counts.
// Version 1 has one number of all kinds: at least what is more than the classes have.
func (r *rest) takeCharged(s *snapshot.Snapshot, c *ledger.Classes) (e report.Evidence) {
	kmem, stat, ok := rootCharge(s)
	if !ok {
		return e
	}
	var beside int64
	all, known := stat.Value.Get("kernel")
	switch total, old := kmem.Get(); {
	case old && size.Plausible(total):
		r.kmem, beside, e.Source = total, total-c.Sum("kernel"), kmem.Source
	case known && size.Plausible(all):
		r.split, beside, e.Source = true, all, stat.Source
		for _, key := range []string{"slab", "kernel_stack", "pagetables", "sec_pagetables", "percpu", "vmalloc", "zswap"} {
			n, _ := stat.Value.Get(key)
			beside -= max(0, n)
		}
	}
	if beside > 0 {
		r.bytes, e.Value = r.bytes-beside, fmt.Sprint(beside)
	}
	return e
}

// rootCharge is what the root of the cgroups says of kernel memory, of all of them.
func rootCharge(s *snapshot.Snapshot) (kmem snapshot.Reading[int64], stat snapshot.Reading[snapshot.Stat], ok bool) {
	if n := len(s.Path); n > 0 && s.Path[n-1].Root() {
		return s.Path[n-1].KmemUsage, s.Path[n-1].Stat, true
	}
	if all := s.Shares.Value; len(all) > 0 && all[0].Path == "/" {
		return all[0].Kmem, all[0].Stat, true
	}
	return kmem, stat, false
}

// balloon is what a hypervisor has taken. Most drivers take it out of MemTotal: then
// it is not in the rest.
func (f *facts) balloon(r *rest) (bytes int64, e report.Evidence) {
	v := f.s.Node.Vmstat.Value
	in, ok1 := v.Get("balloon_inflate")
	out, ok2 := v.Get("balloon_deflate")
	pages, page := in-out, max(f.s.Host.PageSize, 1)
	if !ok1 || !ok2 || pages <= 0 || pages > maxSum/page || pages*page > r.bytes+r.bound {
		return 0, e
	}
	return pages * page, report.Evidence{Statement: f.Say("pages that a balloon driver took and did not give back"), Source: f.s.Node.Vmstat.Source, Value: fmt.Sprintf("balloon_inflate %d, balloon_deflate %d", in, out)}
}

func unowned(f *facts) []report.Finding {
	r, ok := f.restOf(f.s)
	if !ok {
		return nil
	}
	few := max(r.bound, r.total/256)
	list, mapped := f.rings()
	balloon, taken := f.balloon(&r)
	named := min(mapped+balloon, max(0, r.bytes+r.bound)) // what is counted after all is somebody's
	switch grew := f.restGrew(&r); {
	case named >= few && 10*(r.bytes-named) < r.total:
		return []report.Finding{f.namedRest(&r, named, list, mapped > balloon, taken)}
	case grew > max(2*r.bound, few) && grew > named/2:
		return []report.Finding{f.grownRest(&r, grew)}
	case 10*r.bytes >= r.total && r.bytes > 4*r.bound && (!r.blind || 8*r.bytes >= r.total) && 2*r.kmem < r.bytes:
		return []report.Finding{f.largeRest(&r)}
	}
	return nil
}

// restGrew is by how much the rest grew within a watch, at least: what the first look
// does not say of sockets and cgroups was not taken off then. Where what cgroups are
// charged for cannot be taken off, a pipe of a container could be all of it.
func (f *facts) restGrew(now *rest) int64 {
	if f.s.Watch == nil || f.s.Watch.First == nil || f.trend == nil {
		return 0
	}
	then, ok := f.restOf(f.s.Watch.First)
	switch {
	case !ok || then.total != now.total:
		return 0
	case now.split:
		return now.bytes - then.bytes
	case now.kmem > 0 && then.kmem > 0:
		return now.bytes - then.bytes - max(0, now.kmem-then.kmem)
	}
	return 0
}

func (f *facts) unownedFinding(severity, confidence, title string, bytes int64, r *rest) report.Finding {
	if 4*r.bytes >= r.total {
		severity = worse(severity, notice)
	}
	x := report.Finding{Code: codeUnowned, Severity: severity, Confidence: confidence, Title: title, Evidence: r.evidence}
	if f.whole() {
		x.Bytes = &bytes
	}
	return x
}

func (f *facts) namedRest(r *rest, bytes int64, list []ring, mapped bool, taken report.Evidence) report.Finding {
	what, command := f.Say("a balloon of the hypervisor"), f.Say("have the hypervisor give it back, or size the guest for its load")
	cost := f.Say("memory of the hypervisor's host")
	if mapped {
		what = f.Say("%s that %s has mapped", list[0].kind, f.processName(list[0].process))
		command, cost = f.Say("make the ring smaller where it was asked for, or stop the program that has it"), f.Say("packets or samples are lost when it runs over")
	}
	x := f.unownedFinding(info, high, f.Say("%s of the node in no counter, charged to nobody: %s", size.Text(bytes), what), bytes, r)
	for _, m := range list[:min(len(list), 3)] {
		x.Evidence = append(x.Evidence, report.Evidence{
			Statement: f.Say("%s that %s has mapped", m.kind, f.processName(m.process)), Source: m.process.Smaps.Source, Value: fmt.Sprint(m.bytes),
		})
	}
	x.Evidence = append(x.Evidence, taken) // of nothing it is empty, and not told
	x.Remedies = []report.Remedy{{Kind: "app", Command: command, ExpectBytes: &bytes, Cost: cost}, f.lookNode()}
	return x
}

func (f *facts) grownRest(r *rest, grew int64) report.Finding {
	severity := info
	if f.trend.Window >= longWatch {
		severity = notice
	}
	x := f.unownedFinding(severity, medium, f.Say("%s of the node more in no counter than %s before, charged to nobody: a driver or a module takes it, or leaks it", size.Text(grew), f.window()), grew, r)
	x.Remedies = []report.Remedy{{Kind: "look", Command: "lsmod, ethtool -g, ss -0 -pem, memwhy node -o wide", Cost: f.Say("none")}, f.lookNode()}
	return x
}

func (f *facts) largeRest(r *rest) report.Finding {
	x := f.unownedFinding(info, low, f.Say("%s of the node's %s in no counter, charged to nobody: drivers, a GPU, ZFS, a balloon or a leak; which, nothing here names", size.Text(r.bytes), size.Text(r.total)), r.bytes, r)
	x.Remedies = []report.Remedy{{Kind: "look", Command: "lsmod, ethtool -g, ss -0 -pem, cat /proc/spl/kstat/zfs/arcstats", Cost: f.Say("none")}, f.lookNode()}
	return x
}

func (f *facts) lookNode() report.Remedy {
	return report.Remedy{Kind: "look", Command: f.Say("memwhy explain / --watch 10m: who has rings mapped, and whether it grows"), Cost: f.Say("none")}
}
