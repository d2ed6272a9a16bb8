package kernel

import (
	"encoding/json"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// This test is a Go program, and the kernel lets it look at itself.
func TestHeapsOfThisProcess(t *testing.T) {
	l := live(t, "/")
	dir := "/proc/" + strconv.Itoa(os.Getpid()) + "/"
	a := l.Ask(Question{Op: Heaps, Path: dir + "mem", Max: 4 << 20})
	var h snapshot.Heaps
	if err := json.Unmarshal(a.Data, &h); err != nil {
		t.Fatalf("%s: %s", a.Err, err)
	}
	if h.Go == nil && len(h.Unknown) != 1 {
		t.Errorf("%s", a.Data)
	}
	if h.Go != nil && (h.Go.InUse < 1<<20 || h.Go.InUse > 1<<30) {
		t.Errorf("%+v", h.Go)
	}
	for _, path := range []string{"/proc/self/mem", dir + "maps", "/etc/passwd", dir + "root/proc/1/mem"} {
		if a := l.Ask(Question{Op: Heaps, Path: path, Max: 4 << 20}); a.State != snapshot.Failed || len(a.Data) > 0 {
			t.Errorf("%s: %+v", path, a)
		}
	}
}

// Of an environment nothing is handed on that is not about memory.
func TestEnviron(t *testing.T) {
	l := live(t, "/")
	cmd := exec.Command("sleep", "60")
	cmd.Env = []string{"TOKEN=hunter2", "GOGC=33", "MALLOC_ARENA_MAX=2", "JAVA_TOOL_OPTIONS=-Xmx1g -Dpassword=hunter2"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	path := "/proc/" + strconv.Itoa(cmd.Process.Pid) + "/environ"
	a := l.Ask(Question{Op: Environ, Path: path, Max: 64 << 10})
	for i := 0; i < 1000 && len(a.Data) == 0; i++ { // it is there only a little after exec
		time.Sleep(time.Millisecond)
		a = l.Ask(Question{Op: Environ, Path: path, Max: 64 << 10})
	}
	if got := strings.ReplaceAll(string(a.Data), "\x00", "|"); got != "GOGC=33|MALLOC_ARENA_MAX=2|JAVA_TOOL_OPTIONS=-Xmx1g|" {
		t.Errorf("%q %s", got, a.Err)
	}
	if a := l.Ask(Question{Op: Environ, Path: "/etc/passwd", Max: 64 << 10}); a.State != snapshot.Failed {
		t.Errorf("%+v", a)
	}
}
