// Package runtimes runs the shipped binary beside real container runtimes:
// containerd with CRI, docker, podman, each started by the test on sockets of
// its own, with containers from an image that is made here. It uses no package
// of the project: it sees what a user sees, and calls CRI by the official
// client.
//
// It needs root, a memory controller, and the daemons. The binary is $MEMWHY_BIN.
// Where systemd runs on version 2 the daemons have it make the cgroups, as on a
// node; elsewhere they make them.
package runtimes

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	binary = os.Getenv("MEMWHY_BIN")
	work   string // a directory on a real disk, with a short name: sockets are in it

	workload string // the program of the images
)

const (
	workloadRef = "localhost/workload:e2e"
	pauseRef    = "localhost/pause:e2e"
)

// systemd reports who makes the cgroups.
var systemd = exists("/run/systemd/system") && exists("/sys/fs/cgroup/cgroup.controllers")

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if binary == "" {
		fmt.Fprintln(os.Stderr, "MEMWHY_BIN must name the memwhy binary")
		return 2
	}
	var err error
	binary, err = filepath.Abs(binary)
	must(err)
	work, err = os.MkdirTemp("/var/tmp", "mw")
	must(err)
	// What really listens on this machine is none of the tests' business.
	for name, value := range map[string]string{
		"DOCKER_HOST": "unix://" + sock("d"), "CONTAINER_HOST": "unix://" + sock("p"), "CONTAINER_RUNTIME_ENDPOINT": "unix://" + sock("c"),
		"XDG_STATE_HOME": work, "LC_ALL": "C",
	} {
		must(os.Setenv(name, value))
	}
	defer func() {
		stopAll()
		for range 50 { // mounts of containers go when their shims have ended
			unmountBelow(work)
			if err = os.RemoveAll(work); err == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		fmt.Fprintln(os.Stderr, err)
	}()
	images()
	if systemd {
		fmt.Println("cgroups are systemd's")
	}
	return m.Run()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func sock(name string) string { return filepath.Join(work, name+".sock") }

// images makes the archives of the two images out of one static program, which
// $MEMWHY_WORKLOAD names where there is no Go to build it.
func images() {
	if workload = os.Getenv("MEMWHY_WORKLOAD"); workload == "" {
		workload = filepath.Join(work, "workload")
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", workload, "./workload")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			panic(string(out))
		}
	}
	b, err := os.ReadFile(workload)
	must(err)
	must(os.WriteFile(filepath.Join(work, "workload.tar"), archive(workloadRef, "workload", b), 0o600))
	must(os.WriteFile(filepath.Join(work, "pause.tar"), archive(pauseRef, "pause", b), 0o600))
}

// archive is an image as docker save writes it: one layer with one program.
func archive(ref, name string, program []byte) []byte {
	layer := tarOf(map[string][]byte{name: program})
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/" + name}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + sum(layer)}},
	})
	must(err)
	manifest, err := json.Marshal([]any{map[string]any{"Config": sum(config) + ".json", "RepoTags": []string{ref}, "Layers": []string{"layer.tar"}}})
	must(err)
	return tarOf(map[string][]byte{sum(config) + ".json": config, "layer.tar": layer, "manifest.json": manifest})
}

func sum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

func tarOf(files map[string][]byte) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, b := range files {
		must(w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(b))}))
		_, err := w.Write(b)
		must(err)
	}
	must(w.Close())
	return out.Bytes()
}

// command runs something of the machine and gives its output.
func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// result of one command of memwhy.
type result struct {
	out, err string
	code     int
}

// memwhy runs the binary, with time for daemons on a busy machine. $MEMWHY_E2E_CENSUS
// is the census of what these tests explain, which is not about it: where the
// processor is emulated, loading one takes longer than all else.
func memwhy(t testing.TB, args ...string) result {
	t.Helper()
	census := os.Getenv("MEMWHY_E2E_CENSUS")
	if census != "" && (args[0] == "explain" || args[0] == "capture") && !slices.Contains(args, "--from") {
		args = append(args, "--census="+census)
	}
	if args[0] != "__complete" {
		args = append([]string{args[0], "--runtime-timeout=30s", "--timeout=60s"}, args[1:]...)
	}
	return runIt(t, exec.Command(binary, args...))
}

func runIt(t testing.TB, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	r := result{out: out.String(), err: errs.String()}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(r.err, "goroutine ") || strings.Contains(r.err, "panic:") {
		t.Errorf("%v crashed:\n%s", cmd.Args, r.err)
	}
	return r
}

func (r result) want(t testing.TB, code int, words ...string) result {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d\n%s%s", r.code, code, r.out, r.err)
	}
	for _, w := range words {
		if !strings.Contains(r.out+r.err, w) {
			t.Errorf("%q is not said in\n%s%s", w, r.out, r.err)
		}
	}
	return r
}

// report is what these tests look at of memwhy.report/v1 and memwhy.list/v1.
type report struct {
	Target     target
	Numbers    numbers
	Children   []child
	Containers []struct {
		Target  target
		Numbers numbers
	}
	Says []struct {
		Tool     string
		Bytes    *int64
		Reported []struct {
			Bytes, DifferenceBytes int64
			Source                 string
		}
	}
	NotSeen []struct{ Key, Source, State, Why, WouldShow string }
}

type target struct {
	Kind, Cgroup, ID, Name, Namespace, Pod, Container, Image, Runtime, RuntimeVersion, QoS, NamedBy, State string

	PIDs            []int
	Labels          map[string]string
	RestartCount    *int64
	SpecLimitBytes  int64
	RequestBytes    int64
	LastTermination *struct {
		Reason    string
		ExitCode  *int64
		OOMKilled bool
	}
}

type numbers struct {
	UsageBytes                  int64
	WorkingSetBytes, LimitBytes *int64
}

type child struct {
	Kind, Name string
	UsageBytes int64
	Accounts   map[string]int64
}

func (r result) report(t testing.TB) *report {
	t.Helper()
	v := &report{}
	if err := json.Unmarshal([]byte(r.want(t, 0).out), v); err != nil {
		t.Fatal(err)
	}
	return v
}

func explain(t testing.TB, target string) *report {
	t.Helper()
	return memwhy(t, "explain", target, "-o", "json").report(t)
}

// notSeen finds what is said of a source.
func (r *report) notSeen(source string) string {
	for _, n := range r.NotSeen {
		if n.Source == source {
			return n.State + ": " + n.Why
		}
	}
	return ""
}
