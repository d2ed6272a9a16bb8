package wire

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/memwhy/memwhy/internal/explain"
	"github.com/memwhy/memwhy/internal/gather"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/census"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// ErrNotLive is returned where only a running node can answer.
var ErrNotLive = words.Errorf("only a running node can be examined")

// Doctor tries every source and says what became of it.
func (n *Node) Doctor(hostRoot string) (*report.Doctor, error) {
	if _, ok := n.Source.(*counting); !ok {
		return nil, ErrNotLive
	}
	a := gather.Access(n.Source, n.opt)
	a.Trials = append(
		a.Trials,
		n.try(snapshot.TryBPF, func() error { return census.Try(n.ctx) }),
		n.try(snapshot.TryKcore, census.TryKcore),
		n.try(snapshot.TryKpage, census.TryKpage),
		n.try(snapshot.TryKmsg, func() error {
			l, err := kernel.OpenLog(hostRoot)
			if err != nil {
				return err
			}
			return l.Close()
		}),
	)
	if t := &a.Trials[len(a.Trials)-1]; t.State == snapshot.Denied || t.State == snapshot.Absent {
		t.Err = "/dev/kmsg: " + map[snapshot.State]string{snapshot.Denied: "permission denied", snapshot.Absent: "no such file"}[t.State]
	}
	return explain.Doctor(n.words, a), nil
}

// try tries one source that is not asked through the door, for as long as there
// is time.
func (n *Node) try(id string, f func() error) snapshot.Trial {
	ctx, cancel := context.WithTimeout(n.ctx, 5*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return trial(id, err)
	case <-ctx.Done():
		return snapshot.Trial{ID: id, State: snapshot.Failed, Err: "no answer in time"}
	}
}

func trial(id string, err error) snapshot.Trial {
	if err == nil {
		return snapshot.Trial{ID: id, State: snapshot.Present}
	}
	t := snapshot.Trial{ID: id, State: refusal(err), Err: err.Error()}
	var r *census.Refusal
	if errors.As(err, &r) {
		why, _, _ := strings.Cut(r.Why, "; it would show")
		if t.Err = r.Gate + ": " + why; r.Err != nil {
			t.Err += ": " + r.Err.Error()
		}
	}
	return t
}
