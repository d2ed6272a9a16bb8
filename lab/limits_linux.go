package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

var highThrottled = Scenario{
	Name:    "high-throttled",
	Summary: "anonymous memory beyond memory.high: the process is slowed down",
	Finding: "throttle.high",
	plant: func(j job, t *Truth) error {
		knob := filepath.Join(j.CgroupDir, "memory.high")
		if _, err := os.Stat(knob); errors.Is(err, fs.ErrNotExist) {
			t.NotHere = "this cgroup has no memory.high; cgroup v1 never does"
			return nil
		}
		if err := j.noSwap(j.CgroupDir); err != nil {
			return err
		}
		bytes := j.Bytes
		if j.Limit > 0 {
			bytes = min(bytes, wholePages(j.Limit/2))
		}
		// 2 % beyond, where one charge waits some hundredths of a second; at 10 % it
		// would be a second (linux mm/memcontrol.c calculate_high_delay).
		if err := write(knob, strconv.FormatInt(wholePages(bytes*98/100), 10)); err != nil {
			return fmt.Errorf("set memory.high: %w", err)
		}
		if _, err := touched(bytes); err != nil {
			return err
		}
		events, err := keyed(filepath.Join(j.CgroupDir, "memory.events"), "high")
		if err != nil {
			return err
		}
		if events == 0 {
			return errors.New("the kernel counted no throttling")
		}
		t.add(anonOther, bytes)
		t.process(anonOther, bytes)
		t.Throttle = "critical"
		t.cause("throttle.high", bytes)
		return nil
	},
}

var oomVictim = Scenario{
	Name:    "oom-victim",
	Summary: "a child process killed at the limit, its parent surviving",
	Finding: "oom.container",
	limit: func(opt Options) int64 {
		if opt.Limit > 0 {
			return opt.Limit
		}
		return wholePages(opt.Bytes + 32<<20)
	},
	plant: func(j job, t *Truth) error {
		if err := j.noSwap(j.CgroupDir); err != nil {
			return err
		}
		own := wholePages(min(j.Bytes, j.Limit/2))
		if _, err := touched(own); err != nil {
			return err
		}
		if err := j.victim(); err != nil {
			return err
		}
		events := "memory.oom_control"
		if j.V2 {
			events = "memory.events"
		}
		kills, err := keyed(filepath.Join(j.CgroupDir, events), "oom_kill")
		if err != nil {
			return err
		}
		if kills != 1 {
			return fmt.Errorf("one process was to be killed, the kernel counts %d", kills)
		}
		t.add(anonOther, own)
		t.process(anonOther, own)
		t.OOMKills = 1
		t.Findings = []string{"oom.container"}
		return nil
	},
}

// oomParent is a target that is killed far from its own limit.
var oomParent = Scenario{
	Name:    "oom-parent",
	Summary: "a process killed at the limit of its parent, beside a sibling",
	Finding: "oom.ancestor",
	limit:   func(opt Options) int64 { return max(opt.Limit, wholePages(4*opt.Bytes)) },
	plant: func(j job, t *Truth) error {
		if err := errors.Join(j.noSwap(j.CgroupDir), j.divide("start"), j.child("sibling")); err != nil {
			return err
		}
		own := wholePages(min(j.Bytes, j.Limit/8))
		p, err := j.assistant("sibling", filepath.Join(j.CgroupDir, "sibling"), wholePages(j.Limit/2))
		if err != nil {
			return err
		}
		t.Holders = append(t.Holders, Holder{Kind: "process", Name: "sibling", Account: anonOther, PID: p.cmd.Process.Pid})
		if err := errors.Join(j.child("target"), j.enter("target")); err != nil {
			return err
		}
		if _, err := touched(own); err != nil {
			return err
		}
		parent := j.Cgroup
		j.Cgroup, j.CgroupDir = filepath.Join(j.Cgroup, "target"), filepath.Join(j.CgroupDir, "target")
		if err := j.victim(); err != nil {
			return err
		}
		t.Cgroup, t.CgroupDir, t.LimitOwner = j.Cgroup, j.CgroupDir, parent
		t.add(anonOther, own)
		t.process(anonOther, own)
		t.OOMKills = 1
		t.Findings = []string{"oom.ancestor"}
		return nil
	},
}

// oomNobody is out of memory without anybody that may be killed. The holder stays
// outside: it could wait for ever too.
var oomNobody = Scenario{
	Name:    "oom-nobody",
	Summary: "a full limit and nobody to kill: one waits, or calls fail",
	Finding: "oom.no-victim",
	limit:   func(Options) int64 { return 0 }, // it is the target's, below
	plant: func(j job, t *Truth) error {
		if err := errors.Join(j.noSwap(j.CgroupDir), j.divide("start"), j.child("target")); err != nil {
			return err
		}
		dir, own := filepath.Join(j.CgroupDir, "target"), wholePages(j.Bytes)
		if err := j.setLimit(dir, own+16<<20); err != nil {
			return err
		}
		t.Cgroup, t.CgroupDir = filepath.Join(j.Cgroup, "target"), dir
		t.Findings = []string{"oom.no-victim"}
		if j.V2 {
			return j.refused(t, own)
		}
		return j.waiting(t, own+16<<20)
	},
}

// refused has nobody that the kernel may kill: version 2 has no switch.
func (j job) refused(t *Truth, own int64) error {
	switch err := write("/proc/self/oom_score_adj", "-1000"); {
	case errors.Is(err, fs.ErrPermission):
		t.NotHere = "making a process unkillable needs CAP_SYS_RESOURCE"
		return nil
	case err != nil:
		return err
	}
	resident, err := j.assistant("sibling", t.CgroupDir, own)
	if err != nil {
		return err
	}
	filler, err := j.assistant("filler", t.CgroupDir, own+16<<20)
	if err != nil {
		return err
	}
	filler.end()
	t.resident(resident, own)
	return nil
}

// waiting has the OOM killer switched off, and a process that waits for memory.
func (j job) waiting(t *Truth, limit int64) error {
	knob := filepath.Join(t.CgroupDir, "memory.oom_control")
	if err := write(knob, "1"); err != nil {
		return fmt.Errorf("switch the OOM killer off: %w", err)
	}
	j.Role, j.CgroupDir, j.Bytes = "sibling", t.CgroupDir, 2*limit
	p, err := startProcess(j)
	if err != nil {
		return err
	}
	p.stuck = true
	assistants = append(assistants, p)
	pid := p.cmd.Process.Pid
	if err := write(filepath.Join(t.CgroupDir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
		return fmt.Errorf("move a process into its cgroup: %w", err)
	}
	if _, err := io.WriteString(p.in, "go\n"); err != nil {
		return err
	}
	for range 500 {
		under, err := keyed(knob, "under_oom")
		if err != nil {
			return err
		}
		if under == 1 {
			bytes, err := keyed(fmt.Sprintf("/proc/%d/status", pid), "RssAnon")
			t.resident(p, bytes)
			t.LimitOwner, t.KillAtLeast = t.Cgroup, "critical"
			t.Findings = append(t.Findings, "limit.tight")
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("no process waits at the limit")
}

// resident notes another process as the one that holds the bytes.
func (t *Truth) resident(p *process, bytes int64) {
	pid := p.cmd.Process.Pid
	t.PIDs = []int{pid}
	t.add(anonOther, bytes)
	t.Holders = append(t.Holders, Holder{Kind: "process", Name: "memwhy", Account: anonOther, Bytes: bytes, PID: pid})
}

// victim has a child killed at the limit.
func (j job) victim() error {
	p, err := j.assistant("victim", j.CgroupDir, j.Limit)
	if err == nil {
		p.end()
		return errors.New("the victim survived")
	}
	return nil
}

func init() {
	roles["filler"] = overfill
	roles["victim"] = func(j job) error {
		if err := write("/proc/self/oom_score_adj", "1000"); err != nil { // before its parent, whatever that holds
			return err
		}
		_, err := touched(j.Bytes)
		return err
	}
}

// overfill asks for a file in memory beyond the limit, in one call, which gives back
// what it got: at its limit, where nobody can be killed, a process does not survive
// a signal.
func overfill(j job) error {
	fd, err := unix.MemfdCreate("memwhy-lab", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("memfd_create: %w", err)
	}
	defer unix.Close(fd)
	for range 100 {
		if err = unix.Fallocate(fd, 0, 0, 2*j.Bytes); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if !errors.Is(err, unix.ENOMEM) {
		return fmt.Errorf("the limit was to refuse memory, and gave: %v", err) // nil too
	}
	return nil
}
