package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// A directory says the numbers of its files and directories, under whatever names, and
// of nothing else.
func TestNumbered(t *testing.T) {
	dir := t.TempDir()
	hostile := "a\nb\x1b[31m\xff " + strings.Repeat("x", 240)
	number := func(name string) uint64 {
		t.Helper()
		var st syscall.Stat_t
		if err := syscall.Lstat(filepath.Join(dir, name), &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	for _, name := range []string{"plain", hostile} {
		filled(t, filepath.Join(dir, name), 1)
	}
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "sub"), 0o700), syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600),
		os.Symlink("/etc", filepath.Join(dir, "away")), os.Symlink("plain", filepath.Join(dir, "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	own, foreign := live(t, "/"), live(t, "/")
	foreign.own = false
	for name, l := range map[string]*Live{"own root": own, "foreign root": foreign} {
		a := l.Ask(Question{Op: Numbered, Path: ownRoot(dir), Max: 100})
		got := slices.Sorted(slices.Values(a.Names()))
		want := slices.Sorted(slices.Values([]string{
			fmt.Sprintf("f%d plain", number("plain")), fmt.Sprintf("f%d %s", number(hostile), hostile), fmt.Sprintf("d%d sub", number("sub")),
		}))
		if a.State != snapshot.Present || !slices.Equal(got, want) {
			t.Errorf("%s: %s %s %q, want %q", name, a.State, a.Err, got, want)
		}
		for path, why := range map[string]string{
			ownRoot(dir + "/away"): "", ownRoot(dir + "/fifo"): "", ownRoot(dir + "/plain"): "", ownRoot(dir + "/none"): "no such file",
			dir: "only asked of", "/proc/self/root" + dir: "only asked of",
		} {
			if a := l.Ask(Question{Op: Numbered, Path: path, Max: 100}); a.State == snapshot.Present || !strings.Contains(a.Err, why) {
				t.Errorf("%s: %s: %s %q %q", name, path, a.State, a.Err, a.Data)
			}
		}
		if a := l.Ask(Question{Op: Numbered, Path: ownRoot(dir), Max: 3}); a.State != snapshot.Failed || len(a.Data) != 0 {
			t.Errorf("%s: of too many: %s %q", name, a.State, a.Data)
		}
	}
}
