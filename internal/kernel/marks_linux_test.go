package kernel

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// buildCreator builds a program as runc's library is laid out: with the tag
// nokmem another source takes the place of kmem.go.
func buildCreator(t *testing.T, dir string, args ...string) string {
	t.Helper()
	for name, text := range map[string]string{
		"go.mod":                      "module example.org/creator\n\ngo 1.21\n",
		"main.go":                     "package main\n\nimport (\n\t\"os\"\n\n\t\"example.org/creator/cgroups/fs\"\n)\n\nfunc main() {\n\tif err := fs.Enable(os.Args[0]); err != nil {\n\t\tprintln(err.Error())\n\t}\n}\n",
		"cgroups/fs/kmem.go":          "//go:build !nokmem\n\npackage fs\n\nimport \"os\"\n\n//go:noinline\nfunc Enable(path string) error { return os.WriteFile(path, []byte(\"1\"), 0o600) }\n",
		"cgroups/fs/kmem_disabled.go": "//go:build nokmem\n\npackage fs\n\nimport \"errors\"\n\n//go:noinline\nfunc Enable(string) error { return errors.New(\"kernel memory accounting disabled in this runc build\") }\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "creator"+strings.Join(args, ""))
	cmd := exec.Command("go", append(append([]string{"build", "-o", out}, args...), ".")...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "CGO_ENABLED=0", "GOPROXY=off")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return out
}

// Executables built with and without the tag are told apart, stripped ones too.
func TestMarks(t *testing.T) {
	l := live(t, "/")
	dir := t.TempDir()
	for _, c := range []struct {
		args       []string
		has, lacks []string
	}{
		{nil, []string{TextKmemOn, "settings"}, []string{TextKmemOff, TextKmemFile, TextTag}},
		{[]string{"-tags=seccomp,nokmem"}, []string{TextKmemOff, TextKmemFile, TextTag, "settings"}, []string{TextKmemOn}},
		{[]string{"-tags=nokmem", "-ldflags=-s -w"}, []string{TextKmemOff, TextKmemFile, TextTag}, []string{TextKmemOn}},
	} {
		exe := buildCreator(t, dir, c.args...)
		a := l.Ask(Question{Marks, exe, 64 << 20})
		if a.State != snapshot.Present || len(a.Data) > 300 {
			t.Fatalf("%s: %s, %d bytes", a.State, a.Err, len(a.Data))
		}
		for _, want := range c.has {
			if !bytes.Contains(a.Data, []byte(want+"\n")) {
				t.Errorf("%v: no %q in %q", c.args, want, a.Data)
			}
		}
		for _, want := range c.lacks {
			if bytes.Contains(a.Data, []byte(want+"\n")) {
				t.Errorf("%v: %q in %q", c.args, want, a.Data)
			}
		}
		if a := l.Ask(Question{Marks, exe, 1000}); a.State != snapshot.Failed {
			t.Errorf("a limit of 1000 bytes: %s", a.State)
		}
	}
	if a := l.Ask(Question{Marks, fmt.Sprintf("/proc/%d/exe", os.Getpid()), 256 << 20}); a.State != snapshot.Present || !bytes.HasPrefix(a.Data, []byte("go go")) {
		t.Errorf("a process: %s %s %q", a.State, a.Err, a.Data)
	}
	for _, p := range []string{dir, "/dev/zero", filepath.Join(dir, "none")} {
		if a := l.Ask(Question{Marks, p, 1 << 20}); a.State == snapshot.Present {
			t.Errorf("%s: %q", p, a.Data)
		}
	}
}

func TestSearchAcrossReads(t *testing.T) {
	texts := []string{"needle", "absent", "edge"}
	for _, at := range []int{0, 1, 256<<10 - 3, 256 << 10, 512<<10 - 1} {
		b := bytes.Repeat([]byte("need"), 150<<10)
		copy(b[at:], "needle")
		copy(b[len(b)-4:], "edge")
		got, err := streamSearch(iotest.HalfReader(bytes.NewReader(b)), texts)
		if err != nil || strings.Join(got, " ") != "needle edge" {
			t.Errorf("at %d: %q, %v", at, got, err)
		}
	}
	if _, err := streamSearch(iotest.ErrReader(os.ErrPermission), texts); err == nil {
		t.Error("no error")
	}
}

func TestNames(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ":at-0000040-00000004"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(":at-0000040-00000004", filepath.Join(dir, "dentry(4:a)")); err != nil {
		t.Fatal(err)
	}
	l := live(t, "/")
	if a := l.Ask(Question{Names, dir, 2}); len(a.Names()) != 2 {
		t.Errorf("%s %q", a.Err, a.Data)
	}
	if a := l.Ask(Question{Names, dir, 1}); a.State != snapshot.Failed {
		t.Errorf("more than are wanted: %s", a.State)
	}
}
