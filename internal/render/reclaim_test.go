package render

import (
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/report"
)

// The first line is the answer: whether a limit would fit, and whether it does now; what
// went, and who took it.
func TestFirstLineOfReclaim(t *testing.T) {
	const mib = 1 << 20
	n := func(n int64) *int64 { n *= mib; return &n }
	result := func(met bool, before, after, dropped, gone int64, steps int) *report.ReclaimResult {
		return &report.ReclaimResult{
			Met: met, UsageBeforeBytes: n(before), UsageAfterBytes: n(after), FreedBytes: n(before - after), DroppedBytes: dropped * mib, GoneBytes: gone * mib, Steps: steps, Restored: true,
		}
	}
	plan := func(usage, want, expect int64, to *int64) report.ReclaimPlan {
		return report.ReclaimPlan{UsageBytes: usage * mib, WantBytes: want * mib, ExpectBytes: expect * mib, ErrorBytes: mib, ReachableBytes: 10 * mib, ToBytes: to, FileCount: min(1, int(expect))}
	}
	for want, r := range map[string]report.Reclaim{
		"Nothing to give back.": {Plan: plan(100, 0, 0, nil)},
		"Would give back 40.0 MiB of 100.0 MiB: the cache of 1 file. Nothing was changed: --yes does it.": {Plan: plan(100, 40, 40, nil)},
		"Nothing of the 40.0 MiB that were asked for can be given back as asked.":                         {Plan: plan(100, 40, 0, nil)},

		"A limit of 120.0 MiB would fit: usage is 100.0 MiB. Nothing has to be given back.":                                                                                                     {Plan: plan(100, 0, 0, n(120))},
		"A limit of 60.0 MiB would fit: would give back 40.0 MiB of 100.0 MiB: the cache of 1 file. Nothing was changed: --yes does it.":                                                        {Plan: plan(100, 40, 40, n(60))},
		"A limit of 60.0 MiB would fit only with what is left alone below. Would give back 20.0 MiB of 100.0 MiB, and 80.0 MiB would be left. Nothing was changed: --yes does it.":              {Plan: plan(100, 40, 20, n(60))},
		"A limit of 60.0 MiB would fit only with what is left alone below. Nothing of 100.0 MiB can be given back as asked.":                                                                    {Plan: plan(100, 40, 0, n(60))},
		"A limit of 5.0 MiB would not fit: about 10.0 MiB cannot be freed without swap. Would give back 20.0 MiB of 100.0 MiB, and 80.0 MiB would be left. Nothing was changed: --yes does it.": {Plan: plan(100, 95, 20, n(5))},

		"Gave back 40.0 MiB: usage is 60.0 MiB, and 60.0 MiB were asked for.":                          {Plan: plan(100, 40, 40, n(60)), Result: result(true, 100, 60, 40, 0, 1)},
		"Usage is 50.0 MiB already, and 60.0 MiB were asked for: nothing had to be given back.":        {Plan: plan(100, 40, 40, n(60)), Result: result(true, 50, 50, 0, 0, 0)},
		"Gave back 40.0 MiB, and usage is still 90.0 MiB: more than the 60.0 MiB that were asked for.": {Plan: plan(100, 40, 40, n(60)), Result: result(false, 130, 90, 40, 0, 1)},
		"Gave back 40.0 MiB.": {Plan: plan(100, 40, 40, nil), Result: result(true, 100, 60, 40, 0, 1)},
		"Gave back 30.0 MiB; somebody else had freed 10.0 MiB of what was planned.":              {Plan: plan(100, 40, 40, nil), Result: result(true, 90, 60, 30, 10, 2)},
		"Nothing was left to give back: somebody else had freed the 40.0 MiB that were planned.": {Plan: plan(100, 40, 40, nil), Result: result(true, 60, 60, 0, 40, 1)},
		"Gave back 20.0 MiB, less than the 40.0 MiB that were planned.":                          {Plan: plan(100, 40, 40, nil), Result: result(false, 100, 80, 20, 0, 2)},
		"Gave back 40.0 MiB": {Plan: plan(100, 40, 40, nil), Result: result(true, 100, 120, 40, 0, 2)},
	} {
		text := string(Reclaim(&r, false))
		if got := strings.ReplaceAll(text, "\n  ", " "); !strings.HasPrefix(got, want) {
			t.Errorf("want %s\n%s", want, text)
		}
		if r.Result != nil && *r.Result.FreedBytes < 0 && !strings.Contains(text, "grew      20.0 MiB   meanwhile, usage now 120.0 MiB") {
			t.Errorf("it grew: %s", text)
		}
	}
}
