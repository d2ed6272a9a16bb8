package diagnose

import (
	"fmt"
	"time"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/trend"
	"github.com/memwhy/memwhy/internal/words"
)

// longWatch is from when on growth that goes on is more than a start.
const longWatch = 10 * time.Minute

// window is how long the looks are apart, in words.
func (f *facts) window() string {
	if f.trend.Window < time.Minute {
		return fmt.Sprintf("%.1f s", f.trend.Window.Seconds())
	}
	return f.trend.Window.Round(time.Second).String()
}

// grower is the process that grew most, if that is half of a growth.
func (f *facts) grower(change int64) (m trend.Mover, ok bool) {
	for _, x := range f.trend.Movers {
		if x.Anon > m.Anon {
			m = x
		}
	}
	return m, m.Process != nil && 2*m.Anon >= change
}

// growing answers whether what only its owner frees grew, and how.
func (f *facts) growing(found []report.Finding) (report.Suspicion, bool) {
	const id = "leak"
	if r, ok := of(found, codeLeak); ok {
		answer := likely
		if r.Confidence == high {
			answer = confirmed
		}
		return report.Suspicion{ID: id, Answer: answer, Because: r.Title}, true
	}
	if f.trend.Restarted {
		return report.Suspicion{ID: id, Answer: cannotTell, Because: f.restarted()}, true
	}
	if because := f.cacheGrew(); because != "" {
		return report.Suspicion{ID: id, Answer: unlikely, Because: because}, true
	}
	told := map[trend.Shape]string{
		trend.Plateau:   words.Key("it rose and stopped: %s by %s within %s"),
		trend.Sawtooth:  words.Key("it goes up and down, as with a garbage collector: %s, by %s within %s"),
		trend.Falling:   words.Key("it falls: %s by %s within %s"),
		trend.Unsettled: words.Key("it moved, and these looks do not tell which way it goes: %s by %s within %s; a longer watch does"),
		trend.Rising:    words.Key("it rises: %s by %s within %s"),
	}
	for _, shape := range []trend.Shape{trend.Rising, trend.Unsettled, trend.Plateau, trend.Sawtooth, trend.Falling} {
		for _, path := range []string{trend.Anon, trend.Shmem, trend.Kernel, trend.Sock} {
			l, ok := f.trend.Line(path)
			if !ok || l.Shape() != shape || shape == trend.Unsettled && 100*l.Span() < f.w.Usage {
				continue
			}
			if path == trend.Anon && f.blurred(l) {
				return report.Suspicion{ID: id, Answer: cannotTell, Because: f.blur(l)}, true
			}
			answer := map[trend.Shape]string{trend.Rising: likely, trend.Unsettled: cannotTell}[shape]
			if answer == "" {
				answer = unlikely
			}
			return report.Suspicion{ID: id, Answer: answer, Because: fmt.Sprintf(f.Of(told[shape]), path, size.Text(l.Span()), f.window()) + f.whatGrew(l)}, true
		}
	}
	l, ok := f.trend.Line(trend.Anon)
	if !ok {
		return report.Suspicion{}, false
	}
	rate := int64(float64(l.Noise) / f.trend.Window.Hours())
	because := f.Say("within %s nothing that could leak grew by more than %s: there is no leak faster than %s an hour", f.window(), size.Text(l.Noise), size.Text(rate))
	if f.trend.Window >= longWatch {
		return report.Suspicion{ID: id, Answer: ruledOut, Because: because}, true
	}
	return report.Suspicion{ID: id, Answer: unlikely, Because: because}, true
}

// turnover is how much memory page faults brought; sure when the kernel counts
// charges too, for a fault on a cached file brings none.
func (f *facts) turnover() (bytes int64, sure, known bool) {
	faults, ok := f.trend.Count("pgfault")
	if !ok {
		return 0, false, false
	}
	n := faults.N
	in, sure := f.trend.Count("pgpgin")
	if sure {
		n = min(n, in.N)
	}
	return min(n, maxSum/max(f.s.Host.PageSize, 1)) * max(f.s.Host.PageSize, 1), sure, true
}

func (f *facts) churning(found []report.Finding) (report.Suspicion, bool) {
	const id = "churn"
	if r, ok := of(found, codeChurn); ok {
		answer := likely
		if r.Confidence == high {
			answer = confirmed
		}
		return report.Suspicion{ID: id, Answer: answer, Because: r.Title}, true
	}
	bytes, _, known := f.turnover()
	if !known {
		return report.Suspicion{}, false
	}
	if l, ok := f.trend.Line(trend.Anon); ok && bytes <= l.Noise {
		return report.Suspicion{ID: id, Answer: ruledOut, Because: f.Say("hardly a page fault within %s: programs allocated nothing", f.window())}, true
	}
	return report.Suspicion{ID: id, Answer: ruledOut, Because: f.Say("page faults within %s brought at most %s, and what they brought stayed or is little", f.window(), size.Text(bytes))}, true
}

// Nothing goes on when the processor time is at most a hundredth of one processor,
// and what was read, written or faulted in is at most a hundredth of the cache.
const (
	idleWindow = 2 * time.Second
	idlePart   = 100
	idleLoss   = 10 // of the cache, that others may have taken meanwhile: DAMON, reclaim
)

// idle says whether the target did nothing with its cache while it was watched.
func (f *facts) idle() (confidence string, e []report.Evidence, yes bool) {
	t := f.trend
	if t == nil || t.Window < idleWindow || !t.CPU.Known || time.Duration(t.CPU.N) > t.Window/idlePart {
		return "", nil, false
	}
	file, ok := t.Line(trend.File)
	rest := f.divide().rest
	faults, known := t.Count("pgfault")
	if !ok || file.Span() > max(file.Noise, rest/idleLoss) || !f.matters(rest) || !known || faults.N > rest/idlePart/max(f.s.Host.PageSize, 1) {
		return "", nil, false
	}
	confidence = high
	for _, a := range []trend.Amount{t.Read, t.Written, t.Calls} {
		switch {
		case !a.Known:
			confidence = medium
		case a.N > rest/idlePart:
			return "", nil, false
		}
	}
	e = []report.Evidence{
		{Statement: f.Say("processor time within %s", f.window()), Source: t.CPU.Source, Value: time.Duration(t.CPU.N).String()},
		{Statement: f.Say("page faults meanwhile"), Source: faults.Source, Value: fmt.Sprint(faults.N)},
		{Statement: f.Say("file cache at the beginning and at the end"), Source: f.target().Stat.Source, Value: fmt.Sprintf("%d, %d", file.Bytes[0], file.Bytes[len(file.Bytes)-1])},
	}
	for _, x := range []struct {
		what string
		a    trend.Amount
	}{
		{f.Say("read from block devices meanwhile"), t.Read},
		{f.Say("written to block devices meanwhile"), t.Written},
		{f.Say("read and written by system calls meanwhile"), t.Calls},
	} {
		if x.a.Known {
			e = append(e, report.Evidence{Statement: x.what, Source: x.a.Source, Value: fmt.Sprint(x.a.N)})
		}
	}
	return confidence, e, true
}

// soon grades growth by when it reaches the deciding limit. A short watch may have
// seen a start.
func (f *facts) soon(l *trend.Line) (severity, text string) {
	limit, ok := f.w.Deciding(true)
	slope := l.Slope()
	if !ok || slope <= 0 {
		return info, ""
	}
	left := time.Duration(float64(max(0, limit.Margin()))/slope) * time.Second
	switch {
	case left > 24*time.Hour || left < 0:
		return info, ""
	case f.trend.Window >= longWatch && left < time.Hour:
		severity = warning
	case f.trend.Window >= longWatch:
		severity = notice
	default:
		severity = info
	}
	return severity, f.Say("; at this rate it reaches the limit in %s", left.Round(time.Second))
}

func (f *facts) lineEvidence(l *trend.Line) report.Evidence {
	source := snapshot.CensusSource
	if t := f.target(); t.Stat.Source != "" {
		source = t.Stat.Source
	}
	return report.Evidence{
		Statement: f.Say("%s in %d looks within %s; the kernel's batching may hide %s", l.Path, len(l.Bytes), f.window(), size.Text(l.Noise)),
		Source:    source, Value: fmt.Sprintf("first %d, last %d, median slope %d bytes/s", l.Bytes[0], l.Bytes[len(l.Bytes)-1], int64(l.Slope())),
	}
}

// whatGrew names the file in memory, or the kernel's cache, that is most of a growth.
func (f *facts) whatGrew(l *trend.Line) string {
	switch {
	case l.Change() <= l.Noise:
	case l.Path == trend.Shmem:
		return f.where(f.grew(true), l.Change())
	case l.Path == trend.Kernel:
		var names int64
		for _, m := range f.trend.Slabs {
			if slabKind(m.Cache) == slabNames {
				names += m.Grew
			}
		}
		if 2*names > l.Change() {
			return f.Say("; most of it is %s", f.Of(slabDentry.Noun))
		}
		if len(f.trend.Slabs) > 0 && 2*f.trend.Slabs[0].Grew > l.Change() {
			return f.Say("; most of it is %s", f.trend.Slabs[0].Cache)
		}
	}
	return ""
}

// cacheGrew says that what grew is what the kernel takes back.
func (f *facts) cacheGrew() string {
	file, ok := f.trend.Line(trend.File)
	if !ok || file.Change() < fewBytes || file.Change() <= file.Noise {
		return ""
	}
	for _, path := range []string{trend.Anon, trend.Shmem, trend.Kernel, trend.Sock} {
		if l, ok := f.trend.Line(path); ok && 4*l.Change() > file.Change() {
			return ""
		}
	}
	return f.Say("what grew within %s is page cache, by %s: that does not leak, the kernel takes it back", f.window(), size.Text(file.Change()))
}

// blurred reports a rise that is small beside what came and went meanwhile: few looks
// within a short window meet it high or low by chance.
func (f *facts) blurred(l *trend.Line) bool {
	bytes, _, known := f.turnover()
	return known && l.Shape() == trend.Rising && f.trend.Window < longWatch && bytes/8 > l.Change()
}

func (f *facts) blur(l *trend.Line) string {
	bytes, _, _ := f.turnover()
	return f.Say("anonymous memory is %s more after %s, while page faults brought %s: a watch of 10 minutes or more tells one from the other", size.Text(l.Change()), f.window(), size.Text(bytes))
}

// restarted says why no slope goes through the window.
func (f *facts) restarted() string {
	l, ok := f.trend.Line(trend.Anon)
	if !ok || len(l.Bytes) == 0 {
		return f.Say("it was restarted within %s: all of its processes ended and others began, and what the old ones held went with them; a new watch tells, from here on", f.window())
	}
	return f.Say("it was restarted within %s: all of its processes ended and others began, and what the old ones held went with them; anonymous memory was %s and is %s; a new watch tells, from here on",
		f.window(), size.Text(l.Bytes[0]), size.Text(l.Bytes[len(l.Bytes)-1]))
}
