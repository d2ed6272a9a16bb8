package wire

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/capture"
	"github.com/memwhy/memwhy/internal/diagnose"
	"github.com/memwhy/memwhy/internal/gather"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/render"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// the two containers of the recorded el7 nodes, by the beginning of their ids.
const (
	app   = "8d2c5b0a7f6e"
	pause = "3f1f0e7d6c5b"
)

// found explains a target and gives its findings as CODE of what is above info,
// top to bottom, and the codes of all.
func found(t *testing.T, src kernel.Source, target string) (above []string, all map[string]report.Finding) {
	t.Helper()
	r, err := node(src).Explain(target)
	if err != nil {
		t.Fatal(err)
	}
	all = map[string]report.Finding{}
	for _, f := range r.Findings {
		if f.Severity != "info" {
			above = append(above, f.Severity+" "+f.Code)
		}
		all[f.Code] = f
		checkFinding(t, r, f)
	}
	return above, all
}

func checkFinding(t *testing.T, r *report.Report, f report.Finding) {
	t.Helper()
	if _, ok := diagnose.Of(f.Code); !ok {
		t.Errorf("code %q is no rule's", f.Code)
	}
	if f.Title == "" || len(f.Evidence) == 0 {
		t.Errorf("%+v", f)
	}
	for _, e := range f.Evidence {
		if e.Statement == "" || e.Source == "" {
			t.Errorf("%s: evidence %+v", f.Code, e)
		}
	}
	for _, d := range f.Remedies {
		if d.Kind == "" || d.Command == "" || d.Cost == "" {
			t.Errorf("%s: remedy %+v", f.Code, d)
		}
	}
	if f.PartOf != "" && !slices.ContainsFunc(r.Findings, func(g report.Finding) bool { return g.Code == f.PartOf }) {
		t.Errorf("%s is part of %s, which is not there", f.Code, f.PartOf)
	}
}

// What is found above info on real el7 nodes, with the codes that have to be there
// at info. A node with nothing above info is healthy.
func TestFindingsOfRealNodes(t *testing.T) {
	const (
		leak       = "kernel.advisory/el7-kmem-slab-leak"
		stuck      = "kernel.advisory/el7-kmem-not-reclaimable"
		on         = "kmem.accounting"
		leaking    = "warning " + leak + ", warning cgroup.dying, notice kmem.accounting"
		leakingToo = "cgroup.ids kernel.advisory/el7-memcg-id-exhaustion kernel.advisory/el7-proc-cgroups-hides-leak"
	)
	want := map[string][2]string{
		"514/healthy " + app:          {"", on},
		"514/nokmem-ignored " + app:   {"warning " + leak + ", warning cgroup.dying, notice kernel.advisory/el7-nokmem-param-ignored, notice kmem.accounting", leakingToo},
		"514/nokmem-ignored " + pause: {"warning " + leak + ", warning cgroup.dying, notice kernel.advisory/el7-nokmem-param-ignored, notice kmem.accounting", leakingToo},

		"1062/healthy " + app:                                   {"", on},
		"1062/healthy " + pause:                                 {"", on},
		"1062/global-oom " + app:                                {"notice oom.node", on},
		"1062/id-exhaustion /kubepods":                          {"critical cgroup.ids, critical kernel.advisory/el7-memcg-id-exhaustion, notice kmem.accounting", ""},
		"1062/kmem-limit " + app:                                {"warning kernel.advisory/el7-kmem-not-reclaimable, warning kmem.accounting", ""},
		"1062/kmem-limit " + pause:                              {"", on},
		"1062/kmem-not-activated/after " + app:                  {"", on},
		"1062/nokmem " + app:                                    {"", on + " kernel.advisory/nokmem-side-effects"},
		"1062/kmem-oom/before-kill " + app:                      {"notice kmem.accounting, warning " + stuck, ""},
		"1062/kmem-oom/after " + app:                            {"critical oom.container, notice kmem.accounting, warning limit.tight, warning " + stuck, ""},
		"1062/kmem-oom/after " + pause:                          {"", on},
		"1062/memcg-oom/container-limit " + app:                 {"warning oom.container", on},
		"1062/memcg-oom/container-limit " + pause:               {"", on},
		"1062/memcg-oom/pod-limit " + app:                       {"warning oom.ancestor", on},
		"1062/memcg-oom/pod-limit " + pause:                     {"notice oom.ancestor", on},
		"1062/retained-cache/3-after " + app:                    {"", on},
		"1062/retained-cache/7-pod-removed /kubepods/burstable": {"", ""},
		"1062/leak/after " + app:                                {leaking, leakingToo},
		"1062/leak/after-drop " + app:                           {leaking, leakingToo},
		"1062/leak-files-kept/after " + app:                     {leaking, leakingToo},
		"1062/leak-files-kept/after-drop " + app:                {leaking, leakingToo},
		"1062/leak-42000/exhausted /kubepods":                   {leaking, leakingToo},

		"1127/healthy " + app: {"", on},
		"1127/kmem-charge-dentries-no-oom/before-kill " + app: {"", on},
		"1127/kmem-charge-dentries-no-oom/after " + app:       {"", on},
		"1127/leak/after " + app:                              {"", on + " cgroup.dying"},

		"1160/healthy " + app: {"", on + " kernel.advisory/el7-1160-total-events-wrong"},
	}
	all := el7(t)
	asked := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		tree, target, _ := strings.Cut(name, " ")
		asked[tree] = true
		if all[tree] == nil {
			t.Fatalf("no node %s", tree)
		}
		above, codes := found(t, all[tree], target)
		slices.Sort(above)
		w := strings.Split(want[name][0], ", ")
		slices.Sort(w)
		if got := strings.Join(above, ", "); got != strings.Join(w, ", ") {
			t.Errorf("%s: %q, want %q", name, got, want[name][0])
		}
		for _, code := range strings.Fields(want[name][1]) {
			if codes[code].Code == "" {
				t.Errorf("%s: no %s", name, code)
			}
		}
	}
	for tree, a := range all { // the others have no cgroup to explain
		var e *gather.TargetError
		if _, err := node(a).Explain(""); !asked[tree] && (errors.As(err, &e) && e.Kind == gather.Ambiguous || err == nil) {
			t.Errorf("%s was not asked", tree)
		}
	}
}

// The numbers in titles are those that were counted on the nodes.
func TestFindingsHaveTheNumbers(t *testing.T) {
	all := el7(t)
	for _, c := range []struct {
		tree, target, code, title string
		bytes                     int64 // -1: null
		partOf                    string
	}{
		{"1062/leak/after", app, "kernel.advisory/el7-kmem-slab-leak", "101 removed cgroups, by the largest index rather 158,", 253952, ""},
		{"1062/leak/after", app, "cgroup.dying", "101 removed cgroups", 253952, "kernel.advisory/el7-kmem-slab-leak"},
		{"1062/leak/after", app, "cgroup.ids", "about 165 of 65534 ids", -1, "kernel.advisory/el7-kmem-slab-leak"},
		{"1062/leak-files-kept/after", app, "cgroup.dying", "107 removed cgroups", 6709248, "kernel.advisory/el7-kmem-slab-leak"},
		{"1062/leak-42000/exhausted", "/kubepods", "kernel.advisory/el7-kmem-slab-leak", "at least 205.4 MiB", 215359488, ""},
		{"1062/id-exhaustion", "/kubepods", "cgroup.ids", "at least 65252 of 65534 ids of memory cgroups are taken (99.6%)", -1, ""},
		{"514/nokmem-ignored", app, "kmem.accounting", "the boot option nokmem is ignored", 1634304, "kernel.advisory/el7-kmem-slab-leak"},
		{"1062/nokmem", app, "kmem.accounting", "cgroup.memory=nokmem is in effect", 0, ""},
		{"1062/kmem-not-activated/after", app, "kmem.accounting", "accounting is off", 0, ""},
		{"1062/kmem-limit", app, "kmem.accounting", "limit of 12.0 MiB refused 406 charges", 12582912, ""},
		{"1062/kmem-oom/after", app, "oom.container", "kernel's own memory was 63.8 MiB, which no kill frees", 64 << 20, ""},
		{"1062/memcg-oom/container-limit", app, "oom.container", "96.0 MiB of this cgroup, 2 times so far: killed leaky (pid 93)", 96 << 20, ""},
		{"1062/memcg-oom/pod-limit", app, "oom.ancestor", "128.0 MiB of its pod: killed leaky (pid 113)", 128 << 20, ""},
		{"1062/global-oom", app, "oom.node", "of which cgroup it was the log does not say", -1, ""},
	} {
		_, codes := found(t, all[c.tree], c.target)
		f := codes[c.code]
		bytes := int64(-1)
		if f.Bytes != nil {
			bytes = *f.Bytes
		}
		if !strings.Contains(f.Title, c.title) || bytes != c.bytes || f.PartOf != c.partOf {
			t.Errorf("%s %s: %q, %d bytes, part of %q", c.tree, c.code, f.Title, bytes, f.PartOf)
		}
	}
}

// The screen of the origin story: the fault is there once, in full.
func TestTheLeakIsUnmistakable(t *testing.T) {
	r, err := node(el7(t)["1062/leak/after"]).Explain(app)
	if err != nil {
		t.Fatal(err)
	}
	screen := render.Text(r)
	checkScreen(t, "leak", screen)
	golden(t, "testdata/advisories/el7-1062-leak-screen.golden", append(append(screen, '\n'), render.Wide(r)...))
	words := strings.Join(strings.Fields(string(screen)), " ")
	if !strings.Contains(words, "WARNING kernel.advisory/el7-kmem-slab-leak: kernel memory leak of el7: 101 removed cgroups, by the largest index rather 158, never go away and hold at least 0.2 MiB of kernel memory; until a reboot") {
		t.Errorf("%s", screen)
	}
	if n := strings.Count(words, "removed cgroups"); n != 1 {
		t.Errorf("said %d times:\n%s", n, screen)
	}
}

// On later kernels nothing is found that is not there: in the labs kills, with
// the kernel's log, and removed cgroups that hold page cache.
func TestFindingsOfLaterKernels(t *testing.T) {
	kills, dying := 0, 0
	everyNode(t, func(t *testing.T, file string, n *Node) {
		if strings.Contains(path.Base(file), "el7") {
			return
		}
		above, codes := found(t, n.Source, "")
		switch path.Base(file) {
		case "oom-victim":
			kills++
			if !slices.Equal(above, []string{"warning oom.container"}) || !strings.Contains(codes["oom.container"].Title, "of this cgroup: killed memwhy (pid ") {
				t.Errorf("%q %v", above, codes)
			}
		case "dying-children":
			f := codes["cgroup.dying"]
			switch {
			case len(above) > 1 || codes["cache.cold"].Code == "":
				t.Errorf("%q %v", above, codes)
			case f.Code == "" && strings.Contains(file, "7.2"): // page cache goes to the parent
			case f.Code == "" || f.Bytes == nil || f.Severity != "notice":
				t.Errorf("%+v", f)
			case max(*f.Bytes-24<<20, 24<<20-*f.Bytes) > 1<<20:
				t.Errorf("%d bytes", *f.Bytes)
			default:
				dying++
			}
		default:
			w := map[string][]string{
				"parent-full": {"notice limit.parent"}, "high-throttled": {"warning throttle.high"},
				"oom-parent": {"warning oom.ancestor"}, "oom-nobody": {"warning oom.no-victim"}, "oom-group": {"warning oom.container"},
				"tmpfs-left": {"notice cgroup.dying"},
			}[path.Base(file)]
			if strings.Contains(file, "7.2") && path.Base(file) == "tmpfs-left" { // its pages went to the parent
				w = nil
			}
			if strings.Contains(file, "-v1") {
				switch path.Base(file) {
				case "high-throttled", "oom-group": // version 1 has neither
					w = nil
				case "oom-nobody": // a task waits, for ever
					w = []string{"critical oom.no-victim", "warning limit.tight"}
				}
			}
			if !slices.Equal(above, w) {
				t.Errorf("%q, want %q", above, w)
			}
		}
	})
	if kills < 7 || dying < 6 {
		t.Errorf("%d kills, %d with removed cgroups", kills, dying)
	}
}

// Redaction hides names, and changes no finding: the log's cgroups get the hashes
// of their directories.
func TestRedactedFindings(t *testing.T) {
	for _, tree := range []string{"1062/memcg-oom/pod-limit", "1062/memcg-oom/container-limit", "1062/kmem-oom/after", "1062/leak/after", "1062/kmem-limit", "1062/global-oom"} {
		a := el7(t)[tree]
		plain, err := node(a).Explain(app)
		if err != nil {
			t.Fatal(err)
		}
		n := node(a)
		n.redact = true
		hidden, err := n.Explain(app)
		if err != nil {
			t.Fatal(err)
		}
		if len(plain.Findings) != len(hidden.Findings) {
			t.Fatalf("%s: %d findings, %d redacted", tree, len(plain.Findings), len(hidden.Findings))
		}
		for i, p := range plain.Findings {
			h := hidden.Findings[i]
			if p.Code != h.Code || p.Severity != h.Severity || p.Confidence != h.Confidence || len(p.Evidence) != len(h.Evidence) || p.Bytes != nil && *p.Bytes != *h.Bytes {
				t.Errorf("%s: %+v, redacted %+v", tree, p, h)
			}
		}
		doc, err := render.JSON(hidden)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{app, pause, "0d9f7a52", "leaky", "phpsess", "appserver"} {
			if bytes.Contains(doc, []byte(secret)) {
				t.Errorf("%s: shows %s", tree, secret)
			}
		}
	}
}

// v2 is a node of today with one container, on cgroup v2, and a log.
func v2(log string, files map[string]string) fake {
	const dir = "/sys/fs/cgroup"
	f := fake{
		"read /proc/self/mountinfo":              "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
		"read /proc/sys/kernel/osrelease":        "6.1.0-13-amd64\n",
		"read " + dir + "/cgroup.controllers":    "memory\n",
		"read " + dir + "/cgroup.stat":           "nr_descendants 2\nnr_dying_descendants 0\n",
		"list " + dir:                            "kubepods\x00",
		"list " + dir + "/kubepods":              "c\x00",
		"list " + dir + "/kubepods/c":            "",
		"read " + dir + "/kubepods/cgroup.procs": "",
		"log /dev/kmsg":                          log,
	}
	for _, c := range []string{"/kubepods", "/kubepods/c"} {
		f["read "+dir+c+"/memory.current"] = "1048576\n"
		f["read "+dir+c+"/memory.stat"] = "anon 1048576\nfile 0\nkernel 0\ninactive_file 0\nactive_file 0\n"
		f["read "+dir+c+"/cgroup.stat"] = "nr_descendants 0\nnr_dying_descendants 0\n"
		f["read "+dir+c+"/cgroup.procs"] = ""
	}
	maps.Copy(f, files)
	return f
}

// Every code has a node on which it is found, and one that is close to it on which
// it is not.
func TestEveryRuleHasItsFixtures(t *testing.T) {
	trees := el7(t)
	noVictim := strings.ReplaceAll(string(logs(t)["made-el8-147-no-victim"]), "/pinned", "/kubepods/c")
	for _, r := range diagnose.Rules() {
		var is, isNot []kernel.Source
		target := cmp.Or(map[string]string{"oom.no-victim": "/kubepods/c", "cgroup.ids": "/kubepods"}[r.Code], app)
		code := r.Code
		switch r.Code {
		case "cgroup.dying":
			is, isNot = sources(trees, "1062/leak/after", "1127/leak/after"), sources(trees, "1062/healthy", "1062/nokmem")
		case "cgroup.ids":
			is = sources(trees, "1062/id-exhaustion", "1062/leak-42000/exhausted")
			isNot = []kernel.Source{v2("", nil), v2("", map[string]string{"read /sys/fs/cgroup/cgroup.stat": "nr_descendants 9000\nnr_dying_descendants 900\n"})}
		case "kmem.accounting":
			is, isNot = sources(trees, "1062/healthy", "1062/nokmem"), []kernel.Source{v2("", map[string]string{"list /sys/fs/cgroup/kubepods": app + strings.Repeat("0", 52) + "\x00"})}
			isNot[0].(fake)["read /sys/fs/cgroup/kubepods/"+app+strings.Repeat("0", 52)+"/memory.current"] = "1\n"
		case "oom.container":
			is, isNot = sources(trees, "1062/memcg-oom/container-limit", "1062/kmem-oom/after"), sources(trees, "1062/memcg-oom/pod-limit", "1062/kmem-limit", "1062/global-oom")
		case "oom.ancestor":
			is, isNot = sources(trees, "1062/memcg-oom/pod-limit"), sources(trees, "1062/memcg-oom/container-limit")
		case "oom.node":
			is, isNot = sources(trees, "1062/global-oom"), sources(trees, "1062/memcg-oom/container-limit")
		case "oom.no-victim":
			is = []kernel.Source{v2(noVictim, nil)}
			isNot = []kernel.Source{v2(strings.ReplaceAll(noVictim, "/kubepods/c", "/kubepods/c2"), nil), v2("", nil)}
		case "kernel.advisory/":
			code += "el7-kmem-slab-leak"
			is, isNot = sources(trees, "1062/leak/after"), sources(trees, "1062/healthy", "1127/leak/after")
		default: // made snapshots, see TestEveryCauseHasItsFixtures in diagnose
			continue
		}
		if len(is) == 0 || len(isNot) == 0 {
			t.Errorf("%s: %d nodes have it, %d have not", r.Code, len(is), len(isNot))
		}
		for i, src := range is {
			if _, codes := found(t, src, target); codes[code].Code == "" {
				t.Errorf("%s is not found on its node %d: %v", code, i, slices.Collect(maps.Keys(codes)))
			}
		}
		for i, src := range isNot {
			if _, codes := found(t, src, target); codes[code].Code != "" {
				t.Errorf("%s is found on node %d: %+v", code, i, codes[code])
			}
		}
	}
}

func sources(trees map[string]*capture.Archive, names ...string) (list []kernel.Source) {
	for _, n := range names {
		list = append(list, trees[n])
	}
	return list
}

// What the log cannot be read for is in notSeen, never a clean bill.
func TestLogNotRead(t *testing.T) {
	f := v2("", nil)
	delete(f, "log /dev/kmsg")
	r, err := node(denied{f}).Explain("/kubepods/c")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(r.NotSeen, func(n report.NotSeen) bool { return n.Source == kernel.LogPath && n.State == "denied" }) {
		t.Errorf("%+v", r.NotSeen)
	}
	f["link /proc/self/ns/cgroup"] = "cgroup:[4026532777]"
	f["log /dev/kmsg"] = string(logs(t)["6.12-v2-ring"])
	if r, err = node(f).Explain("/kubepods/c"); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(r.NotSeen, func(n report.NotSeen) bool { return n.Source == kernel.LogPath && strings.Contains(n.Why, "namespace") }) {
		t.Errorf("%+v", r.NotSeen)
	}
}

// denied lets nobody read the kernel's log.
type denied struct{ fake }

func (d denied) Ask(q kernel.Question) kernel.Answer {
	if q.Op == kernel.Log {
		return kernel.Answer{State: snapshot.Denied, Err: "permission denied"}
	}
	return d.fake.Ask(q)
}

// A name of a cgroup is what the log says it is, whatever bytes are in it.
func TestKillOfAHostileName(t *testing.T) {
	const name = "a\x1b[2J\n<script>, killed"
	dir := "/sys/fs/cgroup/" + name
	escaped := strings.NewReplacer("\x1b", `\x1b`, "\n", `\x0a`).Replace(name)
	log := "6,1,1000,-;app invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n" +
		"6,2,1001,-;memory: usage 1024kB, limit 1024kB, failcnt 5\n6,3,1002,-;swap: usage 0kB, limit 0kB, failcnt 0\n" +
		"6,4,1003,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/" + escaped + ",task_memcg=/" + escaped + ",task=app,pid=7,uid=0\n" +
		"3,5,1004,-;Memory cgroup out of memory: Killed process 7 (app) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0\n"
	f := v2(log, map[string]string{"read " + dir + "/memory.current": "1\n", "list /sys/fs/cgroup": name + "\x00", "list " + dir: "", "read " + dir + "/cgroup.procs": ""})
	r, err := node(f).Explain("/" + name)
	if err != nil {
		t.Fatal(err)
	}
	out := slices.Concat(render.Text(r), render.Wide(r))
	doc, err := render.JSON(r)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsAny(out, "\x1b") || bytes.ContainsAny(doc, "\x1b") {
		t.Errorf("%q", out)
	}
	if len(r.Findings) != 1 || r.Findings[0].Code != "oom.container" || r.Findings[0].Severity != "warning" {
		t.Errorf("%+v", r.Findings)
	}
}

// A process cannot lay its death at another cgroup's door by its name, nor make one
// up by what it writes into the log.
func TestNamesThatPointElsewhere(t *testing.T) {
	kill := func(comm string) string {
		return "6,1,1000,-;" + comm + " invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n" +
			"6,2,1001,-;memory: usage 1024kB, limit 1024kB, failcnt 5\n6,3,1002,-;swap: usage 0kB, limit 0kB, failcnt 0\n" +
			"6,4,1003,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/kubepods/d,task_memcg=/kubepods/d,task=" + comm + ",pid=7,uid=0\n" +
			"3,5,1004,-;Memory cgroup out of memory: Killed process 7 (" + comm + ") total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0\n"
	}
	user := "12,9,2000,-;app: oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/kubepods/c,task_memcg=/kubepods/c,task=x,pid=7,uid=0\n" +
		"12,10,2001,-;Memory cgroup out of memory: Killed process 7 (x) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0\n"
	for _, log := range []string{
		kill(",oom_memcg=/kub"), kill(`,task_memcg=/k`), kill(`\x0aoom_memcg=/k`), kill("limit of /kubep"), kill("/kubepods/c"), user,
	} {
		if _, codes := found(t, v2(log, nil), "/kubepods/c"); len(codes) != 1 || codes["anon.live"].Code == "" {
			t.Errorf("%q: %+v", log[:60], codes)
		}
		if above, _ := found(t, v2(log, nil), "/kubepods"); log != user && !slices.Equal(above, []string{"notice oom.container"}) {
			t.Errorf("%q: above it %q", log[:60], above)
		}
	}
}
