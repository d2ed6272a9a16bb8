package judge

import (
	"strings"
	"testing"
)

// A truth about what goes on, and the right report of it.
const (
	movingTruth = `{
	"schema": "memwhy.truth/v1", "scenario": "leak", "cgroup": "/x", "toleranceBytes": 4194304,
	"accounts": [{"path": "anon/other", "bytes": 67108864, "bytesPerSecond": 2097152}],
	"cause": {"code": "anon.leak", "bytes": 0, "bytesPerSecond": 2097152, "toleranceBytes": 2097152, "names": ["app (pid 7)", "heap"]},
	"watch": {"seconds": 5, "since": "2026-01-02T03:04:00Z", "until": "2026-01-02T03:04:08Z", "line": "anon", "shape": "rising", "leak": ["likely", "confirmed"], "churn": ["ruled-out"]}
}`
	movingReport = `{
	"schema": "memwhy.report/v1", "host": {"cpus": 2}, "target": {"cgroup": "/x"},
	"numbers": {"usageBytes": 79691776, "limitOwner": null},
	"accounts": [{"path": "anon/other", "bytes": 79691776, "state": {}}, {"path": "unexplained", "bytes": 0, "state": {}}],
	"unexplained": {"bytes": 0, "boundBytes": 1048576},
	"risks": {"kill": {"level": "low", "because": ""}, "throttle": {"level": "none", "because": ""}},
	"findings": [{"code": "anon.leak", "severity": "info", "title": "10 MiB more in heap of app (pid 7)", "bytes": 10485760}],
	"suspicions": [{"id": "churn", "answer": "ruled-out"}, {"id": "leak", "answer": "likely", "because": "it grew"}],
	"trend": {"from": "2026-01-02T03:04:01Z", "to": "2026-01-02T03:04:06Z", "seconds": 5, "lines": [{"path": "anon", "shape": "rising", "samples": [{}, {}, {}, {}, {}]}]}
}`
)

func TestWhatMovesIsJudged(t *testing.T) {
	first := func(m object, list string) object { return m[list].([]any)[0].(object) }
	for what, c := range map[string]struct {
		truth, report func(object)
		says          string // empty: nothing is wrong
	}{
		"right":             {},
		"ended meanwhile":   {truth: func(m object) { m["watch"].(object)["until"] = "2026-01-02T03:04:04Z" }},
		"ended long before": {truth: func(m object) { m["watch"].(object)["until"] = "2026-01-02T03:04:00Z" }, says: "off by 12582912"},
		"no trend":          {report: func(m object) { delete(m, "trend") }, says: "no trend"},
		"a short look":      {report: func(m object) { m["trend"].(object)["seconds"] = 2 }, says: "watched for 2.0 s"},
		"before it began":   {report: func(m object) { m["trend"].(object)["from"] = "2026-01-02T03:03:59Z" }, says: "not before"},
		"another shape":     {report: func(m object) { first(m["trend"].(object), "lines")["shape"] = "flat" }, says: "anon is flat"},
		"no line":           {report: func(m object) { first(m["trend"].(object), "lines")["path"] = "file" }, says: "no line of anon"},
		"a wrong answer":    {report: func(m object) { first(m, "suspicions")["answer"] = "likely" }, says: "churn is likely"},
		"no answer":         {report: func(m object) { m["suspicions"] = []any{} }, says: "has no answer"},
		"too much growth":   {report: func(m object) { first(m, "findings")["bytes"] = 13 * mib }, says: "anon.leak: planted 10485760"},
		"nobody named":      {report: func(m object) { first(m, "findings")["title"] = "10 MiB more in heap" }, says: `does not name "app (pid 7)"`},
		"nobody could be read": {report: func(m object) {
			first(m, "findings")["title"] = "10 MiB more"
			m["notSeen"] = []any{object{"source": "/proc/7/smaps_rollup", "why": "not asked: an earlier read of this process got no answer"}}
		}},
		"a slow machine": {report: func(m object) {
			line := first(m["trend"].(object), "lines")
			line["shape"], line["samples"] = "flat", []any{object{}, object{}}
			first(m, "findings")["code"] = "anon.live"
		}},
		"restarted": {report: func(m object) { m["trend"].(object)["restarted"] = true }, says: "restarted is true"},
	} {
		v, err := Compare(with(t, movingTruth, c.truth), with(t, movingReport, c.report))
		if err != nil {
			t.Fatal(what, err)
		}
		got := strings.Join(v.Problems, "; ")
		if c.says == "" && got != "" || !strings.Contains(got, c.says) {
			t.Errorf("%s: %q, want %q", what, got, c.says)
		}
	}
}
