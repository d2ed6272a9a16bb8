package kernel

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// The test binary is its own reader process: one that answers, one whose reads
// of cmdlines block for ever, one that never greets.
func TestMain(m *testing.M) {
	switch os.Getenv("MEMWHY_TEST_READER") {
	case "":
		os.Exit(m.Run())
	case "answers":
		_ = ServeAside(stub{}, os.Stdin, os.Stdout)
	case "blocks":
		time.AfterFunc(time.Hour, func() {}) // else the runtime sees a deadlock
		_ = ServeAside(stub{block: make(chan struct{})}, os.Stdin, os.Stdout)
	case "mute":
		time.Sleep(time.Hour)
	}
}

// stub answers with the path; with block set, cmdlines block until it closes.
type stub struct{ block chan struct{} }

func (s stub) Origin() Origin { return Origin{PageSize: 4096} }

func (s stub) Ask(q Question) Answer {
	if s.block != nil && strings.HasSuffix(q.Path, "/cmdline") {
		<-s.block
	}
	return Answer{Data: []byte(q.Path), State: snapshot.Present, At: time.Now()}
}

// reader is a command that runs this test binary as a reader.
func reader(kind string) []string {
	return []string{"/usr/bin/env", "MEMWHY_TEST_READER=" + kind, os.Args[0]}
}

func ask(g *Guard, path string) Answer { return g.Ask(Question{Op: Read, Path: path, Max: 100}) }

func TestStuckReadsAreBounded(t *testing.T) {
	if _, err := exec.LookPath("/usr/bin/env"); err != nil {
		t.Fatal(err)
	}
	for name, command := range map[string][]string{"in a child": reader("blocks"), "in this process": nil} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			defer close(release)
			g := NewGuard(context.Background(), stub{block: release}, 50*time.Millisecond, command)
			defer g.Close()
			for i := range 10 {
				a := ask(g, fmt.Sprintf("/proc/%d/cmdline", i+1))
				want := "no answer within"
				if i >= maxStuck {
					want = "not asked"
				}
				if a.State != snapshot.Failed || !strings.Contains(a.Err, want) {
					t.Fatalf("read %d: %+v, want %q", i, a, want)
				}
			}
			if command != nil {
				if a := ask(g, "/proc/meminfo"); a.State != snapshot.Present {
					t.Errorf("a stuck cmdline took meminfo along: %+v", a)
				}
			}
		})
	}
}

func TestReaderProcessAnswers(t *testing.T) {
	g := NewGuard(context.Background(), stub{block: make(chan struct{})}, 5*time.Second, reader("answers"))
	defer g.Close()
	for range 3 {
		if a := ask(g, "/proc/1/cmdline"); a.State != snapshot.Present || string(a.Data) != "/proc/1/cmdline" {
			t.Fatalf("%+v", a)
		}
	}
}

func TestReaderProcessThatCannotStart(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	for _, command := range [][]string{{"/nonexistent"}, {"/bin/false"}, reader("mute")} {
		g := NewGuard(ctx, stub{}, time.Second, command)
		if a := ask(g, "/proc/1/cmdline"); a.State != snapshot.Failed || a.Err == "" {
			t.Errorf("%v: %+v", command, a)
		}
		g.Close()
	}
}

func TestOutOfTime(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	g := NewGuard(ctx, stub{}, time.Second, nil)
	if a := ask(g, "/proc/meminfo"); a.State != snapshot.Failed || !strings.Contains(a.Err, "out of time") {
		t.Errorf("%+v", a)
	}
}

func TestRiskyQuestions(t *testing.T) {
	for path, want := range map[string]bool{
		"/proc/12/cmdline": true, "/proc/12/exe": true, "/proc/12/smaps": true, "/proc/12/task/13/stack": true,
		"/proc/12/status": false, "/proc/12/cgroup": false, "/proc/self/mountinfo": false, "/proc/meminfo": false,
		"/sys/fs/cgroup/cmdline": false, "/proc/": false,
	} {
		if got := risky(Question{Path: path}); got != want {
			t.Errorf("risky(%s) = %v", path, got)
		}
	}
}
