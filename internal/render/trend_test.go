package render

import (
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/report"
)

// The first screen of a watch says what grew, else why nothing leaks; without one it
// says nothing of time.
func TestCourse(t *testing.T) {
	leak := report.Suspicion{ID: "leak", Answer: "unlikely", Because: "it rose and stopped"}
	filling := report.Finding{Code: "cache.filling", Severity: "info", Title: "5.0 MiB of page cache that came", PartOf: "cache.cold"}
	for name, c := range map[string]struct {
		r    report.Report
		want string
	}{
		"one look":     {report.Report{Suspicions: []report.Suspicion{leak}}, ""},
		"nothing grew": {report.Report{Trend: &report.Trend{}, Suspicions: []report.Suspicion{leak}}, "Over time: it rose and stopped.\n"},
		"cache":        {report.Report{Trend: &report.Trend{}, Suspicions: []report.Suspicion{leak}, Findings: []report.Finding{filling}}, "Over time: 5.0 MiB of page cache that came.\n"},
	} {
		p := &page{width: Width}
		course(p, &c.r)
		if p.String() != c.want {
			t.Errorf("%s: %q", name, p.String())
		}
	}
	if got := string(Text(&report.Report{Trend: &report.Trend{}, Suspicions: []report.Suspicion{leak}, Findings: []report.Finding{filling}})); !strings.Contains(got, "Over time: 5.0 MiB") {
		t.Error(got)
	}
}

// What of a file was used, and by whom.
func TestFileUse(t *testing.T) {
	f := &report.FileMove{UsedBytes: 3 << 20, By: []report.User{{PID: 7, How: "reads"}, {PID: 8, How: "writes"}}}
	if got := fileUse(&page{}, f); got != ", read again: 3.0 MiB, pid 7 reads, pid 8 writes" {
		t.Error(got)
	}
	if got := fileUse(&page{}, &report.FileMove{}); got != "" {
		t.Error(got)
	}
}
