package kernel

import (
	"context"
	"fmt"
	"path"
	"strings"
	"sync"
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

// Origin implements Source.
func (g *Guard) Origin() Origin { return g.src.Origin() }

// Ask implements Source.
func (g *Guard) Ask(q Question) Answer {
	if risky(q) {
		if g.aside != nil {
			return g.aside.ask(g.ctx, q, g.patience)
		}
		return g.bounded(q, g.patience)
	}
	return g.bounded(q, 0)
}

// risky reports whether the question takes another process's mmap lock or
// reads its memory: everything of a process but its status files.
func risky(q Question) bool {
	rest, ok := strings.CutPrefix(q.Path, "/proc/")
	if !ok || rest == "" || rest[0] < '0' || rest[0] > '9' {
		return false
	}
	switch path.Base(rest) {
	case "status", "cgroup", "stat", "comm", "mountinfo":
		return false
	}
	return true
}

func (g *Guard) bounded(q Question, patience time.Duration) Answer {
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
		return failed("not asked: out of time")
	}
	start := time.Now()
	done := make(chan Answer, 1)
	go func() { done <- g.src.Ask(q) }()
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

func noAnswer(d time.Duration) Answer {
	return failed(fmt.Sprintf("no answer within %d ms", d.Round(100*time.Millisecond).Milliseconds()))
}

func failed(why string) Answer {
	return Answer{State: snapshot.Failed, Err: why, At: time.Now()}
}
