// Package e2e runs the shipped binary against the running kernel and compares
// what it says with what the labs and the cgroup files say. It uses no package
// of the project: it sees what a user sees.
//
// It needs root and a memory controller. The binary is $MEMWHY_BIN.
package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var binary = os.Getenv("MEMWHY_BIN")

func TestMain(m *testing.M) {
	if dir := os.Getenv("MEMWHY_E2E_JOIN"); dir != "" {
		must(os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0))
		must(os.Unsetenv("MEMWHY_E2E_JOIN"))
		program := os.Args[0]
		if other := os.Getenv("MEMWHY_E2E_PROGRAM"); other != "" {
			program = other
			must(os.Unsetenv("MEMWHY_E2E_PROGRAM"))
		}
		must(syscall.Exec(program, append([]string{program}, os.Args[1:]...), os.Environ()))
	}
	if bin := os.Getenv("MEMWHY_E2E_LESS"); bin != "" {
		lessen()
		must(os.Unsetenv("MEMWHY_E2E_LESS"))
		must(syscall.Exec(bin, append([]string{bin}, os.Args[1:]...), os.Environ()))
	}
	if role := os.Getenv("MEMWHY_E2E_ROLE"); role != "" {
		play(role)
		return
	}
	must(os.Setenv("LC_ALL", "C")) // sentences are compared in English
	if binary == "" {
		fmt.Fprintln(os.Stderr, "MEMWHY_BIN must name the memwhy binary")
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// result of one command.
type result struct {
	out, err string
	code     int
	wall     time.Duration
}

func run(t *testing.T, args ...string) result { return runAs(t, nil, args...) }

func runAs(t *testing.T, attr *syscall.SysProcAttr, args ...string) result {
	t.Helper()
	census := os.Getenv("MEMWHY_E2E_CENSUS")
	if census != "" && len(args) > 0 && (args[0] == "explain" || args[0] == "capture") && !slices.Contains(args, "--census") {
		args = append(args, "--census", census)
	}
	cmd := exec.Command(binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &out, &errs, attr
	start := time.Now()
	err := cmd.Run()
	r := result{out: out.String(), err: errs.String(), wall: time.Since(start)}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(r.err, "goroutine ") || strings.Contains(r.err, "panic:") {
		t.Errorf("%v crashed:\n%s", args, r.err)
	}
	return r
}

// want checks an exit code, and that a message says why it is not 0.
func (r result) want(t *testing.T, code int, words ...string) result {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d\n%s%s", r.code, code, r.out, r.err)
	}
	for _, w := range words {
		if !strings.Contains(r.err, w) {
			t.Errorf("stderr %q does not say %q", r.err, w)
		}
	}
	return r
}

// report is what these tests look at of memwhy.report/v1.
type report struct {
	Schema   string
	Target   struct{ Cgroup, CgroupBytes, CgroupVersion string }
	Verdict  struct{ Text, Account, Reclaim string }
	Numbers  map[string]any
	Accounts []struct {
		Path  string
		Bytes int64
	}
	Unexplained struct {
		Bytes      int64
		BoundBytes *int64
	}
	Holders []holder
	Says    []struct {
		Tool  string
		Bytes *int64
	}
	Doubts  []string
	NotSeen []struct{ Key, Source, State, Why string }
}

type holder struct {
	Kind, Name, Account, How, Path string
	Bytes                          int64
	AtMost, Deleted                bool
	PID                            int
	State                          map[string]int64
	Parts                          []part
	Runtimes                       []manager
	UsedBy                         []struct {
		PID int
		How string
	}
}

type part struct {
	Kind, Name, How string
	Bytes           int64
	Count           int
	State           map[string]int64
}

// manager is a runtime or an allocator.
type manager struct {
	Name, Version, How, Unknown, Cure string
	Settings                          map[string]string
	Heap                              map[string]int64
	Arenas                            int
	AtLeast                           bool
}

// process is the holder that a process is.
func (r report) process(t *testing.T, pid int) holder {
	t.Helper()
	for _, h := range r.Holders {
		if h.Kind == "process" && h.PID == pid {
			return h
		}
	}
	t.Fatalf("process %d is no holder of %+v", pid, r.Holders)
	return holder{}
}

// part is the largest of a kind.
func (h holder) part(kind string) part {
	for _, p := range h.Parts {
		if p.Kind == kind {
			return p
		}
	}
	return part{}
}

// says is what a tool shows.
func (r report) says(tool string) (bytes int64, known bool) {
	for _, s := range r.Says {
		if s.Tool == tool && s.Bytes != nil {
			return *s.Bytes, true
		}
	}
	return 0, false
}

func (r report) number(key string) int64 {
	f, _ := r.Numbers[key].(float64)
	return int64(f)
}

func (r report) account(path string) (sum int64, found bool) {
	for _, a := range r.Accounts {
		if a.Path == path || strings.HasPrefix(a.Path, path+"/") {
			sum, found = sum+a.Bytes, true
		}
	}
	return sum, found
}

func explain(t *testing.T, args ...string) report {
	t.Helper()
	r := run(t, append([]string{"explain", "-o", "json"}, args...)...).want(t, 0)
	var rep report
	if err := json.Unmarshal([]byte(r.out), &rep); err != nil {
		t.Fatalf("%v: %q", err, r.out)
	}
	var sum int64
	for _, a := range rep.Accounts {
		sum += a.Bytes
		if a.Bytes < 0 && a.Path != "unexplained" {
			t.Errorf("negative account %+v", a)
		}
	}
	if sum != rep.number("usageBytes") {
		t.Errorf("accounts sum to %d, usage is %d", sum, rep.number("usageBytes"))
	}
	return rep
}

// hierarchy is where the memory controller is, found independently.
type hierarchy struct {
	point string
	v2    bool
	own   string // this process's cgroup
}

func memory(t *testing.T) hierarchy {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	h := hierarchy{}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		switch _, tail, _ := strings.Cut(line, " - "); {
		case f[3] != "/": // one cgroup, bound to elsewhere
		case strings.HasPrefix(tail, "cgroup ") && strings.Contains(","+f[len(f)-1]+",", ",memory,"):
			h.point = f[4]
		case strings.HasPrefix(tail, "cgroup2 ") && h.point == "":
			if b, _ := os.ReadFile(filepath.Join(f[4], "cgroup.controllers")); strings.Contains(string(b), "memory") {
				h.point, h.v2 = f[4], true
			}
		}
	}
	lines, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || h.point == "" {
		t.Fatalf("no memory controller: %v", err)
	}
	for line := range strings.Lines(string(lines)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if h.v2 && f[0] == "0" || !h.v2 && f[1] == "memory" {
			h.own = f[2]
		}
	}
	if h.v2 {
		h.own = "/"
		_ = os.WriteFile(filepath.Join(h.point, "cgroup.subtree_control"), []byte("+memory"), 0)
	}
	return h
}

// group makes a cgroup below this process's (v1) or the root (v2), removed at
// the end of the test.
func (h hierarchy) group(t *testing.T, name string) (cgroup, dir string) {
	t.Helper()
	cgroup = filepath.Join(h.own, name)
	dir = filepath.Join(h.point, cgroup)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, dir) })
	return cgroup, dir
}

func remove(t *testing.T, dir string) {
	t.Helper()
	var err error
	for range 100 {
		if err = syscall.Rmdir(dir); err == nil || errors.Is(err, syscall.ENOENT) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("remove %q: %v", dir, err)
}

func unique(name string) string { return fmt.Sprintf("memwhy-e2e-%d-%s", os.Getpid(), name) }

func (h hierarchy) join(t *testing.T, dir string, pid int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		t.Fatal(err)
	}
}

// actor starts this test binary in another role, and ends it with the test.
func actor(t *testing.T, role string, args ...string) *exec.Cmd {
	t.Helper()
	return actorIn(t, nil, "", role, args...)
}

// actorIn does the same with attributes, and with the cgroup whose directory is
// dir joined before it runs, so that all of its memory is charged there.
func actorIn(t *testing.T, attr *syscall.SysProcAttr, dir, role string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "MEMWHY_E2E_ROLE="+role, "MEMWHY_E2E_JOIN="+dir)
	cmd.Stderr, cmd.SysProcAttr = os.Stderr, attr
	_, out := begin(t, cmd)
	buf := make([]byte, 64)
	if n, err := out.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "ready") {
		t.Fatalf("role %s: %q, %v", role, buf[:n], err)
	}
	return cmd
}

// begin starts a command, and ends it with the test.
func begin(t *testing.T, cmd *exec.Cmd) (in io.WriteCloser, out io.Reader) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return in, pipe
}
