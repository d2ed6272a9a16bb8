package diagnose

import (
	"strings"
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// wholeNode has 8 GiB, of which so many mebibytes are in no counter.
func wholeNode(rest int) *snapshot.Snapshot {
	s := charged(1000, "anon", 100)
	s.Path = s.Path[3:] // the root is the target
	s.Path[0].Stat = stat("anon", 700*mib, "file", 300*mib, "kernel", 150*mib, "slab", 150*mib, "sock", 0)
	s.Node.Meminfo = stat("MemTotal", 8192*mib, "MemFree", (8192-1200-rest)*mib, "AnonPages", 700*mib, "Cached", 300*mib, "Shmem", 0, "Buffers", 0,
		"SReclaimable", 80*mib, "SUnreclaim", 60*mib, "KernelStack", 10*mib, "PageTables", 10*mib, "Percpu", 10*mib, "VmallocUsed", 40*mib, "VmallocChunk", 0)
	s.Node.Zones = read([]snapshot.Zone{{Name: "Normal", Managed: 8192 * mib, Free: int64(8192-1200-rest) * mib, Min: 10 * mib, Low: 20 * mib, High: 30 * mib}})
	s.Node.Sockets = read(int64(mib))
	return s
}

// old makes it of version 1, with so many mebibytes of kernel memory charged, of all
// kinds; -1: of version 2 before it told kinds apart.
func old(s *snapshot.Snapshot, kmem int) *snapshot.Snapshot {
	s.Path[0].Stat = stat("anon", 700*mib, "file", 300*mib)
	if kmem >= 0 {
		s.Path[0].Version, s.Path[0].KmemUsage = snapshot.V1, read(int64(kmem)*mib)
	}
	return s
}

// mapping adds a process with one mapping of a name.
func mapped(s *snapshot.Snapshot, name string, bytes, pss int) *snapshot.Snapshot {
	s.Processes = append(s.Processes, snapshot.Process{PID: 9, Status: read(snapshot.Status{Name: "sniffer"}), Smaps: read(snapshot.Smaps{
		Maps: []snapshot.Mapping{{Name: name, Inode: 5, Start: 1 << 30, End: 1<<30 + uint64(bytes)*mib, Rss: int64(pss) * mib, Pss: int64(pss) * mib}}, Has: ^snapshot.SmapsKeys(0),
	})})
	s.PIDs = append(s.PIDs, 9)
	return s
}

func but(v *snapshot.Snapshot, change func(*snapshot.Snapshot)) *snapshot.Snapshot {
	change(v)
	return v
}

// after gives a node an earlier look, so long before.
func after(s *snapshot.Snapshot, window time.Duration, then *snapshot.Snapshot) *snapshot.Snapshot {
	s = watched(s, nil)
	for i := range s.Watch.Looks {
		s.Watch.Looks[i].At = s.Watch.Looks[0].At.Add(time.Duration(i) * window / time.Duration(len(s.Watch.Looks)-1))
	}
	s.Watch.First.Node, s.Watch.First.Host, s.Watch.First.Path = then.Node, then.Host, then.Path
	return s
}

// What nobody owns is told where something names it or it grows, not because it is there.
func TestUnowned(t *testing.T) {
	vmstat := func(s *snapshot.Snapshot, pairs ...any) *snapshot.Snapshot {
		s.Node.Vmstat = stat(pairs...)
		return s
	}
	balloon := func(rest int) *snapshot.Snapshot {
		return vmstat(wholeNode(rest), "balloon_inflate", 300*256, "balloon_deflate", 44*256)
	}
	for name, c := range map[string]struct {
		s    *snapshot.Snapshot
		want string // severity, confidence
		mibs int64
		text string
	}{
		"as ever":             {wholeNode(60), "", 0, ""},
		"much, and as ever":   {wholeNode(700), "", 0, ""},
		"a packet ring":       {mapped(wholeNode(300), "socket:[5]", 256, 256), "info high", 256, "rings of packet sockets that sniffer (pid 9) has mapped"},
		"a ring of perf":      {mapped(wholeNode(300), "anon_inode:[perf_event]", 256, 0), "info high", 256, "rings of perf"},
		"a small ring":        {mapped(wholeNode(60), "socket:[5]", 8, 8), "", 0, ""},
		"a ring that counts":  {mapped(wholeNode(5), "anon_inode:[perf_event]", 256, 0), "", 0, ""},
		"a file of that name": {mapped(wholeNode(300), "/tmp/socket:[5]", 256, 256), "", 0, ""},
		"a balloon":           {balloon(300), "info high", 256, "a balloon of the hypervisor"},
		"a balloon beside it": {balloon(100), "", 0, ""},
		"a tenth":             {wholeNode(900), "info low", 899, "which, nothing here names"},
		"a tenth in sockets":  {but(wholeNode(900), func(s *snapshot.Snapshot) { s.Node.Sockets = read(int64(800 * mib)) }), "", 0, ""},
		"a tenth in pipes": {but(wholeNode(900), func(s *snapshot.Snapshot) {
			s.Path[0].Stat = stat("kernel", 900*mib, "slab", 100*mib)
		}), "", 0, ""},
		"a quarter":             {wholeNode(2100), "notice low", 2099, ""},
		"made up for its group": {but(wholeNode(900), func(s *snapshot.Snapshot) { s.Node.Zones.Value[0].Managed = 64 << 30 }), "", 0, ""},
		"no zones":              {but(wholeNode(900), func(s *snapshot.Snapshot) { s.Node.Zones.State = snapshot.Denied }), "", 0, ""},
		"CPUs unknown":          {but(wholeNode(900), func(s *snapshot.Snapshot) { s.Host.CPUs.State = snapshot.Denied }), "", 0, ""},
		"it grew":               {after(wholeNode(300), time.Minute, wholeNode(60)), "info medium", 240, "more in no counter than 1m0s before"},
		"it grew in cgroups":    {after(but(wholeNode(300), func(s *snapshot.Snapshot) { s.Path[0].Stat = stat("kernel", 390*mib, "slab", 150*mib) }), time.Minute, wholeNode(60)), "", 0, ""},
		"it grew, version 1":    {after(old(wholeNode(300), 100), time.Minute, old(wholeNode(60), 90)), "info medium", 230, ""},
		"pipes, version 1":      {after(old(wholeNode(300), 400), time.Minute, old(wholeNode(60), 160)), "", 0, ""},
		"kinds are not told":    {after(old(wholeNode(300), -1), time.Minute, old(wholeNode(60), -1)), "", 0, ""},
		"a tenth, version 1":    {old(wholeNode(1000), 300), "info low", 899, ""},
		"maybe pipes":           {old(wholeNode(900), 600), "", 0, ""},
		"it grew for long":      {after(wholeNode(300), time.Hour, wholeNode(60)), "notice medium", 240, "a driver or a module"},
		"it grew a little":      {after(wholeNode(80), time.Hour, wholeNode(60)), "", 0, ""},
		"it fell":               {after(wholeNode(60), time.Hour, wholeNode(300)), "", 0, ""},
		"a look without it":     {after(wholeNode(300), time.Hour, &snapshot.Snapshot{}), "", 0, ""},
	} {
		got, found := of(find(t, c.s), codeUnowned)
		if found != (c.want != "") || found && (got.Severity+" "+got.Confidence != c.want || got.Bytes == nil || *got.Bytes/mib != c.mibs || !strings.Contains(got.Title, c.text)) {
			t.Errorf("%s: %v %+v", name, found, got)
		}
	}
}

// blocks gives the zone of a node free blocks, by order.
func blocks(s *snapshot.Snapshot, free ...int64) *snapshot.Snapshot {
	s.Node.Buddy = read([]snapshot.Buddy{{Zone: "Normal", Blocks: free}})
	return s
}

func inPieces(records ...snapshot.LogRecord) *snapshot.Snapshot {
	s := blocks(wholeNode(60), 900_000, 400_000, 9000)
	s.Log = read(snapshot.KernelLog{Records: records, PageSize: 4096})
	return s
}

func alloc(order, freeMiB int64, gfp string) snapshot.LogRecord {
	l := snapshot.LogRecord{Kind: snapshot.LogPageAlloc, Time: "7.0", TriggerComm: "runc", GFP: gfp, Order: &order, Stats: map[string]int64{"free": freeMiB * mib}}
	if freeMiB < 0 {
		l.Stats = nil
	}
	return l
}

// The picture alone is no finding: severity is earned by what failed.
func TestFragmented(t *testing.T) {
	const kernel, atomic = "0xcc0(GFP_KERNEL)", "0x820(GFP_ATOMIC)"
	logged := func(s *snapshot.Snapshot, all ...snapshot.LogRecord) *snapshot.Snapshot {
		s.Log = read(snapshot.KernelLog{Records: all, PageSize: 4096})
		return s
	}
	cut := func() *snapshot.Snapshot { return blocks(wholeNode(60), 900_000, 400_000, 9000) }
	whole := func() *snapshot.Snapshot { return blocks(wholeNode(60), 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 1600) }
	half := func() *snapshot.Snapshot { return blocks(wholeNode(60), 9000, 4000, 9000, 90_000) } // no huge pages
	counted := func(s *snapshot.Snapshot, pairs ...any) *snapshot.Snapshot {
		s.Node.Vmstat = stat(pairs...)
		return s
	}
	kill := func(order, free int64, constraint string) snapshot.LogRecord {
		l := alloc(order, free, kernel)
		l.Kind, l.Constraint, l.Outcome = snapshot.LogGlobalOOM, constraint, "killed"
		return l
	}
	for name, c := range map[string]struct {
		s          *snapshot.Snapshot
		want, text string
	}{
		"in pieces":                      {cut(), "", ""},
		"failed, and still in pieces":    {logged(cut(), alloc(3, 900, kernel)), "warning high", "failed once, last for 2^3 of them, and still"},
		"failed, free not told":          {logged(cut(), alloc(3, -1, kernel)), "warning medium", ""},
		"failed, whole again":            {logged(whole(), alloc(2, 900, kernel), alloc(3, 900, kernel)), "notice high", "failed 2 times, last for 2^3 of them"},
		"failed, whole again, not told":  {logged(whole(), alloc(2, -1, kernel)), "notice low", ""},
		"failed for want of memory":      {logged(cut(), alloc(3, 15, kernel)), "", ""},
		"failed for one page":            {logged(cut(), alloc(0, 900, kernel)), "", ""},
		"could not wait":                 {logged(cut(), alloc(2, 900, atomic)), "info high", ""},
		"too large to kill for":          {logged(cut(), alloc(5, 900, kernel)), "notice high", "last for 2^5"},
		"killed for it":                  {logged(whole(), kill(2, 900, "none")), "warning high", "killed for want of contiguous pages while memory was free, once; last for 2^2"},
		"killed, memory was short":       {logged(whole(), kill(2, 15, "none")), "", ""},
		"killed within a cpuset":         {logged(whole(), kill(2, 900, "cpuset")), "", ""},
		"killed for one page":            {logged(whole(), kill(0, 900, "none")), "", ""},
		"a limit of a cgroup":            {logged(whole(), kill(2, 900, "memcg")), "", ""},
		"in vain since boot":             {counted(cut(), "compact_stall", 900, "compact_fail", 600, "compact_success", 300), "info low", "2^2 pages while"},
		"with success since boot":        {counted(cut(), "compact_stall", 900, "compact_fail", 300, "compact_success", 600), "", ""},
		"in vain, and whole":             {counted(whole(), "compact_stall", 900, "compact_fail", 600, "compact_success", 300), "", ""},
		"in vain within a watch":         {after(counted(cut(), "compact_stall", 950, "compact_fail", 640), time.Minute, counted(cut(), "compact_stall", 900, "compact_fail", 600)), "notice medium", "50 times, 40 of them in vain"},
		"in vain, a few blocks are left": {after(blocks(counted(wholeNode(60), "compact_stall", 9653, "compact_fail", 9653), 1_700_000, 75, 885, 11, 6, 2, 1, 2, 2, 1, 3), time.Minute, counted(wholeNode(60), "compact_stall", 900, "compact_fail", 900)), "notice medium", "hardly a free block of 2^1 pages"},
		"not any more":                   {after(counted(cut(), "compact_stall", 900, "compact_fail", 600), time.Minute, counted(cut(), "compact_stall", 900, "compact_fail", 600)), "", ""},
		"huge pages, within a watch":     {after(counted(half(), "thp_fault_alloc", 10, "thp_fault_fallback", 500), time.Minute, counted(half(), "thp_fault_alloc", 9, "thp_fault_fallback", 20)), "info medium", "did not get 480 of the 481"},
		"huge pages, at a limit":         {after(counted(half(), "thp_fault_alloc", 10, "thp_fault_fallback", 500, "thp_fault_fallback_charge", 480), time.Minute, counted(half(), "thp_fault_alloc", 9, "thp_fault_fallback", 20)), "", ""},
		"huge pages, whole":              {after(counted(whole(), "thp_fault_alloc", 10, "thp_fault_fallback", 500), time.Minute, counted(whole(), "thp_fault_alloc", 9, "thp_fault_fallback", 20)), "", ""},
		"huge pages, since boot":         {counted(half(), "thp_fault_alloc", 10, "thp_fault_fallback", 500, "compact_fail", 600, "compact_success", 300), "", ""},
		"little is free":                 {but(counted(cut(), "compact_fail", 600, "compact_success", 300), func(s *snapshot.Snapshot) { s.Node.Zones.Value[0].Free = 31 * mib }), "", ""},
		"no buddyinfo, a failure":        {but(logged(wholeNode(60), alloc(3, 900, kernel)), func(s *snapshot.Snapshot) { s.Node.Buddy.State = snapshot.Denied }), "notice high", "last for 2^3 of them"},
		"hostile blocks":                 {counted(blocks(wholeNode(60), -1, 1<<62), "compact_fail", 600, "compact_success", 300), "info low", "2^1 pages"},
		"an order that nothing can have": {logged(cut(), alloc(1<<40, 900, kernel)), "", ""},
	} {
		got, found := of(find(t, c.s), codeFragmented)
		if found != (c.want != "") || found && (got.Severity+" "+got.Confidence != c.want || got.Bytes != nil || !strings.Contains(got.Title, c.text)) {
			t.Errorf("%s: %v %+v", name, found, got)
		}
	}
}

// Of a cgroup they are no part, and never its first line.
func TestNodeFindingsOfACgroup(t *testing.T) {
	for code, s := range map[string]*snapshot.Snapshot{
		codeUnowned:    mapped(wholeNode(300), "socket:[5]", 256, 256),
		codeFragmented: inPieces(alloc(3, 900, "0xcc0(GFP_KERNEL)")),
	} {
		s.Path = append(node().Path[:3], s.Path...)
		got, found := of(find(t, s), code)
		if !found || got.Bytes != nil || got.Severity != map[string]string{codeUnowned: info, codeFragmented: notice}[code] || got.Confidence != high {
			t.Errorf("%s: %v %+v", code, found, got)
		}
	}
}

// A reading of a node as a whole has no target, and no more than these rules.
func TestOfNode(t *testing.T) {
	s := inPieces(alloc(3, 900, "0xcc0(GFP_KERNEL)"))
	n := wholeNode(2100)
	s.Node.Meminfo, s.Path = n.Node.Meminfo, nil
	if got := short(OfNode(words.Printer{}, s)); got != "node.fragmented warning high, node.unowned notice low" {
		t.Errorf("%q", got)
	}
	s.Shares = read([]snapshot.Share{{Path: "/", Stat: stat("kernel", 2000*mib, "slab", 100*mib)}})
	if got := short(OfNode(words.Printer{}, s)); got != "node.fragmented warning high" {
		t.Errorf("with pipes: %q", got)
	}
	if got := OfNode(words.Printer{}, &snapshot.Snapshot{}); got == nil || len(got) > 0 {
		t.Errorf("of nothing: %+v", got)
	}
}
