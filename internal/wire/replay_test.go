package wire

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/capture"
	"github.com/memwhy/memwhy/internal/explain"
	"github.com/memwhy/memwhy/internal/gather"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/render"
	"github.com/memwhy/memwhy/internal/report"
)

var update = flag.Bool("update", false, "rewrite the goldens")

func captures(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.capture")
	if err != nil || len(files) < 15 {
		t.Fatalf("%d captures, %v", len(files), err)
	}
	return files
}

// machines are the archives of the kernel matrix, one capture a lab.
func machines(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/labs/*.tar.gz")
	if err != nil || len(files) < 7 {
		t.Fatalf("%d machines, %v", len(files), err)
	}
	return files
}

func open(t *testing.T, from string) *Node {
	t.Helper()
	n, err := Open(context.Background(), Options{From: from})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// labs gives the captures of one machine by lab, in the order of the archive.
func labs(t *testing.T, file string) (names []string, nodes map[string]*Node) {
	t.Helper()
	nodes = map[string]*Node{}
	for name, b := range unpack(t, file) {
		if !strings.HasSuffix(name, ".capture") {
			continue
		}
		a, err := capture.Parse(b)
		if err != nil {
			t.Fatalf("%s: %s: %v", file, name, err)
		}
		name = strings.TrimSuffix(name, ".capture")
		names = append(names, name)
		nodes[name] = &Node{Source: a, ctx: context.Background()}
	}
	if len(names) < 20 {
		t.Fatalf("%s: %d labs", file, len(names))
	}
	return names, nodes
}

// unpack gives the files of an archive, in its order.
func unpack(t testing.TB, file string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if !yield(h.Name, b) {
				return
			}
		}
	}
}

// everyNode calls check with each recorded node.
func everyNode(t *testing.T, check func(t *testing.T, name string, n *Node)) {
	t.Helper()
	for _, file := range captures(t) {
		t.Run(filepath.Base(file), func(t *testing.T) { check(t, file, open(t, file)) })
	}
	for _, file := range machines(t) {
		names, nodes := labs(t, file)
		for _, name := range names {
			t.Run(filepath.Base(file)+"/"+name, func(t *testing.T) { check(t, file+"/"+name, nodes[name]) })
		}
	}
}

// raw reads a number straight out of a capture's answers, past the code under
// test.
func raw(t *testing.T, n *Node, file, key string) (int64, bool) {
	t.Helper()
	a := n.Ask(kernel.Question{Op: kernel.Read, Path: file, Max: 1 << 20})
	pattern := `(?m)^(\d+)$`
	if key != "" {
		pattern = `(?m)^` + key + ` (\d+)$`
	}
	m := regexp.MustCompile(pattern).FindSubmatch(a.Data)
	if m == nil {
		return 0, false
	}
	v, err := strconv.ParseInt(string(m[1]), 10, 64)
	return v, err == nil
}

// On every capture the leaves sum to the usage within the bound, the working
// set is cAdvisor's, and what the kernel cannot show is absent, not 0.
func TestCapturesBalance(t *testing.T) {
	everyNode(t, func(t *testing.T, file string, n *Node) {
		r, err := n.Explain("")
		if err != nil {
			t.Fatal(err)
		}
		dir := cgroupDir(r)
		var sum int64
		paths := map[string]bool{}
		for _, a := range r.Accounts {
			sum += a.Bytes
			paths[a.Path] = true
		}
		if sum != r.Numbers.UsageBytes {
			t.Errorf("leaves sum to %d, usage is %d", sum, r.Numbers.UsageBytes)
		}
		if b := r.Unexplained; b.BoundBytes == nil { // the tree came without the list of CPUs
			if r.Host.CPUs != nil || b.Bytes != 0 {
				t.Errorf("unexplained %+v", b)
			}
		} else if b.Bytes > *b.BoundBytes || -b.Bytes > *b.BoundBytes {
			t.Errorf("unexplained %+v", b)
		}
		checkWorkingSet(t, n, r, dir)
		checkChildren(t, r)
		if strings.Contains(file, "el7") {
			for _, never := range []string{"shmem", "sock", "kernel/percpu", "hugetlb", "anon/lazyfree"} {
				if paths[never] {
					t.Errorf("account %s, which el7 cannot show", never)
				}
			}
			if r.Host.Kernel != "" && r.Host.LRU != "classic" || r.Target.CgroupVersion != "v1" {
				t.Errorf("host %+v", r.Host)
			}
		}
	})
}

// What a pod consists of sums to it, class by class.
func checkChildren(t *testing.T, r *report.Report) {
	t.Helper()
	if (len(r.Children) > 0) != (r.Target.Kind == "pod") {
		t.Errorf("%d parts of a %s", len(r.Children), r.Target.Kind)
	}
	var sum int64
	for _, c := range r.Children {
		sum += c.UsageBytes
		var classes int64
		for _, bytes := range c.Accounts {
			classes += bytes
		}
		if classes != c.UsageBytes {
			t.Errorf("%s: classes sum to %d, not %d", c.Name, classes, c.UsageBytes)
		}
	}
	if len(r.Children) > 0 && sum != r.Numbers.UsageBytes {
		t.Errorf("parts sum to %d, the pod has %d", sum, r.Numbers.UsageBytes)
	}
}

func cgroupDir(r *report.Report) string {
	if r.Target.CgroupVersion == "v2" {
		return "/sys/fs/cgroup" + r.Target.Cgroup
	}
	return "/sys/fs/cgroup/memory" + r.Target.Cgroup
}

func checkWorkingSet(t *testing.T, n *Node, r *report.Report, dir string) {
	t.Helper()
	usageFile, key := "/memory.usage_in_bytes", "total_inactive_file"
	if r.Target.CgroupVersion == "v2" {
		usageFile, key = "/memory.current", "inactive_file"
	}
	usage, ok1 := raw(t, n, dir+usageFile, "")
	inactive, ok2 := raw(t, n, dir+"/memory.stat", key)
	if !ok1 || !ok2 {
		t.Fatalf("the capture lacks %s or %s", usageFile, key)
	}
	want := max(0, usage-inactive)
	if r.Numbers.WorkingSetBytes == nil || *r.Numbers.WorkingSetBytes != want {
		t.Errorf("working set %v, want %d - %d", r.Numbers.WorkingSetBytes, usage, inactive)
	}
}

// Every null has an entry in notSeen with the same key.
func TestNullsAreExplained(t *testing.T) {
	everyNode(t, func(t *testing.T, file string, n *Node) {
		r, err := n.Explain("")
		if err != nil {
			t.Fatal(err)
		}
		b, err := render.JSON(r)
		if err != nil {
			t.Fatal(err)
		}
		var doc any
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, n := range r.NotSeen {
			seen[n.Key] = true
		}
		for _, key := range nulls(doc, "") {
			if !seen[key] {
				t.Errorf("%s: %s is null and notSeen does not say why", file, key)
			}
		}
	})
}

func nulls(v any, at string) (keys []string) {
	switch v := v.(type) {
	case nil:
		return []string{at}
	case map[string]any:
		for k, x := range v {
			keys = append(keys, nulls(x, strings.TrimPrefix(at+"."+k, "."))...)
		}
	case []any:
		for i, x := range v {
			keys = append(keys, nulls(x, at+"["+strconv.Itoa(i)+"]")...)
		}
	}
	return keys
}

// examples are the captures whose reports the schema is tested against.
var examples = []string{"el7-1062-healthy", "el7-1062-leak", "el7-1062-memcg-oom", "el7-1062-pod-removed", "linux-6.18-v1-kinds"}

// The screens of all captures, as goldens.
func TestGoldens(t *testing.T) {
	for _, file := range captures(t) {
		n := open(t, file)
		r, err := n.Explain("")
		if err != nil {
			t.Fatal(err)
		}
		text := render.Text(r)
		checkScreen(t, file, text)
		l, err := n.List(Want{}, explain.Selection{Sort: explain.ByUnreclaimable})
		if err != nil {
			t.Fatal(err)
		}
		got := bytes.Join([][]byte{text, render.Wide(r), render.List(l, true)}, []byte("\n"))
		if name := strings.TrimSuffix(filepath.Base(file), ".capture"); slices.Contains(examples, name) {
			doc, err := render.JSON(r)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "../report/testdata/report-"+name+".json", doc)
		}
		golden(t, strings.TrimSuffix(file, ".capture")+".golden", got)
	}
}

// The screens of all labs on all kernels, one golden a machine.
func TestLabGoldens(t *testing.T) {
	for _, file := range machines(t) {
		names, nodes := labs(t, file)
		var got bytes.Buffer
		for _, name := range names {
			r, err := nodes[name].Explain("")
			if err != nil {
				t.Fatal(err)
			}
			text := render.Text(r)
			checkScreen(t, file+"/"+name, text)
			fmt.Fprintf(&got, "=== %s\n%s\n", name, text)
		}
		golden(t, strings.TrimSuffix(file, ".tar.gz")+".golden", got.Bytes())
	}
}

// The screen in the README is one that memwhy prints.
func TestReadmeShowsARealScreen(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	r, err := open(t, "testdata/el7-1062-healthy.capture").Explain("")
	if err != nil {
		t.Fatal(err)
	}
	if screen := render.Text(r); !bytes.Contains(readme, screen) {
		t.Errorf("README.md does not show this screen:\n%s", screen)
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

// One screen: at most 24 lines of at most 80 characters, none empty.
func checkScreen(t *testing.T, name string, text []byte) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) > render.Height {
		t.Errorf("%s: %d lines", name, len(lines))
	}
	for _, l := range lines {
		if len([]rune(l)) > render.Width || l == "" {
			t.Errorf("%s: line %q", name, l)
		}
	}
}

// Live and replayed answers are the same bytes, of every command and form.
func TestReplayIsTheSameBytes(t *testing.T) {
	everyNode(t, func(t *testing.T, file string, n *Node) {
		rec := capture.NewRecorder(n.Source)
		s, err := gather.Explain(rec, "", gather.Options{})
		if err != nil {
			t.Fatal(err)
		}
		a := rec.Archive(meta(s))
		var b bytes.Buffer
		if err := a.Write(&b); err != nil {
			t.Fatal(err)
		}
		again, err := capture.Parse(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		sameReports(t, file, &Node{Source: rec, ctx: context.Background()}, &Node{Source: again, ctx: context.Background()}, s.Target().Path)
	})
}

func sameReports(t *testing.T, name string, first, second *Node, target string) {
	t.Helper()
	r1, err1 := first.Explain(target)
	r2, err2 := second.Explain("")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	for form, f := range map[string]func(*report.Report) []byte{
		"text": render.Text, "wide": render.Wide,
		"json": func(r *report.Report) []byte { b, _ := render.JSON(r); return b },
		"yaml": func(r *report.Report) []byte { b, _ := render.YAML(r); return b },
	} {
		if d := cmp.Diff(string(f(r1)), string(f(r2))); d != "" || len(f(r1)) == 0 {
			t.Errorf("%s: %s differs:\n%s", name, form, d)
		}
	}
}
