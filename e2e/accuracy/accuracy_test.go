// Package accuracy runs the shipped binary on every kept capture that has a truth
// beside it, those of the labs on each machine of the matrix and those of real
// software, and counts what it makes of them. It uses no package of the project but
// the judge, and runs anywhere the binary does. The binary is $MEMWHY_BIN.
package accuracy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/e2e/judge"
)

var update = flag.Bool("update", false, "write docs/accuracy.md anew")

const (
	page     = "../../docs/accuracy.md"
	labs     = "../../internal/wire/testdata/labs/*.tar.gz"
	software = "../../internal/wire/testdata/software.tar.gz"
)

// recorded is one capture with its truth.
type recorded struct {
	name           string
	capture, truth []byte
}

func TestAccuracy(t *testing.T) {
	sections := []struct {
		title string
		cases []recorded
	}{
		{"Labs, on every kernel of the matrix", of(t, labs)},
		{"Real software, on 6.18 with cgroup v1", of(t, software)},
	}
	var b strings.Builder
	b.WriteString(head)
	for _, s := range sections {
		if len(s.cases) == 0 {
			t.Fatalf("%s: no case", s.title)
		}
		var tally judge.Tally
		for _, c := range s.cases {
			if err := tally.Add(c.name, c.truth, explain(t, c)); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
		fmt.Fprintf(&b, "## %s\n\n%s\n", s.title, tally.Markdown())
		if len(tally.Unseen) > 0 {
			fmt.Fprintf(&b, "Not to be told by that kernel:\n\n%s\n", list(tally.Unseen))
		}
		for _, m := range tally.Mistakes {
			t.Error(m)
		}
		if len(tally.Mistakes) > 0 {
			fmt.Fprintf(&b, "Mistakes:\n\n%s\n", list(tally.Mistakes))
		}
	}
	text := strings.TrimRight(b.String(), "\n") + "\n"
	fmt.Print(text)
	if *update {
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if said, err := os.ReadFile(page); err != nil || string(said) != text {
		t.Errorf("docs/accuracy.md is not what the captures give: make accuracy (%v)", err)
	}
}

const head = `# How often the cause is right

Made by ` + "`make accuracy`" + ` from the kept captures, each with the truth that was written
down by whoever put the memory there; nothing of memwhy's own reckoning is in a truth.
A cause is right when the first finding that has bytes of its own is the planted one.
Amounts are compared by the tests of the labs and of the software, not here.

`

func list(lines []string) string {
	var b strings.Builder
	for _, l := range slices.Sorted(slices.Values(lines)) {
		fmt.Fprintf(&b, "- %s\n", l)
	}
	return b.String()
}

func explain(t *testing.T, c recorded) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "capture")
	if err := os.WriteFile(file, c.capture, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(os.Getenv("MEMWHY_BIN"), "explain", "--from", file, "-o", "json").Output()
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	return out
}

// of gives the cases of archives; each is called after its archive and itself.
func of(t *testing.T, pattern string) (cases []recorded) {
	t.Helper()
	archives, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, archive := range archives {
		from := strings.TrimSuffix(filepath.Base(archive), ".tar.gz")
		files := unpack(t, archive)
		for name, truth := range files {
			if lab, ok := strings.CutSuffix(name, ".truth.json"); ok {
				cases = append(cases, recorded{from + " " + lab, files[lab+".capture"], truth})
			}
		}
	}
	slices.SortFunc(cases, func(a, b recorded) int { return strings.Compare(a.name, b.name) })
	return cases
}

func unpack(t *testing.T, archive string) map[string][]byte {
	t.Helper()
	f, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(f))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err == nil {
			files[h.Name], err = io.ReadAll(r)
		}
		if err != nil {
			t.Fatalf("%s: %v", archive, err)
		}
	}
}
