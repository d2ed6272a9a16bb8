// Package check owns thresholds and the protocols of monitoring: from a report to
// one line of text and an exit code. It must not know how anything was read, nor
// compute what a report already says. It is pure.
//
// Amounts are bytes.
package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/words"
)

// Protocol is who reads the answer.
type Protocol string

// The protocols.
const (
	Plain  Protocol = "plain"
	NPD    Protocol = "npd"    // custom plugins of node-problem-detector
	Nagios Protocol = "nagios" // monitoring plugins
)

// Level is how it stands.
type Level int

// The levels. Of two answers the higher counts.
const (
	OK Level = iota
	Unknown
	Warning
	Critical
)

// codes are the exit codes of each level. Plain has its own for failures, which are
// no levels: see the command line.
var codes = map[Protocol][4]int{
	Plain:  {OK: 0, Unknown: 1, Warning: 1, Critical: 1},
	NPD:    {OK: 0, Unknown: 2, Warning: 1, Critical: 1},
	Nagios: {OK: 0, Unknown: 3, Warning: 1, Critical: 2},
}

// Protocols are all of them.
func Protocols() []string { return []string{string(Plain), string(NPD), string(Nagios)} }

// Code is the exit code of a level.
func (p Protocol) Code(l Level) int { return codes[p][l] }

var (
	severities = []string{"info", "notice", "warning", "critical"}
	risks      = []string{"low", "raised", "high", "critical"}
)

// Thresholds say what is a problem. What is empty, or 0, is not asked.
type Thresholds struct {
	Severity   string // of a finding, from this on
	KillRisk   string // from this on
	WorkingSet int    // percent of the deciding limit, from this on
}

// Validate finds thresholds that are none.
func (t Thresholds) Validate() error {
	switch {
	case t.Severity != "" && slices.Index(severities, t.Severity) < 1:
		return fmt.Errorf("--severity %q: want one of %s", t.Severity, strings.Join(severities[1:], ", "))
	case t.KillRisk != "" && slices.Index(risks, t.KillRisk) < 1:
		return fmt.Errorf("--kill-risk %q: want one of %s", t.KillRisk, strings.Join(risks[1:], ", "))
	case t.WorkingSet < 0 || t.WorkingSet > 1000:
		return fmt.Errorf("--working-set %d%%: want 1%% to 1000%%", t.WorkingSet)
	}
	return nil
}

// Result is the answer.
type Result struct {
	words.Printer

	Level    Level
	About    string
	Problems []string // the gravest first
	Numbers  []Number
}

// Number is one of the performance data.
type Number struct {
	Label      string
	Bytes, Max int64 // Max is 0 without a limit
}

// Judge holds a report against thresholds.
func Judge(r *report.Report, t Thresholds) Result {
	j := Result{Printer: words.In(r.Lang), About: r.Target.Cgroup}
	if r.Target.Name != "" {
		j.About = r.Target.Name
	}
	for _, f := range r.Findings { // the gravest first
		if t.Severity == "" || f.PartOf != "" || slices.Index(severities, f.Severity) < slices.Index(severities, t.Severity) {
			continue
		}
		j.problem(levelOf(f.Severity), f.Code+": "+f.Title)
	}
	j.risk(r.Risks.Kill, t)
	n := r.Numbers
	limit := int64(0)
	if n.LimitBytes != nil {
		limit = *n.LimitBytes
	}
	switch ws := n.WorkingSetBytes; {
	case t.WorkingSet == 0 || limit <= 0: // without a limit there is nothing to be near
	case ws == nil:
		j.problem(Unknown, j.Say("the working set is not known"))
	case float64(*ws) >= float64(limit)*float64(t.WorkingSet)/100:
		j.problem(Warning, j.Say("the working set is %s, %s of the limit %s", size.Text(*ws), size.Percent(*ws, limit), size.Text(limit)))
	}
	j.Numbers = append(j.Numbers, Number{"usage", n.UsageBytes, limit})
	for _, x := range []struct {
		label string
		bytes *int64
	}{{"unreclaimable", n.UnreclaimableBytes}, {"working_set", n.WorkingSetBytes}} {
		if x.bytes != nil {
			j.Numbers = append(j.Numbers, Number{x.label, *x.bytes, limit})
		}
	}
	return j
}

// Row adds a container of a node: its risk alone is known.
func (j *Result) Row(row report.Listed, t Thresholds) {
	one := Result{Printer: j.Printer}
	one.risk(row.Risk, t)
	for _, p := range one.Problems {
		name := row.Target.Name
		if name == "" {
			name = row.Target.Cgroup
		}
		j.problem(one.Level, name+": "+p)
	}
}

func (j *Result) risk(r report.Risk, t Thresholds) {
	if t.KillRisk == "" {
		return
	}
	switch {
	case r.Level == "unknown":
		j.problem(Unknown, j.Say("the risk of being killed is not known: %s", r.Because))
	case slices.Index(risks, r.Level) >= slices.Index(risks, t.KillRisk):
		j.problem(levelOf(r.Level), j.Say("kill risk %s: %s", r.Level, r.Because))
	}
}

func levelOf(word string) Level {
	if word == "critical" {
		return Critical
	}
	return Warning
}

// problem keeps the gravest first.
func (j *Result) problem(l Level, text string) {
	if l > j.Level {
		j.Level = l
		j.Problems = append([]string{text}, j.Problems...)
		return
	}
	j.Problems = append(j.Problems, text)
}

// Fail is the answer when there is none.
func Fail(err error) Result { return Result{Level: Unknown, Problems: []string{err.Error()}} }

var marks = [4]string{OK: "OK", Unknown: "UNKNOWN", Warning: "WARNING", Critical: "CRITICAL"}

// Line is the answer in one line. What a container chose can neither end it nor, for
// Nagios, begin its performance data.
func (j Result) Line(p Protocol) string {
	text := j.Say("no threshold is reached")
	if len(j.Problems) > 0 {
		text = j.Problems[0]
		if more := len(j.Problems) - 1; more > 0 {
			text += j.Say(" (and %d more)", more)
		}
	}
	if j.About != "" && p == NPD {
		text += ": " + j.About // it cuts the line: the problem first
	} else if j.About != "" {
		text = j.About + ": " + text
	}
	text = printable.Text(text)
	switch p {
	case NPD:
		return text
	case Nagios:
		return "MEMWHY " + marks[j.Level] + " - " + strings.ReplaceAll(text, "|", `\x7c`) + j.data()
	}
	return marks[j.Level] + " " + text
}

// data are the performance data: 'label'=value[unit];[warn];[crit];[min];[max].
func (j Result) data() string {
	if len(j.Numbers) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(" |")
	for _, n := range j.Numbers {
		most := ""
		if n.Max > 0 {
			most = fmt.Sprint(n.Max)
		}
		fmt.Fprintf(&b, " '%s'=%dB;;;0;%s", n.Label, n.Bytes, most)
	}
	return b.String()
}
