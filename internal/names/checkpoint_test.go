package names

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// What was learnt is still known when nobody says it any more, and when the
// runtime is gone; ids, names and images, no labels.
func TestCheckpoint(t *testing.T) {
	dir := t.TempDir()
	opt := options("docker", listen(t, replay(t, "docker-20.10.24")))
	opt.StateDir = dir
	live := asker(t, opt).Names()
	st, err := os.Stat(checkpointFile(dir))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", st, err)
	}
	b, err := os.ReadFile(checkpointFile(dir))
	if err != nil || strings.Contains(string(b), "Команда") {
		t.Errorf("%v: labels are not kept:\n%s", err, b)
	}
	again := asker(t, Options{StateDir: dir, Docker: "/nonexistent"}).Names()
	for _, n := range []snapshot.Names{again, Remembered(dir)} {
		n.Index()
		for _, c := range live.Containers {
			got, ok := n.ByID(c.ID)
			if !ok || got.Name != c.Name || got.Image != c.Image || got.State != "gone" || n.Sources[got.Source].Kind != "checkpoint" {
				t.Errorf("%s: %+v", c.Name, got)
			}
		}
	}
	// What lives goes before what is remembered, and is not written again.
	if err := os.Chtimes(checkpointFile(dir), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	n := asker(t, opt).Names()
	if c, _ := n.Index().ByID(live.Containers[0].ID); len(n.Containers) != len(live.Containers) || c.State == "gone" {
		t.Errorf("%+v", n.Containers)
	}
	if st, err := os.Stat(checkpointFile(dir)); err != nil || st.ModTime() != time.Unix(1, 0) {
		t.Errorf("written although nothing is new: %v, %v", st, err)
	}
}

// Nothing is made where nobody made a state directory.
func TestNoCheckpointWithoutADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "memwhy")
	opt := options("docker", listen(t, replay(t, "docker-20.10.24")))
	opt.StateDir = dir
	n := asker(t, opt).Names()
	if _, err := os.Stat(dir); !os.IsNotExist(err) || len(n.Containers) != 2 {
		t.Errorf("%v, %+v", err, n)
	}
	if n := Remembered(dir); len(n.Containers) != 0 {
		t.Errorf("%+v", n)
	}
}

// A checkpoint that somebody spoilt costs a word, and is not overwritten.
func TestBadCheckpoints(t *testing.T) {
	for name, spoil := range map[string]func(file string) error{
		"garbage":      func(f string) error { return os.WriteFile(f, []byte("\x00{"), 0o600) },
		"other schema": func(f string) error { return os.WriteFile(f, []byte(`{"schema":"x"}`), 0o600) },
		"a directory":  func(f string) error { return os.Mkdir(f, 0o700) },
		"a FIFO":       func(f string) error { return syscall.Mkfifo(f, 0o600) },
		"a link":       func(f string) error { return os.Symlink("/etc/hostname", f) },
		"endless":      func(f string) error { return os.WriteFile(f, make([]byte, maxFile+1), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := spoil(checkpointFile(dir)); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(checkpointFile(dir))
			if err != nil {
				t.Fatal(err)
			}
			opt := options("docker", listen(t, replay(t, "docker-20.10.24")))
			opt.StateDir = dir
			n := asker(t, opt).Names()
			s := n.Sources[len(n.Sources)-1]
			if s.Kind != "checkpoint" || s.State != snapshot.Failed || len(n.Containers) != 2 {
				t.Errorf("%+v", n)
			}
			if after, err := os.Lstat(checkpointFile(dir)); err != nil || !os.SameFile(before, after) {
				t.Errorf("it was replaced: %v", err)
			}
		})
	}
}

// The file is bounded: the last seen stay.
func TestCheckpointForgets(t *testing.T) {
	c := &checkpoint{}
	start := time.Unix(1_800_000_000, 0)
	for day := range 100 {
		n := &snapshot.Names{}
		for i := range 100 {
			n.Containers = append(n.Containers, snapshot.Named{ID: fmt.Sprintf("%064x", day*1000+i), Name: "n"})
		}
		if !c.learn(n, start.Add(time.Duration(day)*24*time.Hour)) || c.learn(n, start.Add(time.Duration(day)*24*time.Hour)) {
			t.Fatal("what is new is worth writing, once")
		}
	}
	if len(c.Containers) != maxRemembered || c.Containers[0].ID != fmt.Sprintf("%064x", 99*1000) {
		t.Errorf("%d containers, first %s", len(c.Containers), c.Containers[0].ID)
	}
	one := &snapshot.Names{Containers: []snapshot.Named{{ID: "x"}}}
	if c.learn(one, start.Add(300*24*time.Hour)); len(c.Containers) != 1 {
		t.Errorf("%d containers after a year", len(c.Containers))
	}
}

func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte(`{"schema":"memwhy.names/v1","containers":[{"kind":"container","id":"x","name":"y","seen":"2026-01-01T00:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseCheckpoint(b)
		if err != nil {
			return
		}
		n := snapshot.Names{}
		recall(&n, "/x", c, time.Unix(0, 0))
		n.Index()
		c.learn(&n, time.Unix(0, 0))
		if len(n.Containers) > maxRemembered {
			t.Error(len(n.Containers))
		}
	})
}
