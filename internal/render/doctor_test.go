package render

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/report"
)

// Any doctor fits on a screen, answers in its first line, and says with wide how
// to have what refuses; what a node says acts on no terminal.
func TestDoctorFitsTheScreen(t *testing.T) {
	files, err := filepath.Glob("../report/testdata/doctor-*.json")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d report.Doctor
		if err := json.Unmarshal(b, &d); err != nil {
			t.Fatal(err)
		}
		screen(t, &d)
		for i := range d.Sources {
			s := &d.Sources[i]
			s.State, s.Why = "refused", strings.Repeat("\x1b[31m\xff long \n", 30)
			s.How = []string{s.ID, strings.Repeat("x", 300)}
		}
		for i := range d.Facts {
			d.Facts[i].Value, d.Facts[i].Means = "\x1b[1m", strings.Repeat("y ", 100)
		}
		screen(t, &d)
		wide := string(Doctor(&d, true))
		for _, s := range d.Sources {
			if !strings.Contains(wide, "how: "+s.ID) || !strings.Contains(wide, "would show: "+s.Shows) {
				t.Errorf("%s: %s", s.ID, wide)
			}
		}
	}
}

func screen(t *testing.T, d *report.Doctor) {
	t.Helper()
	out := Doctor(d, false)
	lines := bytes.Split(bytes.TrimSuffix(out, []byte("\n")), []byte("\n"))
	if len(lines) > Height || !strings.HasPrefix(d.Summary, string(lines[0])) {
		t.Errorf("%d lines, the first is not %q:\n%s", len(lines), d.Summary, out)
	}
	for _, l := range lines {
		if len(l) > Width || bytes.ContainsFunc(l, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
			t.Errorf("%q", l)
		}
	}
}
