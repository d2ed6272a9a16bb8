package judge

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// watch is what goes on in a lab, and what a report has to say of it.
type watch struct {
	Seconds     float64
	Since       time.Time
	Until       *time.Time
	Line, Shape string
	Leak, Churn []string
	Restarted   bool
}

type trend struct {
	From, To  time.Time
	Seconds   float64
	Lines     []line
	Restarted bool
}

type line struct {
	Path, Shape string
	Samples     []struct{}
}

// fewLooks says that the machine was too slow for as many looks as a shape takes.
func (c *comparison) fewLooks() string {
	if c.t.Watch == nil || c.r.Trend == nil || len(c.r.Trend.Lines) == 0 {
		return ""
	}
	const enough = 5
	if n := len(c.r.Trend.Lines[0].Samples); n < enough {
		return fmt.Sprintf("the machine was too slow for more than %d looks", n)
	}
	return ""
}

// grown is how much something has grown by the end of the watch.
func (c *comparison) grown(perSecond int64) int64 {
	w, t := c.t.Watch, c.r.Trend
	if w == nil || t == nil {
		return 0
	}
	end := t.To
	if w.Until != nil && end.After(*w.Until) {
		end = *w.Until
	}
	return int64(float64(perSecond) * end.Sub(w.Since).Seconds())
}

// watched checks what the report says of the window: shape, answers, and that it was
// looked at for long enough.
func (c *comparison) watched() {
	w, t := c.t.Watch, c.r.Trend
	if w == nil {
		return
	}
	if t == nil {
		c.problem("it was to be watched, and the report has no trend")
		return
	}
	if t.Seconds < w.Seconds/2 || t.To.Sub(t.From) <= 0 || t.From.Before(w.Since) {
		c.problem("watched for %.1f s from %s, want %.0f s, not before %s", t.Seconds, t.From, w.Seconds, w.Since)
	}
	if t.Restarted != w.Restarted {
		c.problem("restarted is %v", t.Restarted)
	}
	if c.fewLooks() != "" {
		return
	}
	i := slices.IndexFunc(t.Lines, func(l line) bool { return l.Path == w.Line })
	switch {
	case w.Line == "":
	case i < 0:
		c.problem("the trend has no line of %s", w.Line)
	case t.Lines[i].Shape != w.Shape:
		c.problem("%s is %s, want %s", w.Line, t.Lines[i].Shape, w.Shape)
	}
	c.answer("leak", w.Leak)
	c.answer("churn", w.Churn)
}

func (c *comparison) answer(id string, right []string) {
	i := slices.IndexFunc(c.r.Suspicions, func(s suspicion) bool { return s.ID == id })
	switch {
	case len(right) == 0:
	case i < 0:
		c.problem("the suspicion %s has no answer", id)
	case !slices.Contains(right, c.r.Suspicions[i].Answer):
		c.problem("%s is %s (%s), want %s", id, c.r.Suspicions[i].Answer, c.r.Suspicions[i].Because, strings.Join(right, " or "))
	}
}

// watchedBytes is the amount of a cause whose bytes are a matter of the window.
func (c *comparison) watchedBytes(want *cause) int64 {
	if c.r.Trend == nil {
		return want.Bytes
	}
	if want.SinceBegin {
		return want.Bytes + c.grown(want.BytesPerSecond)
	}
	return want.Bytes + int64(float64(want.BytesPerSecond)*c.r.Trend.Seconds)
}
