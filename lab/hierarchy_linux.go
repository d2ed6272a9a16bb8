package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hierarchy is the mounted memory controller, found by the lab itself.
type hierarchy struct {
	v2          bool
	point, root string
}

// findHierarchy reads the mount table: version 1 wins where it has memory.
func findHierarchy() (hierarchy, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return hierarchy{}, err
	}
	var unified *hierarchy
	for line := range strings.Lines(string(table)) {
		h, kind, options, ok := mountLine(strings.TrimSpace(line))
		switch {
		case !ok:
		case kind == "cgroup" && has(strings.Split(options, ","), "memory"):
			return h, nil
		case kind == "cgroup2" && unified == nil:
			controllers, _ := os.ReadFile(filepath.Join(h.point, "cgroup.controllers"))
			if has(strings.Fields(string(controllers)), "memory") {
				h.v2 = true
				unified = &h
			}
		}
	}
	if unified == nil {
		return hierarchy{}, errors.New("no memory controller is mounted")
	}
	return *unified, nil
}

func has(list []string, want string) bool {
	for _, s := range list {
		if s == want {
			return true
		}
	}
	return false
}

// mountLine splits one line of mountinfo.
func mountLine(line string) (h hierarchy, kind, options string, ok bool) {
	head, tail, found := strings.Cut(line, " - ")
	f, k := strings.Fields(head), strings.Fields(tail)
	if !found || len(f) < 5 || len(k) < 3 {
		return h, "", "", false
	}
	return hierarchy{root: octal(f[3]), point: octal(f[4])}, k[0], k[2], true
}

// octal decodes the escapes of a mount table.
func octal(s string) string {
	for i := 0; i+3 < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
			s = s[:i] + string([]byte{byte(n)}) + s[i+4:]
		}
	}
	return s
}

// own is the memory cgroup of this process.
func (h hierarchy) own() (string, error) {
	lines, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(lines)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) == 3 && (h.v2 && f[0] == "0" || !h.v2 && has(strings.Split(f[1], ","), "memory")) {
			return f[2], nil
		}
	}
	return "", errors.New("this process is in no memory cgroup")
}

// parent chooses where the lab's cgroup goes. On version 2 a cgroup with
// processes may have no children with controllers, so it is the root unless a
// delegated one is named.
func (h hierarchy) parent(wanted string) (cgroup, dir string, err error) {
	cgroup = wanted
	if cgroup == "" {
		cgroup = "/"
		if !h.v2 {
			if cgroup, err = h.own(); err != nil {
				return "", "", err
			}
		}
	}
	rest, ok := strings.CutPrefix(cgroup, strings.TrimSuffix(h.root, "/"))
	if !ok {
		return "", "", fmt.Errorf("cgroup %q is outside of %q, which is what is mounted here", cgroup, h.root)
	}
	dir = filepath.Join(h.point, rest)
	if h.v2 {
		if err := enableMemory(cgroup, dir); err != nil {
			return "", "", err
		}
	}
	return cgroup, dir, nil
}

func enableMemory(cgroup, dir string) error {
	on, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	if has(strings.Fields(string(on)), "memory") {
		return nil
	}
	procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	if cgroup != "/" && len(procs) > 0 {
		return fmt.Errorf("cgroup %q holds processes, so it cannot have children with controllers; name another parent", cgroup)
	}
	return write(filepath.Join(dir, "cgroup.subtree_control"), "+memory")
}

// write writes to an existing file: creating one in a cgroup gives EACCES, which
// would hide that there is none. It does not go through package os, which makes
// files of cgroups non-blocking: since 6.18 a write of memory.high or memory.max
// then does not wait for reclaim.
func write(path, text string) error {
	fail := func(op string, err error) error { return &os.PathError{Op: op, Path: path, Err: err} }
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail("open", err)
	}
	defer unix.Close(fd)
	for {
		// The runtime's own signals end a write that waits for reclaim.
		if _, err = unix.Write(fd, []byte(text)); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return fail("write", err)
	}
	return nil
}

// startTime is field 22 of /proc/PID/stat; the name before it may hold spaces.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(f) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, s)
	}
	return strconv.ParseUint(f[19], 10, 64)
}
