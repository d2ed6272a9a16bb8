package wire

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/advisory"
	"github.com/memwhy/memwhy/internal/capture"
	"github.com/memwhy/memwhy/internal/explain"
	"github.com/memwhy/memwhy/internal/gather"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/render"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// trees makes testdata/advisories/*.tar.gz anew, from a folder of recorded trees
// of el7 kernels (KERNEL/SCENARIO/...): of each what advisories ask, and explain of
// its containers, or of the cgroups that there are, no more.
var trees = flag.String("trees", "", "a folder of recorded trees")

func TestRecordTrees(t *testing.T) {
	if *trees == "" {
		t.Skip("no -trees")
	}
	kernels, err := filepath.Glob(filepath.Join(*trees, "3.10.0-*"))
	if err != nil || len(kernels) == 0 {
		t.Fatal(kernels, err)
	}
	for _, dir := range kernels {
		var leaks, others []string
		for _, name := range scenarios(t, dir) {
			if strings.HasPrefix(name, "leak") {
				leaks = append(leaks, name)
			} else {
				others = append(others, name)
			}
		}
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), "3.10.0-"), ".el7.x86_64")
		pack(t, "testdata/advisories/el7-"+name+".tar.gz", dir, others)
		if len(leaks) > 0 {
			pack(t, "testdata/advisories/el7-"+name+"-leaks.tar.gz", dir, leaks)
		}
	}
}

func pack(t *testing.T, file, dir string, names []string) {
	t.Helper()
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, name := range names {
		src, err := capture.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		rec := capture.NewRecorder(src)
		s := gather.Node(rec, gather.Options{})
		for _, target := range targets(rec) {
			if _, err := gather.Explain(rec, target, gather.Options{}); err != nil {
				t.Logf("%s: %s: %v", dir, name, err)
			}
		}
		a, err := rec.Archive(meta(s)).Prepare(false, false)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := a.Write(&b); err != nil {
			t.Fatal(err)
		}
		h := &tar.Header{Name: name + ".capture", Mode: 0o644, Size: int64(b.Len()), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// targets are what explain would name when it is not told which.
func targets(src kernel.Source) []string {
	_, err := gather.Explain(src, "", gather.Options{})
	var e *gather.TargetError
	if errors.As(err, &e) {
		return e.Candidates
	}
	return []string{""}
}

// scenarios are the trees below dir: what holds a proc.
func scenarios(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "proc" {
			rel, err := filepath.Rel(dir, filepath.Dir(p))
			names = append(names, rel)
			return errFirst(err, filepath.SkipDir)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func errFirst(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// el7 gives the recorded el7 nodes by kernel and scenario.
func el7(t testing.TB) map[string]*capture.Archive {
	t.Helper()
	files, err := filepath.Glob("testdata/advisories/*.tar.gz")
	if err != nil || len(files) != 6 {
		t.Fatalf("%d archives, %v", len(files), err)
	}
	all := map[string]*capture.Archive{}
	for _, file := range files {
		for name, b := range unpack(t, file) {
			a, err := capture.Parse(b)
			if err != nil {
				t.Fatalf("%s: %s: %v", file, name, err)
			}
			build := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "el7-"), ".tar.gz")
			build = strings.TrimSuffix(build, "-leaks")
			all[build+"/"+strings.TrimSuffix(name, ".capture")] = a
		}
	}
	return all
}

func node(src kernel.Source) *Node {
	return &Node{Source: src, ctx: context.Background(), close: func() {}}
}

func judged(t testing.TB, n *Node) (*report.Advisories, map[string]report.Advisory) {
	t.Helper()
	r, err := n.Advisories()
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]report.Advisory{}
	for _, a := range r.Advisories {
		by[a.ID] = a
		if len(a.Evidence) == 0 {
			t.Errorf("%s: %s without evidence", a.ID, a.Verdict)
		}
		for _, e := range a.Evidence {
			if e.Statement == "" || e.Source == "" {
				t.Errorf("%s: evidence %+v", a.ID, e)
			}
		}
	}
	return r, by
}

const (
	slabLeak   = "el7-kmem-slab-leak"
	exhaustion = "el7-memcg-id-exhaustion"
	defaultOn  = "runc-kmem-default-on"
	hides      = "el7-proc-cgroups-hides-leak"
)

// The answers about real el7 nodes. V is version-and-evidence, o version-only, m
// mitigated, ? unknown, of the slab leak, the ids and kernel memory accounting;
// then whatever else is seen to bite.
func TestRealNodes(t *testing.T) {
	want := map[string]string{
		"514/healthy":                                  "ooV",
		"514/nokmem-ignored":                           "VVV el7-nokmem-param-ignored " + hides,
		"1062/global-oom":                              "ooV",
		"1062/healthy":                                 "ooV",
		"1062/id-exhaustion":                           "oVV",
		"1062/kmem-limit":                              "ooV el7-kmem-not-reclaimable",
		"1062/kmem-not-activated/after":                "mmm",
		"1062/kmem-oom/after":                          "ooV el7-kmem-not-reclaimable",
		"1062/kmem-oom/before-kill":                    "ooV el7-kmem-not-reclaimable",
		"1062/leak-42000/exhausted":                    "VVV " + hides,
		"1062/leak-files-kept/after":                   "VVV " + hides,
		"1062/leak-files-kept/after-drop":              "VVV " + hides,
		"1062/leak-files-kept/before":                  "oo?",
		"1062/leak/after":                              "VVV " + hides,
		"1062/leak/after-drop":                         "VVV " + hides,
		"1062/leak/before":                             "oo?",
		"1062/memcg-oom/container-limit":               "ooV",
		"1062/memcg-oom/pod-limit":                     "ooV",
		"1062/nokmem":                                  "mmm nokmem-side-effects",
		"1062/retained-cache/3-after":                  "ooV",
		"1062/retained-cache/7-pod-removed":            "???",
		"1127/healthy":                                 "moV",
		"1127/kmem-charge-dentries-no-oom/after":       "moV",
		"1127/kmem-charge-dentries-no-oom/before-kill": "moV",
		"1127/leak/after":                              "moV",
		"1127/leak/after-drop":                         "moV",
		"1127/leak/before":                             "mo?",
		"1160/healthy":                                 "moV el7-1160-total-events-wrong",
	}
	all := el7(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		r, by := judged(t, node(all[name]))
		letters := map[string]string{"version-and-evidence": "V", "version-only": "o", "mitigated": "m", "unknown": "?"}
		got := letters[by[slabLeak].Verdict] + letters[by[exhaustion].Verdict] + letters[by[defaultOn].Verdict]
		var more []string
		for _, a := range r.Advisories {
			if strings.Contains(a.Verdict, "evidence") && a.ID != slabLeak && a.ID != exhaustion && a.ID != defaultOn {
				more = append(more, a.ID)
			}
		}
		slices.Sort(more)
		if got = strings.TrimSpace(got + " " + strings.Join(more, " ")); got != want[name] {
			t.Errorf("%s: %s, want %s", name, got, want[name])
		}
	}
	if len(all) != len(want) {
		t.Errorf("%d nodes, want %d", len(all), len(want))
	}
}

// What is printed of two leaking nodes, and of one advisory.
func TestAdvisoriesGolden(t *testing.T) {
	all := el7(t)
	for name, file := range map[string]string{"1062/leak/after": "el7-1062-leak", "514/nokmem-ignored": "el7-514-nokmem-ignored"} {
		r, _ := judged(t, node(all[name]))
		golden(t, "testdata/advisories/"+file+".golden", render.Advisories(r, true))
	}
	a, err := advisory.Load(slabLeak)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/advisories/show.golden", render.Advisory(words.Printer{}, a))
}

func statements(a report.Advisory) string {
	var b strings.Builder
	for _, e := range a.Evidence {
		fmt.Fprintf(&b, "%s [%s: %s]\n", e.Statement, e.Source, e.Value)
	}
	return b.String()
}

// The numbers are those that were counted on the nodes.
func TestNumbersOfTheLeaks(t *testing.T) {
	all := el7(t)
	for _, c := range []struct{ node, id, want string }{
		{"1062/leak/after", slabLeak, "101 removed cgroups own slab clones"},
		{"1062/leak/after", slabLeak, "148 names CACHE(N:CGROUP) of 101 owners"},
		{"1062/leak/after", slabLeak, "kmem_cache: 320 active objects"},
		{"1062/leak/after-drop", slabLeak, "101 removed cgroups"},
		{"1062/leak-42000/exhausted", slabLeak, "kmem_cache: 56048 active objects"},
		{"1062/leak/after", hides, "num_cgroups says 7"},
		{"1127/leak/after", slabLeak, "6 removed cgroups"},
		{"514/nokmem-ignored", "el7-nokmem-param-ignored", "is on the kernel's command line"},
		{"514/nokmem-ignored", "el7-nokmem-param-ignored", "kernel memory accounting is on"},
		{"514/nokmem-ignored", slabLeak, "1361 names CACHE(N:CGROUP) of 82 owners"},
		{"1062/nokmem", slabLeak, "cgroup.memory=nokmem is on the kernel's command line and in effect"},
		{"1062/id-exhaustion", exhaustion, "at least 65252 of 65534 ids are taken"},
	} {
		_, by := judged(t, node(all[c.node]))
		if text := statements(by[c.id]); !strings.Contains(text, c.want) {
			t.Errorf("%s, %s: no %q in\n%s", c.node, c.id, c.want, text)
		}
	}
}

// On nodes that have none of it, nothing is said to be seen.
func TestOtherNodesAreSilent(t *testing.T) {
	everyNode(t, func(t *testing.T, file string, n *Node) {
		if strings.Contains(file, "el7") {
			return
		}
		r, by := judged(t, n)
		for _, a := range r.Advisories {
			if strings.Contains(a.Verdict, "evidence") {
				t.Errorf("%s: %s\n%s", a.ID, a.Verdict, statements(by[a.ID]))
			}
		}
	})
}

// A redacted recording gives the same verdicts and numbers, and none of the
// names.
func TestRedactedAdvisories(t *testing.T) {
	a := el7(t)["1062/leak/after"]
	_, plain := judged(t, node(a))
	n := node(a)
	n.redact = true
	_, hidden := judged(t, n)
	for id, p := range plain {
		if h := hidden[id]; h.Verdict != p.Verdict || len(h.Evidence) != len(p.Evidence) {
			t.Errorf("%s: %s redacted, %s plain\n%s", id, h.Verdict, p.Verdict, statements(h))
		}
	}
	rec := capture.NewRecorder(a)
	s := gather.Node(rec, gather.Options{})
	out, err := rec.Archive(meta(s)).Prepare(true, false)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := out.Write(&b); err != nil {
		t.Fatal(err)
	}
	names := 0
	for _, o := range s.Kmem.Clones.Value.Owners {
		names++
		if bytes.Contains(b.Bytes(), []byte(o.Name)) {
			t.Errorf("%s is still there", o.Name)
		}
	}
	if names != 101 {
		t.Errorf("%d owners", names)
	}
}

// How an old kernel says that accounting is off survives redaction.
func TestRedactedAccounting(t *testing.T) {
	n := node(el7(t)["1062/nokmem"])
	n.redact = true
	_, by := judged(t, n)
	for _, id := range []string{slabLeak, exhaustion, defaultOn} {
		if a := by[id]; a.Verdict != "mitigated" {
			t.Errorf("%s: %s\n%s", id, a.Verdict, statements(a))
		}
	}
}

// Signs on a kernel that does not say what it is are told as such.
func TestSignsOfAnUnknownKernel(t *testing.T) {
	for _, release := range []string{"", "3.10.0-1062.el7.x86_64.mine\n"} {
		f := centos(200, nil)
		f["read /proc/sys/kernel/osrelease"] = release
		_, by := judged(t, node(f))
		for _, id := range []string{slabLeak, exhaustion} {
			if a := by[id]; a.Verdict != "evidence-despite-version" || !strings.Contains(statements(a), "200 removed cgroups") {
				t.Errorf("%q, %s: %s\n%s", release, id, a.Verdict, statements(a))
			}
		}
	}
}

// What is searched for in executables is what decides.
func TestMarksAreUnderstood(t *testing.T) {
	for text, nokmem := range map[string]bool{kernel.TextKmemOff: true, kernel.TextKmemFile: true, kernel.TextTag: true, kernel.TextKmemOn: false} {
		var b snapshot.Build
		b.Marks.State, b.Marks.Value.Texts = snapshot.Present, []string{text}
		if known, got := advisory.Nokmem(b); !known || got != nokmem {
			t.Errorf("%q: %v %v", text, known, got)
		}
	}
}

// fake answers from a table; the rest is Absent.
type fake map[string]string

func (f fake) Origin() kernel.Origin { return kernel.Origin{Replay: true, PageSize: 4096} }

func (f fake) Ask(q kernel.Question) kernel.Answer {
	v, ok := f[string(q.Op)+" "+q.Path]
	if !ok {
		return kernel.Answer{State: snapshot.Absent, Err: "no such file"}
	}
	return kernel.Answer{State: snapshot.Present, Data: []byte(v)}
}

// centos is a node of which little is known, with hostile names among the
// clones.
func centos(clones int, marks map[string]string) fake {
	var slab strings.Builder
	slab.WriteString("dentry\x00:t-0000192\x00evil(\x00(:)\x00x(99999999999999999999:y)\x00")
	for i := range clones {
		fmt.Fprintf(&slab, "dentry(%d:a)(b:\x1b[2J%d\n)\x00", i, i/2*2)
	}
	f := fake{
		"read /proc/self/mountinfo":               "30 20 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
		"read /proc/sys/kernel/osrelease":         "3.10.0-957.el7.x86_64\n",
		"read /proc/cgroups":                      "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t1\t2\t1\n",
		"read /proc/cmdline":                      "ro\n",
		"names /sys/kernel/slab":                  slab.String(),
		"list /sys/fs/cgroup/memory":              "system.slice\x00",
		"list /sys/fs/cgroup/memory/system.slice": "",
		"read /sys/fs/cgroup/memory/cgroup.procs": "7\n",
		"read /proc/7/comm":                       "kubelet\n",
	}
	for file, text := range marks {
		f["marks "+file] = text
	}
	return f
}

func TestHugeAndHostileListing(t *testing.T) {
	r, by := judged(t, node(centos(60_000, nil)))
	if a := by[slabLeak]; a.Verdict != "version-and-evidence" || !strings.Contains(statements(a), "60000 removed cgroups") {
		t.Errorf("%s\n%s", a.Verdict, statements(a))
	}
	if out := render.Advisories(r, true); bytes.ContainsAny(out, "\x1b\r") {
		t.Errorf("%q", out)
	}
}

// A node without ids: all its directories are compared by name, which the tree of
// 1062/id-exhaustion does not have.
func TestExhaustedNode(t *testing.T) {
	f := centos(182, nil)
	f["read /proc/cgroups"] = "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t1\t65252\t1\n"
	var dirs strings.Builder
	for i := range 65_250 {
		fmt.Fprintf(&dirs, "d%d\x00", i)
		f[fmt.Sprintf("list /sys/fs/cgroup/memory/system.slice/d%d", i)] = ""
	}
	f["list /sys/fs/cgroup/memory/system.slice"] = dirs.String()
	_, by := judged(t, node(f))
	if a := by[exhaustion]; a.Verdict != "version-and-evidence" || !strings.Contains(statements(a), "at least 65434 of 65534 ids are taken (65252 live and at least 182 dead") {
		t.Errorf("%s\n%s", a.Verdict, statements(a))
	}
	if a := by[slabLeak]; a.Verdict != "version-and-evidence" || !strings.Contains(statements(a), "182 removed cgroups own slab") {
		t.Errorf("%s\n%s", a.Verdict, statements(a))
	}
}

// Without a container, what kubelet and runc were built with decides, both.
func TestBuildsDecide(t *testing.T) {
	const without, with = "go go1.13\ntext kmem_disabled.go\n", "go go1.13\ntext cgroups/fs/kmem.go\n"
	for _, c := range []struct{ kubelet, runc, want, says string }{
		{without, without, "mitigated", "kubelet was built with the tag nokmem"},
		{without, with, "version-and-evidence", "runc was built without the tag"},
		{with, without, "version-and-evidence", "kubelet was built without the tag"},
		{without, "go go1.13\n", "unknown", "runc does not say whether"},
		{"go go1.20\nsettings\n", without, "unknown", "no trace"},
		{"go go1.20\nsettings\ntext -tags=nokmem\n", without, "mitigated", "kubelet was built with"},
		{"", "", "unknown", "cannot be told"},
	} {
		marks := map[string]string{}
		if c.kubelet != "" {
			marks["/proc/7/exe"], marks["/usr/sbin/runc"] = c.kubelet, c.runc
		}
		_, by := judged(t, node(centos(0, marks)))
		if a := by[defaultOn]; a.Verdict != c.want || !strings.Contains(statements(a), c.says) {
			t.Errorf("%+v: %s\n%s", c, a.Verdict, statements(a))
		}
	}
}

// Empty files are no evidence of anything.
func TestEmptyNode(t *testing.T) {
	f := centos(0, nil)
	for k := range f {
		if k != "read /proc/self/mountinfo" {
			f[k] = ""
		}
	}
	r, _ := judged(t, node(f))
	for _, a := range r.Advisories {
		if strings.Contains(a.Verdict, "evidence") || a.Verdict == "mitigated" {
			t.Errorf("%s: %s\n%s", a.ID, a.Verdict, statements(a))
		}
	}
	judged(t, node(fake{}))
}

func BenchmarkAdvisories(b *testing.B) {
	s := gather.Node(el7(b)["514/nokmem-ignored"], gather.Options{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := explain.Advisories(words.Printer{}, s); err != nil {
			b.Fatal(err)
		}
	}
}
