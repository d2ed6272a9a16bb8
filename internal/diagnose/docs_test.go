package diagnose

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/words"
)

var update = flag.Bool("update", false, "rewrite docs/codes.md and docs/codes.zh.md")

// docs/codes.md and docs/codes.zh.md are made of the rules.
func TestDocs(t *testing.T) {
	samePage(t, "../../docs/codes.md", preface+document(words.Printer{}, english))
	samePage(t, "../../docs/codes.zh.md", prefaceChinese+document(words.In(words.Chinese), chinese))
}

func samePage(t *testing.T, page, got string) {
	t.Helper()
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

const prefaceChinese = `# 结论代码

报告中 ` + "`findings[]`" + ` 可能出现的代码，也就是 ` + "`memwhy explain`" + ` 屏幕上大写开头的那些行。
由 ` + "`internal/diagnose`" + ` 中的规则生成，每条规则一个文件；` + "`memwhy codes CODE --lang zh`" + ` 打印其中一条。
健康的目标上不会有高于 info 的结论。只有证据排除了其他可能，置信度才会是 high。若某条结论是
另一条的征象、条件或后果，则以 ` + "`partOf`" + ` 标明，并且不上屏幕。

`

// headings of a page, in order of their use.
type headings struct{ code, means, grades, needs, null, owner, do, stories, stop, between string }

var (
	english = headings{"code", "means", "*Grades*: ", "*Needs*: ", "*Bytes are null when* %s.", "*Whose cure*: ", "*What to do*:", "*Where the story is wrong*: ", ".", "; "}
	chinese = headings{"代码", "含义", "*分级*：", "*需要读取*：", "*字节数为 null 的原因*：%s。", "*由谁处理*：", "*怎么办*：", "*流传说法错在哪里*：", "。", "；"}
)

func document(say words.Printer, h headings) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | %s |\n|---|---|\n", h.code, h.means)
	for _, r := range Rules() {
		fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", named(r), strings.NewReplacer(".", "", "/", "", "<", "", ">", "").Replace(named(r)), say.Of(r.Title))
	}
	for _, r := range Rules() {
		d := r.Doc
		fmt.Fprintf(&b, "\n## %s\n\n**%s%s** %s\n\n", named(r), say.Of(r.Title), h.stop, text(say.Of(d.Means)))
		fmt.Fprintf(&b, "- %s%s\n- %s%s\n- "+h.null+"\n", h.grades, text(say.Of(d.Grades)), h.needs, text(strings.Join(all(say, d.Needs), h.between)), text(say.Of(r.NoBytes)))
		fmt.Fprintf(&b, "- %s%s\n- %s\n", h.owner, text(say.Of(d.Owner)), h.do)
		for _, x := range d.Do {
			fmt.Fprintf(&b, "  - %s\n", text(say.Of(x)))
		}
		fmt.Fprintf(&b, "- %s%s\n\n```\n%s\n```\n", h.stories, text(say.Of(d.Stories)), strings.Join(all(say, d.Verify), "\n"))
	}
	return b.String()
}

func all(say words.Printer, texts []string) []string {
	var out []string
	for _, t := range texts {
		out = append(out, say.Of(t))
	}
	return out
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
