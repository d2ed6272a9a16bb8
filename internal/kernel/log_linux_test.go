package kernel

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestLogEndsAtTheEndOfTheRing(t *testing.T) {
	l, err := OpenLog("/")
	if os.Getenv("MEMWHY_LIVE") != "required" && (errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist)) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	buf := make([]byte, logRecord)
	start, records := time.Now(), 0
	for {
		n, err := l.Read(buf)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || n == 0 || buf[n-1] != '\n' {
			t.Fatalf("record %d: %d bytes, %v", records, n, err)
		}
		records++
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("%d records took %s", records, d)
	}
}

func TestLogIsADevice(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenLog(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "dev"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "dev/kmsg"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLog(dir); err == nil {
		t.Error("a regular file passed for the log")
	}
}
