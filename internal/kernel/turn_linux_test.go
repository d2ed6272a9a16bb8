package kernel

import (
	"os"
	"path/filepath"
	"testing"
)

// Questions in turn have the answers that each has alone, of one directory or of
// several, whatever is there.
func TestInTurn(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"a": "1\n", "b": "", "other/a": "2\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(paths ...string) (qs []Question) {
		for _, p := range paths {
			qs = append(qs, Question{Op: Read, Path: dir + p, Max: 100})
		}
		return qs
	}
	for root, prefix := range map[string]string{"/": "", dir: dir} {
		l, err := OpenLive(root)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for name, qs := range map[string][]Question{
			"one directory":     read("/a", "/b", "/missing", "/other"),
			"several":           read("/a", "/other/a"),
			"above":             read("/other/a", "/other/../a"),
			"no such directory": read("/no/a", "/no/b"),
			"no directory":      read("/a/x", "/a/y"),
			"other questions":   append(read("/a"), Question{Op: List, Path: dir, Max: 9}),
			"one":               read("/a"),
			"none":              nil,
		} {
			for i := range qs {
				qs[i].Path = qs[i].Path[len(prefix):]
			}
			given := 0
			l.InTurn(qs, func(i int, a Answer) {
				want := l.Ask(qs[i])
				if given++; string(a.Data) != string(want.Data) || a.State != want.State || a.Err != want.Err {
					t.Errorf("%s, %s: %+v, want %+v", name, qs[i].Path, a, want)
				}
			})
			if given != len(qs) {
				t.Errorf("%s: %d answers to %d questions", name, given, len(qs))
			}
		}
	}
}
