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
	"sync"
	"syscall"
	"time"
)

// HolderCommand is the hidden argument by which this executable becomes a
// process of a lab: its main must pass what follows to Hold.
const HolderCommand = "__holds"

// process is one of the lab's: the holder, or one that the holder started.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader

	stuck bool // it will not hear that it is to end
}

// startProcess starts one, which waits to be moved into its cgroup.
func startProcess(j job) (*process, error) {
	spec, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, HolderCommand, string(spec))
	cmd.Env = []string{"GOMAXPROCS=1", "GOGC=20"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for the owner, who ends the holder
	if j.Role != "" {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // the holder must outlive its owner, to clean up; its own need not
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a process of the lab: %w", err)
	}
	p := &process{cmd: cmd, in: in, out: bufio.NewReader(out)}
	// Moved before its runtime has started, it would be charged for that.
	if line, _ := p.out.ReadString('\n'); line != here {
		p.end()
		return nil, fmt.Errorf("a process of the lab said %q at its start", line)
	}
	return p, nil
}

// here is the first word of a process.
const here = "here\n"

// answer is what a process says once.
type answer struct {
	Truth Truth
	Err   string
}

// plant lets the process do its part. One that is told to stop meanwhile does not
// hear it, and is killed.
func (p *process) plant(ctx context.Context) (Truth, error) {
	defer context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })()
	if _, err := io.WriteString(p.in, "go\n"); err != nil {
		return Truth{}, fmt.Errorf("holder: %w", err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return Truth{}, errors.New("the holder ended before it held anything (killed at the limit?)")
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return Truth{}, fmt.Errorf("holder said %q: %w", line, err)
	}
	if a.Err != "" {
		return Truth{}, errors.New(a.Err)
	}
	return a.Truth, nil
}

// end ends the process, after those that it started itself.
func (p *process) end() {
	_, _ = io.WriteString(p.in, "done\n")
	p.in.Close()
	if p.stuck {
		_ = p.cmd.Process.Kill()
	}
	defer time.AfterFunc(5*time.Second, func() { _ = p.cmd.Process.Kill() }).Stop()
	_ = p.cmd.Wait()
}

// roles are what further processes do; their amount is the job's.
var roles = map[string]func(job) error{}

// assistants are the processes that this one started. What replaces them holds crew.
var (
	assistants []*process
	crew       sync.Mutex
)

// dismiss ends them, for good.
func dismiss() {
	crew.Lock()
	defer crew.Unlock()
	for _, p := range assistants {
		p.end()
	}
	assistants = nil
}

// assistant starts a further process in the cgroup at dir, and returns when it
// has done its part; it stays until it is ended, or the holder is.
func (j job) assistant(role, dir string, bytes int64) (*process, error) {
	crew.Lock()
	defer crew.Unlock()
	return j.hire(role, dir, bytes)
}

// hire is assistant for whoever holds crew.
func (j job) hire(role, dir string, bytes int64) (*process, error) {
	j.Role, j.CgroupDir, j.Bytes = role, dir, bytes
	p, err := startProcess(j)
	if err != nil {
		return nil, err
	}
	if err := write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(p.cmd.Process.Pid)); err != nil {
		p.end()
		return nil, fmt.Errorf("move a %s into its cgroup: %w", role, err)
	}
	if _, err := p.plant(context.Background()); err != nil {
		p.end()
		return nil, fmt.Errorf("%s: %w", role, err)
	}
	assistants = append(assistants, p)
	return p, nil
}
