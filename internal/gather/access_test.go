package gather

import (
	"fmt"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestTryHeaps(t *testing.T) {
	const user = "Name:\tx\nState:\tS (sleeping)\nPPid:\t1\nVmSize:\t 8 kB\n"
	denied := kernel.Answer{State: snapshot.Denied, Err: "permission denied"}
	for name, c := range map[string]struct {
		set   func(*fakeNode)
		state snapshot.State
		why   string
	}{
		"one of two":  {func(n *fakeNode) { n.faults["/proc/10/mem"] = denied; n.files["/proc/11/mem"] = "{}" }, snapshot.Present, ""},
		"none of two": {func(n *fakeNode) { n.faults["/proc/10/mem"], n.faults["/proc/11/mem"] = denied, denied }, snapshot.Denied, "none of 2"},
		"forbidden": {func(n *fakeNode) {
			n.faults["/proc/10/mem"] = denied
			n.files["/proc/sys/kernel/yama/ptrace_scope"] = "3\n"
		}, snapshot.Denied, "ptrace_scope is 3"},
		"an error": {func(n *fakeNode) {
			n.faults["/proc/11/mem"] = kernel.Answer{State: snapshot.Failed, Err: "input/output error"}
		}, snapshot.Failed, "/proc/11/mem: input"},
		"nobody": {func(n *fakeNode) { clear(n.files) }, snapshot.Absent, "no other process"},
		"a crowd": {func(n *fakeNode) {
			for pid := 10; pid < 99; pid++ {
				n.files[fmt.Sprintf("/proc/%d/status", pid)] = user
				n.faults[fmt.Sprintf("/proc/%d/mem", pid)] = denied
			}
		}, snapshot.Denied, "none of 16"},
	} {
		n := &fakeNode{files: map[string]string{}, faults: map[string]kernel.Answer{}}
		n.files["/proc/self"] = "5"
		n.files["/proc/5/status"], n.files["/proc/5/mem"] = user, "{}" // one's own is always readable
		n.files["/proc/6/status"], n.files["/proc/6/mem"] = "Name:\tkthread\nState:\tS (sleeping)\nPPid:\t2\n", "{}"
		n.files["/proc/10/status"], n.files["/proc/11/status"] = user, user
		c.set(n)
		var pids []int
		for pid := 5; pid < 99; pid++ {
			pids = append(pids, pid)
		}
		if got := tryHeaps(n, pids); got.State != c.state || !strings.Contains(got.Err, c.why) || (got.Err == "") != (c.why == "") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
