package diagnose

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/oom"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// kills are the records of the kernel's log that concern the target, in the log's
// order.
type kills struct {
	own      []*snapshot.LogRecord // at the limit of the target
	below    []*snapshot.LogRecord // at the limit of a cgroup below it
	ancestor []*snapshot.LogRecord // at a limit above it
	node     []*snapshot.LogRecord // of the node, the victim in the target or nobody knows where
	nobody   []*snapshot.LogRecord // nobody could be killed, at the target's limit or one above
}

// link finds them by whole paths: a name that is like another says nothing.
func (f *facts) link() (k kills) {
	target, ok := f.logged()
	if !ok {
		return k
	}
	for i := range f.s.Log.Value.Records {
		l := &f.s.Log.Value.Records[i]
		switch owner := l.LimitOwner; {
		case l.Kind == snapshot.LogGlobalOOM:
			if where := f.victimHere(l); where != elsewhere {
				k.node = append(k.node, l)
			}
		case l.Kind != snapshot.LogMemcgOOM || owner == "":
		case l.Outcome == "no-victim":
			if within(target, owner) {
				k.nobody = append(k.nobody, l)
			}
		case owner == target:
			k.own = append(k.own, l)
		case within(owner, target):
			k.below = append(k.below, l)
		case within(target, owner):
			k.ancestor = append(k.ancestor, l)
		}
	}
	return k
}

// logged is the path of the target as the log has it. Within a cgroup namespace
// paths begin at its root, but for those of a mount that was made outside: they lead
// up to the hierarchy's own root first.
func (f *facts) logged() (string, bool) {
	target := f.target().Path
	if parts := strings.Split(target, "/"); len(parts) > 1 && parts[1] == ".." {
		below := slices.IndexFunc(parts[1:], func(p string) bool { return p != ".." })
		if below < 0 {
			return "/", true
		}
		return "/" + strings.Join(parts[1+below:], "/"), true
	}
	inside, known := f.s.Host.Nested.Get()
	return target, !known || !inside
}

// within reports whether the cgroup is dir or below it.
func within(cgroup, dir string) bool {
	return cgroup == dir || dir == "/" && strings.HasPrefix(cgroup, "/") || strings.HasPrefix(cgroup, dir+"/")
}

// where a victim was.
type where int

const (
	nowhere where = iota // the log does not say
	here
	elsewhere
)

func (f *facts) victimHere(l *snapshot.LogRecord) where {
	cgroups := []string{l.TaskCgroup}
	for _, v := range l.Victims {
		cgroups = append(cgroups, v.Memcg)
	}
	target, _ := f.logged()
	answer := nowhere
	for _, c := range cgroups {
		switch {
		case c == "":
		case within(c, target):
			return here
		default:
			answer = elsewhere
		}
	}
	if target == "/" {
		return here
	}
	return answer
}

// killCount is the kernel's count of processes of the target that were killed,
// whoever's limit it was: on version 1 of the cgroup alone, on 2 with those below.
func (f *facts) killCount() (n int64, file snapshot.Reading[snapshot.Stat], ok bool) {
	for _, file := range []snapshot.Reading[snapshot.Stat]{f.target().Events, f.target().OOMControl} {
		if n, has := file.Value.Get("oom_kill"); has && file.State == snapshot.Present {
			return n, file, true
		}
	}
	return 0, file, false
}

// before reports a kill in an earlier cgroup of the same path: the victim was in
// it, and the kernel has counted none in this one.
func (f *facts) before(l *snapshot.LogRecord) bool {
	n, _, ok := f.killCount()
	target, _ := f.logged()
	if !ok || n > 0 || target == "/" {
		return false
	}
	victims := []string{l.TaskCgroup}
	for _, v := range l.Victims {
		victims = append(victims, v.Memcg)
	}
	for _, c := range victims {
		if c == target || f.target().Version == snapshot.V2 && c != "" && within(c, target) {
			return true
		}
	}
	return false
}

// told is a record in words and numbers.
func (f *facts) told(l *snapshot.LogRecord) report.OOMRecord {
	return oom.Report(f.Printer, &snapshot.KernelLog{Records: []snapshot.LogRecord{*l}}, nil, nil).Records[0]
}

// finding begins one about records: the newest is the title.
func (f *facts) finding(code string, list []*snapshot.LogRecord, severity string) report.Finding {
	last := list[len(list)-1]
	r := report.Finding{Code: code, Severity: severity, Confidence: high}
	if last.Truncated || last.Interleaved {
		r.Confidence = medium
	}
	t := f.told(last)
	r.Bytes = t.UsageBytes
	same := 0
	for _, l := range list {
		if l.LimitOwner == last.LimitOwner {
			same++
		}
	}
	r.Title = f.shorten(t, f.times(same))
	if others := len(list) - same; others > 0 {
		r.Title += f.Say("; and %d more at other limits", others)
	}
	for i := len(list) - 1; i >= 0 && len(list)-i <= 3; i-- {
		t := f.told(list[i])
		r.Evidence = append(r.Evidence, report.Evidence{Statement: t.Summary, Source: f.s.Log.Source, Value: f.moment(t)})
		if i == len(list)-1 {
			if c := f.composition(t); c != "" {
				r.Evidence = append(r.Evidence, report.Evidence{Statement: f.Say("what it was full of when it happened last"), Source: f.s.Log.Source, Value: c})
			}
		}
	}
	if n, file, ok := f.killCount(); ok {
		r.Evidence = append(r.Evidence, report.Evidence{Statement: f.Say("processes of this cgroup that were OOM-killed since it was made"), Source: file.Source, Value: fmt.Sprintf("oom_kill %d", n)})
	}
	if level, _, _ := f.w.Risk(f.Printer, true); severity == warning && level == ledger.Critical && oom.NoKillFrees(last) {
		r.Severity = critical // what filled it then does so now
	}
	r.Remedies = append(r.Remedies, report.Remedy{Kind: "look", Command: "memwhy oom list -o wide", Cost: f.Say("none")})
	return r
}

func (f *facts) times(n int) string {
	if n == 1 {
		return ""
	}
	return f.Say(", %d times so far", n)
}

func (f *facts) moment(t report.OOMRecord) string {
	if t.Time == "" {
		return f.Say("the log has no time")
	}
	return "[" + t.Time + "]"
}

// shorten is the summary with the limit's owner by its place, not by its path.
func (f *facts) shorten(t report.OOMRecord, more string) string {
	s := t.Summary
	if t.LimitOwner != "" {
		s = strings.Replace(s, f.Say(" of %s", t.LimitOwner), f.Say(" of %s", f.place(t.LimitOwner)), 1)
		for _, aside := range []string{f.Say(" (the pod%s, not one of its containers)", ""), f.Say(" (above the victim's own cgroup)")} {
			s = strings.Replace(s, aside, "", 1)
		}
	}
	colon := f.Say("%s: %s", "", "")
	if head, tail, ok := strings.Cut(s, colon); ok && more != "" {
		return head + more + colon + tail
	}
	return s
}

// place names a cgroup as seen from the target.
func (f *facts) place(cgroup string) string {
	target, _ := f.logged()
	switch {
	case cgroup == target || cgroup == f.target().Path:
		return f.Say("this cgroup")
	case within(cgroup, target):
		return f.Say("a cgroup below this one, %s", path.Base(cgroup))
	case identity.Parse(cgroup).Kind == identity.Pod:
		return f.Say("its pod")
	case path.Dir(target) == cgroup, path.Dir(f.target().Path) == cgroup:
		return f.Say("its parent %s", path.Base(cgroup))
	}
	return f.Say("an ancestor, %s", cgroup)
}

// byVictim is the finding about kills that were not at the target's own limit: of
// its processes, else of others, which elsewhere words, else before it was made.
func (f *facts) byVictim(code string, list []*snapshot.LogRecord, elsewhere func(*report.Finding)) []report.Finding {
	var mine, others []*snapshot.LogRecord
	for _, l := range list {
		if f.victimHere(l) == here {
			mine = append(mine, l)
		} else {
			others = append(others, l)
		}
	}
	now, earlier := f.split(mine)
	var r report.Finding
	switch {
	case len(now) > 0:
		r = f.finding(code, now, warning)
	case len(others) > 0:
		r = f.finding(code, others, notice)
		r.Severity = notice
		elsewhere(&r)
	case len(earlier) > 0:
		r = f.finding(code, earlier, info)
		r.Severity = info
		r.Title = f.Say("before this cgroup was made, in one of the same path: %s", r.Title)
	default:
		return nil
	}
	return []report.Finding{r}
}

// composition is what was full of what, and what processes held of it.
func (f *facts) composition(t report.OOMRecord) string {
	var parts []string
	for _, c := range t.Full.Classes() {
		if c.Bytes != nil {
			parts = append(parts, c.Name+" "+size.Text(*c.Bytes))
		}
	}
	if t.Tasks != nil && t.Tasks.RSSBytes != nil {
		parts = append(parts, f.Say("%s with RSS %s", f.Count(t.Tasks.Count, "1 task", "%d tasks"), size.Text(*t.Tasks.RSSBytes)))
	}
	return f.Join(parts)
}

// counted is what counters alone tell of a kill that the log has no record of.
type counted struct {
	kills    int64
	code     string // whose limit it was, as far as rivals are excluded
	owner    *snapshot.Cgroup
	evidence []report.Evidence
	sure     bool
}

// byCounters decides whose limit it was from how often limits were hit: on version
// 2 by oom events, on version 1 by failcnt, which counts what reclaim could mend
// too.
func (f *facts) byCounters() (c counted, ok bool) {
	n, file, known := f.killCount()
	if !known || n <= 0 || len(f.kills.own)+len(f.kills.below)+len(f.kills.ancestor)+len(f.kills.node)+len(f.kills.nobody) > 0 {
		return c, false
	}
	c.kills = n
	c.evidence = []report.Evidence{{Statement: f.Say("processes of this cgroup that were OOM-killed since it was made"), Source: file.Source, Value: fmt.Sprintf("oom_kill %d", n)}}
	var hit []int
	unknown := false
	for i := range f.s.Path {
		times, source, known := limitHits(&f.s.Path[i])
		if !known && !f.s.Path[i].Root() {
			unknown = true
		}
		if times > 0 {
			hit = append(hit, i)
			c.evidence = append(c.evidence, report.Evidence{Statement: f.Say("times that %s was at its limit", f.s.Path[i].Path), Source: source, Value: fmt.Sprint(times)})
		}
	}
	c.sure = !unknown && len(hit) <= 1
	switch {
	case len(hit) == 0 && !unknown:
		c.code = codeNode
	case len(hit) > 0 && hit[0] == 0:
		c.code = codeContainer
	case len(hit) > 0:
		c.code, c.owner = codeAncestor, &f.s.Path[hit[0]]
	default:
		c.code = codeContainer // the nearest; nothing tells it from the others
	}
	return c, true
}

// limitHits is how often a cgroup was at its own limit and had to kill, or nearly.
func limitHits(c *snapshot.Cgroup) (n int64, source string, known bool) {
	if c.Version == snapshot.V1 {
		n, ok := c.Failcnt.Get()
		return n, c.Failcnt.Source, ok
	}
	for _, file := range []snapshot.Reading[snapshot.Stat]{c.EventsLocal, c.Events} {
		if n, has := file.Value.Get("oom"); has && file.State == snapshot.Present {
			return n, file.Source, true
		}
	}
	return 0, c.Events.Source, false
}

// countersOnly makes the finding of such kills, for the rule whose they are.
func (f *facts) countersOnly(code string) []report.Finding {
	c, ok := f.byCounters()
	if !ok || c.code != code {
		return nil
	}
	r := report.Finding{
		Code: code, Severity: warning, Confidence: low, Evidence: c.evidence,
		Remedies: []report.Remedy{
			{Kind: "look", Command: "journalctl -k | memwhy oom parse -", Cost: f.Say("none")},
		},
	}
	if c.sure {
		r.Confidence = medium
	}
	whose := map[string]string{codeContainer: f.Say("its own limit"), codeNode: f.Say("no limit on the path: the node's memory")}[code]
	if c.owner != nil {
		whose = f.Say("the limit of %s", f.place(c.owner.Path))
	}
	r.Title = f.Say("%s of it OOM-killed since it was made, by the counters at %s; the kernel's log has no record of it", f.Count(c.kills, "1 process", "%d processes"), whose)
	if f.s.Log.State != snapshot.Present {
		r.Title = f.Say("%s of it OOM-killed since it was made, by the counters at %s; the kernel's log was not read", f.Count(c.kills, "1 process", "%d processes"), whose)
	}
	return []report.Finding{r}
}
