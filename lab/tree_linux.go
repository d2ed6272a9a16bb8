package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// parentFull is a target with room of its own below a parent that others fill.
var parentFull = Scenario{
	Name:    "parent-full",
	Summary: "an eighth of a parent's limit, which siblings fill",
	Finding: "limit.parent",
	limit: func(opt Options) int64 {
		if opt.Limit > 0 {
			return opt.Limit
		}
		return wholePages(8 * opt.Bytes)
	},
	plant: func(j job, t *Truth) error {
		const siblings = 2
		if err := errors.Join(j.noSwap(j.CgroupDir), j.divide("start")); err != nil {
			return err
		}
		own := wholePages(min(j.Bytes, j.Limit/8))
		others := int64(0)
		for i := range siblings {
			name := fmt.Sprintf("sibling-%d", i+1)
			if err := j.child(name); err != nil {
				return err
			}
			p, err := j.assistant("sibling", filepath.Join(j.CgroupDir, name), wholePages((j.Limit*9/10-own)/siblings))
			if err != nil {
				return err
			}
			t.Holders = append(t.Holders, Holder{Kind: "process", Name: name, Account: anonOther, PID: p.cmd.Process.Pid})
			anon, err := keyed(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid), "RssAnon") // the program itself too
			if err != nil {
				return err
			}
			others += anon
		}
		// Only now: what a process takes while it starts is charged to where it does.
		if err := errors.Join(j.child("target"), j.enter("target")); err != nil {
			return err
		}
		if _, err := touched(own); err != nil {
			return err
		}
		t.LimitOwner, t.KillAtLeast = j.Cgroup, "high"
		t.Cgroup, t.CgroupDir = filepath.Join(j.Cgroup, "target"), filepath.Join(j.CgroupDir, "target")
		t.add(anonOther, own)
		t.cause("limit.parent", others)
		t.process(anonOther, own)
		return nil
	},
}

// dyingChildren leaves page cache that was charged to cgroups which are gone.
var dyingChildren = Scenario{
	Name:    "dying-children",
	Summary: "cgroups that filled page cache and were removed: it stays",
	Finding: "cgroup.dying",
	needs:   disk,
	plant: func(j job, t *Truth) error {
		const children = 4
		if err := j.divide("holder"); err != nil {
			return err
		}
		each := wholePages(j.Bytes / children)
		for i := range children {
			name := fmt.Sprintf("child-%d", i+1)
			dir := filepath.Join(j.CgroupDir, name)
			if err := j.child(name); err != nil {
				return err
			}
			p, err := j.assistant("writer", dir, each)
			if err != nil {
				return err
			}
			p.end()
			if err := removeCgroup(dir); err != nil {
				return err
			}
			t.Holders = append(t.Holders, Holder{Kind: "cgroup", Name: name, Account: "file", Bytes: each, Path: filepath.Join(j.Cgroup, name), Deleted: true})
			t.file("file", writersFile(j, dir), each)
		}
		t.add("file", children*each)
		if err := j.unite("holder"); err != nil {
			return err
		}
		if kept, err := j.keepsRemoved(); kept || err != nil {
			t.Findings = []string{"cgroup.dying"}
			t.counted("cgroup.dying", children*each)
			return err
		}
		t.cause(cacheCold, children*each)
		return nil
	},
}

// keepsRemoved says whether the kernel keeps cgroups below that were removed. Since
// 7.1 their page cache goes to the parent; it goes some time after.
func (j job) keepsRemoved() (bool, error) {
	if !j.V2 {
		return true, nil
	}
	for range 50 {
		n, err := keyed(filepath.Join(j.CgroupDir, "cgroup.stat"), "nr_dying_descendants")
		if n == 0 || err != nil {
			return false, err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return true, nil
}

// unite undoes divide: the lab's cgroup has no others below it, and this process
// in it.
func (j job) unite(own string) error {
	if !j.V2 {
		return nil
	}
	if err := write(filepath.Join(j.CgroupDir, "cgroup.subtree_control"), "-memory"); err != nil {
		return err
	}
	return errors.Join(j.enter(""), removeCgroup(filepath.Join(j.CgroupDir, own)))
}

func writersFile(j job, cgroupDir string) string {
	return filepath.Join(j.WorkDir, filepath.Base(cgroupDir))
}

func init() {
	roles["sibling"] = func(j job) error {
		_, err := touched(j.Bytes)
		return err
	}
	roles["writer"] = func(j job) error {
		f, err := os.OpenFile(writersFile(j, j.CgroupDir), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		return errors.Join(fill(f, j.Bytes), f.Sync(), f.Close())
	}
}
