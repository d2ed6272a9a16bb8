package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What a real file defines is found, what it only calls is not.
func TestELFExports(t *testing.T) {
	files, _ := filepath.Glob("/lib/*/libc.so.6")
	if len(files) == 0 {
		t.Skip("no libc.so.6 here")
	}
	libc, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	got, err := elfExports(bytes.NewReader(libc), []string{"malloc", "mallctl", "mallo", "malloc_trim", "", "_rtld_global"})
	if err != nil || strings.Join(got, " ") != "malloc malloc_trim" {
		t.Errorf("%q, %v", got, err)
	}
	sh, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := elfExports(bytes.NewReader(sh), []string{"malloc", "free"}); len(got) > 0 || err != nil {
		t.Errorf("/bin/sh, which calls them: %q, %v", got, err)
	}
	for _, n := range []int{0, 5, 64, 4096, len(libc) / 2} {
		if got, err := elfExports(bytes.NewReader(libc[:n]), []string{"malloc"}); len(got) > 0 || err == nil {
			t.Errorf("the first %d bytes: %q, %v", n, got, err)
		}
	}
}

// A table that leads in a circle, or out of the file, ends.
func TestELFExportsOfABrokenTable(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "a")
	if out, err := exec.Command("gcc", "-x", "c", "-rdynamic", "-o", exe, "/dev/null", "-Wl,--unresolved-symbols=ignore-all", "-nostartfiles").CombinedOutput(); err != nil {
		t.Skipf("gcc: %s", out)
	}
	b, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	e, err := openELF(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	row, err := e.row(".gnu.hash")
	if err != nil {
		t.Skip(err)
	}
	at := binary.LittleEndian.Uint64(row[24:])
	for i := range 64 { // every word of the table, and behind
		for _, word := range []uint32{0, 1, 0xfffffffe, 0xffffffff} {
			broken := bytes.Clone(b)
			binary.LittleEndian.PutUint32(broken[at+uint64(4*i):], word)
			if got, err := elfExports(bytes.NewReader(broken), []string{"malloc"}); len(got) > 0 {
				t.Errorf("word %d is %#x: %q, %v", i, word, got, err)
			}
		}
	}
}

func FuzzELFExports(f *testing.F) {
	if b, err := os.ReadFile("/bin/true"); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		found, err := elfExports(bytes.NewReader(b), []string{"malloc", "mallctl"})
		if len(found) > 2 || err != nil && found != nil {
			t.Error(fmt.Sprint(found), err)
		}
	})
}
