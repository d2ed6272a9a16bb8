package census

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("MEMWHY_CENSUS_PLANT"); dir != "" {
		plant(dir)
		return
	}
	if file := os.Getenv("MEMWHY_CENSUS_WRITE"); file != "" {
		rewrite(file)
		return
	}
	if os.Getenv("MEMWHY_CENSUS_LOOP") != "" {
		scanForever()
		return
	}
	if os.Getenv("MEMWHY_CENSUS_OPEN") != "" {
		_, err := Open(context.Background())
		fmt.Println(errors.Is(err, ErrPrivilege), err)
		return
	}
	if os.Getenv("MEMWHY_CENSUS_KPAGE") != "" {
		err := errors.Join(syscall.Setgid(65534), syscall.Setuid(65534), TryKpage())
		fmt.Println(errors.Is(err, ErrPrivilege), err)
		return
	}
	os.Exit(m.Run())
}

// shared is the engine of all tests that need none of their own. It is never
// closed, as one that is kept.
var shared = sync.OnceValues(func() (*Engine, error) { return OpenWith(context.Background(), 2) })

// engine leaves the test out where there is no live kernel for one.
func engine(tb testing.TB) *Engine {
	tb.Helper()
	e, err := shared()
	refused(tb, err)
	return e
}

// ownEngine is one that the test may spoil.
func ownEngine(tb testing.TB) *Engine {
	tb.Helper()
	e, err := Open(context.Background())
	refused(tb, err)
	tb.Cleanup(func() { e.Close() })
	return e
}

func refused(tb testing.TB, err error) {
	tb.Helper()
	if err == nil {
		return
	}
	if os.Getenv("MEMWHY_LIVE") != "required" && !errors.Is(err, ErrSelfTest) {
		tb.Skip(err)
	}
	tb.Fatal(err)
}

func scan(tb testing.TB, e *Engine) *snapshot.Census {
	tb.Helper()
	c, err := e.Scan(context.Background())
	if err != nil {
		tb.Fatal(err)
	}
	for _, doubt := range c.Doubts {
		tb.Error("doubt: ", doubt)
	}
	if c.Dropped.Any() {
		tb.Errorf("dropped: %+v", c.Dropped)
	}
	return c
}

func TestScan(t *testing.T) {
	start := time.Now()
	e := ownEngine(t)
	t.Logf("opened in %v", time.Since(start))
	for range 3 {
		c := scan(t, e)
		t.Logf("wall %v, read-out %v, slices %+v", c.Wall, c.ReadOut, c.Slices)
		t.Logf("%d frames, %d groups, %d inodes, %d files, %d slabs, %+v, %+v", c.Frames, len(c.Groups), len(c.Inodes), len(c.Files), len(c.Slabs), c.Node, c.Dropped)
	}
}

// The groups' sums are those of the lists, and every index is one.
func TestSumsOfTheLists(t *testing.T) {
	c := scan(t, engine(t))
	files, slabs := make([]int64, len(c.Groups)), make([]int64, len(c.Groups))
	for _, f := range c.Files {
		files[f.Group] += f.Bytes
		if f.Inode >= 0 && c.Inodes[f.Inode].Number == 0 && c.Inodes[f.Inode].Type != "bdev" {
			t.Logf("inode 0: %+v", c.Inodes[f.Inode])
		}
		if n := f.Active + f.Inactive + f.Unevictable + f.Isolated; n != f.Bytes {
			t.Errorf("%+v: lists of %d bytes", f, n)
		}
	}
	for _, s := range c.Slabs {
		slabs[s.Group] += s.Bytes
	}
	for i, g := range c.Groups {
		if files[i] != g.File.Bytes || i > 0 && slabs[i] > g.Slab {
			t.Errorf("%s: files %d of %d, slabs %d of %d", g.Path, files[i], g.File.Bytes, slabs[i], g.Slab)
		}
		if i > 0 && (g.Path == "" || g.ID == 0 || g.Parent >= len(c.Groups)) {
			t.Errorf("group %d: %+v", i, g)
		}
	}
}

func TestScansTakeTurns(t *testing.T) {
	e := engine(t)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if c, err := e.Scan(context.Background()); err != nil || len(c.Files) == 0 {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// countdown is a context that ends when it was asked so many times: in the midst
// of the slices, however fast the machine.
type countdown struct {
	context.Context
	left atomic.Int64
}

func (c *countdown) Err() error {
	if c.left.Add(-1) < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

// Two walkers see what one sees, and nothing twice.
func TestWalkersAgree(t *testing.T) {
	type sight struct {
		inodes, files, slabs, twice int
		file, slab                  int64
	}
	see := func(e *Engine) (s sight) {
		c := scan(t, e)
		s.inodes, s.files, s.slabs, s.file, s.slab = len(c.Inodes), len(c.Files), len(c.Slabs), c.Node.File, c.Node.Slab
		ids := map[snapshot.FileID]bool{}
		for i := range c.Inodes {
			if in := &c.Inodes[i]; in.Number != 0 && in.Path != "" && in.Type != "bdev" {
				if ids[in.ID()] {
					s.twice++
				}
				ids[in.ID()] = true
			}
		}
		type key struct {
			group int
			item  any
		}
		rows := map[key]bool{}
		for _, f := range c.Files {
			if f.Inode >= 0 && rows[key{f.Group, f.Inode}] {
				t.Errorf("two rows of %+v", c.Inodes[f.Inode])
			}
			rows[key{f.Group, f.Inode}] = true
		}
		for i, g := range c.Groups {
			if rows[key{-1, g.ID}] {
				t.Errorf("group %d twice: %+v", i, g)
			}
			rows[key{-1, g.ID}] = true
		}
		return s
	}
	one, two := see(altered(t, func(constants) {})), see(engine(t))
	t.Logf("%+v, %+v", one, two)
	near := func(a, b int64) bool { return max(a, b)-min(a, b) <= max(a, b)/20+1<<20 }
	if !near(int64(one.inodes), int64(two.inodes)) || !near(int64(one.files), int64(two.files)) || !near(one.file, two.file) || !near(one.slab, two.slab) || two.twice > one.twice+8 {
		t.Errorf("%+v, %+v", one, two)
	}
	if d := two.slabs - one.slabs; d > one.slabs/10+50 {
		t.Errorf("%d rows of slab, %d with one walker", two.slabs, one.slabs)
	}
}

func TestCancelledScanLeavesNothing(t *testing.T) {
	e := engine(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := e.Scan(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	short := &countdown{Context: context.Background()}
	short.left.Store(4)
	if _, err := e.Scan(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	scan(t, e)
}

func TestClosedEngineRefuses(t *testing.T) {
	e := ownEngine(t)
	e.Close()
	var refusal *Refusal
	if _, err := e.Scan(context.Background()); !errors.As(err, &refusal) {
		t.Errorf("%v", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// An engine that looks in the wrong place finds out, and says where.
func TestSelfTestRefusesAWrongLayout(t *testing.T) {
	e := engine(t)
	for constant, delta := range map[string]uint64{
		"pg_charge": 8, "pg_mapping": 8, "in_ino": 8, "in_sb": 8, "sb_magic": 8, "de_name": 8, "kn_id": 8,
		"as_host": 8, "bit_swapbacked": 40,
	} {
		wrong := constants{}
		for name, v := range e.layout {
			wrong[name] = v
		}
		wrong[constant] += delta
		bad := &Engine{layout: wrong}
		err := bad.load()
		if err == nil {
			err = bad.prove(context.Background())
		}
		bad.Close()
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			t.Errorf("%s off by %d: %v", constant, delta, err)
			continue
		}
		t.Logf("%s: %v", constant, err)
	}
}

// What the machine was not asked for is unknown, not zero.
func TestUnknownIsNotZero(t *testing.T) {
	c := &snapshot.Census{Groups: make([]snapshot.CensusGroup, 2), Files: []snapshot.CensusFile{{PageState: &snapshot.PageState{}}}, Slabs: make([]snapshot.CensusSlab, 1)}
	withoutLists(c, "a")
	withoutSlab(c, "b")
	withoutInherited(c, "c")
	withoutUsage(c, "d")
	g := c.Groups[1]
	if len(c.Doubts) != 4 || g.Usage != snapshot.Unknown || g.MemoryID != snapshot.Unknown || c.Slabs != nil || c.Files[0].Active != snapshot.Unknown || g.File.Inactive != snapshot.Unknown || g.Slab != snapshot.Unknown || g.Inherited != snapshot.Unknown {
		t.Errorf("%+v", c)
	}
}

// What is read from a wrong place and not needed to count pages is doubted, and
// unknown.
func TestWrongOffsetsAreDoubted(t *testing.T) {
	engine(t)
	filled(t, filepath.Join(t.TempDir(), "lists"), 4096*os.Getpagesize()) // more than what is forgiven
	for constant, check := range map[string]func(*snapshot.Census) bool{
		"pn_lists": func(c *snapshot.Census) bool {
			return slices.ContainsFunc(c.Groups, func(g snapshot.CensusGroup) bool { return g.File.Active == snapshot.Unknown })
		},
		"mc_usage": func(c *snapshot.Census) bool { return c.Groups[1].Usage == snapshot.Unknown },
		"kc_flags": func(c *snapshot.Census) bool {
			return !slices.ContainsFunc(c.Slabs, func(s snapshot.CensusSlab) bool { return s.Reclaimable })
		},
	} {
		e := altered(t, func(l constants) {
			l[constant] += 8
			if constant == "pn_lists" && l["pn_gens"] != 0 {
				l["pn_gens"] += 8 * l["zones"] // one kind further: of files, what is of anonymous memory
			}
		})
		if constant == "pn_lists" && !e.listsKnown() {
			continue
		}
		c, err := e.Scan(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, own := byID(c, e.ownID); constant == "mc_usage" && own.Parent < 0 {
			continue // the root has no counter to compare with
		}
		if len(c.Doubts) != 1 || !check(c) {
			t.Errorf("%s: %q", constant, c.Doubts)
		}
	}
}

func TestListsDiffer(t *testing.T) {
	const page, mib = 4096, 256 // pages
	if !quiet([4]uint64{900, 10, 0, 7}, [4]uint64{1000, 0, 0, 7}) || quiet([4]uint64{0, 100 * mib, 0, 0}, [4]uint64{0, 90 * mib, 0, 0}) {
		t.Error("what is quiet")
	}
	for _, c := range []struct {
		seen    [4]int64 // pages
		counted [4]uint64
		want    bool
	}{
		{[4]int64{0, 0, 100 * mib, 50 * mib}, [4]uint64{0, 0, 100 * mib, 50 * mib}, false},
		{[4]int64{0, 0, 100 * mib, 50 * mib}, [4]uint64{0, 0, 90 * mib, 60 * mib}, false},
		{[4]int64{0, 0, 150 * mib, 0}, [4]uint64{0, 0, 50 * mib, 100 * mib}, true},
		{[4]int64{30 * mib, 0, 0, 0}, [4]uint64{0, 30 * mib, 0, 0}, true},
		{[4]int64{0, 2 * mib, 0, 0}, [4]uint64{2 * mib, 0, 0, 0}, false}, // too little to tell
	} {
		seen := c.seen
		for i := range seen {
			seen[i] *= page
		}
		if got := listsDiffer(seen, c.counted, page, 0); got != c.want {
			t.Errorf("%v against %v: %v", c.seen, c.counted, got)
		}
	}
}

// Generations that were taken for others are told apart even where the lists that they
// make add up.
func TestGenerationsDiffer(t *testing.T) {
	const mib = 256 // pages
	for name, c := range map[string]struct {
		seen, before, after [gens]uint64
		doubts              int
	}{
		"no generations":    {},
		"alike":             {[gens]uint64{10 * mib, 100 * mib}, [gens]uint64{10 * mib, 100 * mib}, [gens]uint64{10 * mib, 100 * mib}, 0},
		"aged meanwhile":    {[gens]uint64{0, 50 * mib, 0, 50 * mib}, [gens]uint64{0, 100 * mib}, [gens]uint64{0, 0, 0, 100 * mib}, 0},
		"one further":       {[gens]uint64{0, 100 * mib}, [gens]uint64{0, 0, 0, 100 * mib}, [gens]uint64{0, 0, 0, 100 * mib}, 1},
		"anon for file":     {[gens]uint64{100 * mib}, [gens]uint64{0, 100 * mib}, [gens]uint64{0, 100 * mib}, 1},
		"counted, not seen": {[gens]uint64{}, [gens]uint64{6: 100 * mib}, [gens]uint64{6: 90 * mib}, 1},
		"too little":        {[gens]uint64{0, 8 * mib}, [gens]uint64{0, 0, 0, 8 * mib}, [gens]uint64{0, 0, 0, 8 * mib}, 0},
	} {
		census := &snapshot.Census{Groups: make([]snapshot.CensusGroup, 1)}
		checkGenerations(census, c.seen, c.before, c.after)
		if len(census.Doubts) != c.doubts || (census.Groups[0].File.Active == snapshot.Unknown) != (c.doubts > 0) {
			t.Errorf("%s: %q", name, census.Doubts)
		}
	}
}

func TestMissingRights(t *testing.T) {
	proc := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(proc, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := missingRights(proc); len(got) != 1 || !strings.Contains(got[0], "/proc") {
		t.Errorf("%q", got)
	}
	for _, name := range []string{"iomem", "zoneinfo", "vmstat", "meminfo", "self/pagemap"} {
		write(name, "")
	}
	write("self/uid_map", "         0          0 4294967295\n")
	for status, want := range map[string]int{
		"Name:\tx\nCapEff:\t000001ffffffffff\n": 0,
		"CapEff:\t0000000000200000\n":           0, // CAP_SYS_ADMIN alone
		"CapEff:\t0000000000000000\n":           3,
		"CapEff:\t000000c000000000\n":           1, // the other two alone
		"CapEff:\t0000008000000000\n":           2,
	} {
		write("self/status", status)
		if got := missingRights(proc); len(got) != want {
			t.Errorf("%q: %q", status, got)
		}
	}
	write("self/status", "CapEff:\t000001ffffffffff\n")
	write("self/uid_map", "0 1000 1\n")
	if err := os.Remove(filepath.Join(proc, "iomem")); err != nil {
		t.Fatal(err)
	}
	if got := missingRights(proc); len(got) != 2 || !strings.Contains(got[0], "user namespace") || !strings.Contains(got[1], "/proc/iomem (no such file") {
		t.Errorf("%q", got)
	}
}

func TestLayoutOfThisKernel(t *testing.T) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		if os.Getenv("MEMWHY_LIVE") == "required" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	l, err := layoutOf(spec, os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(l)
}

// A kernel without a name that is needed is refused, by that name.
func TestLayoutNamesWhatIsMissing(t *testing.T) {
	long := &btf.Int{Name: "unsigned long", Size: 8}
	inner := &btf.Union{Size: 8, Members: []btf.Member{{Name: "mapping", Type: long}}}
	page := &btf.Struct{Name: "page", Size: 64, Members: []btf.Member{{Name: "flags", Type: long}, {Type: inner, Offset: 192}}}
	b, err := btf.NewBuilder([]btf.Type{page}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	_, err = layoutOf(spec, 4096)
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("page.compound_head or .compound_info")) || bytes.Contains([]byte(err.Error()), []byte("page.mapping")) {
		t.Errorf("%v", err)
	}
}

// The pass against what the kernel's own files offer for the same frames, none of
// which knows a file: ratio below 1 is faster.
func BenchmarkScan(b *testing.B) {
	e := engine(b)
	scan(b, e)
	var passes, files, out, longest time.Duration
	for b.Loop() {
		start := time.Now()
		for _, name := range []string{"/proc/kpageflags", "/proc/kpagecgroup"} {
			if err := readThrough(name); err != nil {
				b.Fatal(err)
			}
		}
		files += time.Since(start)
		c, err := e.Scan(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		passes += c.Wall
		out += c.ReadOut
		longest = max(longest, c.Slices.Max)
	}
	b.ReportMetric(float64(passes)/float64(files), "ratio")
	b.ReportMetric(float64(out)/float64(passes), "readout-share")
	b.ReportMetric(float64(longest.Microseconds()), "longest-us")
	b.ReportMetric(float64(passes.Microseconds())/float64(b.N), "scan-us")
}

func readThrough(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for {
		n, err := f.Read(buf)
		if n == 0 || err != nil {
			return nil // at the end, however it says so
		}
	}
}

// No room for more is said, and takes nothing from the sums of what there was
// room for.
func TestFullTables(t *testing.T) {
	e := altered(t, func(constants) {}) // of one walker
	m := &e.maps
	settle := func() {
		for _, g := range e.maps.growers() {
			g.settle()
		}
	}
	full := func(table, have int, limit *int) *snapshot.Census {
		t.Helper()
		ranges, _, err := ram()
		if err != nil {
			t.Fatal(err)
		}
		if err := e.reset(); err != nil {
			t.Fatal(err)
		}
		settle()
		if len(m.rows.pieces) > have && table == tableRow || len(m.inodes.pieces) > have && table == tableInode || len(m.dentries.pieces) > have && table == tableDentry {
			t.Fatal("a table grew that was to be full")
		}
		var st state
		if err := e.loaded.Variables["st"].Get(&st); err != nil {
			t.Fatal(err)
		}
		st.Used[table] = uint64(have * pieceRecords)
		*limit = have
		defer func() { *limit = pieces }()
		for _, p := range e.maps.rows.pieces {
			clear(p)
		}
		for _, p := range e.maps.inodes.pieces {
			clear(p)
		}
		for _, p := range e.maps.dentries.pieces {
			clear(p)
		}
		if err := e.loaded.Variables["st"].Set(&st); err != nil {
			t.Fatal(err)
		}
		if err := e.grow(); err != nil {
			t.Fatal(err)
		}
		if err := e.walk(context.Background(), ranges); err != nil {
			t.Fatal(err)
		}
		c, _, err := e.readOut()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	whole := scan(t, e)
	settle()
	c := full(tableInode, len(m.inodes.pieces), &m.inodes.limit)
	if c.Dropped.Inodes == 0 || c.Dropped.Bytes != 0 || c.Node.File < whole.Node.File/10*9 {
		t.Errorf("inodes: %+v, %d bytes of files, %d before", c.Dropped, c.Node.File, whole.Node.File)
	}
	settle()
	if c = full(tableDentry, len(m.dentries.pieces), &m.dentries.limit); c.Dropped.Names == 0 || c.Node.File < whole.Node.File/10*9 {
		t.Errorf("names: %+v", c.Dropped)
	}
	settle()
	if c = full(tableRow, len(m.rows.pieces), &m.rows.limit); c.Dropped.Files == 0 || c.Dropped.Bytes == 0 {
		t.Errorf("files: %+v", c.Dropped)
	}
	scan(t, e)
}

// A mapping that is not in its inode is found by what it says, and one that leads
// to none keeps its bytes, without a name.
func TestMappingsElsewhere(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "elsewhere"))
	if err == nil {
		_, err = f.Write(make([]byte, 1<<20))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := scan(t, altered(t, func(l constants) { l["in_data"] += 8 }))
	if in, sum, _ := findFile(c, statOf(t, f), 0); sum.Bytes != 1<<20 || filepath.Base(in.Path) != "elsewhere" {
		t.Errorf("%+v, %+v", in, sum)
	}

	whole := engine(t)
	layout := maps.Clone(whole.layout)
	layout["in_data"] += 8
	layout["as_host"] += 8
	lost := &Engine{layout: layout, vmemmap: whole.vmemmap, subsystem: whole.subsystem}
	defer lost.Close()
	if err := lost.load(); err != nil {
		t.Fatal(err)
	}
	ranges, _, err := ram()
	if err == nil {
		err = lost.reset()
	}
	if err == nil {
		err = lost.walk(context.Background(), ranges)
	}
	if err != nil {
		t.Fatal(err)
	}
	none, _, err := lost.readOut()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range none.Files {
		if file.Inode >= 0 {
			t.Fatalf("%+v", none.Inodes[file.Inode])
		}
	}
	if none.Node.File < c.Node.File/2 || none.Dropped.BadMappings == 0 || none.Dropped.Any() || len(none.Inodes) > 2*len(c.Inodes)+1000 {
		t.Errorf("%d bytes of %d, %d inodes, %+v", none.Node.File, c.Node.File, len(none.Inodes), none.Dropped)
	}
}

// Where /proc/iomem does not say where RAM is, the zones do, holes and all.
func TestRangesOfTheZones(t *testing.T) {
	e := engine(t)
	whole := scan(t, e)
	b, err := os.ReadFile("/proc/zoneinfo")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.reset(); err != nil {
		t.Fatal(err)
	}
	if err := e.walk(context.Background(), parseZoneinfo(b)); err != nil {
		t.Fatal(err)
	}
	c, _, err := e.readOut()
	if err != nil {
		t.Fatal(err)
	}
	if c.Node.File < whole.Node.File/100*95 || c.Node.File > whole.Node.File/95*100 {
		t.Errorf("%d bytes of files, %d by iomem", c.Node.File, whole.Node.File)
	}
}

// Root of a user namespace has every capability there, and none that counts.
func TestWithoutPrivilege(t *testing.T) {
	engine(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "MEMWHY_CENSUS_OPEN=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EPERM) {
		t.Skipf("no user namespaces: %v", err)
	}
	if err != nil || !bytes.HasPrefix(out, []byte("true ")) || !bytes.Contains(out, []byte("initial user namespace")) || !bytes.Contains(out, []byte(Gain)) {
		t.Errorf("%s, %v", out, err)
	}
	t.Logf("%s", out)
}
