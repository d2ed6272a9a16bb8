package check

import (
	"errors"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/report"
)

const mib = 1 << 20

func of(kill string, ws, limit int64, findings ...report.Finding) *report.Report {
	r := &report.Report{Findings: findings}
	r.Target.Cgroup = "/kubepods/a"
	r.Risks.Kill = report.Risk{Level: kill, Because: "because"}
	r.Numbers = report.Numbers{UsageBytes: 90 * mib, WorkingSetBytes: &ws}
	if limit > 0 {
		r.Numbers.LimitBytes = &limit
	}
	return r
}

// The lines and codes of each protocol, word for word.
func TestLines(t *testing.T) {
	all := Thresholds{Severity: "warning", KillRisk: "high", WorkingSet: 90}
	warn := report.Finding{Code: "cgroup.dying", Severity: "warning", Title: "removed cgroups"}
	hostile := of("critical", 0, 0)
	hostile.Target.Cgroup = "/a\n\x1b[2J|x"
	for name, c := range map[string]struct {
		j    Result
		p    Protocol
		code int
		want string
	}{
		"fine":       {Judge(of("low", 50*mib, 100*mib, report.Finding{Code: "x", Severity: "notice"}), all), Plain, 0, "OK /kubepods/a: no threshold is reached"},
		"finding":    {Judge(of("low", 0, 0, warn), all), Plain, 1, "WARNING /kubepods/a: cgroup.dying: removed cgroups"},
		"npd":        {Judge(of("low", 0, 0, warn), all), NPD, 1, "cgroup.dying: removed cgroups: /kubepods/a"},
		"working":    {Judge(of("low", 90*mib, 100*mib), all), Nagios, 1, "MEMWHY WARNING - /kubepods/a: the working set is 90.0 MiB, 90% of the limit 100.0 MiB | 'usage'=94371840B;;;0;104857600 'working_set'=94371840B;;;0;104857600"},
		"worst":      {Judge(of("critical", 0, 0, warn), all), Nagios, 2, "MEMWHY CRITICAL - /kubepods/a: kill risk critical: because (and 1 more) | 'usage'=94371840B;;;0; 'working_set'=0B;;;0;"},
		"not asked":  {Judge(of("critical", 0, 0, warn), Thresholds{}), Nagios, 0, "MEMWHY OK - /kubepods/a: no threshold is reached | 'usage'=94371840B;;;0; 'working_set'=0B;;;0;"},
		"not known":  {Judge(of("unknown", 0, 0), all), NPD, 2, "the risk of being killed is not known: because: /kubepods/a"},
		"failed":     {Fail(errors.New("no cgroup\nx")), Nagios, 3, `MEMWHY UNKNOWN - no cgroup\nx`},
		"failed npd": {Fail(errors.New("no")), NPD, 2, "no"},
		"hostile":    {Judge(hostile, all), Nagios, 2, `MEMWHY CRITICAL - /a\n\x1b[2J\x7cx: kill risk critical: because | 'usage'=94371840B;;;0; 'working_set'=0B;;;0;`},
	} {
		if got := c.j.Line(c.p); got != c.want || c.p.Code(c.j.Level) != c.code {
			t.Errorf("%s: %d %s", name, c.p.Code(c.j.Level), got)
		}
	}
}

func TestRowsOfANode(t *testing.T) {
	j := Result{}
	j.Row(report.Listed{Target: report.Target{Name: "a"}, Risk: report.Risk{Level: "raised"}}, Thresholds{KillRisk: "high"})
	j.Row(report.Listed{Target: report.Target{Name: "b"}, Risk: report.Risk{Level: "critical", Because: "x"}}, Thresholds{KillRisk: "high"})
	if j.Level != Critical || len(j.Problems) != 1 || !strings.HasPrefix(j.Problems[0], "b: ") {
		t.Errorf("%+v", j)
	}
}

func TestThresholds(t *testing.T) {
	for _, bad := range []Thresholds{{Severity: "info"}, {Severity: "x"}, {KillRisk: "low"}, {KillRisk: "x"}, {WorkingSet: -1}, {WorkingSet: 1001}} {
		if bad.Validate() == nil {
			t.Errorf("%+v passes", bad)
		}
	}
	if err := (Thresholds{"critical", "raised", 90}).Validate(); err != nil {
		t.Error(err)
	}
}
