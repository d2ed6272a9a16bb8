package kernel

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
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

// The ring through the door is what reading it gives.
func TestLogThroughTheDoor(t *testing.T) {
	l, err := OpenLog("/")
	if os.Getenv("MEMWHY_LIVE") != "required" && (errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist)) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	live, err := OpenLive("/")
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	var last []byte
	for record := make([]byte, logRecord); ; {
		n, err := l.Read(record)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		last = bytes.Clone(record[:n])
	}
	// What the ring had is still there, but for its oldest.
	a := live.Ask(Question{Log, LogPath, 64 << 20})
	if a.State != snapshot.Present || len(last) == 0 || !bytes.Contains(a.Data, last) {
		t.Errorf("%s %s: %d bytes without %q", a.State, a.Err, len(a.Data), last)
	}
	if a := live.Ask(Question{Log, LogPath, len(last) - 1}); a.State != snapshot.Failed || len(a.Data) != 0 {
		t.Errorf("more than wanted: %s %s", a.State, a.Err)
	}
}
