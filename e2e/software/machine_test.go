package software

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

var (
	victim = regexp.MustCompile(`\(pid (\d+)\)`)
	tests  = regexp.MustCompile(`/(memwhy-(lab|software|e2e|runtimes|bench)-|mwe|wtc-)`) // cgroups of tests, which hold what was planted
)

// TestThisMachine explains every cgroup of the running machine. Nothing may be found
// that is more than info, unless it is so: of kills the kernel's log has to tell,
// and removed cgroups have to be among those that the kernel counts.
func TestThisMachine(t *testing.T) {
	var list struct {
		Containers []struct {
			Target struct{ Cgroup string }
		}
	}
	must(t, json.Unmarshal([]byte(outside(t, binary, "ps", "--all", "-o", "json")), &list))
	if len(list.Containers) == 0 {
		t.Fatal("no cgroup")
	}
	looked := 0
	for _, c := range list.Containers {
		if tests.MatchString(c.Target.Cgroup) {
			continue
		}
		out, err := exec.Command(binary, "explain", "-o", "json", "--", c.Target.Cgroup).Output()
		if err != nil { // it may have ended meanwhile
			t.Logf("%s: %v", c.Target.Cgroup, err)
			continue
		}
		looked++
		var r struct {
			Findings []struct{ Severity, Code, Title string }
		}
		must(t, json.Unmarshal(out, &r))
		for _, f := range r.Findings {
			if f.Severity == "info" {
				continue
			}
			if !isSo(t, f.Code, f.Title) {
				t.Errorf("%s: %s %s: %s", c.Target.Cgroup, f.Severity, f.Code, f.Title)
			} else {
				t.Logf("%s: and it is so: %s: %s", c.Target.Cgroup, f.Code, f.Title)
			}
		}
	}
	if looked == 0 {
		t.Error("no cgroup could be explained")
	}
}

// isSo checks a statement by what the kernel says elsewhere.
func isSo(t *testing.T, code, title string) bool {
	t.Helper()
	switch {
	case strings.HasPrefix(code, "oom."):
		m := victim.FindStringSubmatch(title)
		if m == nil { // by the counters alone
			b, _ := os.ReadFile("/proc/vmstat")
			return regexp.MustCompile(`(?m)^oom_kill [1-9]`).Match(b)
		}
		return strings.Contains(kernelLog(t), "Killed process "+m[1]+" ")
	case code == "cgroup.dying" || code == "kernel.advisory/pagecache-pins-dying-memcg":
		var v2 bool
		point, _ := hierarchy(t, &v2)
		return counted(t) > directories(t, point)
	}
	return false
}

// kernelLog is what the kernel still has of its log.
func kernelLog(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Open("/dev/kmsg", syscall.O_RDONLY|syscall.O_NONBLOCK, 0)
	must(t, err)
	defer syscall.Close(fd)
	var log strings.Builder
	buf := make([]byte, 16<<10)
	for {
		n, err := syscall.Read(fd, buf)
		if err == syscall.EPIPE { // overwritten meanwhile
			continue
		}
		if err != nil || n <= 0 {
			return log.String()
		}
		log.Write(buf[:n])
	}
}

// counted is how many memory cgroups the kernel has, removed ones included.
func counted(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/cgroups")
	must(t, err)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "memory" {
			n, err := strconv.Atoi(f[2])
			must(t, err)
			return n
		}
	}
	return 0
}

func directories(t *testing.T, point string) int {
	t.Helper()
	out := outside(t, "find", point, "-ignore_readdir_race", "-type", "d")
	return strings.Count(out, "\n")
}
