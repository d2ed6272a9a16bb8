package gather

import (
	"strconv"
	"strings"
	"time"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Bounds of a watch: at most so many looks at the counters, at least so far apart.
// A look costs about a dozen small files, a millisecond.
const (
	maxLooks    = 40
	minInterval = 250 * time.Millisecond
	maxIO       = 512 // processes whose I/O is read
)

// watch looks at cgroup until opt.Watch has passed since the first look, or gives
// the looks that a recording has. nil when nobody wants any.
func watch(src kernel.Source, h cgroupfs.Hierarchy, cgroup string, opt Options) (*snapshot.Watch, error) {
	recorded := src.Origin().Looks
	if recorded == 0 && (opt.Watch <= 0 || src.Origin().Replay) {
		return nil, nil
	}
	w := &snapshot.Watch{Since: src.Origin().Since}
	interval := max(minInterval, opt.Watch/maxLooks)
	var activity cgroupfs.Activity
	var after time.Duration
	for n := 0; n < max(maxLooks, recorded) && (recorded > 0 || n == 0 || after < opt.Watch-interval/2); n++ {
		at, ok := kernel.Look(src, n, after)
		if !ok {
			break
		}
		c := cgroupfs.ReadCore(at, h, cgroup)
		if n == 0 {
			if c.Usage.State != snapshot.Present && c.Stat.State != snapshot.Present {
				return nil, noFirst(at, &c, w.Since)
			}
			activity = activityOf(at, &c, opt)
		}
		w.Looks = append(w.Looks, counters(at, c, activity))
		if n == 0 {
			w.First = first(at, h, cgroup)
		}
		// After what took long, a pause: a kernel that is slow is not pressed.
		after = max(after+interval, w.Looks[n].At.Sub(w.Looks[0].At)+interval/2)
	}
	kernel.Look(src, kernel.Last, opt.Watch)
	return w, nil
}

// noFirst says why there is nothing to begin with.
func noFirst(src kernel.Source, c *snapshot.Cgroup, since bool) error {
	if since {
		return &TargetError{
			Kind: Malformed, Err: words.Errorf("the earlier capture has no cgroup %q: %s", c.Path, c.Usage.Err),
			Hint: words.Key("both captures have to be of this target; names in redacted ones differ each time"),
		}
	}
	return readable(src, c)
}

// counters adds to the counters of c what its tasks did.
func counters(src kernel.Source, c snapshot.Cgroup, activity cgroupfs.Activity) snapshot.Look {
	l := snapshot.Look{At: c.Stat.At, Cgroup: c}
	if l.At.IsZero() {
		l.At = c.Usage.At
	}
	l.CPU, l.IO = activity.CPU(src), activity.IO(src)
	return l
}

func activityOf(src kernel.Source, c *snapshot.Cgroup, opt Options) cgroupfs.Activity {
	member := 0
	if procs := cgroupfs.ReadProcs(src, c.Dir); len(procs.Value) > 0 {
		member = procs.Value[0]
	}
	return cgroupfs.FindActivity(src, c.Version, c.Dir, c.Path, opt.ForeignRoot, member)
}

// first is the first look in full.
func first(src kernel.Source, h cgroupfs.Hierarchy, cgroup string) *snapshot.Snapshot {
	s := &snapshot.Snapshot{Path: []snapshot.Cgroup{cgroupfs.ReadCore(src, h, cgroup)}}
	s.Target().Inode = inode(src, s.Target().Dir)
	members(src, s)
	s.Census = kernel.Census(src, s.PIDs)
	s.Host = host(src, h)
	s.Node = nodeCounters(src, s.Host.PageSize)
	processes(src, s)
	times(src, s)
	return s
}

// last closes a watch with what the snapshot itself says.
func last(src kernel.Source, h cgroupfs.Hierarchy, s *snapshot.Snapshot, opt Options) error {
	w, t := s.Watch, s.Target()
	w.Looks = append(w.Looks, counters(src, *t, activityOf(src, t, opt)))
	times(src, s)
	return comparable(s)
}

// Activity asks what the tasks of the target did so far.
func Activity(src kernel.Source, s *snapshot.Snapshot, opt Options) {
	a := activityOf(src, s.Target(), opt)
	a.CPU(src)
	a.IO(src)
	times(src, s)
}

// comparable tells two captures of one target from those of two.
func comparable(s *snapshot.Snapshot) error {
	w := s.Watch
	differ := func(format string, args ...any) error {
		return &TargetError{Kind: Malformed, Err: words.Errorf(format, args...), Hint: words.Key("two captures of one target compare, both since the same boot")}
	}
	from, to := w.Looks[0].At, w.Looks[len(w.Looks)-1].At
	if !w.Since {
		return nil
	}
	if !from.IsZero() && !to.IsZero() && !from.Before(to) {
		return differ("the capture to compare with was taken at %s, which is not before %s", from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339))
	}
	boot1, ok1 := w.First.Host.Boot.Get()
	boot2, ok2 := s.Host.Boot.Get()
	switch {
	case ok1 && ok2 && boot1 != boot2:
		return differ("the node was booted between the captures, or they are of two nodes: counters do not compare")
	case !ok1 || !ok2:
		w.Doubts = append(w.Doubts, words.Key("whether both captures are of the same boot they do not say"))
	}
	inode1, ok1 := w.First.Target().Inode.Get()
	inode2, ok2 := s.Target().Inode.Get()
	switch {
	case ok1 && ok2 && inode1 != inode2:
		w.Remade = true
	case !ok1 || !ok2:
		w.Doubts = append(w.Doubts, words.Key("whether both captures are of the same cgroup, not of one made anew under its name, they do not say"))
	}
	return nil
}

// times reads what processes did so far.
func times(src kernel.Source, s *snapshot.Snapshot) {
	for i := range s.Processes {
		p := &s.Processes[i]
		p.Times = kernel.Value(src, procFile(p.PID, "stat"), maxFile, procfs.ParseTimes)
	}
	some := s.Processes[:min(len(s.Processes), maxIO)]
	qs := make([]kernel.Question, len(some))
	for i := range some {
		qs[i] = kernel.Question{Op: kernel.Read, Path: procFile(some[i].PID, "io"), Max: 4 << 10}
	}
	for i, a := range kernel.AskAll(src, qs) {
		some[i].IO = kernel.Parsed(a, qs[i].Path, procfs.ParseIO)
	}
	positions(src, some)
}

// inode is the number of a directory.
func inode(src kernel.Source, dir string) snapshot.Reading[uint64] {
	a := src.Ask(kernel.Question{Op: kernel.Inodes, Path: dir, Max: maxDescendants})
	return kernel.Parsed(a, dir, func(b []byte) (uint64, error) {
		for _, line := range (kernel.Answer{Data: b}).Names() {
			if number, ok := strings.CutSuffix(line, " ."); ok {
				return strconv.ParseUint(number, 10, 64)
			}
		}
		return 0, words.Errorf("it does not say its own number")
	})
}
