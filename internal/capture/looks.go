package capture

import (
	"time"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// maxLooks bounds the earlier looks of an archive.
const maxLooks = 1 << 10

// lookOp begins, in an archive, the answers of an earlier look.
const lookOp kernel.Op = "look"

// Look implements kernel.Look: each look is recorded apart.
func (r *Recorder) Look(n int, after time.Duration) (kernel.Source, bool) {
	src, ok := kernel.Look(r.src, n, after)
	if n == kernel.Last || !ok {
		return r, ok
	}
	look := NewRecorder(src)
	r.mu.Lock()
	defer r.mu.Unlock()
	if n < len(r.looks) {
		return r.looks[n], true
	}
	r.looks = append(r.looks, look)
	return look, true
}

// Look implements kernel.Look.
func (a *Archive) Look(n int, _ time.Duration) (kernel.Source, bool) {
	switch {
	case n == kernel.Last:
		return a, true
	case n < 0 || n >= len(a.looks):
		return nil, false
	}
	return a.looks[n], true
}

// begin adds an earlier look.
func (a *Archive) begin(at time.Time) *Archive {
	look := &Archive{Meta: a.Meta, answers: map[key]kernel.Answer{}}
	if !at.IsZero() {
		look.Meta.Generated = at
	}
	a.looks = append(a.looks, look)
	return look
}

// at is when the first answer of an archive was given.
func (a *Archive) at() (first time.Time) {
	for _, ans := range a.answers {
		if !ans.At.IsZero() && (first.IsZero() || ans.At.Before(first)) {
			first = ans.At
		}
	}
	return first
}

// Since is the later of two recordings of a target, with the earlier one as its
// only earlier look.
func Since(later, earlier kernel.Source) kernel.Source { return since{later, earlier} }

type since struct {
	kernel.Source
	earlier kernel.Source
}

// Origin implements kernel.Source.
func (s since) Origin() kernel.Origin {
	o := s.Source.Origin()
	o.Looks, o.Since = 1, true
	return o
}

// Look implements kernel.Look.
func (s since) Look(n int, _ time.Duration) (kernel.Source, bool) {
	switch n {
	case kernel.Last:
		return s.Source, true
	case 0:
		return s.earlier, true
	}
	return nil, false
}

// Census implements kernel.Census.
func (s since) Census(pids []int) snapshot.Reading[*snapshot.Census] {
	return kernel.Census(s.Source, pids)
}

// AskAll implements kernel.AskAll.
func (s since) AskAll(qs []kernel.Question) []kernel.Answer { return kernel.AskAll(s.Source, qs) }
