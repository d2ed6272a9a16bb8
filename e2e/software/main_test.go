// Package software runs the shipped binary on real programs that people run in
// containers, each in a cgroup of its own: idle and busy ones, on which nothing may
// be found that is more than info, and ones that hold what a test knows of, by their
// own account. It uses no package of the project but the judge: it sees what a user
// sees. With -update it keeps redacted captures of what it saw, with their truths.
//
// It needs root, a memory controller, and the programs; see scripts/test. The binary
// is $MEMWHY_BIN.
package software

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
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

var (
	binary = os.Getenv("MEMWHY_BIN")
	update = flag.Bool("update", false, "keep captures in testdata")
)

// corpus is where captures, redacted, and their truths are kept for TestAccuracy.
const corpus = "../../internal/wire/testdata/software.tar.gz"

func TestMain(m *testing.M) {
	if binary == "" {
		fmt.Fprintln(os.Stderr, "MEMWHY_BIN must name the memwhy binary")
		os.Exit(2)
	}
	if err := os.Setenv("LC_ALL", "C"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// box is a cgroup with programs.
type box struct {
	t           *testing.T
	cgroup, dir string // as in /proc/PID/cgroup, and its directory
	work        string // a directory on a disk, that everybody may write
	v2          bool
}

func newBox(t *testing.T, limit int64) *box {
	t.Helper()
	b := &box{t: t}
	point, own := hierarchy(t, &b.v2)
	b.cgroup = filepath.Join(own, "memwhy-software-"+strings.ToLower(filepath.Base(t.Name()))+"-"+strconv.Itoa(os.Getpid()))
	b.dir = filepath.Join(point, b.cgroup)
	must(t, os.Mkdir(b.dir, 0o755))
	t.Cleanup(b.remove)
	if limit > 0 {
		knob := "memory.limit_in_bytes"
		if b.v2 {
			knob = "memory.max"
		}
		must(t, os.WriteFile(filepath.Join(b.dir, knob), []byte(strconv.FormatInt(limit, 10)), 0))
	}
	var err error
	b.work, err = os.MkdirTemp("/var/tmp", "mws")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(b.work) })
	must(t, os.Chmod(b.work, 0o777))
	return b
}

func (b *box) remove() {
	var err error
	for range 200 {
		if err = syscall.Rmdir(b.dir); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.t.Errorf("remove %s: %v", b.dir, err)
}

func hierarchy(t *testing.T, v2 *bool) (point, own string) {
	t.Helper()
	info, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	for line := range strings.Lines(string(info)) {
		before, after, _ := strings.Cut(line, " - ")
		f, fs := strings.Fields(before), strings.Fields(after)
		switch {
		case fs[0] == "cgroup" && strings.Contains(","+fs[2]+",", ",memory,"):
			point, *v2 = f[4], false
		case fs[0] == "cgroup2" && point == "":
			if c, _ := os.ReadFile(filepath.Join(f[4], "cgroup.controllers")); strings.Contains(string(c), "memory") {
				point, *v2 = f[4], true
			}
		}
	}
	if point == "" {
		t.Fatal("no memory controller")
	}
	if *v2 {
		_ = os.WriteFile(filepath.Join(point, "cgroup.subtree_control"), []byte("+memory"), 0)
		return point, "/"
	}
	lines, err := os.ReadFile("/proc/self/cgroup")
	must(t, err)
	for line := range strings.Lines(string(lines)) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); f[1] == "memory" {
			own = f[2]
		}
	}
	return point, own
}

// command is a command that joins the cgroup before it becomes the program. User may
// be empty for root.
func (b *box) command(user, name string, args ...string) *exec.Cmd {
	script := `echo 0 > "$0"/cgroup.procs && exec "$@"`
	argv := []string{"-c", script, b.dir}
	if user != "" {
		argv = append(argv, "setpriv", "--reuid="+user, "--regid="+user, "--clear-groups")
	}
	cmd := exec.Command("/bin/sh", append(append(argv, name), args...)...)
	cmd.Dir = b.work
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// start starts a program that runs until the end of the test.
func (b *box) start(user, name string, args ...string) *exec.Cmd {
	b.t.Helper()
	cmd := b.command(user, name, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	must(b.t, cmd.Start())
	b.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		ended := time.AfterFunc(5*time.Second, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		_ = cmd.Wait()
		ended.Stop()
		b.killRest()
		if b.t.Failed() {
			b.t.Logf("%s: %s", name, said.String())
		}
	})
	return cmd
}

// killRest ends what programs left in the cgroup, which is the test's own.
func (b *box) killRest() {
	for range 50 {
		pids, _ := os.ReadFile(filepath.Join(b.dir, "cgroup.procs"))
		if len(bytes.TrimSpace(pids)) == 0 {
			return
		}
		for line := range strings.Lines(string(pids)) {
			if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 1 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// run runs a program in the cgroup to its end.
func (b *box) run(user, name string, args ...string) string {
	b.t.Helper()
	out, err := b.command(user, name, args...).CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// outside runs a client, which is not charged to the cgroup.
func outside(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// until waits for what takes a moment.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 600 {
		if ok() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s: not within 30 s", what)
}

// truth is memwhy.truth/v1, as far as it is used here.
type truth struct {
	Schema         string    `json:"schema"`
	Scenario       string    `json:"scenario"`
	Cgroup         string    `json:"cgroup"`
	Accounts       []account `json:"accounts"`
	Findings       []string  `json:"findings,omitempty"`
	Cause          *cause    `json:"cause,omitempty"`
	Also           []cause   `json:"also,omitempty"`
	Healthy        bool      `json:"healthy,omitempty"`
	ToleranceBytes int64     `json:"toleranceBytes"`
	Watch          *watch    `json:"watch,omitempty"`

	planted map[string]int64 // files of which so much was in memory
}

type watch struct {
	Seconds int       `json:"seconds"`
	Since   time.Time `json:"since"`
	Line    string    `json:"line,omitempty"`
	Shape   string    `json:"shape,omitempty"`
	Leak    []string  `json:"leak,omitempty"`
}

type account struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

type cause struct {
	Code   string `json:"code"`
	Bytes  int64  `json:"bytes"`
	Census bool   `json:"census,omitempty"`

	ToleranceBytes int64    `json:"toleranceBytes,omitempty"`
	BytesPerSecond int64    `json:"bytesPerSecond,omitempty"`
	Names          []string `json:"names,omitempty"`
}

// capture records the cgroup and gives the report of the recording.
func (b *box) capture(flags ...string) (recording, report []byte) {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), "capture")
	outside(b.t, binary, append([]string{"capture", b.cgroup, "--timeout=60s", "-o", file}, flags...)...)
	recording, err := os.ReadFile(file)
	must(b.t, err)
	out, err := exec.Command(binary, "explain", "--from", file, "-o", "json").Output()
	must(b.t, err)
	return recording, out
}

func must(t *testing.T, err error) {
	t.Helper()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("%v: %s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return b
}

// pack writes the archive of what was kept.
func pack(t *testing.T, files map[string][]byte) {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	must(t, err)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		must(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Format: tar.FormatUSTAR}))
		_, err := w.Write(files[name])
		must(t, err)
	}
	must(t, w.Close())
	must(t, z.Close())
	must(t, os.WriteFile(corpus, b.Bytes(), 0o644))
}
