package kernel

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// A socket is found on the node and connected to as found; nothing else is one,
// and below a foreign root no link leads out to one.
func TestSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "sock") // short: the name of a socket has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(filepath.Join(root, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	out, in := filepath.Join(dir, "out"), filepath.Join(root, "run", "in")
	for _, name := range []string{out, in} {
		l, err := net.Listen("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	for name, to := range map[string]string{"whole": out, "up": "../../out", "within": "in", "twice": "/run/within", "loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(root, "run", name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "run", "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	own, foreign := live(t, "/"), live(t, root)
	for _, c := range []struct {
		l    *Live
		path string
		ok   bool
	}{
		{own, in, true},
		{own, filepath.Join(root, "run", "whole"), true},
		{own, filepath.Join(root, "run", "file"), false},
		{own, filepath.Join(root, "run"), false},
		{foreign, "/run/in", true},
		{foreign, "/var/run/in", true},
		{foreign, "/run/within", true},
		{foreign, "/run/twice", true},
		{foreign, "/run/loop", false},
		{foreign, "/run/whole", false},
		{foreign, "/run/up", false},
		{foreign, "/run/../../out", false},
		{foreign, "/run/file", false},
	} {
		here, done, err := c.l.Socket(c.path)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.path, err)
		}
		if err != nil {
			continue
		}
		conn, err := net.Dial("unix", here)
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
		} else {
			conn.Close()
		}
		if err := done(); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := own.Socket("/nonexistent"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
