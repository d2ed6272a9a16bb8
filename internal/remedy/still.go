package remedy

import (
	"errors"
	"fmt"
	"slices"

	"github.com/memwhy/memwhy/internal/size"
)

// ErrNotNow is why a step of a plan is left out: what it rests on has changed since.
var ErrNotNow = errors.New("left alone at the last look")

// Still holds a file that was picked against a later look at it, nil when it was not
// there any more. An error wraps ErrNotNow.
func (p *Pick) Still(now *Candidate, sel Selection) error {
	no := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrNotNow}, args...)...)
	}
	if now == nil {
		return no("the target is charged for none of it any more")
	}
	if why := now.blocked(sel); why.text != "" {
		return no("%s", why.text)
	}
	if !p.cold {
		return nil
	}
	for _, who := range now.Opened {
		if !slices.Contains(p.Opened, who) {
			return no("opened since by %s", who)
		}
	}
	switch {
	case now.State.Mapped > 0:
		return no("mapped since")
	case now.State.Bytes > p.State.Bytes+grain:
		return no("%s more of it were read since", size.Text(now.State.Bytes-p.State.Bytes))
	}
	return nil
}

// Shared is how much of the file cache others use too.
func (s *Situation) Shared() (bytes int64) {
	for i := range s.Candidates {
		if c := &s.Candidates[i]; c.Others > 0 || len(c.Outside) > 0 || c.Sharers > 1 {
			bytes += c.State.Bytes
		}
	}
	return bytes
}

// StillAlone says whether the kernel may choose among the file cache of the target: not
// when others use some of it too, unless that was allowed. An error wraps ErrNotNow.
func (s *Situation) StillAlone(sel Selection) error {
	if n := s.Shared(); n > 0 && !sel.IncludeShared {
		return fmt.Errorf("%w: others use %s of its file cache too, and the kernel chooses (--include-shared)", ErrNotNow, size.Text(n))
	}
	return nil
}
