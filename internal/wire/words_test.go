package wire

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/memwhy/memwhy/internal/diagnose"
	"github.com/memwhy/memwhy/internal/render"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/words"
)

func chinese(t *testing.T, capture string) *report.Report {
	t.Helper()
	n, err := Open(context.Background(), Options{From: "testdata/" + capture + ".capture", Words: words.In(words.Chinese)})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	r, err := n.Explain("")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The screens in Chinese, and the long text of codes.
func TestChinese(t *testing.T) {
	var got [][]byte
	for _, capture := range []string{"el7-1062-healthy", "el7-1062-leak", "el7-1062-kmem-limit"} {
		screen := render.Text(chinese(t, capture))
		if lines := strings.Count(string(screen), "\n"); lines > render.Height {
			t.Errorf("%s: %d lines", capture, lines)
		}
		got = append(got, screen)
	}
	for _, code := range []string{"cache.cold", "cgroup.ids", "tmpfs.held"} {
		r, ok := diagnose.Of(code)
		if !ok {
			t.Fatal(code)
		}
		got = append(got, render.Code(words.In(words.Chinese), r))
	}
	golden(t, "testdata/chinese.golden", bytes.Join(got, []byte("\n")))
	readme, err := os.ReadFile("../../README.zh.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(readme, got[0]) {
		t.Errorf("README.zh.md does not show this screen:\n%s", got[0])
	}
}

// In JSON the sentences are Chinese; codes, keys, enumerations and numbers are the
// same as in English.
func TestChineseJSON(t *testing.T) {
	for _, capture := range []string{"el7-1062-healthy", "el7-1062-leak", "el7-1062-kmem-limit"} {
		zh := chinese(t, capture)
		en, err := open(t, "testdata/"+capture+".capture").Explain("")
		if err != nil {
			t.Fatal(err)
		}
		if en.Lang != "" || zh.Lang != words.Chinese {
			t.Errorf("lang %q and %q", en.Lang, zh.Lang)
		}
		for _, text := range []string{zh.Risks.Kill.Because, zh.Risks.Evict.Because, zh.Suspicions[0].Because, zh.NotSeen[0].WouldShow} {
			if !strings.ContainsFunc(text, func(r rune) bool { return unicode.Is(unicode.Han, r) }) {
				t.Errorf("%s: %q is not Chinese", capture, text)
			}
		}
		if a, b := bare(en), bare(zh); !slices.Equal(a, b) {
			t.Errorf("%s: codes and numbers differ:\n%q\n%q", capture, a, b)
		}
	}
}

// bare are codes, enumerations and amounts of a report.
func bare(r *report.Report) (all []string) {
	for _, f := range r.Findings {
		all = append(all, f.Code, f.Severity, f.Confidence, f.PartOf)
		for _, e := range f.Evidence {
			all = append(all, e.Source)
		}
		for _, d := range f.Remedies {
			all = append(all, d.Kind)
		}
	}
	for _, s := range r.Suspicions {
		all = append(all, s.ID, s.Answer)
	}
	for _, s := range r.Says {
		all = append(all, s.Tool)
	}
	for _, n := range r.NotSeen {
		all = append(all, n.Key, n.Source, n.State)
	}
	return append(all, r.Verdict.Code, r.Verdict.Account, r.Verdict.Reclaim, r.Risks.Kill.Level, r.Risks.Throttle.Level)
}
