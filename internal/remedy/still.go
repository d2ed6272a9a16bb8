package remedy

import (
	"slices"

	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/words"
)

// Still holds a file that was picked against a later look at it: why it is to be left
// alone after all; empty when nothing speaks against it.
func (p *Pick) Still(w words.Printer, now *Candidate, sel Selection) string {
	if why := now.blocked(w, sel); why.text != "" {
		return why.text
	}
	if !p.cold {
		return ""
	}
	for _, who := range now.Opened {
		if !slices.Contains(p.Opened, who) {
			return w.Say("opened since by %s", who)
		}
	}
	switch {
	case now.State.Mapped > 0:
		return w.Say("mapped since")
	case now.State.Bytes > p.State.Bytes+grain:
		return w.Say("%s more of it were read since", size.Text(now.State.Bytes-p.State.Bytes))
	}
	return ""
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

// StillAlone says why the kernel may not choose among the file cache of the target: others
// use some of it too, and that was not allowed. Empty when it may.
func (s *Situation) StillAlone(sel Selection) string {
	if n := s.Shared(); n > 0 && !sel.IncludeShared {
		return s.Say("others use %s of its file cache too, and the kernel chooses (--include-shared)", size.Text(n))
	}
	return ""
}
