package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

var fileForeign = Scenario{
	Name:    "file-foreign",
	Summary: "a file written and closed, that a process elsewhere has mapped",
	Finding: "cache.foreign",
	healthy: true,
	needs:   disk,
	plant: func(j job, t *Truth) error {
		if err := errors.Join(j.divide("start"), j.child("target"), j.child("sibling"), j.enter("target")); err != nil {
			return err
		}
		f, err := t.written(j, j.Bytes, true)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		p, err := j.assistant("reader", filepath.Join(j.CgroupDir, "sibling"), j.Bytes)
		if err != nil {
			return err
		}
		t.Cgroup, t.CgroupDir = filepath.Join(j.Cgroup, "target"), filepath.Join(j.CgroupDir, "target")
		t.Accounts[0].state("mapped", j.Bytes)
		t.counted("cache.foreign", j.Bytes).Names = []string{"planted", fmt.Sprintf("pid %d", p.cmd.Process.Pid)}
		return nil
	},
}

func init() {
	roles["idler"] = func(job) error { return nil }
	roles["reader"] = func(j job) error {
		f, err := os.Open(filepath.Join(j.WorkDir, "planted"))
		if err != nil {
			return err
		}
		defer f.Close()
		return mapped(f, j.Bytes)
	}
}

// bpfElsewhere is a map whose maker went away: like one that is pinned, it stays
// charged where it was made, and nobody there has it open.
var bpfElsewhere = Scenario{
	Name:    "bpf-elsewhere",
	Summary: "a BPF map made here, that only a process elsewhere has open",
	Finding: "kernel.bpf",
	plant: func(j job, t *Truth) error {
		if err := errors.Join(j.divide("start"), j.child("target"), j.child("sibling"), j.enter("target")); err != nil {
			return err
		}
		fd, charged, err := makeMap(j.Bytes)
		if err := j.enter("sibling"); err != nil {
			return err
		}
		if err != nil {
			t.NotHere = fmt.Sprintf("BPF is not for this process, or not in this kernel: %v", err)
			return nil
		}
		if !charged {
			unix.Close(fd)
			t.NotHere = notCharged
			return nil
		}
		p, err := j.assistant("idler", filepath.Join(j.CgroupDir, "target"), 0)
		if err != nil {
			return err
		}
		t.Cgroup, t.CgroupDir = filepath.Join(j.Cgroup, "target"), filepath.Join(j.CgroupDir, "target")
		t.PIDs = []int{p.cmd.Process.Pid}
		t.add("kernel/vmalloc", j.Bytes, withinKernel...)
		t.cause(kernelRest, j.Bytes).Names = []string{"none of its processes has a BPF map open"}
		t.Also = []Cause{*t.Cause} // on v1 too, where no account has it
		return nil
	},
}
