package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
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
		return nil
	},
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
	roles["victim"] = func(j job) error {
		if err := write("/proc/self/oom_score_adj", "1000"); err != nil { // before its parent, whatever that holds
			return err
		}
		_, err := touched(j.Bytes)
		return err
	}
}
