package judge

import (
	"strings"
	"testing"
)

func add(t *testing.T, tally *Tally, truth, report string) {
	t.Helper()
	if err := tally.Add("case", []byte(`{"schema":"memwhy.truth/v1",`+truth+`}`), []byte(`{"schema":"memwhy.report/v1",`+report+`}`)); err != nil {
		t.Fatal(err)
	}
}

func TestTally(t *testing.T) {
	var tally Tally
	cold := `"cause":{"code":"cache.cold","bytes":1}`
	add(t, &tally, cold, `"findings":[{"code":"cache.cold","severity":"info","bytes":1}]`)
	add(t, &tally, cold, `"findings":[{"code":"cgroup.dying","severity":"notice"},{"code":"cache.hot","severity":"info","bytes":1},{"code":"cache.cold","severity":"info","bytes":1}]`)
	add(t, &tally, cold, `"findings":[]`)
	add(t, &tally, `"cause":{"code":"cache.cold","bytes":1,"census":true}`, `"findings":[]`)
	add(t, &tally, `"notHere":"no swap"`, `"findings":[]`)
	add(t, &tally, `"cause":{"code":"anon.live","bytes":1},"findings":["oom.container"]`, `"findings":[{"code":"oom.container","severity":"critical"},{"code":"anon.live","severity":"info","bytes":1}]`)
	add(t, &tally, `"cause":{"code":"anon.live","bytes":1},"findings":["oom.container"]`, `"findings":[{"code":"limit.tight","severity":"warning"},{"code":"anon.live","severity":"info","bytes":1}]`)
	add(t, &tally, `"healthy":true`, `"findings":[{"code":"anon.live","severity":"info","bytes":1}]`)
	add(t, &tally, `"healthy":true`, `"findings":[{"code":"slab.inode","severity":"notice","bytes":1}]`)

	if tally.Cases != 7 || tally.Right() != 4 || len(tally.Unseen) != 2 || tally.Healthy != 2 || len(tally.Alarms) != 1 {
		t.Errorf("%+v, right %d", tally, tally.Right())
	}
	if want := (Score{Right: 1, Missed: 1}); tally.Beside["oom.container"] != want {
		t.Errorf("oom.container %+v", tally.Beside["oom.container"])
	}
	if want := (Score{Wrong: 1}); tally.Beside["limit.tight"] != want {
		t.Errorf("limit.tight %+v", tally.Beside["limit.tight"])
	}
	for _, line := range []string{
		"4 of 7 planted causes are named first. 2 more cannot be shown by the kernel in question. 2 cases are healthy: false alarms on 1 of them.",
		"| `cache.cold` | 3 | 1 | 0 | 1.00 | 0.33 | `cache.hot` 1, `none` 1 |",
		"| `cache.hot` | 0 | 0 | 1 | 0.00 | - |  |",
		"| `none` | 2 | 1 | 1 | 0.50 | 0.50 | `slab.inode` 1 |",
		"| `oom.container` | 1 | 1 | 0 | 1.00 | 0.50 |",
	} {
		if !strings.Contains(tally.Markdown(), line+"\n") {
			t.Errorf("no line %q in\n%s", line, tally.Markdown())
		}
	}
}
