package diagnose

import (
	"fmt"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/trend"
)

var anonChurn = Rule{
	Code:    codeChurn,
	Title:   "memory that is allocated and freed again and again",
	NoBytes: "churn is a rate: what it allocates is free again",
	find:    churns,
	Doc: Doc{
		Means: `Page faults brought far more memory than stayed: at least a tenth of the usage and a mebibyte a second within the window, while anonymous memory changed by less than a quarter of that. ` +
			`Either an allocator gives back at once what it takes again, or processes come and go. It costs processor time, not memory.`,
		Grades: "info always. Low confidence where the kernel does not count charges (cgroup v2): faults on files that are cached bring no memory.",
		Needs:  []string{"two looks: --watch, or --from with --since", "memory.stat: pgfault; for certainty pgpgin, which only v1 has"},
		Verify: []string{"while sleep 1; do grep -E 'pgfault|pgpgin|pgpgout' /sys/fs/cgroup/<cgroup>/memory.stat; done"},
		Do: []string{
			"an allocator that keeps what it will need again: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc, decay times of jemalloc, GOGC and GOMEMLIMIT",
			"buffers that are used again instead of made anew; long-lived workers instead of a process for each request",
		},
		Owner:   "app",
		Stories: `"Allocations are the reason that memory is high" is wrong where they are freed: churn shows in page faults and in processor time, not in what is held.`,
	},
}

func churns(f *facts) []report.Finding {
	if f.trend == nil || f.trend.Since {
		return nil
	}
	bytes, sure, known := f.turnover()
	l, ok := f.trend.Line(trend.Anon)
	change := int64(0)
	if ok {
		change = max(l.Change(), -l.Change())
	}
	rate := int64(float64(bytes) / f.trend.Window.Seconds())
	if !known || !ok || 10*bytes < f.w.Usage || bytes <= l.Noise || rate < fewBytes || 4*change > bytes {
		return nil
	}
	confidence := low
	if sure {
		confidence = high
	}
	faults, _ := f.trend.Count("pgfault")
	return []report.Finding{{
		Code: codeChurn, Severity: info, Confidence: confidence,
		Title: f.Say("page faults bring %s a second, and nearly all of it is freed again: anonymous memory changed by %s within %s", size.Text(rate), size.Text(change), f.window()),
		Evidence: []report.Evidence{
			{Statement: f.Say("page faults within %s", f.window()), Source: faults.Source, Value: fmt.Sprint(faults.N)},
			f.lineEvidence(l),
		},
		Remedies: []report.Remedy{{Kind: "app", Command: f.Say("keep and reuse buffers, or have the allocator keep more (M_TRIM_THRESHOLD, GOGC)"), Cost: f.Say("memory that is kept")}},
	}}
}
