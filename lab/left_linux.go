package lab

import (
	"errors"
	"fmt"
	"path/filepath"
)

// tmpfsLeft is a pod whose container wrote into a volume in memory, and was replaced.
var tmpfsLeft = Scenario{
	Name:    "tmpfs-left",
	Summary: "a file on tmpfs that a removed cgroup below wrote",
	Finding: tmpfsHeld,
	needs:   tmpfs,
	plant: func(j job, t *Truth) error {
		const name = "before"
		dir := filepath.Join(j.CgroupDir, name)
		if err := errors.Join(j.divide("holder"), j.child(name)); err != nil {
			return err
		}
		p, err := j.assistant("writer", dir, j.Bytes)
		if err != nil {
			return err
		}
		p.end()
		if err := errors.Join(removeCgroup(dir), j.unite("holder")); err != nil {
			return err
		}
		t.add("shmem", j.Bytes, withinFile)
		t.file("shmem", writersFile(j, dir), j.Bytes)
		c := t.counted(tmpfsHeld, j.Bytes)
		c.Names = []string{name}
		kept, err := j.keepsRemoved()
		if kept {
			t.Findings = []string{"cgroup.dying"}
			c.Names = append(c.Names, "removed cgroups wrote")
			t.Holders = append(t.Holders, Holder{Kind: "cgroup", Name: name, Account: "shmem", Bytes: j.Bytes, Path: filepath.Join(j.Cgroup, name), Deleted: true})
		}
		return err
	},
}

// swapKept is memory that went to swap while files stay.
var swapKept = Scenario{
	Name:    "swap-kept",
	Summary: "anonymous memory in swap, beside a file that stays cached",
	Finding: "swap.cache-kept",
	needs:   disk,
	plant: func(j job, t *Truth) error {
		_, swapped, err := j.inSwap(t, j.Bytes/2)
		if err != nil || t.NotHere != "" {
			return err
		}
		f, err := t.written(j, j.Bytes, true)
		if err != nil {
			return err
		}
		t.cause(cacheCold, j.Bytes)
		t.Also = []Cause{{Code: "swap.cache-kept", Bytes: swapped}}
		return f.Close()
	},
}

// oomGroup has all of a cgroup killed for one of it. Its file in memory stays.
var oomGroup = Scenario{
	Name:    "oom-group",
	Summary: "two processes killed together (memory.oom.group)",
	Finding: "oom.container",
	needs:   tmpfs,
	limit:   func(Options) int64 { return 0 }, // it is the target's, below
	plant: func(j job, t *Truth) error {
		if !j.V2 {
			t.NotHere = "cgroup v1 has no memory.oom.group"
			return nil
		}
		dir, own := filepath.Join(j.CgroupDir, "target"), wholePages(j.Bytes)
		if err := errors.Join(j.noSwap(j.CgroupDir), j.divide("start"), j.child("target")); err != nil {
			return err
		}
		if err := errors.Join(j.setLimit(dir, own+32<<20), write(filepath.Join(dir, "memory.oom.group"), "1")); err != nil {
			return err
		}
		writer, err := j.assistant("writer", dir, own)
		if err != nil {
			return err
		}
		writer.end()
		if _, err := j.assistant("sibling", dir, 4<<20); err != nil {
			return err
		}
		t.Cgroup, t.CgroupDir, t.PIDs = filepath.Join(j.Cgroup, "target"), dir, []int{}
		j.CgroupDir, j.Limit = dir, own+32<<20
		if err := j.victim(); err != nil {
			return err
		}
		kills, err := keyed(filepath.Join(dir, "memory.events"), "oom_kill")
		if err != nil {
			return err
		}
		// The one that was chosen is counted once more with its group (linux
		// mm/oom_kill.c oom_kill_process), and each once more that ends while the group
		// is gone through: 6.12 counted 4, and named a thread of the second beside it.
		const processes, chosen = 2, 1
		if kills < processes || kills > 2*processes+chosen {
			return fmt.Errorf("two processes were to be killed, the kernel counts %d", kills)
		}
		t.add("shmem", own, withinFile)
		t.file("shmem", writersFile(j, dir), own)
		t.OOMKills = int(kills)
		t.Findings = []string{"oom.container"}
		return nil
	},
}
