package kernel

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// maxStuck is how many questions of one kind may hang at any moment of a run.
// Once reached, further ones of that kind are answered Failed without asking.
const maxStuck = 3

// Guard bounds the time that questions to a live Source may take. A read that
// blocks in the kernel cannot be cancelled, so it is abandoned: the caller gets
// a Failed answer, and the number of abandoned reads is bounded.
//
// Reads that touch another process's memory (/proc/PID/cmdline and its like)
// can block for ever at that process's will, even without reacting to a fatal
// signal (a page of a FUSE file whose server is silent). They are therefore
// made in a child process that memwhy can leave behind.
type Guard struct {
	ctx      context.Context
	src      Source
	patience time.Duration
	aside    *aside

	mu    sync.Mutex
	stuck int
}

// NewGuard guards src until ctx ends. readerCommand starts a program that runs
// ServeAside on its standard input and output; without one the risky questions
// are asked in this process like all others.
func NewGuard(ctx context.Context, src Source, patience time.Duration, readerCommand []string) *Guard {
	g := &Guard{ctx: ctx, src: src, patience: patience}
	if len(readerCommand) > 0 {
		g.aside = &aside{command: readerCommand}
	}
	return g
}

// Close ends the reader process, if any.
func (g *Guard) Close() {
	if g.aside != nil {
		g.aside.close()
	}
}

// Origin implements Source. The cost is that of the reader process too.
func (g *Guard) Origin() Origin {
	o := g.src.Origin()
	if g.aside != nil {
		bytes, cpu := g.aside.cost()
		o.Cost.BytesRead += bytes
		o.Cost.CPU += cpu
	}
	return o
}

// Ask implements Source.
func (g *Guard) Ask(q Question) Answer {
	if risky(q) && g.aside != nil {
		return g.aside.ask(g.ctx, []Question{q}, g.patience)[0]
	}
	return g.alone(q)
}

// AskAll answers many questions; the risky ones cost much less together.
func (g *Guard) AskAll(qs []Question) []Answer {
	if g.aside != nil && !slices.ContainsFunc(qs, func(q Question) bool { return !risky(q) }) {
		return g.aside.ask(g.ctx, qs, g.patience)
	}
	if !slices.ContainsFunc(qs, risky) {
		return g.together(qs)
	}
	answers := make([]Answer, len(qs))
	for i, q := range qs {
		answers[i] = g.Ask(q)
	}
	return answers
}

// together asks questions that are not risky one after the other, aside from the
// caller: when time runs out, those that were not answered by then have failed.
func (g *Guard) together(qs []Question) []Answer {
	answers := make([]Answer, len(qs))
	var ready atomic.Int64 // the answers before this one may be read
	last := g.bounded(func() Answer {
		inTurn(g.src, qs, func(i int, a Answer) {
			answers[i] = a
			ready.Store(int64(i) + 1)
		})
		return Answer{State: snapshot.Present}
	}, 0)
	if last.State == snapshot.Present {
		return answers
	}
	given := slices.Clone(answers[:ready.Load()])
	for len(given) < len(qs) {
		given = append(given, last)
	}
	return given
}

// inTurn asks one question after the other, the way that src likes best.
func inTurn(src Source, qs []Question, given func(i int, a Answer)) {
	if s, ok := src.(interface {
		InTurn(qs []Question, given func(int, Answer))
	}); ok {
		s.InTurn(qs, given)
		return
	}
	for i, q := range qs {
		given(i, src.Ask(q))
	}
}

func (g *Guard) alone(q Question) Answer {
	if risky(q) {
		return g.bounded(func() Answer { return g.src.Ask(q) }, q.patience(g.patience))
	}
	return g.bounded(func() Answer { return g.src.Ask(q) }, 0)
}

// patience is how long to wait for an answer. Large files take their time: the
// kernel prints some 200 MiB a second of them, on a busy machine much less.
func (q Question) patience(least time.Duration) time.Duration {
	if q.Op == Cached {
		return least + time.Duration(q.Max)*entryTime
	}
	if q.Op == Marks { // from a cold disk
		return least + time.Duration(q.Max>>20)*20*time.Millisecond
	}
	if q.Op != Read {
		return least
	}
	return least + time.Duration(q.Max>>20)*100*time.Millisecond
}

// risky reports whether the question takes another process's mmap lock, reads
// its memory or asks the file system of one of its files: all about a process
// but its status files and the texts of the links of its open files.
func risky(q Question) bool {
	pid, file := processFile(q.Path)
	if pid == "" {
		return false
	}
	if q.Op == Cached || q.Op == Numbered {
		return true
	}
	switch file {
	case "status", "cgroup", "stat", "comm", "mountinfo":
		return false
	case "fd":
		return q.Op != Links
	case "root", "mnt": // what is below a root may well be called so
		return q.Op != Link || q.Path != "/proc/"+pid+"/root" && q.Path != "/proc/"+pid+"/ns/mnt"
	}
	return true
}

// processFile takes /proc/PID/FILE apart. Of a path below FILE, FILE is the last
// part.
func processFile(p string) (pid, file string) {
	rest, ok := strings.CutPrefix(p, "/proc/")
	if !ok || rest == "" || rest[0] < '0' || rest[0] > '9' {
		return "", ""
	}
	pid, _, _ = strings.Cut(rest, "/")
	return pid, path.Base(rest)
}

// bounded gives up on ask when the time is over, or after patience if there is any.
func (g *Guard) bounded(ask func() Answer, patience time.Duration) Answer {
	g.mu.Lock()
	full := g.stuck >= maxStuck
	g.mu.Unlock()
	if full {
		return notAsked()
	}
	ctx := g.ctx
	if patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	if ctx.Err() != nil {
		return outOfTime()
	}
	start := time.Now()
	done := make(chan Answer, 1)
	go func() { done <- ask() }()
	select {
	case a := <-done:
		return a
	case <-ctx.Done():
	}
	g.mu.Lock()
	g.stuck++
	g.mu.Unlock()
	go func() { // it may come back after all
		<-done
		g.mu.Lock()
		g.stuck--
		g.mu.Unlock()
	}()
	return noAnswer(time.Since(start))
}

func notAsked() Answer {
	return failed(fmt.Sprintf("not asked: %d reads are stuck already", maxStuck))
}

func outOfTime() Answer { return failed("not asked: out of time") }

func stuckBefore() Answer {
	return failed("not asked: an earlier read of this process got no answer")
}

func noAnswer(d time.Duration) Answer {
	return failed(fmt.Sprintf("no answer within %d ms", d.Round(100*time.Millisecond).Milliseconds()))
}

func failed(why string) Answer {
	return Answer{State: snapshot.Failed, Err: why, At: time.Now()}
}
