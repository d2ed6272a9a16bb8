package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// HolderCommand is the hidden argument by which this executable becomes a
// holder: its main must pass what follows to Hold.
const HolderCommand = "__holds"

// Run plants the scenario in a cgroup of its own, calls ready with the truth,
// and holds until ready returns. What it made is removed whatever happens; when
// this process is killed, the holder removes it.
func Run(ctx context.Context, scenario string, opt Options, ready func(Truth) error) (err error) {
	s, ok := Find(scenario)
	if !ok {
		return fmt.Errorf("no scenario %q", scenario)
	}
	if opt.Bytes == 0 {
		opt.Bytes = 64 << 20
	}
	h, err := findHierarchy()
	if err != nil {
		return err
	}
	r, err := setUp(h, s, opt)
	if r != nil {
		defer func() { err = errors.Join(err, tearDown(r.job)) }()
	}
	if err != nil {
		return err
	}
	holder, err := startHolder(ctx, r.job)
	if err != nil {
		return err
	}
	defer holder.end()
	if err := write(filepath.Join(r.CgroupDir, "cgroup.procs"), strconv.Itoa(holder.cmd.Process.Pid)); err != nil {
		return fmt.Errorf("move the holder into its cgroup: %w", err)
	}
	holders, err := holder.plant()
	if err != nil {
		return err
	}
	t := Truth{
		Schema: TruthSchema, Scenario: s.Name, Finding: s.Finding, Cgroup: r.cgroup, CgroupDir: r.CgroupDir, CgroupVersion: h.version(),
		PIDs: []int{holder.cmd.Process.Pid}, Holders: holders,
	}
	var planted int64
	for _, x := range holders {
		planted += x.Bytes
	}
	t.Accounts = []Account{{Path: s.Account, Bytes: planted}}
	t.ToleranceBytes = tolerance(planted)
	return ready(t)
}

// run is a job and where its cgroup is.
type run struct {
	job
	cgroup string
}

// setUp makes the cgroup and the work directory. What was made is returned even
// with an error, to be torn down.
func setUp(h hierarchy, s Scenario, opt Options) (*run, error) {
	parent, parentDir, err := h.parent(opt.Parent)
	if err != nil {
		return nil, err
	}
	start, err := startTime(os.Getpid())
	if err != nil {
		return nil, err
	}
	n := name(s.Name, os.Getpid(), start)
	r := &run{cgroup: filepath.Join(parent, n), job: job{Scenario: s.Name, Bytes: opt.Bytes, CgroupDir: filepath.Join(parentDir, n), ParentDir: parentDir}}
	if err := os.Mkdir(r.CgroupDir, 0o755); err != nil {
		return nil, fmt.Errorf("make a cgroup: %w", err)
	}
	if opt.Limit > 0 {
		knob := "memory.limit_in_bytes"
		if h.v2 {
			knob = "memory.max"
		}
		if err := write(filepath.Join(r.CgroupDir, knob), strconv.FormatInt(opt.Limit, 10)); err != nil {
			return r, fmt.Errorf("set the limit: %w", err)
		}
	}
	return r, r.makeWorkDir(s.needs, n, opt)
}

// Magic numbers of statfs(2): files there are not page cache of a disk.
var memoryFS = map[int64]string{0x01021994: "tmpfs", 0x858458f6: "ramfs"}

func (r *run) makeWorkDir(p place, n string, opt Options) error {
	dir := opt.Dir
	switch p {
	case nowhere:
		return nil
	case disk:
		if dir == "" {
			dir = "/var/tmp"
		}
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			return fmt.Errorf("statfs %s: %w", dir, err)
		}
		if fs, bad := memoryFS[int64(st.Type)]; bad {
			return fmt.Errorf("%s is on %s: this scenario needs a disk, say --dir", dir, fs)
		}
	case tmpfs:
		if dir == "" {
			dir = os.TempDir()
		}
	}
	work := filepath.Join(dir, n)
	if err := os.Mkdir(work, 0o700); err != nil {
		return err
	}
	r.WorkDir = work
	if p == tmpfs {
		if err := syscall.Mount("tmpfs", work, "tmpfs", syscall.MS_NODEV|syscall.MS_NOSUID, "mode=0700"); err != nil {
			return fmt.Errorf("mount a tmpfs at %s: %w", work, err)
		}
		r.Mounted = true
	}
	return nil
}

// tearDown removes what a run made. The cgroup stays busy for a moment after its
// last process.
func tearDown(j job) error {
	err := removeWorkDir(j.WorkDir, j.Mounted)
	return errors.Join(err, removeCgroup(j.CgroupDir))
}

func removeWorkDir(dir string, mounted bool) error {
	if dir == "" {
		return nil
	}
	if mounted {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
	return os.RemoveAll(dir)
}

func removeCgroup(dir string) error {
	var err error
	for range 100 {
		if err = syscall.Rmdir(dir); err == nil || errors.Is(err, syscall.ENOENT) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("remove cgroup %s: %w", dir, err)
}

// holder is the process that holds the memory.
type holder struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startHolder(ctx context.Context, j job) (*holder, error) {
	spec, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, HolderCommand, string(spec))
	cmd.Env = []string{"GOMAXPROCS=1", "GOGC=20"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for the owner, who ends the holder
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the holder: %w", err)
	}
	return &holder{cmd, in, bufio.NewReader(out)}, nil
}

// planted is the holder's one answer.
type planted struct {
	Holders []Holder
	Err     string
}

func (h *holder) plant() ([]Holder, error) {
	if _, err := io.WriteString(h.in, "go\n"); err != nil {
		return nil, fmt.Errorf("holder: %w", err)
	}
	line, err := h.out.ReadBytes('\n')
	if err != nil {
		return nil, errors.New("the holder ended before it held anything (killed at the limit?)")
	}
	var p planted
	if err := json.Unmarshal(line, &p); err != nil {
		return nil, fmt.Errorf("holder said %q: %w", line, err)
	}
	if p.Err != "" {
		return nil, errors.New(p.Err)
	}
	return p.Holders, nil
}

func (h *holder) end() {
	_, _ = io.WriteString(h.in, "done\n")
	h.in.Close()
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
}
