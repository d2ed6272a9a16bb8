//go:build linux

// Command guest is the first and only process of a test machine: it mounts what
// a node has, runs every lab with the shipped binary beside it, and leaves
// truths, reports and captures as a tar on a raw disk for the outside to judge.
// It judges nothing itself. For the container runtimes it starts systemd from a
// disk of its own, as whose service it then goes on.
//
// Kernel arguments: memwhy.cgroup=v1|v2, memwhy.labs=a,b (all when absent),
// memwhy.bytes=24M, memwhy.tests=PATTERN of the live tests to leave out (none
// are run when absent), memwhy.only=census|acts|reclaim|neighbours|tests|runtimes for the
// page census's tests, those of what writes to the kernel, the live tests of memwhy
// reclaim and of what moves (memwhy.tests says which), the benchmark of the neighbours
// (of memwhy.mib=128, in memwhy.rounds=3), the other live tests, or those of
// e2e/runtimes (memwhy.tests leaves out here too), and nothing else.
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const (
	memwhy = "/disk/memwhy"
	// patience is for one command, on a slow emulated machine.
	patience = 60 * time.Second
)

func main() {
	err := run()
	if err != nil {
		fmt.Println("guest:", err)
	}
	syscall.Sync()
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() error {
	first := os.Getpid() == 1
	if first {
		if err := errors.Join(mountAll(), loadModules()); err != nil {
			return err
		}
	}
	args := kernelArgs()
	runtimes := args["memwhy.only"] == "runtimes"
	if first && runtimes {
		return systemd()
	}
	out, err := disk("out")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(out, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	t := tar.NewWriter(f)
	r := &runner{tar: t, bytes: args["memwhy.bytes"]}
	if runtimes {
		err = r.runtimes(args["memwhy.tests"])
	} else if err = setUp(args["memwhy.cgroup"]); err == nil {
		switch args["memwhy.only"] {
		case "census":
			err = r.census()
		case "acts":
			err = r.acts()
		case "reclaim":
			err = r.program("reclaim", 4*patience, "/disk/e2e.test", "-test.v", "-test.run", args["memwhy.tests"], "-test.parallel", "1")
		case "neighbours":
			err = r.program("neighbours", 14*patience, "/disk/reclaim.bench", "-memwhy", memwhy, "-dir", "/disk/tmp", "-drop-caches",
				"-mib", args["memwhy.mib"], "-rounds", args["memwhy.rounds"])
		case "tests":
			err = r.tests(args["memwhy.tests"])
		default:
			err = errors.Join(r.labs(args["memwhy.labs"]), r.tests(args["memwhy.tests"]))
		}
	}
	if err != nil {
		err = errors.Join(err, r.put("error", []byte(err.Error()+"\n")))
	}
	return errors.Join(err, r.put("end", nil), t.Close(), f.Sync(), f.Close())
}

func mountAll() error {
	for _, m := range [][3]string{
		{"proc", "/proc", "proc"},
		{"sysfs", "/sys", "sysfs"},
		{"devtmpfs", "/dev", "devtmpfs"},
		{"tmpfs", "/tmp", "tmpfs"},
		{"tmpfs", "/dev/shm", "tmpfs"},
		{"devpts", "/dev/pts", "devpts"},
	} {
		if err := os.MkdirAll(m[1], 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(m[0], m[1], m[2], 0, ""); err != nil && !errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	return nil
}

// loadModules loads what this kernel does not have built in, in the order of the names.
func loadModules() error {
	files, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return err
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		none := []byte{0} // parameters
		if _, _, e := syscall.Syscall(syscall.SYS_INIT_MODULE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&none[0]))); e != 0 {
			return fmt.Errorf("%s: %w", file, e)
		}
	}
	return os.RemoveAll("/modules")
}

func kernelArgs() map[string]string {
	b, _ := os.ReadFile("/proc/cmdline")
	args := map[string]string{}
	for _, w := range strings.Fields(string(b)) {
		k, v, _ := strings.Cut(w, "=")
		args[k] = v
	}
	return args
}

// disk finds a disk by its serial number: the order of their names varies.
func disk(serial string) (string, error) {
	for range 200 {
		found, _ := filepath.Glob("/sys/class/nvme/*/serial")
		for _, file := range found {
			b, _ := os.ReadFile(file)
			dev := "/dev/" + filepath.Base(filepath.Dir(file)) + "n1"
			if _, err := os.Stat(dev); err == nil && strings.TrimSpace(string(b)) == serial {
				return dev, nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return "", fmt.Errorf("no disk with the serial number %q", serial)
}

// mountData mounts the disk with the programs.
func mountData() error {
	data, err := disk("data")
	if err != nil {
		return err
	}
	if err := syscall.Mount(data, "/disk", "ext4", 0, ""); err != nil {
		return fmt.Errorf("mount %s: %w", data, err)
	}
	return nil
}

// setUp makes the machine a node: a disk for files, swap, a network of its own,
// the memory controller.
func setUp(cgroup string) error {
	if err := mountData(); err != nil {
		return err
	}
	if err := os.Symlink("/disk/tmp", "/var/tmp"); err != nil {
		return err
	}
	swap, err := disk("swap")
	if err != nil {
		return err
	}
	if err := swapOn(swap); err != nil {
		return fmt.Errorf("swapon %s: %w", swap, err)
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	return mountCgroup(cgroup)
}

func mountCgroup(version string) error {
	const root = "/sys/fs/cgroup"
	switch version {
	case "v2":
		if err := syscall.Mount("cgroup2", root, "cgroup2", 0, "memory_recursiveprot"); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+memory"), 0)
	case "v1":
		if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "mode=755"); err != nil {
			return err
		}
		for _, c := range []string{"memory", "cpu,cpuacct", "pids"} {
			dir := filepath.Join(root, c)
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
			if err := syscall.Mount("cgroup", dir, "cgroup", 0, c); err != nil {
				return fmt.Errorf("mount the %s controller: %w", c, err)
			}
		}
		return nil
	}
	return fmt.Errorf("memwhy.cgroup=%q: want v1 or v2", version)
}

type runner struct {
	tar   *tar.Writer
	bytes string

	mu    sync.Mutex // of tar
	aside sync.WaitGroup
	slots chan struct{} // for labs that go on while the others run
}

func (r *runner) put(name string, b []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b)), Format: tar.FormatUSTAR})
	if err == nil {
		_, err = r.tar.Write(b)
	}
	return err
}

// command runs memwhy and keeps what it printed under name.
func (r *runner) command(name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, memwhy, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &errs, time.Second
	err := cmd.Run()
	if out.Len() > 0 {
		if err := r.put(name, out.Bytes()); err != nil {
			return err
		}
	}
	if err != nil {
		return r.put(name+".failed", fmt.Appendf(nil, "memwhy %s: %v\n%s", strings.Join(args, " "), err, errs.Bytes()))
	}
	return nil
}

func (r *runner) labs(only string) error {
	if err := r.command("ps.json", "ps", "-o", "json"); err != nil {
		return err
	}
	names := strings.FieldsFunc(only, func(c rune) bool { return c == ',' })
	if len(names) == 0 {
		out, err := exec.Command(memwhy, "lab", "list").Output()
		if err != nil {
			return fmt.Errorf("lab list: %w", err)
		}
		for line := range strings.Lines(string(out)) {
			names = append(names, strings.Fields(line)[0])
		}
	}
	r.slots = make(chan struct{}, 2)
	var failed error
	for _, name := range names {
		if failed = r.lab(name); failed != nil {
			break
		}
	}
	r.aside.Wait()
	if failed != nil {
		return failed
	}
	return r.command("oom.json", "oom", "list", "-o", "json") // of all labs at once
}

// lab runs one scenario. What goes wrong in it is a file of the tar, so that the
// others still run. One that has to be watched goes on while the others run.
func (r *runner) lab(name string) error {
	r.slots <- struct{}{}
	start := time.Now()
	dir := "labs/" + name + "/"
	args := []string{"lab", "run", name, "--for", "5m"}
	if r.bytes != "" {
		args = append(args, "--bytes", r.bytes, "--limit", "256M")
	}
	cmd := exec.Command(memwhy, args...)
	errs := &bytes.Buffer{}
	cmd.Stderr = errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("lab %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("lab %s: %w", name, err)
	}
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	truth, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		defer func() { <-r.slots }()
		timer.Stop()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return r.put(dir+"lab.failed", fmt.Appendf(nil, "%v\n%s", err, errs.Bytes()))
	}
	finish := func() {
		defer func() { <-r.slots }()
		defer timer.Stop()
		err := r.put(dir+"truth.json", truth)
		watch := between(truth, `"watch":{"seconds":`, ",")
		if cgroup := between(truth, `"cgroup":"`, `"`); cgroup != "" {
			err = errors.Join(err, r.capture(name, cgroup, watch))
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_, _ = io.Copy(io.Discard, out)
		if waited := cmd.Wait(); waited != nil {
			err = errors.Join(err, r.put(dir+"lab.failed", fmt.Appendf(nil, "%v\n%s", waited, errs.Bytes())))
		}
		if err != nil {
			_ = r.put(dir+"capture.failed", fmt.Appendf(nil, "%v\n", err))
		}
		fmt.Printf("guest: %-24s %6.2f s\n", name, time.Since(start).Seconds())
	}
	if !strings.Contains(string(truth), `"watch":`) {
		finish()
		return nil
	}
	r.aside.Go(finish)
	return nil
}

// capture records a cgroup and explains the recording: one census for both, which
// takes its time where the processor is emulated. What goes on is watched so many
// seconds.
func (r *runner) capture(lab, cgroup, watch string) error {
	dir, file := "labs/"+lab+"/", "/tmp/capture-"+lab
	args := []string{"capture", cgroup, "-o", file, "--timeout", "60s"}
	if watch != "" {
		args = append(args, "--watch", watch+"s")
	}
	if err := r.command(dir+"said", args...); err != nil {
		return err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil // why is in said.failed
	}
	return errors.Join(r.put(dir+"capture", b), r.command(dir+"report.json", "explain", "--from", file, "-o", "json"), os.Remove(file))
}

// tests runs the live tests, which are on the disk too.
func (r *runner) tests(skip string) error {
	if skip == "" {
		return nil
	}
	// Where the processor is emulated, loading the census for each of them is too
	// slow: those that are about it ask for it.
	if err := os.Setenv("MEMWHY_E2E_CENSUS", "off"); err != nil {
		return err
	}
	return r.program("tests", 3*patience, "/disk/e2e.test", "-test.v", "-test.skip", skip)
}

// census runs the tests of internal/kernel/census.
func (r *runner) census() error {
	if err := os.Setenv("MEMWHY_LIVE", "required"); err != nil {
		return err
	}
	if err := r.program("census", 4*patience, "/disk/census.test", "-test.v"); err != nil {
		return err
	}
	// Once more with the lists of the other kind, where the kernel has both: with the
	// multi-generation LRU that it was started without, or without.
	const knob = "/sys/kernel/mm/lru_gen/enabled"
	before, err := os.ReadFile(knob)
	if errors.Is(err, os.ErrNotExist) {
		return r.put("lists", []byte("no "+knob+"\n"))
	}
	if err != nil {
		return err
	}
	other := "y"
	if strings.TrimSpace(string(before)) != "0x0000" {
		other = "n"
	}
	if err := os.WriteFile(knob, []byte(other), 0); err != nil {
		return err
	}
	after, err := os.ReadFile(knob)
	if err != nil || string(after) == string(before) {
		return fmt.Errorf("%s: %q, and %q after %q: %w", knob, before, after, other, err)
	}
	fmt.Printf("guest: lists of %q, before %q\n", after, before)
	return r.program("lists", 2*patience, "/disk/census.test", "-test.v", "-test.run", "^(TestCensusOfACgroup|TestSumsOfTheLists|TestWrongOffsetsAreDoubted|TestWalkersAgree)$")
}

// acts runs the tests of internal/actuate.
func (r *runner) acts() error {
	if err := os.Setenv("MEMWHY_LIVE", "required"); err != nil {
		return err
	}
	return r.program("acts", 4*patience, "/disk/actuate.test", "-test.v", "-kills", "12")
}

// runtimes runs the tests of e2e/runtimes.
func (r *runner) runtimes(skip string) error {
	if err := errors.Join(mountData(), loopbackUp()); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"PATH": "/usr/local/bin:/usr/bin:/usr/sbin", "HOME": "/root",
		"MEMWHY_RUNTIMES": "required", "MEMWHY_WORKLOAD": "/disk/workload", "MEMWHY_E2E_CENSUS": "off",
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return r.program("runtimes", 4*patience, "/disk/runtimes.test", "-test.v", "-test.skip", skip)
}

// program runs a test program and keeps what it printed under name.
func (r *runner) program(name string, limit time.Duration, command string, args ...string) error {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.Dir, cmd.Env = "/tmp", append(os.Environ(), "MEMWHY_BIN="+memwhy, "TMPDIR=/disk/tmp")
	out, err := cmd.CombinedOutput()
	fmt.Printf("guest: %-24s %6.2f s\n", name, time.Since(start).Seconds())
	if err != nil {
		return r.put(name+".failed", fmt.Appendf(out, "%s: %v\n", command, err))
	}
	return r.put(name, out)
}

func between(b []byte, before, after string) string {
	_, rest, _ := strings.Cut(string(b), before)
	s, _, _ := strings.Cut(rest, after)
	return s
}
