package advisory

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite docs/advisories.md")

const page = "../../docs/advisories.md"

// docs/advisories.md is made of the catalogue.
func TestDocs(t *testing.T) {
	got := document(t)
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
		t.Errorf("%s is not the catalogue; go test ./internal/advisory -update rewrites it (-want +got):\n%s", page, d)
	}
}

const preface = `# Advisories

Known faults of kernels, kubelets and runtimes that make container memory stay high,
leak, run out or be misreported. Made from ` + "`internal/advisory/data`" + `, one file each;
` + "`memwhy advisories`" + ` applies them to a node, ` + "`memwhy advisories show ID`" + ` prints one.
A version alone is never a cause:

| verdict | means |
|---|---|
| version-and-evidence | the version has it, and the signs are there |
| evidence-despite-version | the signs are there; the version should be free of it, or is not known |
| mitigated | the version has it, and something is proved to keep it from harm, or it does less |
| version-only | the version has it; no sign was seen, or memwhy looks for none |
| unknown | it cannot be told; the evidence says why. So is every kernel whose release is nobody's |
| not-affected | |

*by* is how memwhy tells: the version of the kernel, signs on the node, or neither yet.

`

func document(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(preface + "| id | by | class |\n|---|---|---|\n")
	var all []*Advisory
	for _, id := range IDs() {
		a, err := Load(id)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s |\n", id, strings.ReplaceAll(id, ".", ""), by(a), a.Class)
	}
	for _, a := range all {
		fmt.Fprintf(&b, "\n## %s\n\n**%s.** %s\n\n", a.ID, text(a.Title), text(a.Summary))
		bullet(&b, "Affected", a.Affected)
		var ranges []string
		for _, r := range a.Ranges {
			ranges = append(ranges, r.Text())
		}
		if n := strings.TrimSpace(a.Needs.Cgroup + " " + a.Needs.LRU); n != "" {
			ranges = append(ranges, "only with "+n)
		}
		if a.Unmatched != "" {
			ranges = append(ranges, "no kernel: "+a.Unmatched)
		}
		bullet(&b, "Matched", ranges)
		bullet(&b, "Needs", a.Preconditions)
		bullet(&b, "Fixed", a.Fixed)
		bullet(&b, "See", list(a.Signs))
		bullet(&b, "Something else when", list(a.Otherwise))
		bullet(&b, "Workaround", a.Workaround)
		bullet(&b, "Fix", a.Fix)
		bullet(&b, "References", a.Refs)
		bullet(&b, "Not verified", a.NotVerified)
	}
	return b.String()
}

// by says how an advisory is judged.
func by(a *Advisory) string {
	versioned := false
	for _, r := range a.Ranges {
		versioned = versioned || r.Effect != unknown
	}
	switch signs := predicates[a.ID] != nil; {
	case versioned && signs:
		return "version, signs"
	case versioned:
		return "version"
	case signs:
		return "signs"
	}
	return "-"
}

func list(signs []Sign) []string {
	var out []string
	for _, s := range signs {
		out = append(out, s.Read+": "+s.Test)
	}
	return out
}

func bullet(b *strings.Builder, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	plain := make([]string, 0, len(lines))
	for _, l := range lines {
		plain = append(plain, text(l))
	}
	fmt.Fprintf(b, "- *%s*: %s\n", title, strings.Join(plain, "; "))
}

// text escapes what Markdown would take for its own.
func text(s string) string {
	return strings.NewReplacer("<", "&lt;", "*", `\*`, "_", `\_`, "|", `\|`).Replace(s)
}
