package kernel

import (
	"bufio"
	"bytes"
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
				if command != nil && i > 0 && i < maxStuck {
					if a := ask(g, fmt.Sprintf("/proc/%d/smaps", i)); !strings.Contains(a.Err, "an earlier read of this process") {
						t.Errorf("a process that is stuck was asked about again: %+v", a)
					}
				}
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

// Questions that are sent together are answered in their order, whatever happens
// to some of them.
func TestManyQuestions(t *testing.T) {
	g := NewGuard(context.Background(), stub{block: make(chan struct{})}, 300*time.Millisecond, reader("blocks"))
	defer g.Close()
	var qs []Question
	for i := range 400 {
		name := "smaps_rollup"
		if i == 100 || i == 250 {
			name = "cmdline"
		}
		qs = append(qs, Question{Op: Read, Path: fmt.Sprintf("/proc/%d/%s", i/2, name), Max: 100})
	}
	for i, a := range AskAll(g, qs) {
		switch {
		case i == 100 || i == 250:
			if !strings.Contains(a.Err, "no answer within") {
				t.Errorf("question %d: %+v", i, a)
			}
		case i == 101 || i == 251:
			if !strings.Contains(a.Err, "an earlier read") {
				t.Errorf("question %d: %+v", i, a)
			}
		case string(a.Data) != qs[i].Path:
			t.Errorf("question %d: %+v", i, a)
		}
	}
	if a := AskAll(stub{}, qs[:2]); len(a) != 2 || string(a[1].Data) != qs[1].Path {
		t.Errorf("%+v", a)
	}
}

func TestFrames(t *testing.T) {
	want := Answer{Data: bytes.Repeat([]byte{0, 1, '\n'}, 100_000), State: snapshot.Denied, Err: "no\x00\n", At: time.Unix(5, 7)}
	var b bytes.Buffer
	for _, a := range []Answer{want, {}, {Data: []byte("x"), State: snapshot.Present}} {
		if err := writeAnswer(&b, a, 42*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	r := bufio.NewReader(&b)
	if a, cpu, err := readAnswer(r); err != nil || cpu != 42*time.Millisecond || !bytes.Equal(a.Data, want.Data) || a.State != want.State || a.Err != want.Err || !a.At.Equal(want.At) {
		t.Errorf("%v: %s %q %s", err, a.State, a.Err, a.At)
	}
	if a, _, err := readAnswer(r); err != nil || a.State != snapshot.Failed || a.Data != nil || !a.At.IsZero() {
		t.Errorf("%v: %+v", err, a)
	}
	q := Question{Op: Stat, Path: "/proc/1/fd/\n", Max: 1 << 40}
	if got, err := readQuestion(bufio.NewReader(bytes.NewReader(appendQuestion(nil, q)))); err != nil || got != q {
		t.Errorf("%v: %+v", err, got)
	}
	huge := appendQuestion(nil, q)
	copy(huge, "\xff\xff\xff\xff")
	if _, err := readQuestion(bufio.NewReader(bytes.NewReader(huge))); err == nil {
		t.Error("a question of 4 GiB")
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
	g = NewGuard(ctx, stub{}, time.Second, []string{"/nonexistent"})
	if a := ask(g, "/proc/1/smaps"); !strings.Contains(a.Err, "out of time") {
		t.Errorf("a reader process for nothing: %+v", a)
	}
}

func TestRiskyQuestions(t *testing.T) {
	for path, want := range map[string]bool{
		"/proc/12/cmdline": true, "/proc/12/exe": true, "/proc/12/smaps": true, "/proc/12/task/13/stack": true,
		"/proc/12/fd/7": true, "/proc/12/status": false, "/proc/12/cgroup": false, "/proc/self/mountinfo": false, "/proc/meminfo": false,
		"/sys/fs/cgroup/cmdline": false, "/proc/": false,
	} {
		if got := risky(Question{Path: path}); got != want {
			t.Errorf("risky(%s) = %v", path, got)
		}
	}
	if risky(Question{Op: Link, Path: "/proc/12/root"}) || risky(Question{Op: Link, Path: "/proc/12/ns/mnt"}) || !risky(Question{Op: Cached, Path: "/proc/12/root"}) || !risky(Question{Op: Link, Path: "/proc/12/root/mnt"}) || !risky(Question{Op: Link, Path: "/proc/12/root/a/ns/mnt"}) {
		t.Error("where a process has its root is told without its file systems, what is below it is not")
	}
	if risky(Question{Op: Links, Path: "/proc/12/fd"}) || !risky(Question{Op: List, Path: "/proc/12/fd"}) {
		t.Error("the links of open files need no lock but the table's")
	}
}

func FuzzFrames(f *testing.F) {
	var b bytes.Buffer
	_ = writeAnswer(&b, Answer{Data: []byte("data"), State: snapshot.Present, Err: "e", At: time.Unix(1, 2)}, 3)
	f.Add(b.Bytes())
	f.Add(appendQuestion(nil, Question{Op: Read, Path: "/proc/1/smaps", Max: 7}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := readQuestion(bufio.NewReader(bytes.NewReader(b))); err == nil {
			if again := appendQuestion(nil, q); !bytes.HasPrefix(b, again) {
				t.Errorf("%+v read from %q, written as %q", q, b, again)
			}
		}
		for i := 17; i < len(b) && i < answerHead; i++ {
			if i == 19 || i == 20 || i == 23 || i == 24 { // lengths above 64 KiB only test the machine
				b[i] = 0
			}
		}
		if a, _, err := readAnswer(bufio.NewReader(bytes.NewReader(b))); err == nil && len(a.Data)+len(a.Err) > len(b) {
			t.Errorf("%d bytes of %d", len(a.Data), len(b))
		}
	})
}
