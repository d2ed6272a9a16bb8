package diagnose

import (
	"slices"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// recorded are the codes whose fixtures are nodes that were recorded:
// TestEveryRuleHasItsFixtures in wire.
var recorded = []string{codeDying, codeIDs, advisoryCode, codeKmem, codeAncestor, codeContainer, codeNoVictim, codeNode}

// charged is a node whose target is charged 100 MiB, with the classic LRU, and a
// memory.stat of mebibytes. What no key has is anonymous memory.
func charged(limit int, pairs ...any) *snapshot.Snapshot {
	s := node()
	s.Host.MGLRU = snapshot.Reading[bool]{State: snapshot.Absent}
	s.Node.Meminfo = stat("SwapTotal", 0, "SwapFree", 0, "KernelStack", 40*mib)
	all := map[string]int{"anon": 0, "file": 0, "shmem": 0, "kernel": 0, "file_mapped": 0, "file_dirty": 0, "file_writeback": 0}
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i].(string)] = pairs[i+1].(int)
	}
	if _, ok := all["inactive_file"]; !ok {
		all["inactive_file"] = all["file"] - all["shmem"] - all["active_file"]
	}
	if _, ok := all["inactive_anon"]; !ok {
		all["inactive_anon"] = all["anon"] + all["shmem"]
	}
	var entries []any
	for _, key := range []string{"active_file", "active_anon", "unevictable"} {
		all[key] += 0
	}
	for key, n := range all {
		entries = append(entries, key, n*mib)
	}
	t := &s.Path[0]
	t.Usage, t.Stat = read(int64(100*mib)), stat(entries...)
	t.Limit = read(int64(limit * mib))
	return s
}

// censused adds a census that knows the target and what it holds.
func censused(s *snapshot.Snapshot, files []snapshot.CensusInode, states []snapshot.PageState, slabs ...snapshot.CensusSlab) *snapshot.Snapshot {
	c := &snapshot.Census{Engine: snapshot.EngineBPF, Complete: true, Groups: []snapshot.CensusGroup{
		{Parent: -1},
		{Path: "/kubepods/pod1/app", Parent: 0},
		{Path: "/elsewhere", Parent: 0},
	}, Inodes: files, Slabs: slabs}
	for i, st := range states {
		c.Files = append(c.Files, snapshot.CensusFile{Group: 1, Inode: i, PageState: &st})
	}
	s.Census = snapshot.Reading[*snapshot.Census]{Value: c, State: snapshot.Present, Source: snapshot.CensusSource}
	return s
}

func pages(bytes, dirty, mapped int64) snapshot.PageState {
	return snapshot.PageState{Bytes: bytes * mib, Dirty: dirty * mib, Mapped: mapped * mib}
}

// running adds a process with lines of status, and what it has open.
func running(s *snapshot.Snapshot, fields snapshot.Reading[snapshot.Stat], open ...snapshot.OpenFile) *snapshot.Snapshot {
	p := snapshot.Process{PID: 7, Status: read(snapshot.Status{Name: "app", Fields: fields.Value}), OpenFiles: read(open)}
	s.Processes, s.PIDs = append(s.Processes, p), append(s.PIDs, p.PID)
	return s
}

func slabOf(group int, cache string, bytes int64) snapshot.CensusSlab {
	return snapshot.CensusSlab{Group: group, Cache: cache, Bytes: bytes * mib, Objects: 1, Reclaimable: cache == "dentry"}
}

type fixture struct {
	is, isNot  *snapshot.Snapshot
	confidence string
	bytes      int64 // in mebibytes; -1: null
	title      string
}

func causes() map[string]fixture {
	log := []snapshot.CensusInode{{Type: "ext4", Number: 5, Path: "/var/log/app.log"}}
	gone := []snapshot.CensusInode{{Type: "ext4", Number: 5, Path: "/var/log/app.log", Deleted: true}}
	memfd := []snapshot.CensusInode{{Type: "tmpfs", Magic: snapshot.MagicTmpfs, Number: 5, Path: "memfd:x", Pseudo: true}}
	openLog := snapshot.OpenFile{FD: 3, Path: "/var/log/app.log (deleted)", Stat: stat(snapshot.FileInode, 5)}
	swap := charged(200, "file", 90, "anon", 10)
	swap.Path[0].SwapUsage = read(int64(50 * mib))
	swapAlone := charged(200, "file", 20, "anon", 80)
	swapAlone.Path[0].SwapUsage = read(int64(50 * mib))
	parent := func(limit int) *snapshot.Snapshot {
		s := charged(1000, "anon", 100)
		s.Path[1].Usage, s.Path[1].Limit = read(int64(180*mib)), read(int64(limit*mib))
		s.Path[1].Stat = stat("anon", 180*mib, "file", 0, "inactive_anon", 180*mib, "active_anon", 0, "inactive_file", 0, "active_file", 0, "unevictable", 0)
		return s
	}
	atHigh := func(high, events int) *snapshot.Snapshot {
		s := charged(1000, "anon", 100)
		s.Path[0].High, s.Path[0].EventsLocal = read(int64(high*mib)), stat("high", events)
		return s
	}
	free := func(bytes int64) *snapshot.Snapshot {
		s := charged(1000, "anon", 100)
		s.Node.Zones = read([]snapshot.Zone{{Name: "DMA", Managed: 0}, {Name: "Normal", Managed: 1 << 30, Free: bytes * mib, Min: 10 * mib, Low: 20 * mib}})
		return s
	}
	return map[string]fixture{
		codeCold:     {censused(charged(200, "file", 90, "anon", 10), log, []snapshot.PageState{pages(90, 0, 0)}), charged(200, "file", 90, "anon", 10, "file_mapped", 90), medium, 90, "most of it is /var/log/app.log"},
		codeHot:      {censused(charged(200, "file", 90, "anon", 10, "file_mapped", 90), log, []snapshot.PageState{pages(90, 0, 80)}), charged(200, "file", 90, "anon", 10, "shmem", 60, "file_mapped", 60), medium, 80, "/var/log/app.log"},
		codeDirty:    {charged(200, "file", 90, "anon", 10, "file_dirty", 30, "file_writeback", 10), charged(200, "file", 90, "anon", 10, "file_dirty", 1), high, 40, "written to disk"},
		codeDeleted:  {running(censused(charged(200, "file", 90, "anon", 10), gone, []snapshot.PageState{pages(80, 0, 0)}), stat(), openLog), running(censused(charged(200, "file", 90, "anon", 10), log, []snapshot.PageState{pages(80, 0, 0)}), stat(), openLog), high, 80, "which app (pid 7) still has open; most of it is /var/log/app.log"},
		codeTmpfs:    {censused(charged(200, "file", 90, "shmem", 80, "anon", 10), memfd, []snapshot.PageState{pages(80, 0, 0)}), charged(200, "file", 90, "anon", 10), high, 80, "memfd; most of it is memfd:x"},
		codeKept:     {swap, swapAlone, low, 50, "beside 90.0 MiB"},
		codeDentry:   {censused(charged(200, "kernel", 90, "slab_reclaimable", 90), nil, nil, slabOf(1, "dentry", 30), slabOf(1, "kmalloc-rcl-512", 50)), censused(charged(200, "kernel", 90, "slab_reclaimable", 90), nil, nil, slabOf(2, "dentry", 80), slabOf(1, "kmalloc-512", 80)), high, 80, "temporary files"},
		codeNegative: {remembered(censused(charged(200, "kernel", 90, "slab_reclaimable", 90), nil, nil, slabOf(1, "dentry", 30), slabOf(1, "kmalloc-rcl-512", 50)), 2, 2), remembered(censused(charged(200, "kernel", 90, "slab_reclaimable", 90), nil, nil, slabOf(1, "dentry", 80)), 9, 1), high, 80, "do not exist (negative dentries)"},
		codeForeign:  {usedBy(censused(charged(200, "file", 90, "anon", 10), log, []snapshot.PageState{pages(80, 0, 80)}), 9), usedBy(censused(charged(200, "file", 90, "anon", 10), log, []snapshot.PageState{pages(80, 0, 80)}), 9, 7), high, 80, "most of it is /var/log/app.log; used by pid 9 of /elsewhere"},
		codeBPF:      {tracing(charged(200, "kernel", 60, "vmalloc", 50), 50), tracing(charged(200, "kernel", 60, "vmalloc", 50), 500), high, 50, "BPF maps, which app (pid 7) has open"},
		codePipe:     {piping(charged(200, "kernel", 60), 50), piping(charged(200, "kernel", 60, "slab_unreclaimable", 60), 50), high, 50, "data in 50 pipes that nobody has read, the most of it of app (pid 7)"},
		codeInode:    {censused(charged(200, "kernel", 90, "slab_unreclaimable", 90), nil, nil, slabOf(1, "shmem_inode_cache", 80)), censused(charged(200, "kernel", 90), nil, nil, slabOf(1, "sock_inode_cache", 80)), high, 80, "files on tmpfs"},
		codeSlab:     {censused(charged(200, "kernel", 90), nil, nil, slabOf(1, "kmalloc-1k", 80)), censused(charged(200, "kernel", 90), nil, nil, slabOf(1, "dentry", 80)), medium, 80, "kmalloc-1k"},
		codeSock:     {charged(200, "sock", 60, "anon", 40), charged(200, "sock", 0, "anon", 100), high, 60, "received and not read"},
		codeStacks:   {charged(200, "kernel", 60, "kernel_stack", 50), charged(200, "kernel", 60, "kernel_stack", 1), high, 50, "threads"},
		codeTables:   {running(charged(200, "kernel", 60, "pagetables", 50), stat("VmPTE", 49*mib)), charged(200, "kernel", 60), high, 50, "most of them of app (pid 7)"},
		codeKernel:   {charged(200, "kernel", 60, "vmalloc", 50), charged(200, "kernel", 60, "slab_unreclaimable", 60), medium, 60, "BPF"},
		codeAnon:     {running(charged(200, "anon", 90, "file", 10), stat("RssAnon", 88*mib)), charged(200, "anon", 1, "file", 99), high, 90, "held by app (pid 7)"},
		codeLazy:     {lazy(charged(200, "anon", 90, "inactive_file", 60, "inactive_anon", 30), 60), charged(200, "anon", 90), high, 60, "MADV_FREE"},
		codeRetained: {keeping(charged(200, "anon", 90, "file", 10), 60), keeping(charged(200, "anon", 90, "file", 10), 5), high, 60, "most of it by malloc of glibc in app (pid 7)"},
		codeTHP:      {charged(200, "anon", 40, "inactive_anon", 90), charged(200, "anon", 90), medium, 50, "split"},
		codeTight:    {charged(110, "anon", 100), charged(110, "file", 80, "anon", 20), high, 100, "10.0 MiB to go"},
		codeParent:   {parent(200), parent(400), high, 80, "80.0 MiB of it of others"},
		codeMisread:  {charged(110, "file", 80, "active_file", 80, "anon", 20), charged(110, "anon", 90, "file", 10, "active_file", 10), high, 80, "cannot be freed: an alert on it is wrong"},
		codeChurn:    {watched(charged(200, "anon", 90, "file", 10), nil, "pgfault", 30_000, "pgpgin", 30_000), watched(charged(200, "anon", 90, "file", 10), []int{60, 65, 70, 75, 80, 85, 90}, "pgfault", 8_000, "pgpgin", 8_000), high, -1, "freed again"},
		codeLeak:     {watched(charged(200, "anon", 90, "file", 10), []int{60, 65, 70, 75, 80, 85, 90}), watched(charged(200, "anon", 90, "file", 10), []int{60, 75, 90, 90, 90, 90, 90}), medium, 30, "most of it is of app (pid 7), in heap"},
		codeFilling:  {growingFile(30), growingFile(0), high, 30, "most of it is /var/log/app.log, which app (pid 7) writes"},
		codeIdle:     {watched(charged(200, "file", 90, "anon", 10), nil, "pgfault", 3), watched(charged(200, "file", 90, "anon", 10), nil, "pgfault", 30_000, "pgpgin", 0), high, 90, "did not touch within 6.0 s"},

		codeThrottle:   {atHigh(98, 3), atHigh(200, 3), high, 100, "slows its processes down, 3 times so far"},
		codeUnowned:    {mapped(wholeNode(300), "socket:[5]", 256, 256), wholeNode(300), high, 256, "sniffer (pid 9)"},
		codeFragmented: {inPieces(alloc(3, 900, "0xcc0(GFP_KERNEL)")), inPieces(), high, -1, "still there is hardly a free block"},
		codeWatermark:  {free(15), free(25), high, -1, "few free pages"},
	}
}

// keeping adds a process whose malloc keeps so many mebibytes.
func keeping(s *snapshot.Snapshot, idle int64) *snapshot.Snapshot {
	s = running(s, stat("RssAnon", 90*mib))
	s.Processes[0].Heaps = read(snapshot.Heaps{Libraries: []string{"libc.so.6"}, Glibc: &snapshot.GlibcHeap{Arenas: 9, System: 90 * mib, Free: (idle + 1) * mib, Idle: idle * mib}})
	return s
}

// remembered is a node with so many dentries, and so many of them negative.
func remembered(s *snapshot.Snapshot, all, negative int64) *snapshot.Snapshot {
	s.Node.Dentries = read(snapshot.Dentries{All: all, Unused: all, Negative: negative})
	return s
}

// usedBy has processes map /var/log/app.log: 7 is the target's, others are elsewhere.
func usedBy(s *snapshot.Snapshot, pids ...int) *snapshot.Snapshot {
	s = running(s, stat())
	s.Mounts = []snapshot.MountTable{{Namespace: "mnt:[1]", PID: 1, Host: true, Mounts: read([]snapshot.Mount{{ID: 1, Root: "/", Point: "/", Type: "ext4"}})}}
	users := []snapshot.FileUser{{PID: 7, Cgroup: s.Target().Path, Namespace: "mnt:[1]", Open: read([]snapshot.LinkText{}), Mapped: read([]string{"/lib/libc.so.6"})}}
	for _, pid := range pids {
		u := snapshot.FileUser{PID: pid, Cgroup: "/elsewhere", Namespace: "mnt:[1]", Open: read([]snapshot.LinkText{}), Mapped: read([]string{"/var/log/app.log"})}
		if pid == 7 {
			users[0].Mapped = u.Mapped
			continue
		}
		users = append(users, u)
	}
	s.Users = read(users)
	return s
}

// tracing has process 7 keep BPF maps of so many mebibytes open.
func tracing(s *snapshot.Snapshot, sizes ...int64) *snapshot.Snapshot {
	s = running(s, stat())
	p := &s.Processes[len(s.Processes)-1]
	p.BPF = read([]snapshot.BPFMap{})
	for i, n := range sizes {
		p.BPF.Value = append(p.BPF.Value, snapshot.BPFMap{ID: int64(i + 1), Kind: 2, Bytes: n * mib})
	}
	return s
}

// piping has process 7 keep so many pipes open, with a mebibyte in each.
func piping(s *snapshot.Snapshot, count int) *snapshot.Snapshot {
	s = running(s, stat())
	p := &s.Processes[len(s.Processes)-1]
	p.Pipes = read([]snapshot.Pipe{})
	for i := range count {
		p.Pipes.Value = append(p.Pipes.Value, snapshot.Pipe{Inode: uint64(i), Bytes: mib, Room: mib})
	}
	return s
}

func lazy(s *snapshot.Snapshot, n int) *snapshot.Snapshot {
	s = running(s, stat("RssAnon", 90*mib))
	s.Processes[0].Rollup = stat("LazyFree", n*mib, "Pss_Anon", 90*mib, "Pss", 90*mib)
	return s
}

// Every cause is found where it is, with its bytes, and not on a node that is close
// to it.
func TestEveryCauseHasItsFixtures(t *testing.T) {
	all := causes()
	for _, r := range Rules() {
		c, ok := all[r.Code]
		if !ok {
			if !slices.Contains(recorded, r.Code) {
				t.Errorf("%s has no fixture", r.Code)
			}
			continue
		}
		got, found := of(find(t, c.is), r.Code)
		n := int64(-1)
		if got.Bytes != nil {
			n = *got.Bytes / mib
		}
		if !found || n != c.bytes || got.Confidence != c.confidence || !strings.Contains(got.Title, c.title) || len(got.Evidence) == 0 || len(got.Remedies) == 0 {
			t.Errorf("%s: %v, %d MiB: %+v", r.Code, found, n, got)
		}
		for _, e := range got.Evidence {
			if e.Statement == "" || e.Source == "" || e.Value == "" {
				t.Errorf("%s: evidence %+v", r.Code, e)
			}
		}
		for _, d := range got.Remedies {
			if d.Kind == "" || d.Command == "" || d.Cost == "" || strings.Contains(d.Command, "drop_caches") {
				t.Errorf("%s: remedy %+v", r.Code, d)
			}
		}
		if got, found := of(find(t, c.isNot), r.Code); found {
			t.Errorf("%s is found where it is not: %+v", r.Code, got)
		}
	}
}

// The page cache is divided once: its causes never sum to more than there is.
func TestCacheIsDividedOnce(t *testing.T) {
	files := []snapshot.CensusInode{{Number: 1, Path: "/a"}, {Number: 2, Path: "/b", Deleted: true}, {Number: 3, Path: "/c"}}
	s := censused(charged(200, "file", 90, "anon", 10, "file_dirty", 35), files, []snapshot.PageState{pages(40, 30, 40), pages(40, 10, 40), pages(40, 0, 40)})
	var sum int64
	for _, r := range find(t, s) {
		if strings.HasPrefix(r.Code, "cache.") {
			sum += *r.Bytes
		}
	}
	if sum != 90*mib {
		t.Errorf("%d MiB of 90", sum/mib)
	}
}

// How much is known decides how sure an answer is.
func TestConfidenceIsEarned(t *testing.T) {
	mglru := charged(200, "file", 90, "anon", 10)
	mglru.Host.MGLRU = read(true)
	unknown := charged(200, "file", 90, "anon", 10)
	unknown.Host.MGLRU = snapshot.Reading[bool]{State: snapshot.Denied}
	for name, c := range map[string]struct {
		s    *snapshot.Snapshot
		want string
	}{
		"inactive, classic":          {charged(200, "file", 90, "anon", 10), "cache.cold info medium"},
		"inactive, generations":      {mglru, "cache.cold info low"},
		"active":                     {charged(200, "file", 90, "anon", 10, "active_file", 60), "cache.cold info low"},
		"engine unknown":             {unknown, "cache.cold info low"},
		"anon that nobody maps":      {charged(200, "anon", 100), "anon.live info medium"},
		"stacks by counting threads": {v1(running(charged(200), stat("Threads", 1000)), 20), "kernel.stacks info medium"},
		"too many threads":           {v1(running(charged(200), stat("Threads", 3000)), 20), "kernel.other info low"},
	} {
		got := find(t, c.s)
		if !strings.HasPrefix(short(got), c.want) {
			t.Errorf("%s: %q, want %q", name, short(got), c.want)
		}
	}
}

func v1(s *snapshot.Snapshot, kmem int) *snapshot.Snapshot {
	for i := range s.Path {
		s.Path[i].Version = snapshot.V1
	}
	s.Path[0].KmemUsage, s.Path[0].UseHierarchy = read(int64(kmem*mib)), read(int64(0))
	return s
}

// Removed cgroups that a census found have their bytes.
func TestDyingByCensus(t *testing.T) {
	s := censused(charged(200, "file", 90, "anon", 10), nil, nil)
	c := s.Census.Value
	c.Groups = append(c.Groups, snapshot.CensusGroup{Path: "/kubepods/pod1/app/child", Parent: 1, Dying: true, File: pages(60, 0, 0)})
	got, ok := of(find(t, s), codeDying)
	if !ok || bytes(got) != 60*mib || got.Severity != notice {
		t.Errorf("%+v", got)
	}
}

// Each suspicion is answered on each node; what needs two looks says so.
func TestSuspicions(t *testing.T) {
	lazyAnon := causes()[codeLazy].is
	leak := node()
	leak.Path[0].CgroupStat = stat("nr_dying_descendants", 3)
	for name, c := range map[string]struct {
		s    *snapshot.Snapshot
		want string // of churn, leak, allocator, metric, mechanism
	}{
		"cache":     {charged(200, "file", 99, "anon", 1), "unlikely unlikely ruled-out ruled-out unlikely"},
		"heap":      {charged(200, "anon", 100), "cannot-tell cannot-tell cannot-tell ruled-out unlikely"},
		"given":     {lazyAnon, "cannot-tell cannot-tell confirmed ruled-out unlikely"},
		"misread":   {causes()[codeMisread].is, "cannot-tell cannot-tell cannot-tell confirmed unlikely"},
		"active":    {charged(1000, "file", 80, "active_file", 80, "anon", 20), "cannot-tell cannot-tell cannot-tell likely unlikely"},
		"dying":     {dyingBelow(), "unlikely unlikely ruled-out ruled-out confirmed"},
		"not known": {leak, "cannot-tell cannot-tell cannot-tell cannot-tell unlikely"},
	} {
		w, err := ledger.Explain(c.s)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i, x := range Suspicions(words.Printer{}, c.s, w, find(t, c.s)) {
			got = append(got, x.Answer)
			if x.Because == "" || x.ID != []string{"churn", "leak", "allocator", "metric", "mechanism"}[i] {
				t.Errorf("%s: %+v", name, x)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func dyingBelow() *snapshot.Snapshot {
	s := censused(charged(200, "file", 99, "anon", 1), nil, nil)
	s.Census.Value.Groups = append(s.Census.Value.Groups, snapshot.CensusGroup{Path: "/kubepods/pod1/app/child", Parent: 1, Dying: true, File: pages(60, 0, 0)})
	return s
}

// Names of files and processes are foreign bytes.
func TestHostileFiles(t *testing.T) {
	files := []snapshot.CensusInode{{Number: 5, Path: "/\xff\n\x1b[2J<script>", Deleted: true}}
	s := running(censused(charged(200, "file", 90, "anon", 10), files, []snapshot.PageState{pages(80, 0, 0)}), stat(), snapshot.OpenFile{FD: 3, Path: "/\xff", Stat: stat(snapshot.FileInode, 5)})
	s.Processes[0].Status.Value.Name = "\xfe"
	for _, f := range find(t, s) {
		if b, err := report.Encode(f); err != nil || strings.Contains(string(b), "\ufffd") {
			t.Errorf("%v %s", err, b)
		}
	}
	for p, want := range map[string]string{"/a/b-c.d:e@f": "/a/b-c.d:e@f", "/a b": "'/a b'", "/a'$(x)": `'/a'\''$(x)'`, "": "''"} {
		if got := quoted(p); got != want {
			t.Errorf("%q: %s", p, got)
		}
	}
}
