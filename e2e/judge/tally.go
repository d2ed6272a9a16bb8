package judge

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// None stands for a cause where there is none.
const None = "none"

// Tally counts over many reports which cause was planted, and which was named
// first.
type Tally struct {
	Cases    int                       // with a planted cause, or healthy
	Unseen   []string                  // cases whose cause that kernel cannot show, and why
	Named    map[string]map[string]int // planted cause: cause named first: how often
	Beside   map[string]Score          // codes that are found beside a cause: of kills, limits, removed cgroups
	Healthy  int                       // cases where nothing may be above info
	Alarms   []string                  // what was, in a healthy case
	Mistakes []string                  // every case that was not told right
}

// Score is how often a code was found where it had to be, missed there, and found
// where it should not be.
type Score struct{ Right, Missed, Wrong int }

// Add judges one more report. The name of the case is for people.
func (t *Tally) Add(name string, truthJSON, reportJSON []byte) error {
	c := &comparison{}
	if err := decode(truthJSON, &c.t, func() string { return c.t.Schema }, "memwhy.truth/v1"); err != nil {
		return err
	}
	if c.t.NotHere != "" {
		t.Unseen = append(t.Unseen, name+": "+c.t.NotHere)
		return nil
	}
	if err := decode(reportJSON, &c.r, func() string { return c.r.Schema }, "memwhy.report/v1"); err != nil {
		return err
	}
	if t.Named == nil {
		t.Named, t.Beside = map[string]map[string]int{}, map[string]Score{}
	}
	t.cause(name, c)
	t.beside(name, c)
	return nil
}

func (t *Tally) cause(name string, c *comparison) {
	planted, named := None, None
	first := c.first()
	switch want, why := c.wanted(); {
	case want != nil:
		planted = want.Code
	case why != "":
		t.Unseen = append(t.Unseen, name+": "+why)
		return
	case !c.t.Healthy:
		return
	case first != nil && first.Severity == "info": // where nothing is wrong, it only says what the memory is
		first = nil
	}
	if first != nil {
		named = first.Code
	}
	t.Cases++
	if t.Named[planted] == nil {
		t.Named[planted] = map[string]int{}
	}
	t.Named[planted][named]++
	if planted != named {
		t.Mistakes = append(t.Mistakes, fmt.Sprintf("%s: %s was planted, %s is named", name, planted, named))
	}
}

func (t *Tally) beside(name string, c *comparison) {
	for _, code := range c.t.Findings {
		s := t.Beside[code]
		if slices.ContainsFunc(c.r.Findings, func(f finding) bool { return f.Code == code }) {
			s.Right++
		} else {
			s.Missed++
			t.Mistakes = append(t.Mistakes, fmt.Sprintf("%s: %s is not found", name, code))
		}
		t.Beside[code] = s
	}
	if c.t.Healthy {
		t.Healthy++
	}
	for _, f := range c.r.Findings {
		if !c.unwanted(f) {
			continue
		}
		s := t.Beside[f.Code]
		s.Wrong++
		t.Beside[f.Code] = s
		t.Mistakes = append(t.Mistakes, fmt.Sprintf("%s: %s %s is found: %s", name, f.Severity, f.Code, f.Title))
		if c.t.Healthy {
			t.Alarms = append(t.Alarms, fmt.Sprintf("%s: %s %s", name, f.Severity, f.Code))
		}
	}
}

// Right is how many cases were told right.
func (t *Tally) Right() (n int) {
	for planted, named := range t.Named {
		n += named[planted]
	}
	return n
}

// Markdown is the tally as a page's tables.
func (t *Tally) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d planted causes are named first. %d more cannot be shown by the kernel in question. %d cases are healthy: false alarms on %d of them.\n\n",
		t.Right(), t.Cases, len(t.Unseen), t.Healthy, len(t.Alarms))
	b.WriteString("| cause | planted | named first where planted | named first elsewhere | precision | recall | taken for it |\n|---|---:|---:|---:|---:|---:|---|\n")
	for _, code := range t.codes() {
		planted, right, wrong := 0, t.Named[code][code], 0
		for p, named := range t.Named {
			for n, count := range named {
				if p == code {
					planted += count
				} else if n == code {
					wrong += count
				}
			}
		}
		fmt.Fprintf(&b, "| `%s` | %d | %d | %d | %s | %s | %s |\n", code, planted, right, wrong, ratio(right, right+wrong), ratio(right, planted), confused(code, t.Named[code]))
	}
	if len(t.Beside) == 0 {
		return b.String()
	}
	b.WriteString("\n| found beside a cause | right | missed | wrong | precision | recall |\n|---|---:|---:|---:|---:|---:|\n")
	for _, code := range slices.Sorted(maps.Keys(t.Beside)) {
		s := t.Beside[code]
		fmt.Fprintf(&b, "| `%s` | %d | %d | %d | %s | %s |\n", code, s.Right, s.Missed, s.Wrong, ratio(s.Right, s.Right+s.Wrong), ratio(s.Right, s.Right+s.Missed))
	}
	return b.String()
}

// codes are all causes that were planted or named, None last.
func (t *Tally) codes() []string {
	set := map[string]bool{}
	for planted, named := range t.Named {
		set[planted] = true
		for n := range named {
			set[n] = true
		}
	}
	healthy := set[None]
	delete(set, None)
	codes := slices.Sorted(maps.Keys(set))
	if healthy {
		codes = append(codes, None)
	}
	return codes
}

func confused(code string, named map[string]int) string {
	var parts []string
	for _, n := range slices.Sorted(maps.Keys(named)) {
		if n != code {
			parts = append(parts, fmt.Sprintf("`%s` %d", n, named[n]))
		}
	}
	return strings.Join(parts, ", ")
}

func ratio(n, of int) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", float64(n)/float64(of))
}
