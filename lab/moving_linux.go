package lab

import (
	"fmt"
	"os"
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
		t.Watch = &Watch{Seconds: 5, Line: "anon", Shape: "rising", Leak: yes, Churn: no}
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
		const rate, takes = 2 * leakRate, 4 * time.Second
		t.Accounts[0].BytesPerSecond = rate
		t.cause(anonLive, j.Bytes+rate*int64(takes/time.Second)).Names = []string{itself(), plain}
		t.Watch = &Watch{Seconds: 7, Line: "anon", Shape: "plateau", Leak: no, Churn: no, lasts: takes}
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
