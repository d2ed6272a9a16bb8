package render

import (
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/report"
)

// What is to be typed is on one line, whole, however long it is; only prose is folded.
func TestCommandsAreWhole(t *testing.T) {
	id, long := strings.Repeat("ab", 32), "/kubepods.slice"+strings.Repeat("/kubepods-burstable-pod0d9f7a52_4c1e_11e9_a3b5_fa163e2f9b10.slice", 3)
	for command, want := range map[string]struct {
		text string
		rows int
	}{
		"memwhy reclaim /a":                                {"Next: memwhy reclaim /a\n", 1},
		"memwhy reclaim " + id:                             {"Next:\n memwhy reclaim " + id + "\n", 2},
		"memwhy reclaim " + long:                           {"Next:\n memwhy reclaim " + long + "\n", 4},
		"memwhy explain /a -o wide: what there is":         {"Next: memwhy explain /a -o wide: what there is\n", 1},
		"memwhy explain " + id + ": what there is":         {"Next: what there is\n memwhy explain " + id + "\n", 2},
		"memwhy explain /a: " + strings.Repeat("why ", 20): {"Next: memwhy explain /a: " + strings.TrimSpace(strings.Repeat("why ", 14)) + "\n  " + strings.TrimSpace(strings.Repeat("why ", 6)) + "\n", 2},
	} {
		p := &page{width: Width}
		p.command(command)
		if got := p.String(); got != want.text || p.rows() != want.rows {
			t.Errorf("%s:\n%s%d rows, want\n%s%d", command, got, p.rows(), want.text, want.rows)
		}
	}
}

// A command that takes lines of its terminal leaves fewer to the rest.
func TestScreenWithALongCommand(t *testing.T) {
	r := &report.Report{Verdict: report.Verdict{Code: "cache.cold"}}
	r.Findings = []report.Finding{{Code: "cache.cold", Severity: "notice", Remedies: []report.Remedy{{Command: "memwhy reclaim /" + strings.Repeat("x", 300)}}}}
	text := string(Text(r))
	if !strings.Contains(text, "\n memwhy reclaim /"+strings.Repeat("x", 300)+"\n") {
		t.Errorf("%s", text)
	}
	p := &page{}
	p.WriteString(text)
	if p.rows() > Height {
		t.Errorf("%d rows", p.rows())
	}
}
