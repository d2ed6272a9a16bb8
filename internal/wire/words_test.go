package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/memwhy/memwhy/internal/diagnose"
	"github.com/memwhy/memwhy/internal/explain"
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
	everyNode(t, func(t *testing.T, file string, n *Node) {
		docs := func(p words.Printer) (docs []any) {
			n.words = p
			r, err := n.Explain("")
			if err != nil {
				t.Fatal(err)
			}
			whole, err := n.Whole()
			if err != nil {
				t.Fatal(err)
			}
			list, err := n.List(Want{All: true}, explain.Selection{Sort: explain.ByUsage})
			if err != nil {
				t.Fatal(err)
			}
			faults, err := n.Advisories()
			if err != nil {
				t.Fatal(err)
			}
			for _, doc := range []any{r, whole, list, faults} {
				b, err := json.Marshal(doc)
				if err != nil {
					t.Fatal(err)
				}
				var v any
				if err := json.Unmarshal(b, &v); err != nil {
					t.Fatal(err)
				}
				docs = append(docs, v)
			}
			return docs
		}
		en, zh := docs(words.Printer{}), docs(words.In(words.Chinese))
		for i := range en {
			doc := zh[i].(map[string]any)
			if doc["lang"] != words.Chinese || !han(fmt.Sprint(doc)) {
				t.Errorf("%s: %v is not in Chinese", file, doc["schema"])
			}
			delete(doc, "lang")
			for _, diff := range differences(en[i], zh[i], fmt.Sprint(doc["schema"])) {
				t.Errorf("%s: %s", file, diff)
			}
		}
	})
}

func han(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(unicode.Han, r) })
}

// differences are those of two documents but that one says in Chinese what the other
// says in English.
func differences(en, zh any, at string) (all []string) {
	switch e := en.(type) {
	case map[string]any:
		z, ok := zh.(map[string]any)
		if !ok || !slices.Equal(slices.Sorted(maps.Keys(e)), slices.Sorted(maps.Keys(z))) {
			return []string{at + ": other keys"}
		}
		for key := range e {
			all = append(all, differences(e[key], z[key], at+"."+key)...)
		}
	case []any:
		z, ok := zh.([]any)
		if !ok || len(e) != len(z) {
			return []string{at + ": another length"}
		}
		for i := range e {
			all = append(all, differences(e[i], z[i], fmt.Sprintf("%s[%d]", at, i))...)
		}
	case string:
		if z, ok := zh.(string); !ok || z != e && (!han(z) || !strings.Contains(e, " ") && !strings.HasSuffix(at, ".cost")) {
			all = append(all, fmt.Sprintf("%s: %q and %q", at, e, zh))
		}
	default:
		if en != zh {
			all = append(all, fmt.Sprintf("%s: %v and %v", at, en, zh))
		}
	}
	return all
}

// On every recorded node the screens keep to their size in Chinese too, where a
// character takes two columns, and no sentence of them is left in English.
func TestChineseScreensFit(t *testing.T) {
	everyNode(t, func(t *testing.T, file string, n *Node) {
		n.words = words.In(words.Chinese)
		r, err := n.Explain("")
		if err != nil {
			t.Fatal(err)
		}
		node, err := n.Whole()
		if err != nil {
			t.Fatal(err)
		}
		list, err := n.List(Want{All: true}, explain.Selection{Sort: explain.ByUsage})
		if err != nil {
			t.Fatal(err)
		}
		for name, screen := range map[string][]byte{"explain": render.Text(r), "node": render.Node(node)} {
			if lines := bytes.Count(screen, []byte("\n")); lines > render.Height {
				t.Errorf("%s %s: %d lines", file, name, lines)
			}
		}
		for name, screen := range map[string][]byte{"explain": render.Text(r), "node": render.Node(node), "dying": render.Dying(node, false), "ps": render.List(list, false)} {
			for line := range strings.Lines(string(screen)) {
				if at := strings.LastIndex(line, " /"); name == "ps" && at > 0 {
					line = line[:at] // a name is whole, however long
				}
				width := -1
				for _, c := range line {
					if width++; c >= 0x2e80 {
						width++
					}
				}
				if width > render.Width {
					t.Errorf("%s %s: %d columns: %q", file, name, width, line)
				}
			}
		}
		for _, text := range sentences(r) {
			// Commands are the same, and what the census doubts a capture has in English.
			if english.MatchString(text) && !strings.HasPrefix(text, "memwhy ") && !strings.HasPrefix(text, "逐页统计：") {
				t.Errorf("%s: %q", file, text)
			}
		}
	})
}

// english are four words in a row, as no name and no command has them.
var english = regexp.MustCompile(`\b[a-z]+ [a-z]+ [a-z]+ [a-z]+\b`)

// sentences are what a report says of its own.
func sentences(r *report.Report) []string {
	all := append([]string{r.Verdict.Text, r.Risks.Kill.Because, r.Risks.Evict.Because, r.Risks.Throttle.Because}, r.Doubts...)
	for _, f := range r.Findings {
		all = append(all, f.Title)
		for _, e := range f.Evidence {
			all = append(all, e.Statement)
		}
		for _, d := range f.Remedies {
			all = append(all, d.Command, d.Cost)
		}
	}
	for _, s := range r.Suspicions {
		all = append(all, s.Because)
	}
	for _, s := range r.Says {
		all = append(all, s.Note)
	}
	for _, n := range r.NotSeen {
		all = append(all, n.WouldShow)
	}
	for _, a := range r.Advisories {
		all = append(all, a.Title)
		for _, e := range a.Evidence {
			all = append(all, e.Statement)
		}
	}
	return all
}
