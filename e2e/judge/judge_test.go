package judge

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const mib = 1 << 20

// An ordinary truth and the right report of it; tests spoil one or the other.
const truthText = `{
	"schema": "memwhy.truth/v1", "scenario": "x", "cgroup": "/x", "toleranceBytes": 4194304,
	"accounts": [{"path": "file", "bytes": 67108864, "state": {"active": 67108864}}]
}`

const reportText = `{
	"schema": "memwhy.report/v1", "host": {"cpus": 2}, "target": {"cgroup": "/x"},
	"numbers": {"usageBytes": 69206016, "limitOwner": null},
	"accounts": [
		{"path": "anon/lazyfree", "bytes": 0, "state": {}},
		{"path": "anon/other", "bytes": 524288, "state": {"swap": 0}},
		{"path": "file", "bytes": 67108864, "state": {"active": 66060288, "dirty": 0}},
		{"path": "kernel/undivided", "bytes": 1048576, "state": {}},
		{"path": "unexplained", "bytes": 524288, "state": {}}
	],
	"unexplained": {"bytes": 524288, "boundBytes": 1048576},
	"risks": {"kill": {"level": "low", "because": "limit 1 GiB"}, "throttle": {"level": "none", "because": ""}}
}`

type object = map[string]any

// with returns the JSON of text after f changed it.
func with(t *testing.T, text string, f func(object)) []byte {
	t.Helper()
	var m object
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	if f != nil {
		f(m)
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func row(m object, i int) object { return m["accounts"].([]any)[i].(object) }

func TestARightReport(t *testing.T) {
	v, err := Compare([]byte(truthText), []byte(reportText))
	if err != nil || len(v.Problems) != 0 {
		t.Fatal(v.Problems, err)
	}
	if len(v.Cells) != 2 || v.Cells[0].Reported != 64*mib || v.Cells[1].State != "active" || v.Cells[1].Error != -mib {
		t.Errorf("%+v", v.Cells)
	}
	if v.Scenario != "x" || v.UnexplainedBytes != mib/2 || v.BoundBytes != mib {
		t.Errorf("%+v", v)
	}
}

// Each of these has to be found, and nothing else with it.
func TestWrongReports(t *testing.T) {
	for what, c := range map[string]struct {
		truth, report func(object)
		says          string
	}{
		"too little": {report: func(r object) { move(r, 2, 1, 5*mib) }, says: "off by -5242880"},
		"too much":   {truth: func(tr object) { row(tr, 0)["bytes"] = 59 * mib }, says: "off by 5242880"},
		"wrong margin": {
			report: func(r object) { row(r, 2)["state"].(object)["active"] = 0 }, says: "file, active: planted 67108864, reported 0",
		},
		"no margin": {
			report: func(r object) { delete(row(r, 2)["state"].(object), "active") }, says: `no "active"`,
		},
		"no such account": {
			truth: func(tr object) { row(tr, 0)["path"] = "shmem" }, says: "no account shmem",
		},
		"no account in the truth": {truth: func(tr object) { tr["accounts"] = []any{} }, says: "no account"},
		"a tolerance without worth": {
			truth: func(tr object) { tr["toleranceBytes"] = 40 * mib }, says: "proves nothing",
		},
		"no tolerance": {truth: func(tr object) { tr["toleranceBytes"], row(tr, 0)["state"] = 0, object{} }, says: "proves nothing"},
		"another cgroup": {
			report: func(r object) { r["target"].(object)["cgroup"] = "/y" }, says: `about "/y"`,
		},
		"a sum that is off": {
			report: func(r object) { r["numbers"].(object)["usageBytes"] = 1 }, says: "sum to 69206016",
		},
		"no usage": {report: func(r object) { r["numbers"].(object)["usageBytes"] = nil }, says: "no usage"},
		"a negative leaf": {
			report: func(r object) { move(r, 0, 1, 4096) }, says: "anon/lazyfree is negative",
		},
		"an account twice": {
			report: func(r object) { row(r, 0)["path"] = "anon/other" }, says: "anon/other is there twice",
		},
		"unexplained that disagrees": {
			report: func(r object) { r["unexplained"].(object)["bytes"] = 0 }, says: "says otherwise",
		},
		"unexplained without a bound": {
			report: func(r object) { r["unexplained"].(object)["boundBytes"] = nil }, says: "no bound",
		},
		"unexplained beyond its bound": {
			report: func(r object) { r["unexplained"].(object)["boundBytes"] = 4096 }, says: "beyond its bound",
		},
		"a bound that hides": {
			report: func(r object) {
				move(r, 3, 4, mib)
				r["unexplained"] = object{"bytes": 3 * mib / 2, "boundBytes": 9 * mib}
			}, says: "more than 1 MiB on 2",
		},
		"the wrong limit": {truth: func(tr object) { tr["limitOwner"] = "/" }, says: "deciding limit"},
		"too calm":        {truth: func(tr object) { tr["killAtLeast"] = "high" }, says: `"low", want "high"`},
		"a level that is none": {
			truth: func(tr object) { tr["killAtLeast"] = "hihg" }, says: `want "hihg"`,
		},
		"no throttling": {truth: func(tr object) { tr["throttle"] = "critical" }, says: "throttled"},
		"a kill unseen": {truth: func(tr object) { tr["oomKills"] = 1 }, says: "1 processes were OOM-killed"},
		"a kill made up": {
			report: func(r object) {
				r["risks"].(object)["kill"].(object)["because"] = "; 2 processes of it OOM-killed since it was made"
			}, says: "0 processes were",
		},
		"a cause not found": {truth: func(tr object) { tr["findings"] = []any{"oom.node"} }, says: "oom.node is not found"},
		"a cause made up": {
			report: func(r object) { r["findings"] = []any{object{"code": "oom.node", "severity": "notice", "title": "x"}} }, says: "notice oom.node is found: x",
		},
		"an alarm about what is healthy": {
			truth:  func(tr object) { tr["healthy"] = true },
			report: func(r object) { r["findings"] = []any{object{"code": "cache.cold", "severity": "warning"}} }, says: "warning cache.cold",
		},
		"another cause first": {truth: causeOf("cache.cold", 64*mib, false), report: causes("tmpfs.held", 64*mib, "", "cache.cold", 64*mib, ""), says: "the first cause is tmpfs.held"},
		"a cause too large":   {truth: causeOf("cache.cold", 64*mib, false), report: causes("cache.cold", 70*mib, ""), says: "cache.cold: planted 67108864"},
		"no cause":            {truth: causeOf("cache.cold", 64*mib, false), report: causes("cache.hot", 64*mib, "cache.cold"), says: "no cause is found"},
		"a danger made up": {
			report: func(r object) {
				r["findings"] = []any{object{"code": "limit.tight", "severity": "notice", "bytes": 1}}
			}, says: "notice limit.tight",
		},
		"held and not here": {truth: func(tr object) { tr["notHere"] = "why" }, says: "not here"},
	} {
		v, err := Compare(with(t, truthText, c.truth), with(t, reportText, c.report))
		if err != nil || len(v.Problems) != 1 || !strings.Contains(v.Problems[0], c.says) {
			t.Errorf("%s: %q, %v", what, v.Problems, err)
		}
	}
}

// move shifts bytes from one account to another, so that the sum stays.
func move(r object, from, to int, bytes float64) {
	row(r, from)["bytes"] = row(r, from)["bytes"].(float64) - bytes
	row(r, to)["bytes"] = row(r, to)["bytes"].(float64) + bytes
}

// Where a kernel does not divide its memory, accounts are compared as one.
func TestWithin(t *testing.T) {
	truth := with(t, truthText, func(tr object) {
		within := []any{"kernel/other", "kernel/undivided", "kernel"}
		tr["accounts"] = []any{
			object{"path": "kernel/stacks", "bytes": 30 * mib, "within": within},
			object{"path": "kernel/slab-unreclaimable", "bytes": 10 * mib, "within": within},
		}
	})
	divided := func(r object) {
		rows := r["accounts"].([]any)
		r["accounts"] = append(rows,
			object{"path": "kernel/stacks", "bytes": 30 * mib}, object{"path": "kernel/slab-unreclaimable", "bytes": 11 * mib})
		r["numbers"].(object)["usageBytes"] = 66*mib + 41*mib
	}
	undivided := func(r object) {
		row(r, 3)["bytes"] = 42 * mib
		r["numbers"].(object)["usageBytes"] = 65*mib + 42*mib
	}
	v, err := Compare(truth, with(t, reportText, divided))
	if err != nil || len(v.Problems) != 0 || len(v.Cells) != 2 || v.Cells[1].Compared != "kernel/slab-unreclaimable" || v.Cells[1].Error != mib {
		t.Errorf("%+v, %v", v, err)
	}
	v, err = Compare(truth, with(t, reportText, undivided))
	if err != nil || len(v.Problems) != 0 || len(v.Cells) != 1 {
		t.Fatalf("%+v, %v", v, err)
	}
	if c := v.Cells[0]; c.Compared != "kernel/undivided" || c.Planted != 40*mib || c.Account != "kernel/stacks + kernel/slab-unreclaimable" {
		t.Errorf("%+v", c)
	}
	// Half of them missing must not pass as the other half.
	v, _ = Compare(truth, with(t, reportText, func(r object) {
		undivided(r)
		row(r, 3)["bytes"], row(r, 2)["bytes"] = 32*mib, 74*mib
	}))
	if len(v.Problems) != 1 {
		t.Errorf("%q", v.Problems)
	}
}

// A class is the sum of its leaves, margins too.
func TestClass(t *testing.T) {
	truth := with(t, truthText, func(tr object) {
		tr["accounts"] = []any{object{"path": "anon", "bytes": 24 * mib, "state": object{"swap": 10 * mib}}}
	})
	v, err := Compare(truth, with(t, reportText, func(r object) {
		row(r, 0)["bytes"], row(r, 1)["bytes"] = 10*mib, 14*mib
		row(r, 1)["state"] = object{"swap": 10 * mib}
		r["numbers"].(object)["usageBytes"] = 24*mib + 64*mib + mib + mib/2
	}))
	if err != nil || len(v.Problems) != 0 || v.Cells[0].Compared != "anon" || v.Cells[0].Reported != 24*mib {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestRisksThatAgree(t *testing.T) {
	truth := with(t, truthText, func(tr object) {
		tr["limitOwner"], tr["killAtLeast"], tr["throttle"], tr["oomKills"] = "/", "high", "critical", 1
	})
	v, err := Compare(truth, with(t, reportText, func(r object) {
		r["numbers"].(object)["limitOwner"] = "/"
		r["risks"] = object{
			"kill":     object{"level": "critical", "because": "full; 1 process of it OOM-killed since it was made"},
			"throttle": object{"level": "critical", "because": ""},
		}
	}))
	if err != nil || len(v.Problems) != 0 {
		t.Errorf("%q, %v", v.Problems, err)
	}
}

func TestFindingsThatAgree(t *testing.T) {
	truth := with(t, truthText, func(tr object) { tr["findings"], tr["healthy"] = []any{"oom.container"}, false })
	v, err := Compare(truth, with(t, reportText, func(r object) {
		r["findings"] = []any{
			object{"code": "oom.container", "severity": "critical"},
			object{"code": "kmem.accounting", "severity": "info"},
			object{"code": "cache.cold", "severity": "notice"},
		}
	}))
	if err != nil || len(v.Problems) != 0 {
		t.Errorf("%q, %v", v.Problems, err)
	}
}

func causeOf(code string, bytes int, census bool) func(object) {
	return func(tr object) { tr["cause"] = object{"code": code, "bytes": bytes, "census": census} }
}

// causes are findings at info, three arguments each: code, bytes, what it is part of.
func causes(args ...any) func(object) {
	return func(r object) {
		var all []any
		for i := 0; i < len(args); i += 3 {
			all = append(all, object{"code": args[i], "bytes": args[i+1], "partOf": args[i+2], "severity": "info"})
		}
		r["findings"] = all
	}
}

// What is part of another, or has no bytes, is no rival; what cannot be seen here is
// not asked for.
func TestCausesThatAgree(t *testing.T) {
	for what, c := range map[string]struct{ truth, report func(object) }{
		"after a part": {causeOf("cache.cold", 64*mib, false), causes("metric.misread", 80*mib, "x", "cache.cold", 63*mib, "", "anon.live", mib, "")},
		"no census":    {causeOf("slab.dentry", 64*mib, true), causes("slab.other", 64*mib, "")},
		"of the node":  {func(tr object) { tr["healthy"] = true }, func(r object) { r["findings"] = []any{object{"code": "cgroup.dying", "severity": "notice"}} }},
		"not its place": {func(tr object) {
			causeOf("tmpfs.held", 64*mib, false)(tr)
			row(tr, 0)["path"], row(tr, 0)["within"] = "shmem", []any{"file"}
		}, causes("cache.cold", 64*mib, "")},
	} {
		v, err := Compare(with(t, truthText, c.truth), with(t, reportText, c.report))
		if err != nil || len(v.Problems) != 0 {
			t.Errorf("%s: %q, %v", what, v.Problems, err)
		}
	}
}

func TestNotHere(t *testing.T) {
	truth := with(t, truthText, func(tr object) { tr["notHere"], tr["accounts"] = "no swap", []any{} })
	for _, report := range [][]byte{nil, []byte(reportText)} {
		v, err := Compare(truth, report)
		if err != nil || v.NotHere != "no swap" || len(v.Problems) != 0 || len(v.Cells) != 0 {
			t.Errorf("%+v, %v", v, err)
		}
	}
}

func TestNotMessages(t *testing.T) {
	for _, c := range [][2]string{
		{"", reportText}, {truthText, ""}, {truthText, truthText}, {reportText, reportText}, {truthText, "{"}, {truthText, "[]"},
	} {
		if v, err := Compare([]byte(c[0]), []byte(c[1])); err == nil {
			t.Errorf("%+v of %.20q and %.20q", v, c[0], c[1])
		}
	}
}

// many files of one size.
func many(n int) []object {
	var list []object
	for i := range n {
		list = append(list, object{"kind": "file", "name": fmt.Sprint("f", i), "account": "file", "bytes": mib})
	}
	return list
}

func TestHolders(t *testing.T) {
	file := object{"kind": "file", "name": "a", "account": "file", "bytes": 8 * mib}
	group := object{"kind": "cgroup", "name": "g", "account": "file", "bytes": 8 * mib, "deleted": true}
	process := object{"kind": "process", "name": "p", "account": "anon/other", "bytes": 8 * mib}
	for what, c := range map[string]struct {
		kernel     string
		want, have []object
		census     any
		says       string
	}{
		"right":               {"6.1.0", []object{file, group, process}, []object{file, group}, object{"complete": true}, ""},
		"no file":             {"6.1.0", []object{file}, []object{process}, object{"complete": true}, "file a is no holder"},
		"wrong bytes":         {"6.1.0", []object{file}, []object{{"kind": "file", "name": "a", "bytes": 3 * mib}}, object{"complete": true}, "file a: planted 8388608, reported 3145728"},
		"not deleted":         {"6.1.0", []object{file}, []object{{"kind": "file", "name": "a", "bytes": 8 * mib, "deleted": true}}, object{"complete": true}, "deleted is true"},
		"no removed cgroup":   {"6.19.2", []object{group}, nil, object{"complete": true}, "cgroup g is no holder"},
		"the parent has it":   {"7.1-rc1", []object{group}, nil, nil, ""},
		"no census":           {"7.2", []object{file}, []object{file}, nil, "no complete census"},
		"half of a census":    {"", []object{file}, []object{file}, object{"complete": false}, "no complete census"},
		"51 of a size":        {"6.1.0", many(51), many(50), object{"complete": true}, ""},
		"the largest of many": {"6.1.0", []object{file}, many(50), object{"complete": true}, "file a is no holder"},
		"processes are not":   {"6.1.0", []object{process}, nil, nil, ""},
	} {
		truth := with(t, truthText, func(m object) { m["holders"] = c.want })
		report := with(t, reportText, func(m object) {
			m["holders"], m["census"] = c.have, c.census
			m["host"].(object)["kernel"] = c.kernel
		})
		v, err := Compare(truth, report)
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(v.Problems, "; "); (c.says == "") != (text == "") || !strings.Contains(text, c.says) {
			t.Errorf("%s: %q, want %q", what, text, c.says)
		}
	}
}
