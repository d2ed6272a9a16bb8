package e2e

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What moves is told by its shape, with the process and the kind of mappings that
// grew; what stands still, stops, or goes up and down is no leak.
func TestWatch(t *testing.T) {
	h := memory(t)
	for _, c := range []struct {
		way         string
		watch       string
		found       string // code that has to be there
		not         string // codes that must not
		words       string // of its title
		churn, leak string // answers, one of which it has to be; empty: whichever
	}{
		{"leak-mmap", "3s", "anon.leak", "cache.idle-held", "in mappings without a name", "", "likely"},
		{"leak-heap", "3s", "anon.leak", "cache.idle-held", "in heap", "", "likely"},
		{"leak-copies", "3s", "anon.leak", "", "/copied", "", "likely"},
		{"plateau", "4s", "", "anon.leak anon.churn", "", "ruled-out", "unlikely"},
		{"sawtooth", "4s", "", "anon.leak", "", "", "unlikely"},
		{"churn", "3s", "anon.churn", "anon.leak", "freed again", "", "unlikely cannot-tell"},
		{"idle", "3s", "cache.idle-held", "anon.leak anon.churn cache.cold", "did not touch within", "ruled-out", "unlikely"},
		{"reads", "3s", "cache.cold", "anon.leak cache.idle-held", "", "", "unlikely"},
	} {
		t.Run(c.way, func(t *testing.T) {
			t.Parallel()
			cgroup, dir := h.group(t, unique(c.way))
			files := t.TempDir()
			actorIn(t, nil, dir, "moving", c.way, files)
			if c.way == "idle" || c.way == "reads" {
				time.Sleep(2 * time.Second) // for the file to be there, and on its disk
			}
			out := run(t, "explain", cgroup, "--watch", c.watch, "-o", "json").want(t, 0).out
			var r struct {
				Findings   []struct{ Code, Title string }
				Suspicions []struct{ ID, Answer, Because string }
				Trend      struct {
					Lines []struct{ Path, Shape string }
				}
			}
			if err := json.Unmarshal([]byte(out), &r); err != nil {
				t.Fatal(err)
			}
			titles := map[string]string{}
			for _, f := range r.Findings {
				titles[f.Code] = f.Title
			}
			if title, ok := titles[c.found]; c.found != "" && (!ok || !strings.Contains(title, c.words)) {
				t.Errorf("%s is not found, or without %q: %v %+v", c.found, c.words, titles, r.Trend.Lines)
			}
			for _, code := range strings.Fields(c.not) {
				if title, ok := titles[code]; ok {
					t.Errorf("%s is found: %s %+v", code, title, r.Trend.Lines)
				}
			}
			for i, want := range []string{c.churn, c.leak} {
				if s := r.Suspicions[i]; want != "" && !slices.Contains(strings.Fields(want), s.Answer) {
					t.Errorf("%+v, want %s; %+v", s, want, r.Trend.Lines)
				}
			}
		})
	}
}

// A watch is recorded, and its recording says the same.
func TestWatchIsRecorded(t *testing.T) {
	h := memory(t)
	cgroup, dir := h.group(t, unique("recorded"))
	actorIn(t, nil, dir, "moving", "leak-mmap", t.TempDir())
	file := filepath.Join(t.TempDir(), "c")
	run(t, "capture", cgroup, "--watch", "2s", "-o", file).want(t, 0)
	tells(t, run(t, "explain", "--from", file, "-o", "wide"), "anon.leak", "OVER TIME, 2.", "watched")
	later := filepath.Join(t.TempDir(), "d")
	run(t, "capture", cgroup, "-o", later).want(t, 0)
	tells(t, run(t, "explain", "--from", later, "--since", file, "-o", "wide"), "anon.leak", "two captures")
	run(t, "explain", "--from", file, "--since", later).want(t, 2)
}
