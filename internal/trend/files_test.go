package trend

import (
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
)

const disk = 8<<20 | 1 // as the kernel has it; stat(2) says 0x801

func reading[T any](v T) snapshot.Reading[T] {
	return snapshot.Reading[T]{Value: v, State: snapshot.Present}
}

// look is a target with files, and processes with where they are in which.
func look(files []snapshot.PageState, ps ...snapshot.Process) *snapshot.Snapshot {
	c := &snapshot.Census{Engine: snapshot.EngineBPF, Complete: true, Groups: []snapshot.CensusGroup{{Path: "", Parent: -1}, {Path: "/x", Parent: 0}}}
	for i := range files {
		if files[i].Bytes == 0 {
			continue
		}
		c.Inodes = append(c.Inodes, snapshot.CensusInode{Device: disk, Number: uint64(i + 1), Path: "/" + string(rune('a'+i))})
		c.Files = append(c.Files, snapshot.CensusFile{Group: 1, Inode: len(c.Inodes) - 1, PageState: &files[i]})
	}
	s := &snapshot.Snapshot{Path: []snapshot.Cgroup{{Path: "/x", Version: snapshot.V2, Usage: reading(int64(100 * mib))}}, Census: reading(c), Processes: ps}
	for i := range ps {
		s.PIDs = append(s.PIDs, ps[i].PID)
	}
	return s
}

// at is a process that is so far in a file, and read so much in all, in mebibytes.
func at(pid, inode, offset, read int, writes bool) snapshot.Process {
	p := snapshot.Process{
		PID: pid, Times: reading(snapshot.Times{Start: int64(pid)}),
		IO: reading(snapshot.Stat{Entries: []snapshot.Entry{{Key: snapshot.IORead, Value: int64(read) * mib}, {Key: snapshot.IOWritten, Value: 0}}}),
	}
	if inode > 0 {
		p.Positions = reading([]snapshot.Position{{FD: 3, Path: "/c/" + string(rune('a'+inode-1)), Device: 0x801, Inode: int64(inode), Offset: int64(offset) * mib, Writes: writes}})
	}
	return p
}

func between(a, b *snapshot.Snapshot) *Trend {
	begin := time.Unix(1_800_000_000, 0)
	b.Watch = &snapshot.Watch{First: a, Looks: []snapshot.Look{{At: begin, Cgroup: a.Path[0]}, {At: begin.Add(5 * time.Second), Cgroup: b.Path[0]}}}
	return Of(b, mib)
}

func of(bytes, active, referenced int) snapshot.PageState {
	return snapshot.PageState{Bytes: int64(bytes) * mib, Active: int64(active) * mib, Referenced: int64(referenced) * mib}
}

// What was used again is at most what was read, and at most what is there; what came
// for the first time was not used again.
func TestFilesThatMove(t *testing.T) {
	for name, c := range map[string]struct {
		before, after  snapshot.PageState
		was, is        []snapshot.Process
		used           int64 // in mebibytes
		reader, writer int
		guess          int
		silent         bool // the file is not listed
	}{
		"nothing":               {before: of(50, 0, 0), after: of(50, 0, 0), was: []snapshot.Process{at(7, 1, 5, 0, false)}, is: []snapshot.Process{at(7, 1, 5, 0, false)}, silent: true},
		"read on":               {before: of(50, 0, 0), after: of(50, 0, 0), was: []snapshot.Process{at(7, 1, 5, 0, false)}, is: []snapshot.Process{at(7, 1, 15, 10, false)}, used: 10, reader: 7},
		"read round and round":  {before: of(50, 0, 0), after: of(50, 0, 0), was: []snapshot.Process{at(7, 1, 5, 0, false)}, is: []snapshot.Process{at(7, 1, 4, 500, false)}, used: 50, reader: 7},
		"opened meanwhile":      {before: of(50, 0, 0), after: of(50, 0, 0), was: []snapshot.Process{at(7, 0, 0, 0, false)}, is: []snapshot.Process{at(7, 1, 20, 20, false)}, used: 20, reader: 7},
		"came by reading":       {before: of(10, 0, 0), after: of(40, 0, 0), was: []snapshot.Process{at(7, 1, 10, 0, false)}, is: []snapshot.Process{at(7, 1, 40, 30, false)}, reader: 7},
		"came by writing":       {before: of(10, 0, 0), after: of(40, 0, 0), was: []snapshot.Process{at(7, 1, 10, 0, true)}, is: []snapshot.Process{at(7, 1, 40, 0, true)}, writer: 7},
		"marks":                 {before: of(50, 10, 0), after: of(50, 45, 0), was: []snapshot.Process{at(7, 0, 0, 0, false)}, is: []snapshot.Process{at(7, 0, 0, 0, false)}, used: 35},
		"marks of what is new":  {before: of(50, 0, 0), after: of(80, 30, 0), was: []snapshot.Process{at(7, 0, 0, 0, false)}, is: []snapshot.Process{at(7, 0, 0, 0, false)}},
		"one did enough":        {before: of(10, 0, 0), after: of(40, 0, 0), was: []snapshot.Process{at(7, 0, 0, 0, false), at(8, 0, 0, 0, false)}, is: []snapshot.Process{at(7, 0, 0, 30, false), at(8, 0, 0, 1, false)}, guess: 7},
		"two did enough":        {before: of(10, 0, 0), after: of(40, 0, 0), was: []snapshot.Process{at(7, 0, 0, 0, false), at(8, 0, 0, 0, false)}, is: []snapshot.Process{at(7, 0, 0, 30, false), at(8, 0, 0, 30, false)}},
		"it may have been gone": {before: of(10, 0, 0), after: of(40, 0, 0), was: []snapshot.Process{at(7, 0, 0, 0, false), at(9, 0, 0, 0, false)}, is: []snapshot.Process{at(7, 0, 0, 30, false)}},
		"a later process":       {before: of(50, 0, 0), after: of(50, 0, 0), was: []snapshot.Process{at(7, 1, 5, 900, false)}, is: []snapshot.Process{later(at(7, 1, 5, 3, false))}, used: 3, reader: 7},
	} {
		tr := between(look([]snapshot.PageState{c.before}, c.was...), look([]snapshot.PageState{c.after}, c.is...))
		if !tr.Compared {
			t.Fatal("not compared")
		}
		if c.silent != (len(tr.Files) == 0) {
			t.Errorf("%s: %+v", name, tr.Files)
		}
		if len(tr.Files) == 0 {
			continue
		}
		m := tr.Files[0]
		who := func(ps []*snapshot.Process) int {
			if len(ps) == 0 {
				return 0
			}
			return ps[0].PID
		}
		guess := 0
		if m.Guess != nil {
			guess = m.Guess.PID
		}
		if max(0, m.Used) != c.used*mib || who(m.Readers) != c.reader || who(m.Writers) != c.writer || guess != c.guess {
			t.Errorf("%s: used %d, readers %d, writers %d, guess %d", name, m.Used/mib, who(m.Readers), who(m.Writers), guess)
		}
	}
}

// later has the number of another process that is gone.
func later(p snapshot.Process) snapshot.Process {
	p.Times.Value.Start += 100
	return p
}

// On an overlay the device is another, and the name tells; another file with that
// number is another file.
func TestPositionsOnOverlays(t *testing.T) {
	for name, want := range map[string]bool{"/c/a": true, "/c/a (deleted)": true, "/c/b": false} {
		was, is := at(7, 1, 5, 0, false), at(7, 1, 25, 20, false)
		for _, p := range []*snapshot.Process{&was, &is} {
			p.Positions.Value[0].Device, p.Positions.Value[0].Path = 0x2a, name
		}
		tr := between(look([]snapshot.PageState{of(50, 0, 0)}, was), look([]snapshot.PageState{of(50, 0, 0)}, is))
		if got := len(tr.Files) == 1; got != want {
			t.Errorf("%s: %+v", name, tr.Files)
		}
	}
	if snapshot.KernelDevice(0x801) != disk || snapshot.KernelDevice(0x12345678) != 0x456<<20|0x12378&0xfffff {
		t.Errorf("%x %x", snapshot.KernelDevice(0x801), snapshot.KernelDevice(0x12345678))
	}
}

// Without an exact census at both ends no file moves.
func TestCensusesThatDoNotCompare(t *testing.T) {
	for name, spoil := range map[string]func(a, b *snapshot.Census){
		"an estimate":    func(a, _ *snapshot.Census) { a.Sampled = 0.1 },
		"not complete":   func(_, b *snapshot.Census) { b.Complete = false },
		"another engine": func(a, _ *snapshot.Census) { a.Engine = snapshot.EngineFiles },
	} {
		a, b := look([]snapshot.PageState{of(10, 0, 0)}), look([]snapshot.PageState{of(40, 0, 0)})
		spoil(a.Census.Value, b.Census.Value)
		if tr := between(a, b); tr.Compared || len(tr.Files) > 0 {
			t.Errorf("%s: %+v", name, tr.Files)
		}
	}
}

// It was restarted when nobody of the first look is left and others are there.
func TestRestarted(t *testing.T) {
	a, b, c := at(7, 0, 0, 0, false), at(8, 0, 0, 0, false), at(9, 0, 0, 0, false)
	for name, x := range map[string]struct {
		was, is []snapshot.Process
		remade  bool
		want    bool
	}{
		"the same":        {was: []snapshot.Process{a}, is: []snapshot.Process{a}},
		"all others":      {was: []snapshot.Process{a, b}, is: []snapshot.Process{c}, want: true},
		"a later process": {was: []snapshot.Process{a}, is: []snapshot.Process{later(a)}, want: true},
		"one stayed":      {was: []snapshot.Process{a, b}, is: []snapshot.Process{a, c}},
		"all ended":       {was: []snapshot.Process{a}},
		"the first began": {is: []snapshot.Process{a}},
		"the cgroup anew": {was: []snapshot.Process{a}, is: []snapshot.Process{a}, remade: true, want: true},
	} {
		s := look(nil, x.is...)
		first := look(nil, x.was...)
		begin := time.Unix(1_800_000_000, 0)
		s.Watch = &snapshot.Watch{First: first, Remade: x.remade, Looks: []snapshot.Look{{At: begin, Cgroup: first.Path[0]}, {At: begin.Add(time.Second), Cgroup: s.Path[0]}}}
		tr := Of(s, mib)
		if tr.Restarted != x.want {
			t.Errorf("%s: %v", name, tr.Restarted)
		}
		if x.remade && (tr.CPU.Known || tr.Calls.Known || len(tr.Counts) > 0) {
			t.Errorf("%s: counters of two cgroups are compared", name)
		}
	}
}

// Of the kernel's caches those that grew are told, by what the target is charged for.
func TestSlabsThatGrow(t *testing.T) {
	a, b := look(nil), look(nil)
	row := func(s *snapshot.Snapshot, group int, cache string, bytes int64) {
		s.Census.Value.Slabs = append(s.Census.Value.Slabs, snapshot.CensusSlab{Group: group, Cache: cache, Bytes: bytes})
	}
	for _, r := range []struct {
		group    int
		cache    string
		was, now int64
	}{{1, "dentry", 10, 90}, {1, "ext4_inode_cache", 5, 50}, {1, "filp", 9, 2}, {0, "kmalloc-1k", 0, 900}} {
		row(a, r.group, r.cache, r.was)
		row(b, r.group, r.cache, r.now)
	}
	got := between(a, b).Slabs
	if len(got) != 2 || got[0] != (SlabMove{"dentry", 80}) || got[1] != (SlabMove{"ext4_inode_cache", 45}) {
		t.Errorf("%+v", got)
	}
}
