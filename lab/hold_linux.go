package lab

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Hold is the life of a process of a lab: wait to be moved into the cgroup,
// plant, say so, hold until told that it is done. When the owner goes away
// without a word, the holder removes what the owner made, itself last.
func Hold(args []string, stdin io.Reader, stdout io.Writer) int {
	var j job
	if len(args) != 1 || json.Unmarshal([]byte(args[0]), &j) != nil {
		return 2
	}
	defer dismiss()
	signal.Ignore(syscall.SIGPIPE) // an owner that is gone must not take the clean-up along
	smallPages(true)
	in := bufio.NewReader(stdin)
	if _, err := io.WriteString(stdout, here); err != nil {
		return abandoned(j)
	}
	if line, _ := in.ReadString('\n'); line != "go\n" {
		return abandoned(j)
	}
	a := answer{Truth: j.blank()}
	if err := j.act(&a.Truth); err != nil {
		a.Err = err.Error()
	}
	if json.NewEncoder(stdout).Encode(a) != nil {
		return abandoned(j)
	}
	if line, _ := in.ReadString('\n'); line != "done\n" {
		return abandoned(j)
	}
	return 0
}

// smallPages keeps this process, and those that it starts, from huge pages: with
// them its own little heap takes megabytes. Kernels without them refuse.
func smallPages(on bool) {
	disable := uintptr(0)
	if on {
		disable = 1
	}
	_ = unix.Prctl(unix.PR_SET_THP_DISABLE, disable, 0, 0, 0)
}

// blank is the truth before anything is planted.
func (j job) blank() Truth {
	s, _ := Find(j.Scenario)
	version := "v1"
	if j.V2 {
		version = "v2"
	}
	return Truth{
		Schema: TruthSchema, Scenario: j.Scenario, Finding: s.Finding, Healthy: s.healthy,
		Cgroup: j.Cgroup, CgroupDir: j.CgroupDir, CgroupVersion: version,
		PIDs: []int{os.Getpid()}, Accounts: []Account{}, Holders: []Holder{},
	}
}

func (j job) act(t *Truth) error {
	if j.Role != "" {
		play, ok := roles[j.Role]
		if !ok {
			return fmt.Errorf("no role %q", j.Role)
		}
		return play(j)
	}
	s, ok := Find(j.Scenario)
	if !ok {
		return fmt.Errorf("no scenario %q", j.Scenario)
	}
	if err := s.plant(j, t); err != nil {
		return err
	}
	if t.NotHere != "" {
		t.Accounts, t.Holders, t.ToleranceBytes = []Account{}, []Holder{}, 0
		return nil
	}
	if t.ToleranceBytes == 0 {
		t.ToleranceBytes = tolerance(t.planted())
	}
	j.settle()
	if t.Watch != nil {
		t.Watch.begin()
	}
	return nil
}

// settle waits until the kernel's charge stands still: what was freed on the way
// is given back with a delay.
func (j job) settle() {
	last := int64(-1)
	for range 10 {
		now, err := j.usage()
		if err != nil || now == last {
			return
		}
		last = now
		time.Sleep(50 * time.Millisecond)
	}
}

// abandoned cleans up for an owner that was killed.
func abandoned(j job) int {
	if j.Role != "" {
		return 0 // that is for the holder
	}
	dismiss()
	_ = write(filepath.Join(j.ParentDir, "cgroup.procs"), strconv.Itoa(os.Getpid()))
	if tearDown(j) != nil {
		return 1
	}
	return 0
}
