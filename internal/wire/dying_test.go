package wire

import (
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/render"
)

// Removed cgroups of the recorded nodes, by their files alone.
func TestDyingOfRecordedNodes(t *testing.T) {
	all := el7(t)
	for _, c := range []struct {
		node, answer string
	}{
		{"1062/leak/after", "About 158 removed memory cgroups are still held, with 0.2 MiB. Of 65534 ids at least 108 are taken (0%), 101 by removed ones."},
		{"1062/id-exhaustion", "of 65534 ids"},
		{"1062/nokmem", "No removed memory cgroup is kept."},
	} {
		a, ok := all[c.node]
		if !ok {
			t.Fatalf("no node %s", c.node)
		}
		r, err := node(a).Whole()
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(string(render.Dying(r, true))), " ")
		if !strings.Contains(strings.ToLower(text), strings.ToLower(c.answer)) {
			t.Errorf("%s: no %q in\n%s", c.node, c.answer, text)
		}
		checkScreenWidth(t, c.node, render.Dying(r, false))
	}
}

func checkScreenWidth(t *testing.T, name string, screen []byte) {
	t.Helper()
	for line := range strings.Lines(string(screen)) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > render.Width {
			t.Errorf("%s: %d columns: %q", name, n, line)
		}
	}
}
