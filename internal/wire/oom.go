package wire

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/memwhy/memwhy/internal/capture"
	"github.com/memwhy/memwhy/internal/gather"
	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/kmsg"
	"github.com/memwhy/memwhy/internal/names"
	"github.com/memwhy/memwhy/internal/oom"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// ParseLog tells what a saved kernel log holds. pageSize is that of the machine
// which wrote it. Names are those that the checkpoint in stateDir remembers.
func ParseLog(ctx context.Context, in io.Reader, pageSize int64, redact bool, stateDir string, say words.Printer) (*report.OOM, error) {
	log, err := readLog(ctx, in, pageSize)
	if err != nil {
		return nil, err
	}
	remembered := names.Remembered(stateDir)
	return tell(say, &log, redact, &remembered), nil
}

// NodeLog tells what the log of a node holds: of the running kernel, or as it was
// recorded. Names are those of containers that the runtimes still list, and those
// that are remembered.
func NodeLog(ctx context.Context, opt Options) (*report.OOM, error) {
	if opt.From != "" {
		return recordedLog(opt)
	}
	ring, err := kernel.OpenLog(opt.HostRoot)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, opt.Timeout)
	defer cancel()
	said := ask(ctx, opt)
	defer said.Close()
	log, err := readLog(ctx, ring, kernel.PageSize())
	if err != nil {
		return nil, err // the reader may still be at it: the process ends soon
	}
	log.Overruns = ring.Overruns
	n := said.Names()
	return tell(opt.Words, &log, opt.Redact, n.Index()), ring.Close()
}

// NoLog says that a recording has no kernel's log in it.
type NoLog struct{ Why string }

func (e *NoLog) Error() string { return "the kernel's log: " + e.Why }

func recordedLog(opt Options) (*report.OOM, error) {
	src, err := capture.Open(opt.From)
	if err != nil {
		return nil, err
	}
	r := gather.Log(src)
	log, ok := r.Get()
	if !ok {
		return nil, &NoLog{r.Err}
	}
	return tell(opt.Words, &log, opt.Redact, gather.Names(src)), nil
}

// readLog reads to the end, or until ctx ends: a pipe may never.
func readLog(ctx context.Context, in io.Reader, pageSize int64) (snapshot.KernelLog, error) {
	p := kmsg.New(pageSize)
	done := make(chan error, 1)
	go func() {
		buf := make([]byte, 256<<10)
		for ctx.Err() == nil {
			n, err := in.Read(buf)
			_, _ = p.Write(buf[:n])
			if err != nil {
				done <- err
				return
			}
		}
		done <- ctx.Err()
	}()
	select {
	case err := <-done:
		if errors.Is(err, io.EOF) {
			return p.Close(), nil
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = ErrOutOfTime
		}
		return snapshot.KernelLog{}, fmt.Errorf("read the log: %w", err)
	case <-ctx.Done():
		// A read that comes back at the same moment is no reason to lose the answer.
		select {
		case err := <-done:
			if errors.Is(err, io.EOF) {
				return p.Close(), nil
			}
		case <-time.After(10 * time.Millisecond):
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return snapshot.KernelLog{}, fmt.Errorf("read the log: %w", ErrOutOfTime)
		}
		return snapshot.KernelLog{}, fmt.Errorf("read the log: %w", ctx.Err())
	}
}

// ask begins to ask what containers are called.
func ask(ctx context.Context, opt Options) *names.Asker {
	opt.Names.Patience = min(cmp.Or(opt.Names.Patience, names.Patience), opt.Timeout/2)
	opt.Names.Socket = func(string) (string, func() error, error) { return "", nil, fs.ErrNotExist }
	if live, err := kernel.OpenLive(opt.HostRoot); err == nil {
		opt.Names.Socket = live.Socket
		context.AfterFunc(ctx, func() { live.Close() })
	}
	a := names.New(ctx, opt.Names)
	a.Start()
	return a
}

func tell(say words.Printer, log *snapshot.KernelLog, redact bool, named *snapshot.Names) *report.OOM {
	var hide *identity.Redactor
	if redact {
		key := make([]byte, 32)
		_, _ = rand.Read(key) // never fails
		hide = identity.NewRedactor(key)
	}
	return oom.Report(say, log, hide, named)
}
