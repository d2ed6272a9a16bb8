package lab

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestKeyed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("MemTotal:  12 kB\noom_kill 3\noom_kill_disable 0\nword\nbad x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]int64{"MemTotal": 12 << 10, "oom_kill": 3, "oom_kill_disable": 0} {
		if got, err := keyed(path, key); err != nil || got != want {
			t.Errorf("%s: %d, %v", key, got, err)
		}
	}
	for _, key := range []string{"oom", "word", ""} {
		if _, err := keyed(path, key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", key, err)
		}
	}
	if _, err := keyed(path, "bad"); err == nil {
		t.Error("a word was taken for a number")
	}
}

// What a cgroup has below it goes first; what does not exist is gone already.
func TestRemoveCgroup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab")
	if err := os.MkdirAll(filepath.Join(dir, "target", "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := removeCgroup(dir); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

func TestWholePages(t *testing.T) {
	for bytes, want := range map[int64]int64{0: 0, 1: pageSize, pageSize: pageSize, pageSize + 1: 2 * pageSize} {
		if got := wholePages(bytes); got != want {
			t.Errorf("%d: %d", bytes, got)
		}
	}
}

func TestResident(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 3*pageSize-1), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := resident(path); err != nil || got > 3*pageSize {
		t.Errorf("%d, %v", got, err)
	}
}

// Write tells a file that is missing from one that may not be written.
func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "knob")
	if err := write(path, "1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := write(path, "12"); err != nil {
		t.Fatal(err)
	}
	if n, err := number(path); err != nil || n != 12 {
		t.Errorf("%d, %v", n, err)
	}
}
