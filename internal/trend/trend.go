// Package trend owns what several looks at one target say together: how each class
// of its memory went, what its tasks did meanwhile, which processes and which of
// their mappings grew. It must not know causes, nor how anything was read or will
// look. It is pure.
//
// Amounts are bytes. What one of both looks does not tell is not known, never 0.
package trend

import (
	"time"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/mapping"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// The lines, in their order.
const (
	Usage  = "usage"
	Anon   = "anon"
	File   = "file" // without shmem, where that is known
	Shmem  = "shmem"
	Kernel = "kernel"
	Sock   = "sock"
)

// Trend is what a watch says.
type Trend struct {
	From, To time.Time
	Window   time.Duration
	Since    bool // of two captures
	Lines    []Line
	Counts   []Count
	CPU      Amount // nanoseconds
	Read     Amount // from block devices
	Written  Amount // to block devices
	Calls    Amount // by system calls of processes that were there all the time, sockets and pipes included
	Movers   []Mover
	Ended    []*snapshot.Process // of the first look, not there any more
	Started  []*snapshot.Process

	Restarted bool       // none of the processes of the first look is left, and others began
	Compared  bool       // the censuses of the first look and the last one were; else Files is empty
	Files     []FileMove // those that changed or were used; what grew most first
	Slabs     []SlabMove // the kernel's caches that grew; what grew most first
}

// Amount is by how much something went on; what is not Known has a Why.
type Amount struct {
	N      int64
	Known  bool
	Source string
	Why    string
}

// Count is by how much a counter of memory.stat went on.
type Count struct {
	Key    string // as version 2 names it
	Source string
	Name   string // as the file spells it
	N      int64
}

// Mover is a process that was there at both ends.
type Mover struct {
	Process *snapshot.Process
	Anon    int64 // change
	Part    string
	Grew    int64 // of that part of its mappings, the one that grew most
	Calls   int64 // bytes by system calls; -1 when not known
}

// counted are the counters of memory.stat that tell how much was done.
var counted = []string{
	"pgfault", "pgmajfault", "pgpgin", "pgpgout", "workingset_refault_file", "workingset_refault", "workingset_refault_anon", "workingset_activate_file", "workingset_activate", "pgscan", "pgsteal", "pgactivate",
}

// Of is the trend of a snapshot's target, nil when it was looked at once. noise is
// by how much the kernel's batching may make an amount wrong.
func Of(s *snapshot.Snapshot, noise int64) *Trend {
	w := s.Watch
	if w == nil || len(w.Looks) < 2 {
		return nil
	}
	a, b := &w.Looks[0], &w.Looks[len(w.Looks)-1]
	if !a.At.Before(b.At) {
		return nil
	}
	t := &Trend{From: a.At, To: b.At, Window: b.At.Sub(a.At), Since: w.Since}
	if noise < 0 {
		noise = 16 << 20 // the number of processors is not known
	}
	for _, path := range []string{Usage, Anon, File, Shmem, Kernel, Sock} {
		if l, ok := line(w.Looks, path, noise); ok {
			t.Lines = append(t.Lines, l)
		}
	}
	k1, k2 := ledger.KeysOf(&a.Cgroup), ledger.KeysOf(&b.Cgroup)
	for _, key := range counted {
		if w.Remade { // its counters began anew
			break
		}
		n1, ok1 := k1.Get(key)
		n2, ok2 := k2.Get(key)
		if ok1 && ok2 && n1 >= 0 && n2 >= n1 {
			t.Counts = append(t.Counts, Count{key, b.Cgroup.Stat.Source, k2.Name(key), n2 - n1})
		}
	}
	t.processes(s)
	t.activity(s, a, b)
	t.moves(s)
	return t
}

// Line returns the line of a class.
func (t *Trend) Line(path string) (*Line, bool) {
	for i := range t.Lines {
		if t.Lines[i].Path == path {
			return &t.Lines[i], true
		}
	}
	return nil, false
}

// Count returns by how much a counter went on.
func (t *Trend) Count(key string) (Count, bool) {
	for _, c := range t.Counts {
		if c.Key == key {
			return c, true
		}
	}
	return Count{}, false
}

// line is known at all looks that could be read, the first and the last among them.
func line(looks []snapshot.Look, path string, noise int64) (Line, bool) {
	l := Line{Path: path, Noise: noise}
	for i := range looks {
		n, ok := amount(&looks[i].Cgroup, path)
		if !ok {
			if i == 0 || i == len(looks)-1 {
				return l, false
			}
			continue
		}
		l.At = append(l.At, looks[i].At.Sub(looks[0].At))
		l.Bytes = append(l.Bytes, n)
	}
	return l, true
}

func amount(c *snapshot.Cgroup, path string) (n int64, ok bool) {
	keys := ledger.KeysOf(c)
	switch path {
	case Usage:
		n, ok = c.Usage.Get()
	case File:
		if n, ok = keys.Get("file"); ok {
			shmem, _ := keys.Get("shmem")
			n -= shmem
		}
	case Kernel:
		if c.Version == snapshot.V1 {
			n, ok = c.KmemUsage.Get()
		} else {
			n, ok = keys.Get("kernel")
		}
	case Sock:
		if c.Version == snapshot.V2 {
			n, ok = keys.Get("sock")
		}
	default:
		n, ok = keys.Get(path)
	}
	return n, ok && size.Plausible(n)
}

// activity prefers what the kernel counted for the cgroup to the sum of its
// processes, which misses those that ended.
func (t *Trend) activity(s *snapshot.Snapshot, a, b *snapshot.Look) {
	if s.Watch.Remade {
		anew := Amount{Source: b.CPU.Source, Why: words.Key("its cgroup was made anew between the looks")}
		t.CPU, t.Read, t.Written, t.Calls = anew, anew, anew, anew
		return
	}
	cpu1, ok1 := a.CPU.Get()
	cpu2, ok2 := b.CPU.Get()
	t.CPU = Amount{Source: b.CPU.Source, Why: b.CPU.Err}
	if ok1 && ok2 && cpu2 >= cpu1 {
		t.CPU.N, t.CPU.Known = cpu2-cpu1, true
	} else if n, ok := t.sum(s, func(p *snapshot.Process) (int64, bool) { v, ok := p.Times.Get(); return int64(v.CPU), ok }); ok {
		t.CPU = Amount{N: n, Known: true, Source: "/proc/PID/stat of its processes"}
	}
	io1, ok1 := a.IO.Get()
	io2, ok2 := b.IO.Get()
	t.Read, t.Written = Amount{Source: b.IO.Source, Why: b.IO.Err}, Amount{Source: b.IO.Source, Why: b.IO.Err}
	if ok1 && ok2 && io2.Read >= io1.Read && io2.Written >= io1.Written {
		t.Read.N, t.Read.Known, t.Written.N, t.Written.Known = io2.Read-io1.Read, true, io2.Written-io1.Written, true
	} else {
		for key, into := range map[string]*Amount{snapshot.DiskRead: &t.Read, snapshot.DiskWrite: &t.Written} {
			if n, ok := t.sum(s, field(key)); ok {
				*into = Amount{N: n, Known: true, Source: "/proc/PID/io of its processes"}
			}
		}
	}
	t.Calls = Amount{Source: "/proc/PID/io of its processes", Why: words.Key("not all of its processes tell")}
	in, ok1 := t.sum(s, field(snapshot.IORead))
	out, ok2 := t.sum(s, field(snapshot.IOWritten))
	if ok1 && ok2 {
		t.Calls = Amount{N: in + out, Known: true, Source: t.Calls.Source}
	}
}

func field(key string) func(*snapshot.Process) (int64, bool) {
	return func(p *snapshot.Process) (int64, bool) {
		n, ok := p.IO.Value.Get(key)
		return n, ok && p.IO.State == snapshot.Present
	}
}

// sum adds up what processes did; with one that ended, or does not tell, nobody
// knows.
func (t *Trend) sum(s *snapshot.Snapshot, of func(*snapshot.Process) (int64, bool)) (sum int64, ok bool) {
	if len(t.Ended) > 0 || len(s.PIDs) > len(s.Processes) || s.Outside > 0 {
		return 0, false
	}
	before := byPID(s.Watch.First)
	for i := range s.Processes {
		n, ok := of(&s.Processes[i])
		if !ok {
			return 0, false
		}
		if old := before[s.Processes[i].PID]; old != nil && same(old, &s.Processes[i]) {
			was, ok := of(old)
			if !ok || was > n {
				return 0, false
			}
			n -= was
		}
		sum += n
	}
	return sum, true
}

func byPID(s *snapshot.Snapshot) map[int]*snapshot.Process {
	m := map[int]*snapshot.Process{}
	if s != nil {
		for i := range s.Processes {
			m[s.Processes[i].PID] = &s.Processes[i]
		}
	}
	return m
}

// same tells a process from a later one with its number.
func same(a, b *snapshot.Process) bool {
	t1, ok1 := a.Times.Get()
	t2, ok2 := b.Times.Get()
	return !ok1 || !ok2 || t1.Start == t2.Start
}

// processes finds who is there at both ends, and what of them grew.
func (t *Trend) processes(s *snapshot.Snapshot) {
	before := byPID(s.Watch.First)
	for i := range s.Processes {
		p := &s.Processes[i]
		old := before[p.PID]
		if old == nil || !same(old, p) {
			t.Started = append(t.Started, p)
			continue
		}
		delete(before, p.PID)
		m := Mover{Process: p, Calls: -1}
		n1, how1, ok1 := mapping.Anon(old)
		n2, how2, ok2 := mapping.Anon(p)
		if ok1 && ok2 && how1 == how2 {
			m.Anon = n2 - n1
		}
		m.Part, m.Grew = grown(old, p)
		in1, ok1 := field(snapshot.IORead)(old)
		in2, ok2 := field(snapshot.IORead)(p)
		if ok1 && ok2 && in2 >= in1 {
			m.Calls = in2 - in1
		}
		t.Movers = append(t.Movers, m)
	}
	if s.Watch.First == nil {
		return
	}
	for i := range s.Watch.First.Processes {
		if p := &s.Watch.First.Processes[i]; before[p.PID] != nil {
			t.Ended = append(t.Ended, p)
		}
	}
	all := len(s.PIDs) <= len(s.Processes) && s.Outside == 0
	t.Restarted = s.Watch.Remade || all && len(t.Movers) == 0 && len(t.Ended) > 0 && len(t.Started) > 0
}

// maxParts is beyond what a process has of kinds and names.
const maxParts = 1 << 12

// grown is the kind of mappings that grew most.
func grown(old, p *snapshot.Process) (name string, bytes int64) {
	was := map[[2]string]int64{}
	for _, part := range mapping.Parts(old, maxParts) {
		was[[2]string{part.Kind, part.Name}] = part.Bytes
	}
	for _, part := range mapping.Parts(p, maxParts) {
		if d := part.Bytes - was[[2]string{part.Kind, part.Name}]; d > bytes {
			name, bytes = part.Name, d
		}
	}
	return name, bytes
}
