package explain

import (
	"slices"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

func holding(pid int, anon int64, files ...snapshot.OpenFile) snapshot.Process {
	p := snapshot.Process{PID: pid}
	p.Status = snapshot.Reading[snapshot.Status]{State: snapshot.Present}
	p.Status.Value.Fields.Entries = []snapshot.Entry{{Key: "RssAnon", Value: anon}, {Key: "VmSize", Value: 1}}
	p.Rollup = snapshot.Reading[snapshot.Stat]{State: snapshot.Present, Value: snapshot.Stat{Entries: []snapshot.Entry{
		{Key: "Pss", Value: anon}, {Key: "Pss_Anon", Value: anon}, {Key: "LazyFree", Value: anon / 2},
	}}}
	p.OpenFiles = snapshot.Reading[[]snapshot.OpenFile]{State: snapshot.Present, Value: files}
	return p
}

func open(fd int, path string, inode, links, allocated, fs int64) snapshot.OpenFile {
	return snapshot.OpenFile{FD: fd, Path: path, Stat: snapshot.Reading[snapshot.Stat]{State: snapshot.Present, Value: snapshot.Stat{Entries: []snapshot.Entry{
		{Key: snapshot.FileDevice, Value: 1},
		{Key: snapshot.FileInode, Value: inode},
		{Key: snapshot.FileLinks, Value: links},
		{Key: snapshot.FileBytes, Value: 7},
		{Key: snapshot.FileAllocated, Value: allocated},
		{Key: snapshot.FileSystem, Value: fs},
	}}}}
}

const ext4 = 0xef53

func TestDeletedFiles(t *testing.T) {
	s := &snapshot.Snapshot{Processes: []snapshot.Process{
		holding(7, 0, open(3, "/tmp/a (deleted)", 1, 0, 4<<20, snapshot.MagicTmpfs), open(4, "/log (deleted)", 2, 0, 500, ext4), open(5, "/big (deleted)", 3, 0, 9<<30, ext4)),
		holding(8, 0, open(9, "/tmp/a (deleted)", 1, 0, 4<<20, snapshot.MagicTmpfs), open(10, "/named (deleted)", 4, 1, 4<<20, snapshot.MagicTmpfs),
			open(11, "/empty (deleted)", 5, 0, 0, snapshot.MagicTmpfs), open(12, "/anon_hugepage (deleted)", 6, 0, 2<<20, hugetlbfs)),
	}}
	w := ledgerOf(0, 0, acc(ledger.File, 1<<20), acc(ledger.Shmem, 4<<20))
	files, shmem := fileHolders(s, w.Ledger)
	if len(files) != 2 || !files[0].AtMost || files[0].Bytes != 500 || files[0].Account != ledger.File || files[1].Bytes != 1<<20 || files[1].State["allocated"] != 9<<30 {
		t.Errorf("%+v", files)
	}
	want := []report.User{{PID: 7, How: "fd 3"}, {PID: 8, How: "fd 9"}}
	if len(shmem) != 1 || shmem[0].AtMost || shmem[0].Bytes != 4<<20 || !shmem[0].Deleted || shmem[0].Name != "a" || shmem[0].Path != "/tmp/a" || !slices.Equal(shmem[0].UsedBy, want) {
		t.Errorf("%+v", shmem)
	}
	_, shmem = fileHolders(s, ledgerOf(0, 0, acc(ledger.File, 1<<20), acc(ledger.Shmem, 1<<20)).Ledger)
	if len(shmem) != 1 || shmem[0].Bytes != 1<<20 || !shmem[0].AtMost {
		t.Errorf("more than is charged here: %+v", shmem)
	}
	_, shmem = fileHolders(s, ledgerOf(0, 0, acc(ledger.File, 9<<20)).Ledger) // el7
	if len(shmem) != 1 || shmem[0].Account != ledger.File || shmem[0].AtMost {
		t.Errorf("without an account for tmpfs: %+v", shmem)
	}
}

func TestNotAttributed(t *testing.T) {
	s := &snapshot.Snapshot{Processes: []snapshot.Process{holding(7, 40<<20), holding(8, 20<<20)}}
	for name, c := range map[string]struct {
		charged, row int64
		doubt        string
	}{
		"all of it":       {60 << 20, 0, ""},
		"within slack":    {61 << 20, 0, ""},
		"a third missing": {90 << 20, 30 << 20, ""},
		"charged before":  {30 << 20, 0, "charged elsewhere"},
	} {
		w := ledgerOf(0, 0, acc(ledger.AnonLazyFree, 10<<20), acc(ledger.AnonOther, c.charged-10<<20))
		all, _ := holders(words.Printer{}, s, w.Ledger)
		last := all[len(all)-1]
		if got := last.Kind == "not-attributed"; got != (c.row > 0) || got && last.Bytes != c.row {
			t.Errorf("%s: %+v", name, last)
		}
		doubts := strings.Join(processDoubts(words.Printer{}, s, w.Ledger), "\n")
		if !strings.Contains(doubts, c.doubt) || !strings.Contains(doubts, "LazyFree of its processes is 30.0 MiB") {
			t.Errorf("%s: %q", name, doubts)
		}
	}
	if _, ok := notAttributed(&snapshot.Snapshot{}, ledgerOf(0, 0, acc(ledger.AnonOther, 90<<20)).Ledger, nil); ok {
		t.Error("no process was read, and so nothing is missing")
	}
}

// Before 5.12 the counter of huge pages lags by many of them.
func TestHugePagesThatNoCounterHas(t *testing.T) {
	for name, c := range map[string]struct {
		mapped, counted, anon int64
		doubt                 bool
	}{
		"counted":         {40 << 20, 40 << 20, 50 << 20, false},
		"not yet":         {40 << 20, 0, 50 << 20, true},
		"a few of many":   {8 << 20, 0, 50 << 20, false},
		"charged before":  {40 << 20, 0, 2 << 20, false},
		"none of either":  {0, 0, 50 << 20, false},
		"partly counted":  {40 << 20, 10 << 20, 50 << 20, true},
		"more than there": {90 << 20, 48 << 20, 50 << 20, false},
	} {
		p := holding(7, 50<<20)
		p.Rollup.Value.Entries = append(p.Rollup.Value.Entries, snapshot.Entry{Key: "AnonHugePages", Value: c.mapped})
		other := acc(ledger.AnonOther, c.anon)
		other.State = map[string]int64{"thp": c.counted}
		w := ledgerOf(0, 0, other)
		got := strings.Contains(strings.Join(processDoubts(words.Printer{}, &snapshot.Snapshot{Processes: []snapshot.Process{p}}, w.Ledger), "\n"), "huge pages")
		if got != c.doubt {
			t.Errorf("%s: doubt %v", name, got)
		}
	}
}

// One entry a kind of trouble, with how many processes; what was done coarsely
// is no failure.
func TestNotSeenOfMappings(t *testing.T) {
	s := &snapshot.Snapshot{Path: []snapshot.Cgroup{{}}}
	for i := range 10 {
		p := holding(100+i, 1<<20)
		p.Smaps = snapshot.Reading[snapshot.Smaps]{State: snapshot.Absent, Source: "/proc/100/smaps", Err: "not asked: only the largest"}
		switch {
		case i == 0:
			p.Smaps.State = snapshot.Present
		case i < 4:
			p.Rollup = snapshot.Reading[snapshot.Stat]{State: snapshot.Failed, Source: "/proc/100/smaps_rollup", Err: "not asked: no time"}
		case i == 4:
			p.Smaps = snapshot.Reading[snapshot.Smaps]{State: snapshot.Denied, Source: "/proc/104/maps", Err: "permission denied"}
			p.Rollup = snapshot.Reading[snapshot.Stat]{State: snapshot.Denied, Source: "/proc/104/smaps_rollup", Err: "permission denied"}
		case i == 5:
			p.Smaps.Err = snapshot.Vanished
		}
		s.Processes = append(s.Processes, p)
	}
	l := &missingList{}
	l.processes(s, false)
	var got []string
	for _, r := range l.rows {
		if strings.Contains(r.WouldShow, "anonymous memory") {
			got = append(got, r.State+" "+r.Source+" "+r.Why)
		}
	}
	want := []string{
		"failed /proc/100/smaps_rollup not asked: no time (and 2 more)",
		"denied /proc/104/maps permission denied",
		"absent /proc/100/smaps not asked: only the largest (and 3 more)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
