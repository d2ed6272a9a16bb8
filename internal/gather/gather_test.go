package gather

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// fakeNode is a node: files by path; directories are what the paths say. A
// path in faults answers with that error instead.
type fakeNode struct {
	files  map[string]string
	faults map[string]kernel.Answer

	mu    sync.Mutex
	asked []string
}

func (n *fakeNode) Origin() kernel.Origin { return kernel.Origin{PageSize: 4096} }

func (n *fakeNode) Ask(q kernel.Question) kernel.Answer {
	n.mu.Lock()
	n.asked = append(n.asked, q.Path)
	n.mu.Unlock()
	if a, ok := n.faults[q.Path]; ok {
		return a
	}
	if q.Op == kernel.List {
		return n.list(q.Path)
	}
	if s, ok := n.files[q.Path]; ok {
		return kernel.Answer{Data: []byte(s), State: snapshot.Present}
	}
	return kernel.Answer{State: snapshot.Absent, Err: "no such file"}
}

func (n *fakeNode) list(dir string) kernel.Answer {
	var names []string
	for p := range n.files {
		rest, ok := strings.CutPrefix(p, dir+"/")
		if name, _, deeper := strings.Cut(rest, "/"); ok && deeper && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 && !slices.ContainsFunc(keys(n.files), func(p string) bool { return strings.HasPrefix(p, dir+"/") }) {
		return kernel.Answer{State: snapshot.Absent, Err: "no such file"}
	}
	return kernel.Answer{Data: []byte(strings.Join(names, "\x00") + "\x00"), State: snapshot.Present}
}

func keys(m map[string]string) (k []string) {
	for p := range m {
		k = append(k, p)
	}
	return k
}

const (
	top = "/sys/fs/cgroup/memory"
	id  = "8d2c5b0a7f6e4d3c2b1a09182736455463728190a0b1c2d3e4f5061728394a5b"
)

func fake() *fakeNode {
	n := &fakeNode{files: map[string]string{}, faults: map[string]kernel.Answer{}}
	n.files["/proc/self/mountinfo"] = "9 1 0:1 / " + top + " rw - cgroup cgroup rw,memory\n8 1 0:2 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	for _, dir := range []string{top, top + "/docker", top + "/docker/" + id, top + "/docker/" + id + "/child"} {
		n.files[dir+"/memory.usage_in_bytes"] = "8192\n"
		n.files[dir+"/memory.stat"] = "cache 4096\ntotal_cache 4096\n"
		n.files[dir+"/cgroup.procs"] = ""
	}
	n.files[top+"/docker/"+id+"/cgroup.procs"] = "7\n8\n0\n"
	n.files[top+"/docker/"+id+"/child/cgroup.procs"] = "9\n"
	for _, pid := range []int{7, 9} {
		n.files[fmt.Sprintf("/proc/%d/status", pid)] = fmt.Sprintf("Name:\tp%d\nState:\tS (sleeping)\nPid:\t%d\nPPid:\t1\nVmSize:\t 9 kB\nVmRSS:\t %d kB\n", pid, pid, pid)
		n.files[fmt.Sprintf("/proc/%d/cmdline", pid)] = "/bin/java\x00-Xmx1g\x00--secret=hunter2\x00"
		n.files[fmt.Sprintf("/proc/%d/cgroup", pid)] = "4:memory:/docker/" + id + "\n0::/\n"
	}
	return n
}

func TestWholePath(t *testing.T) {
	s, err := Explain(fake(), id[:6], Options{})
	if err != nil {
		t.Fatal(err)
	}
	var path []string
	for _, c := range s.Path {
		path = append(path, c.Path)
	}
	if want := []string{"/docker/" + id, "/docker", "/"}; !slices.Equal(path, want) {
		t.Errorf("path %q", path)
	}
	if !slices.Equal(s.PIDs, []int{7, 8, 9}) || s.Outside != 1 || s.Target().Descendants.Value != 1 || s.Host.CgroupMode != "hybrid" {
		t.Errorf("pids %v, %d outside, %d below, %s", s.PIDs, s.Outside, s.Target().Descendants.Value, s.Host.CgroupMode)
	}
	if got := s.Processes[0].Command.Value; !slices.Equal(got, []string{"/bin/java", "-Xmx1g"}) {
		t.Errorf("command %q: %+v", got, s.Processes[0])
	}
	if gone := s.Processes[1].Status; gone.State != snapshot.Absent {
		t.Errorf("a process that ended: %+v", gone)
	}
}

// Wherever the target's cgroup vanishes between two reads, that is an ordinary
// answer: not found, or what had been read by then.
func TestVanishing(t *testing.T) {
	first := fake()
	if _, err := Explain(first, "/docker/"+id, Options{}); err != nil {
		t.Fatal(err)
	}
	for i := range first.asked {
		n := &vanishing{fakeNode: fake(), from: i}
		s, err := Explain(n, "/docker/"+id, Options{})
		var e *TargetError
		switch {
		case err != nil && (!errors.As(err, &e) || e.Kind != NotFound):
			t.Errorf("vanished at question %d (%s): %v", i, first.asked[i], err)
		case err == nil && s.Target().Usage.State != snapshot.Present && s.Target().Stat.State != snapshot.Present:
			t.Errorf("vanished at question %d (%s), and nothing was read", i, first.asked[i])
		}
	}
}

// vanishing loses the target's cgroup and its processes from one question on.
type vanishing struct {
	*fakeNode
	from int
}

func (v *vanishing) Ask(q kernel.Question) kernel.Answer {
	a := v.fakeNode.Ask(q)
	if len(v.asked) > v.from && (strings.Contains(q.Path, id) || strings.HasPrefix(q.Path, "/proc/7") || strings.HasPrefix(q.Path, "/proc/9")) {
		return kernel.Answer{State: snapshot.Absent, Err: snapshot.Vanished}
	}
	return a
}

func TestTargets(t *testing.T) {
	n := fake()
	n.files[top+"/docker/"+strings.Repeat("8", 64)+"/cgroup.procs"] = ""
	n.files["/proc/20/status"] = "Name:\tz\nState:\tZ (zombie)\nPid:\t20\nPPid:\t7\n"
	n.files["/proc/21/status"] = "Name:\tk\nState:\tI (idle)\nPid:\t21\nPPid:\t2\n"
	n.files["/proc/22/status"] = "Name:\td\nState:\tS (sleeping)\nPid:\t22\nPPid:\t1\nVmSize:\t 1 kB\n"
	n.files["/proc/22/cgroup"] = "4:memory:/removed (deleted)\n"
	n.faults["/proc/23/status"] = kernel.Answer{State: snapshot.Denied, Err: "permission denied"}
	for target, want := range map[string]struct {
		cgroup string
		kind   Kind
	}{
		"/docker/" + id:      {cgroup: "/docker/" + id},
		top + "/docker":      {cgroup: "/docker"},
		top:                  {cgroup: "/"},
		"/":                  {cgroup: "/"},
		"docker":             {cgroup: "/docker"},
		"pid:7":              {cgroup: "/docker/" + id},
		strings.ToUpper(id):  {cgroup: "/docker/" + id},
		"8":                  {kind: Ambiguous},
		"/none":              {kind: NotFound},
		"none":               {kind: NotFound},
		"pid:99":             {kind: NotFound},
		"pid:20":             {kind: NotFound},
		"pid:21":             {kind: NotFound},
		"pid:22":             {kind: NotFound},
		"pid:23":             {kind: Denied},
		"pid:":               {kind: Malformed},
		"pid:07":             {kind: Malformed},
		"/docker/../../etc":  {kind: Malformed},
		"/docker\n/\x1b[31m": {kind: NotFound},
	} {
		s, err := Explain(n, target, Options{})
		var e *TargetError
		switch {
		case want.cgroup != "" && (err != nil || s.Target().Path != want.cgroup):
			t.Errorf("%q: %v", target, err)
		case want.cgroup == "" && (!errors.As(err, &e) || e.Kind != want.kind || e.Error() == ""):
			t.Errorf("%q: %v, want kind %d", target, err, want.kind)
		}
	}
}

func TestNoController(t *testing.T) {
	n := &fakeNode{files: map[string]string{
		"/proc/self/mountinfo": "8 1 0:2 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/cgroup.controllers": "cpu io\n",
		"/proc/cgroups": "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t1\t0\n",
	}}
	_, err := Explain(n, "/", Options{})
	var e *TargetError
	if !errors.As(err, &e) || e.Kind != Unsupported || !errors.Is(err, cgroupfs.ErrNoController) || !strings.Contains(e.Hint, "cgroup_enable=memory") {
		t.Errorf("%v, %+v", err, e)
	}
}

// From inside a container only a part of the hierarchy is mounted.
func TestPartOfAHierarchy(t *testing.T) {
	n := fake()
	n.files["/proc/self/mountinfo"] = "9 1 0:1 /docker/" + id + " " + top + " rw - cgroup cgroup rw,memory\n"
	s, err := Explain(n, "/docker/"+id, Options{})
	if err != nil || s.Target().Dir != top || len(s.Path) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	var e *TargetError
	if _, err := Explain(n, "/docker/other", Options{}); !errors.As(err, &e) || e.Kind != NotFound {
		t.Errorf("%v", err)
	}
}

func TestList(t *testing.T) {
	l, err := List(fake(), Options{}, Want{All: true})
	if err != nil || len(l.Snapshots) != 2 || !l.Complete {
		t.Fatalf("%+v, %v", l, err)
	}
	for _, s := range l.Snapshots {
		if s.Path[len(s.Path)-1].Path != "/" || !strings.HasPrefix(s.Target().Path, "/docker/"+id) {
			t.Errorf("%s", s.Target().Path)
		}
	}
}

// An empty command line is said of a process that lives; of one that ends it is
// no news.
func TestEmptyCommandLines(t *testing.T) {
	n := fake()
	n.files["/proc/7/cmdline"], n.files["/proc/9/cmdline"] = "", ""
	n.files["/proc/7/exe"] = "/bin/x"
	s, err := Explain(n, id, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c := s.Processes[0].Command; c.State != snapshot.Absent || c.Err != snapshot.NoCommand {
		t.Errorf("%+v", c)
	}
	if c := s.Processes[2].Command; !c.Gone() {
		t.Errorf("%+v", c)
	}
}
