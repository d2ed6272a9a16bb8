package diagnose

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite docs/codes.md")

const page = "../../docs/codes.md"

// docs/codes.md is made of the rules.
func TestDocs(t *testing.T) {
	got := document()
	if *update {
		if err := os.WriteFile(page, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s is not what the rules say; go test ./internal/diagnose -update rewrites it (-want +got):\n%s", page, d)
	}
}

const preface = `# Codes of findings

What ` + "`findings[]`" + ` of a report can be, and the lines in capitals on the screen of
` + "`memwhy explain`" + `. Made from the rules in ` + "`internal/diagnose`" + `, one file each;
` + "`memwhy codes CODE`" + ` prints one. On a healthy target nothing is above info. Confidence
is high only where the evidence excludes the rivals. A finding that is a sign, a
condition or a consequence of another is ` + "`partOf`" + ` it, and not on the screen.

`

func document() string {
	var b strings.Builder
	b.WriteString(preface + "| code | means |\n|---|---|\n")
	for _, r := range Rules() {
		fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", named(r), strings.NewReplacer(".", "", "/", "", "<", "", ">", "").Replace(named(r)), r.Title)
	}
	for _, r := range Rules() {
		fmt.Fprintf(&b, "\n## %s\n\n**%s.** %s\n\n", named(r), r.Title, text(r.Doc.Means))
		fmt.Fprintf(&b, "- *Grades*: %s\n- *Needs*: %s\n- *Bytes are null when* %s.\n", text(r.Doc.Grades), text(strings.Join(r.Doc.Needs, "; ")), text(r.NoBytes))
		fmt.Fprintf(&b, "- *Whose cure*: %s\n- *What to do*:\n", text(r.Doc.Owner))
		for _, d := range r.Doc.Do {
			fmt.Fprintf(&b, "  - %s\n", text(d))
		}
		fmt.Fprintf(&b, "- *Where the story is wrong*: %s\n\n```\n%s\n```\n", text(r.Doc.Stories), strings.Join(r.Doc.Verify, "\n"))
	}
	return b.String()
}

func named(r Rule) string {
	if strings.HasSuffix(r.Code, "/") {
		return r.Code + "ID"
	}
	return r.Code
}

// text escapes what Markdown would take for its own.
func text(s string) string {
	return strings.NewReplacer("<", "&lt;", "*", `\*`, "_", `\_`, "|", `\|`).Replace(s)
}

// Every rule says all that its page has.
func TestRulesAreDocumented(t *testing.T) {
	var codes []string
	for _, r := range Rules() {
		codes = append(codes, r.Code)
		d := r.Doc
		if r.Title == "" || r.NoBytes == "" || d.Means == "" || d.Grades == "" || d.Owner == "" || d.Stories == "" ||
			len(d.Needs) == 0 || len(d.Verify) == 0 || len(d.Do) == 0 || r.find == nil {
			t.Errorf("%s: not all of it is there: %+v", r.Code, r)
		}
		if got, ok := Of(r.Code); !ok || got.Code != r.Code {
			t.Errorf("%s is not found by its code", r.Code)
		}
	}
	if !slices.IsSorted(codes) || len(slices.Compact(codes)) != len(Rules()) {
		t.Errorf("codes %q", codes)
	}
	if r, ok := Of(advisoryCode + slabLeak); !ok || r.Code != advisoryCode {
		t.Error("an advisory's code is not found")
	}
	for _, code := range []string{"", "oom", "oom.", advisoryCode + "none", "kernel.advisory"} {
		if _, ok := Of(code); ok {
			t.Errorf("%q passes for a code", code)
		}
	}
}
