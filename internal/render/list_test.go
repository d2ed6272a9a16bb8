package render

import (
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/report"
)

// Who selects by names that nobody said is told so.
func TestEmptyListSaysWhy(t *testing.T) {
	l := &report.List{NotSeen: []report.NotSeen{{Source: "/run/docker.sock", State: "absent", Why: "no container runtime listens here", WouldShow: "names of containers"}}}
	out := string(List(l, false))
	if !strings.Contains(out, "nothing of what was asked for") || !strings.Contains(out, "(/run/docker.sock: no container") {
		t.Errorf("%s", out)
	}
	l.Containers = []report.Listed{{Target: report.Target{Name: "web"}}}
	if out := string(List(l, false)); strings.Contains(out, "runtime") {
		t.Errorf("%s", out)
	}
}

// What memwhy explain is told next is not cut.
func TestNamesInAListAreWhole(t *testing.T) {
	const name, cgroup = "payments/render-7d9f8c6b5-x2x4z/main-with-a-long-name", "/system.slice/a-service-with-a-long-name-indeed.service/and/more"
	l := &report.List{Containers: []report.Listed{{Target: report.Target{Name: name}}, {Target: report.Target{Cgroup: cgroup}}, {Target: report.Target{Name: strings.Repeat("x", 4096)}}}}
	for _, counted := range []*int64{nil, new(int64)} {
		l.Containers[0].ColdMinBytes = counted
		lines := strings.Split(string(List(l, false)), "\n")
		if len(lines) != 5 || !strings.HasSuffix(lines[1], " "+name) || !strings.HasSuffix(lines[2], " "+cgroup) || len(lines[3]) > 400 {
			t.Errorf("%q", lines)
		}
	}
}

// Which of the two the cold cache is, a bound or a count, stands above it.
func TestColdColumn(t *testing.T) {
	mib := func(n int64) *int64 { n <<= 20; return &n }
	counted := report.Listed{Target: report.Target{Name: "counted"}, ColdMinBytes: mib(12), ColdMaxBytes: mib(13)}
	bound := report.Listed{Target: report.Target{Name: "bound"}, ColdMaxBytes: mib(7)}
	unknown := report.Listed{Target: report.Target{Name: "unknown"}}
	for name, c := range map[string]struct {
		rows       []report.Listed
		wide       bool
		with, lack []string
	}{
		"bound, wide":    {[]report.Listed{bound, unknown}, true, []string{"COLD<=", " 7.0 ", " unknown "}, []string{"COLD>="}},
		"bound":          {[]report.Listed{bound, unknown}, false, []string{"COLD<=", " 7.0 bound", " unknown unknown"}, []string{"COLD>="}},
		"counted":        {[]report.Listed{counted, bound, unknown}, false, []string{"COLD>=", " 12.0 counted", " <=7.0 bound", " unknown unknown"}, []string{"COLD<="}},
		"counted, wide":  {[]report.Listed{counted, bound}, true, []string{"COLD>=", " 12.0 ", " <=7.0 "}, []string{"COLD<="}},
		"none, but wide": {nil, true, []string{"COLD<="}, nil},
	} {
		out := string(List(&report.List{Containers: c.rows}, c.wide))
		for _, w := range c.with {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %q in\n%s", name, w, out)
			}
		}
		for _, w := range c.lack {
			if strings.Contains(out, w) {
				t.Errorf("%s: %q in\n%s", name, w, out)
			}
		}
		for line := range strings.Lines(out) {
			if !c.wide && len(line) > Width+1 {
				t.Errorf("%s: %d columns: %q", name, len(line)-1, line)
			}
		}
	}
}
