package gather

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

const rollup = "0-1 ---p 00000000 00:00 0 [rollup]\nRss:                   8 kB\nPss:                   4 kB\n"

// crowd is a container of n processes; each has as many mappings and resident
// bytes as of says.
func crowd(n int, of func(pid int) (maps int, rss int64)) *fakeNode {
	node := fake()
	var procs strings.Builder
	for pid := 1000; pid < 1000+n; pid++ {
		fmt.Fprintln(&procs, pid)
		maps, rss := of(pid)
		node.process(pid, maps, rss)
	}
	node.files[top+"/docker/"+id+"/cgroup.procs"] = procs.String()
	node.files[top+"/docker/"+id+"/child/cgroup.procs"] = ""
	return node
}

func (n *fakeNode) process(pid, maps int, rss int64) {
	at := fmt.Sprintf("/proc/%d/", pid)
	n.files[at+"status"] = fmt.Sprintf("Name:\tp\nState:\tS (sleeping)\nPid:\t%d\nPPid:\t1\nVmSize:\t 9 kB\nVmRSS:\t %d kB\n", pid, rss>>10)
	n.files[at+"maps"] = strings.Repeat("x\n", maps)
	n.files[at+"smaps"] = "1000-2000 rw-p 00000000 00:00 0 \nPss:                   4 kB\n"
	n.files[at+"smaps_rollup"] = rollup
}

type tally struct {
	smaps, rollups, status int
	why                    map[string]int
}

func count(t *testing.T, n kernel.Source) tally {
	t.Helper()
	s, err := Explain(n, id, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := tally{why: map[string]int{}}
	for _, p := range s.Processes {
		switch {
		case p.Smaps.State == snapshot.Present:
			c.smaps++
			continue
		case p.Rollup.State == snapshot.Present:
			c.rollups++
		default:
			c.status++
			c.why[p.Rollup.Err]++
		}
		c.why[p.Smaps.Err]++
	}
	return c
}

func TestBudgets(t *testing.T) {
	small := func(int) (int, int64) { return 40, 2 << 20 }
	for name, c := range map[string]struct {
		n      int
		of     func(int) (int, int64)
		want   tally
		reason string
	}{
		"ten small ones":                 {10, small, tally{smaps: 10}, ""},
		"a hundred":                      {100, small, tally{smaps: 50, rollups: 50}, notLargest},
		"20 000 mappings":                {1, func(int) (int, int64) { return 20_000, 80 << 20 }, tally{smaps: 1}, ""},
		"60 000 mappings":                {1, func(int) (int, int64) { return 60_000, 240 << 20 }, tally{rollups: 1}, tooManyMaps},
		"3 x 20 000 mappings":            {3, func(int) (int, int64) { return 20_000, 80 << 20 }, tally{smaps: 1, rollups: 2}, overSmaps},
		"4 GiB of small pages":           {1, func(int) (int, int64) { return 100, 4 << 30 }, tally{smaps: 1}, ""},
		"20 GiB of small pages":          {1, func(int) (int, int64) { return 100, 20 << 30 }, tally{status: 1}, tooManyPages},
		"6 GiB of small pages":           {1, func(int) (int, int64) { return 100, 6 << 30 }, tally{status: 1}, tooManyPages},
		"maps alone too long":            {1, func(int) (int, int64) { return maxMaps/2 + 1, 2 << 20 }, tally{rollups: 1}, "longer than"},
		"maps too long, many of them":    {8, func(int) (int, int64) { return maxMaps/2 + 1, 2 << 20 }, tally{status: 8}, overAll},
		"a large one among a small ones": {11, func(pid int) (int, int64) { return 40, int64(pid-999) << 10 }, tally{smaps: 11}, ""},
	} {
		got := count(t, bounded{crowd(c.n, c.of)})
		if got.smaps != c.want.smaps || got.rollups != c.want.rollups || got.status != c.want.status {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		found := c.reason == ""
		for why := range got.why {
			found = found || strings.HasPrefix(why, c.reason)
		}
		if !found {
			t.Errorf("%s: %v, want %q", name, got.why, c.reason)
		}
	}
}

// Of 3000 processes the 50 largest are read one by one, the others by rollups,
// until the budget for all is used up: the predicted sum stays within it.
func TestThreeThousandProcesses(t *testing.T) {
	got := count(t, bounded{crowd(3000, func(int) (int, int64) { return 40, 2 << 20 })})
	if got.smaps != 50 || got.rollups < 1000 || got.smaps+got.rollups+got.status != 3000 || got.why[overAll] != got.status {
		t.Errorf("%+v", got)
	}
	each := costFile + usualMaps*costRollup + 512*costPage
	if spent := time.Duration(got.rollups) * each; spent > budgetAll {
		t.Errorf("%d rollups are %s, more than %s", got.rollups, spent, budgetAll)
	}
}

// Huge pages cost as little as small ones, and the cgroup says how many there are.
func TestHugePagesAreCheap(t *testing.T) {
	n := crowd(1, func(int) (int, int64) { return 100, 100 << 30 })
	n.files[top+"/docker/"+id+"/memory.stat"] = "total_rss 100000\ntotal_rss_huge 99000\n"
	if got := count(t, bounded{n}); got.smaps != 1 {
		t.Errorf("%+v", got)
	}
	n.files[top+"/docker/"+id+"/memory.stat"] = "total_rss 100000\ntotal_rss_huge 900000\n"
	if got := count(t, bounded{n}); got.smaps != 0 {
		t.Errorf("more huge pages than pages: %+v", got)
	}
}

// What takes much longer than predicted stops the rest; a replay of the same
// answers stops at the same place.
func TestSlowAnswersStopTheRest(t *testing.T) {
	n := &slow{fakeNode: crowd(40, func(int) (int, int64) { return 40, 2 << 20 }), each: 100 * time.Millisecond}
	got := count(t, n)
	if got.smaps < 2 || got.smaps > 7 || got.why[overAll] == 0 {
		t.Errorf("%+v", got)
	}
}

// slow answers carry times that lie apart.
type slow struct {
	*fakeNode
	each time.Duration
	now  time.Time
}

func (s *slow) Ask(q kernel.Question) kernel.Answer {
	a := s.fakeNode.Ask(q)
	if s.now.IsZero() {
		s.now = time.Unix(1, 0)
	}
	if strings.HasSuffix(q.Path, "/smaps") {
		s.now = s.now.Add(s.each)
	}
	a.At = s.now
	return a
}

// bounded refuses what is longer than was asked for, as the kernel's door does.
type bounded struct{ *fakeNode }

func (b bounded) Ask(q kernel.Question) kernel.Answer {
	a := b.fakeNode.Ask(q)
	if q.Op == kernel.Read && len(a.Data) > q.Max {
		return kernel.Answer{State: snapshot.Failed, Err: fmt.Sprintf("longer than %d bytes", q.Max)}
	}
	return a
}

// el7 has no smaps_rollup: beyond the largest there is status only.
func TestKernelWithoutRollups(t *testing.T) {
	n := crowd(60, func(int) (int, int64) { return 40, 2 << 20 })
	for path := range n.files {
		if strings.HasSuffix(path, "smaps_rollup") {
			delete(n.files, path)
		}
	}
	if got := count(t, n); got.smaps != 50 || got.status != 10 || got.why[notLargest] != 10 {
		t.Errorf("%+v", got)
	}
}

// An executable that may not be read leaves its heap without a name, and the
// reading says so.
func TestGoVersions(t *testing.T) {
	n := crowd(3, func(int) (int, int64) { return 40, 2 << 20 })
	n.files["/proc/1000/exe"] = "\xff Go buildinf:\x08\x02" + strings.Repeat("\x00", 16) + "\x08go1.26.8"
	n.faults["/proc/1001/exe"] = kernel.Answer{State: snapshot.Denied, Err: "permission denied"}
	s, err := Explain(n, id, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []snapshot.State{snapshot.Present, snapshot.Denied, snapshot.Absent} {
		if got := s.Processes[i].GoVersion; got.State != want || got.Value != map[int]string{0: "go1.26.8"}[i] {
			t.Errorf("process %d: %+v", i, got)
		}
	}
}

func TestNamelessOpenFiles(t *testing.T) {
	n := crowd(3, func(int) (int, int64) { return 40, 2 << 20 })
	links := func(pid, count int) string {
		var b strings.Builder
		for fd := range count {
			fmt.Fprintf(&b, "%d\x00/data/f%d (deleted)\x00", fd, fd)
		}
		return b.String() + "900\x00socket:[1] (deleted)\x00901\x00/data/named\x00902\x00/memfd:x (deleted)\x00x\x00/y (deleted)\x00"
	}
	for pid, count := range map[int]int{1000: 10, 1001: 300, 1002: 1} {
		n.files[fmt.Sprintf("/proc/%d/fd", pid)] = links(pid, count)
		for fd := range 1000 {
			n.files[fmt.Sprintf("/proc/%d/fd/%d", pid, fd)] = "inode 5\nlinks 0\n"
		}
	}
	s, err := Explain(n, id, Options{})
	if err != nil {
		t.Fatal(err)
	}
	first, second, third := s.Processes[0].OpenFiles, s.Processes[1].OpenFiles, s.Processes[2].OpenFiles
	if first.State != snapshot.Present || len(first.Value) != 11 || first.Value[10].Path != "/memfd:x (deleted)" || first.Value[10].FD != 902 {
		t.Errorf("%+v", first)
	}
	if v, ok := first.Value[0].Stat.Value.Get(snapshot.FileInode); !ok || v != 5 {
		t.Errorf("%+v", first.Value[0])
	}
	if second.State != snapshot.Failed || second.Err != overFiles || len(second.Value) != maxOpenFiles-11 {
		t.Errorf("%s %s, %d files", second.State, second.Err, len(second.Value))
	}
	if third.State != snapshot.Failed || third.Err != overFiles || len(third.Value) != 0 {
		t.Errorf("%s %s, %d files", third.State, third.Err, len(third.Value))
	}
}

func TestManyOpenFiles(t *testing.T) {
	n := crowd(20, func(int) (int, int64) { return 40, 2 << 20 })
	for pid := 1000; pid < 1020; pid++ {
		n.files[fmt.Sprintf("/proc/%d/fd", pid)] = strings.Repeat("1\x00socket:[1]\x00", 1000)
	}
	s, err := Explain(n, id, Options{})
	if err != nil {
		t.Fatal(err)
	}
	walked := 0
	for _, p := range s.Processes {
		if p.OpenFiles.State == snapshot.Present {
			walked++
		} else if p.OpenFiles.Err != overLinks {
			t.Errorf("%+v", p.OpenFiles)
		}
	}
	if walked != 9 {
		t.Errorf("%d processes with 1000 open files each were walked", walked)
	}
}
