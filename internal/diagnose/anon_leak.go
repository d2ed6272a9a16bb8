package diagnose

import (
	"fmt"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/trend"
)

var anonLeak = Rule{
	Code:    codeLeak,
	Title:   "anonymous memory that grows and does not stop",
	Noun:    "anonymous memory that grows and does not stop",
	NoBytes: "the cgroup's counters could not be read",
	find:    leaks,
	Doc: Doc{
		Means: `Between the first and the last look anonymous memory grew by more than the kernel's counters may be wrong, early in the window and late in it, and each low stands above the one before. ` +
			`The bytes are the growth within the window. The process and the kind of mappings that grew most are named when they are half of it. ` +
			`A program that is starting, or filling a cache of its own, looks the same for a while. ` +
			`Within less than 10 minutes no growth is told that is less than an eighth of what was allocated and freed meanwhile: the looks may have met it high by chance.`,
		Grades: "info; seen for 10 minutes or more: notice when the deciding limit is reached within a day at this rate, warning within an hour.",
		Needs:  []string{"two looks: --watch, or --from with --since", "memory.stat: anon (rss)", "for the process /proc/PID/smaps at both ends"},
		Verify: []string{"memwhy explain <cgroup> --watch 10m -o wide", "while sleep 10; do grep -E '^(total_)?(anon|rss) ' /sys/fs/cgroup/<cgroup>/memory.stat; done"},
		Do: []string{
			"watch longer, under the same load: a plateau is no leak, and a garbage collector goes up and down",
			"a heap profile of the process that is named, at both ends",
			"the platform: a limit, so that it is restarted before the node suffers",
		},
		Owner:   "app",
		Stories: `"Memory went up, so it leaks" is wrong until it goes on: caches warm up, pools fill, heaps grow to their setting and stay.`,
	},
}

func leaks(f *facts) []report.Finding {
	if f.trend == nil || f.trend.Restarted {
		return nil
	}
	l, ok := f.trend.Line(trend.Anon)
	if !ok || l.Shape() != trend.Rising || l.Change() < fewBytes || f.blurred(l) {
		return nil
	}
	m, named := f.grower(l.Change())
	confidence := low
	switch {
	case named && f.trend.Window >= longWatch && len(l.Bytes) > 2:
		confidence = high
	case named:
		confidence = medium
	}
	severity, when := f.soon(l)
	title := f.Say("anonymous memory more within %s, and rising", f.window())
	e := []report.Evidence{f.lineEvidence(l)}
	if named {
		title += f.Say("; most of it is of %s", f.processName(m.Process))
		if 2*m.Grew >= m.Anon {
			title += f.Say(", in %s", f.Of(m.Part))
			e = append(e, report.Evidence{Statement: f.Say("%s: growth of %s", f.processName(m.Process), f.Of(m.Part)), Source: fmt.Sprintf("/proc/%d/smaps", m.Process.PID), Value: fmt.Sprint(m.Grew)})
		}
	}
	r := f.cause(codeLeak, l.Change(), confidence, title+when, e...)
	r.Severity = severity
	r.Remedies = []report.Remedy{
		{Kind: "look", Command: f.Say("memwhy explain %s --watch 10m: whether it goes on", f.brief()), Cost: f.Say("none")},
		{Kind: "app", Command: f.Say("a heap profile now and after it has grown; what only the second one has"), Cost: f.Say("a short pause, with most profilers")},
	}
	return []report.Finding{r}
}
