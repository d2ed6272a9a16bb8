package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestOpenFiles(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "name"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 10_000)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	own, foreign := live(t, "/"), live(t, "/")
	foreign.own = false
	for name, l := range map[string]*Live{"own root": own, "foreign root": foreign} {
		t.Run(name, func(t *testing.T) {
			links := l.Ask(Question{Op: Links, Path: fmt.Sprintf("/proc/%d/fd", os.Getpid()), Max: 1000})
			found := false
			for _, x := range links.Links() {
				found = found || x.Name == fmt.Sprint(f.Fd()) && x.Text == f.Name()+" (deleted)"
			}
			if !found {
				t.Errorf("%s %s: no link of fd %d in %q", links.State, links.Err, f.Fd(), links.Links())
			}
			if a := l.Ask(Question{Op: Links, Path: fmt.Sprintf("/proc/%d/fd", os.Getpid()), Max: 1}); a.State != snapshot.Failed {
				t.Errorf("%+v", a)
			}
			a := l.Ask(Question{Op: Stat, Path: fdPath(f), Max: 1 << 10})
			var st snapshot.Stat
			if err := st.Parse(a.Data); err != nil || a.State != snapshot.Present {
				t.Fatalf("%s %s %v", a.State, a.Err, err)
			}
			for key, want := range map[string]int64{snapshot.FileBytes: 10_000, snapshot.FileLinks: 0} {
				if v, ok := st.Get(key); !ok || v != want {
					t.Errorf("%s %d, want %d", key, v, want)
				}
			}
			if v, ok := st.Get(snapshot.FileSystem); !ok || v == 0 {
				t.Errorf("no file system: %s", a.Data)
			}
			for _, path := range []string{fdPath(p), "/etc/passwd", "/proc/1/fd/../root/etc/passwd", "/proc/1/root", fmt.Sprintf("/proc/%d/fd/99999", os.Getpid())} {
				if a := l.Ask(Question{Op: Stat, Path: path, Max: 1 << 10}); a.State == snapshot.Present {
					t.Errorf("%s was looked at", path)
				}
			}
			exe := l.Ask(Question{Op: BuildInfo, Path: fmt.Sprintf("/proc/%d/exe", os.Getpid()), Max: 64})
			if exe.State != snapshot.Present || !bytes.HasPrefix(exe.Data, []byte("\xff Go buildinf:")) || len(exe.Data) != 64 {
				t.Errorf("%s %s %q", exe.State, exe.Err, exe.Data)
			}
			if a := l.Ask(Question{Op: BuildInfo, Path: "/etc/passwd", Max: 64}); a.State == snapshot.Present {
				t.Error("any file gives its build information")
			}
		})
	}
}

func fdPath(f *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()) }

func TestELFSections(t *testing.T) {
	b, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := elfSection(bytes.NewReader(b), ".interp", 100); err != nil || !strings.HasPrefix(string(s), "/lib") {
		t.Errorf("%q, %v", s, err)
	}
	for name, file := range map[string][]byte{"no Go": b, "cut": b[:len(b)/2], "header only": b[:64], "empty": nil, "text": []byte(strings.Repeat("text", 100))} {
		if s, err := elfSection(bytes.NewReader(file), goBuildInfo, 100); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q, %v", name, s, err)
		}
	}
	// A 32-bit big-endian file with one section beside that of the names.
	var o bytes.Buffer
	h := make([]byte, 64)
	copy(h, "\x7fELF\x01\x02")
	be := binary.BigEndian
	be.PutUint32(h[32:], 64)
	be.PutUint16(h[46:], 40)
	be.PutUint16(h[48:], 2)
	be.PutUint16(h[50:], 1)
	o.Write(h)
	rows := make([]byte, 80)
	be.PutUint32(rows[0:], 1)
	be.PutUint32(rows[16:], 144)
	be.PutUint32(rows[20:], 4)
	be.PutUint32(rows[56:], 148)
	be.PutUint32(rows[60:], 15)
	o.Write(rows)
	o.WriteString("DATA\x00.go.buildinfo\x00")
	if s, err := elfSection(bytes.NewReader(o.Bytes()), goBuildInfo, 3); err != nil || string(s) != "DAT" {
		t.Errorf("%q, %v", s, err)
	}
}

func FuzzELFSection(f *testing.F) {
	b, err := os.ReadFile("/bin/sh")
	if err == nil {
		f.Add(b[:min(len(b), 4096)])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := elfSection(bytes.NewReader(b), goBuildInfo, 64)
		if len(s) > 64 || err != nil && s != nil {
			t.Errorf("%q, %v", s, err)
		}
	})
}
