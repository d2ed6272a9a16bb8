package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// What moves does so by the clock, so that a machine that stalls catches up.
const (
	tick     = 50 * time.Millisecond
	leakRate = 2 << 20 // bytes a second
)

// movers are begun when all that stands still is planted.
var movers []func(since time.Time)

// begin starts the movers. They end with the process.
func (w *Watch) begin() {
	w.Since = time.Now()
	if w.lasts > 0 {
		until := w.Since.Add(w.lasts)
		w.Until = &until
	}
	for _, m := range movers {
		go m(w.Since)
	}
}

// each calls do again and again with the time that has passed.
func each(do func(since time.Duration) (more bool)) {
	movers = append(movers, func(since time.Time) {
		for do(time.Since(since)) {
			time.Sleep(tick)
		}
	})
}

// most is how much may be added to what is planted without coming near the limit.
func (j job) most() int64 {
	if j.Limit > 0 {
		return wholePages(max(0, j.Limit/2-j.Bytes/4))
	}
	return 512 << 20
}

// grow touches rate bytes of new memory a second, for a time if that is not 0.
func (j job) grow(rate int64, until time.Duration) error {
	mem, err := anonymous(j.most(), unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	var done int64
	each(func(since time.Duration) bool {
		ends := until > 0 && since >= until
		if ends {
			since = until
		}
		to := min(int64(len(mem)), wholePages(int64(since.Seconds()*float64(rate))))
		touch(mem[done:to])
		done = to
		return !ends && done < int64(len(mem))
	})
	return nil
}

// itself is how a title names this process.
func itself() string { return fmt.Sprintf("memwhy (pid %d)", os.Getpid()) }

// plain is what it calls the mappings that these labs make.
const plain = "mappings without a name"

// Answers to a suspicion.
var (
	no  = []string{"unlikely", "ruled-out"}
	yes = []string{"likely", "confirmed"}
)

// stock is the memory that does not move.
func (j job) stock(t *Truth) error {
	_, err := touched(j.Bytes)
	t.add(anonOther, j.Bytes)
	t.process(anonOther, j.Bytes)
	return err
}

var leak = Scenario{
	Name:    "leak",
	Summary: "memory that is taken bit by bit and never given back",
	Finding: "anon.leak",
	plant: func(j job, t *Truth) error {
		if err := j.stock(t); err != nil {
			return err
		}
		t.Accounts[0].BytesPerSecond = leakRate
		c := t.cause("anon.leak", 0)
		c.BytesPerSecond, c.ToleranceBytes, c.Names = leakRate, 2<<20, []string{itself(), plain}
		t.Watch = &Watch{Seconds: 4, Line: "anon", Shape: "rising", Leak: yes, Churn: no}
		return j.grow(leakRate, 0)
	},
}

var plateau = Scenario{
	Name:    "plateau",
	Summary: "memory that is taken for some seconds, and then kept",
	Finding: anonLive,
	healthy: true,
	plant: func(j job, t *Truth) error {
		if err := j.stock(t); err != nil {
			return err
		}
		const rate, takes = 2 * leakRate, 3 * time.Second
		t.Accounts[0].BytesPerSecond = rate
		t.cause(anonLive, j.Bytes+rate*int64(takes/time.Second)).Names = []string{itself(), plain}
		t.Watch = &Watch{Seconds: 6, Line: "anon", Shape: "plateau", Leak: no, Churn: no, lasts: takes}
		return j.grow(rate, takes)
	},
}

var sawtooth = Scenario{
	Name:    "sawtooth",
	Summary: "memory that is taken and given back, as by a garbage collector",
	Finding: anonLive,
	healthy: true,
	plant: func(j job, t *Truth) error {
		const tooth, period = 8 << 20, 1200 * time.Millisecond
		if err := j.stock(t); err != nil {
			return err
		}
		t.Accounts[0].Bytes += tooth / 2
		t.ToleranceBytes = tooth/2 + tolerance(j.Bytes)
		t.cause(anonLive, j.Bytes+tooth/2)
		t.Watch = &Watch{Seconds: 5, Line: "anon", Shape: "sawtooth", Leak: no}
		mem, err := anonymous(tooth, unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		var last time.Duration
		each(func(since time.Duration) bool {
			at := since % period
			if at < last {
				err = unix.Madvise(mem, unix.MADV_DONTNEED)
			}
			last = at
			touch(mem[:wholePages(int64(at)*tooth/int64(period))])
			return err == nil
		})
		return nil
	},
}

var churn = Scenario{
	Name:    "churn",
	Summary: "a little memory that is taken and given back all the time",
	Finding: "anon.churn",
	plant: func(j job, t *Truth) error {
		if err := j.stock(t); err != nil {
			return err
		}
		t.cause(anonLive, j.Bytes).Names = []string{itself(), plain}
		t.Findings = []string{"anon.churn"}
		t.Watch = &Watch{Seconds: 3, Line: "anon", Shape: "flat", Leak: no, Churn: yes}
		mem, err := anonymous(768<<10, unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		movers = append(movers, func(time.Time) {
			for unix.Madvise(mem, unix.MADV_DONTNEED) == nil {
				touch(mem)
				time.Sleep(time.Millisecond)
			}
		})
		return nil
	},
}

var idleHeld = Scenario{
	Name:    "idle-held",
	Summary: "files that were read, and a process that does nothing",
	Finding: "cache.idle-held",
	healthy: true,
	needs:   disk,
	plant: func(j job, t *Truth) error {
		f, err := t.written(j, j.Bytes, true)
		if err != nil {
			return err
		}
		t.cause("cache.idle-held", j.Bytes)
		t.Watch = &Watch{Seconds: 3, Line: "file", Shape: "flat", Leak: no, Churn: no}
		return f.Close()
	},
}

// hotReads is cache that is used, and shows it by the position of the reader alone: it
// is not mapped, and nothing comes from the disk.
var hotReads = Scenario{
	Name:    "hot-reads",
	Summary: "a cached file that is read from begin to end again and again",
	Finding: cacheHot,
	healthy: true,
	needs:   disk,
	plant: func(j job, t *Truth) error {
		f, err := t.written(j, j.Bytes, true)
		if err != nil {
			return err
		}
		c := t.counted(cacheHot, j.Bytes)
		c.Asks, c.Names = true, []string{"planted", "read again"}
		t.Watch = &Watch{Seconds: 4, Line: "file", Shape: "flat", Leak: no}
		j.readOn(f)
		return nil
	},
}

const cacheHot = "cache.hot"

// readOn reads a file all the time, some of it at each tick, and all of it within 2 s.
func (j job) readOn(f *os.File) {
	buf := make([]byte, max(64<<10, j.Bytes*int64(tick)/int64(2*time.Second)))
	each(func(time.Duration) bool {
		if n, err := f.Read(buf); n == 0 || err != nil {
			_, err = f.Seek(0, io.SeekStart)
			return err == nil
		}
		return true
	})
}

var cacheRefill = Scenario{
	Name:    "cache-refill",
	Summary: "a file that is read again and again, and does not fit the limit",
	Finding: cacheHot,
	healthy: true,
	needs:   disk,
	limit:   func(opt Options) int64 { return wholePages(opt.Bytes * 2 / 3) },
	plant: func(j job, t *Truth) error {
		f, err := t.written(j, j.Bytes, true)
		if err != nil {
			return err
		}
		if err := errors.Join(serve(f.Name()), serve(f.Name())); err != nil {
			return err
		}
		kept, err := resident(f.Name())
		if err != nil {
			return err
		}
		t.Accounts[0].Bytes, t.Holders[0].Bytes = kept, kept
		c := t.counted(cacheHot, kept)
		c.Asks, c.Names = true, []string{"planted", "came back"}
		t.Watch = &Watch{Seconds: 4, Leak: no}
		j.readOn(f)
		return nil
	},
}

var cacheFilling = Scenario{
	Name:    "cache-filling",
	Summary: "a file that a process writes to, on and on",
	Finding: "cache.filling",
	healthy: true,
	needs:   disk,
	plant: func(j job, t *Truth) error {
		old, err := t.written(j, j.Bytes, true)
		if err != nil {
			return err
		}
		f, err := os.OpenFile(filepath.Join(j.WorkDir, "growing"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		t.Accounts[0].BytesPerSecond = leakRate
		c := t.cause(cacheCold, j.Bytes)
		c.BytesPerSecond, c.SinceBegin = leakRate, true
		t.Also = []Cause{{Code: "cache.filling", Census: true, BytesPerSecond: leakRate, ToleranceBytes: 2 << 20, Names: []string{"growing", itself() + " writes"}}}
		t.Watch = &Watch{Seconds: 5, Line: "file", Shape: "rising", Leak: no, Churn: no}
		var done int64
		each(func(since time.Duration) bool {
			to := min(j.most(), wholePages(int64(since.Seconds()*leakRate)))
			err := errors.Join(fill(f, to-done), f.Sync())
			done = to
			return err == nil && done < j.most()
		})
		return old.Close()
	},
}

// restart is a container whose program is replaced. The holder stays outside of it.
var restart = Scenario{
	Name:    "restart",
	Summary: "a process that takes memory, ends, and is begun anew",
	Finding: anonLive,
	healthy: true,
	plant: func(j job, t *Truth) error {
		if err := errors.Join(j.divide("start"), j.child("app")); err != nil {
			return err
		}
		dir := filepath.Join(j.CgroupDir, "app")
		p, err := j.assistant("sibling", dir, j.Bytes)
		if err != nil {
			return err
		}
		t.Cgroup, t.CgroupDir, t.PIDs = filepath.Join(j.Cgroup, "app"), dir, []int{p.cmd.Process.Pid}
		t.add(anonOther, j.Bytes)
		t.cause(anonLive, j.Bytes)
		t.ToleranceBytes = tolerance(j.Bytes) + 4<<20 // the program itself
		t.Watch = &Watch{Seconds: 6, Restarted: true, Leak: []string{"cannot-tell"}}
		next := 3 * time.Second
		each(func(since time.Duration) bool {
			if since >= next {
				p, err = j.replace(p, dir)
				next += 2 * time.Second
			}
			return err == nil && next < 6*time.Second
		})
		return nil
	},
}

// replace ends one and starts another, unless the lab is about to end.
func (j job) replace(p *process, dir string) (*process, error) {
	crew.Lock()
	defer crew.Unlock()
	i := slices.Index(assistants, p)
	if i < 0 {
		return nil, errors.New("the lab ends")
	}
	assistants = slices.Delete(assistants, i, i+1)
	p.end()
	return j.hire("sibling", dir, j.Bytes)
}
