package gather

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Kind says why a target could not be explained.
type Kind int

// The kinds.
const (
	NotFound    Kind = iota // no such target, or it is gone
	Ambiguous               // several: see Candidates
	Malformed               // not a target at all
	Denied                  // it is there; this user may not read it
	Unsupported             // this machine cannot say
	Unreadable              // it is there and its files make no sense
)

// TargetError says why, and what the user can do.
type TargetError struct {
	Kind       Kind
	Err        error
	Hint       string
	Candidates []string // cgroup paths, each with a name where it has one
}

func (e *TargetError) Error() string { return e.Err.Error() }

func (e *TargetError) Unwrap() error { return e.Err }

func notFound(format string, args ...any) error {
	return &TargetError{Kind: NotFound, Err: words.Errorf(format, args...), Hint: words.Key("memwhy ps lists what there is")}
}

// resolve turns what a user typed into a cgroup path.
func resolve(src kernel.Source, h cgroupfs.Hierarchy, n *snapshot.Names, target string) (string, error) {
	if target == "" {
		target = src.Origin().Target // a capture knows what it was taken of
	}
	switch {
	case target == "" && src.Origin().Replay:
		return resolveOnly(src, h)
	case target == "self":
		return resolvePID(src, h, "self")
	case strings.HasPrefix(target, "pid:"):
		pid := strings.TrimPrefix(target, "pid:")
		if n, err := strconv.ParseInt(pid, 10, 32); err != nil || n <= 0 || strconv.FormatInt(n, 10) != pid {
			return "", &TargetError{Kind: Malformed, Err: words.Errorf("target %q: want pid:N with a positive number", target)}
		}
		return resolvePID(src, h, pid)
	case strings.HasPrefix(target, "/"):
		return resolvePath(src, h, target)
	}
	return resolveName(src, h, n, target)
}

// resolvePath accepts a cgroup path, and the path of its directory as people
// copy it from a shell.
func resolvePath(src kernel.Source, h cgroupfs.Hierarchy, target string) (string, error) {
	for _, part := range strings.Split(target, "/") {
		if part == "." || part == ".." {
			return "", &TargetError{Kind: Malformed, Err: words.Errorf("target %q: a cgroup path has no %q", target, part)}
		}
	}
	if cgroup, ok := h.Cgroup(target); ok && exists(src, h, cgroup) {
		return cgroup, nil
	}
	cgroup := "/" + strings.Trim(target, "/")
	if _, ok := h.Dir(cgroup); !ok {
		return "", &TargetError{
			Kind: NotFound, Err: words.Errorf("cgroup %q is outside of %s, which is all that is mounted here", cgroup, h.Root),
			Hint: words.Key("run memwhy on the node, or mount the node's /sys and use --host-root"),
		}
	}
	return cgroup, nil
}

func exists(src kernel.Source, h cgroupfs.Hierarchy, cgroup string) bool {
	dir, ok := h.Dir(cgroup)
	return ok && src.Ask(kernel.Question{Op: kernel.Read, Path: dir + "/cgroup.procs", Max: maxFile}).State != snapshot.Absent
}

func resolvePID(src kernel.Source, h cgroupfs.Hierarchy, pid string) (string, error) {
	base := "/proc/" + pid + "/"
	status := kernel.Value(src, base+"status", maxFile, procfs.ParseStatus)
	switch {
	case status.State == snapshot.Absent:
		return "", notFound("no process %s", pid)
	case status.State == snapshot.Denied:
		return "", &TargetError{Kind: Denied, Err: words.Errorf("process %s: %s", pid, status.Err), Hint: words.Key("run as root")}
	case status.Value.State == "Z":
		return "", &TargetError{
			Kind: NotFound, Err: words.Errorf("process %s is a zombie: its memory was given back when it ended", pid),
			Hint: fmt.Sprintf("its parent, which has yet to collect it, is pid:%d", status.Value.PPID),
		}
	case status.Value.KernelThread:
		return "", &TargetError{
			Kind: NotFound, Err: words.Errorf("process %s (%s) is a kernel thread: it has no memory of its own and belongs to no container", pid, printable.Text(status.Value.Name)),
			Hint: words.Key("the node as a whole: memwhy explain /"),
		}
	}
	members := kernel.Value(src, base+"cgroup", maxFile, cgroupfs.ParseMembership)
	lines, ok := members.Get()
	if !ok {
		if members.State == snapshot.Absent {
			return "", notFound("process %s ended while it was looked up", pid)
		}
		return "", &TargetError{Kind: Unreadable, Err: words.Errorf("%s: %s", members.Source, members.Err)}
	}
	cgroup, ok := h.Membership(lines)
	if !ok {
		return "", notFound("process %s is in no cgroup of the memory controller's hierarchy", pid)
	}
	if gone, deleted := strings.CutSuffix(cgroup, " (deleted)"); deleted && !exists(src, h, cgroup) {
		return "", notFound("the cgroup of process %s, %q, has been removed", pid, gone)
	}
	if _, ok := h.Dir(cgroup); !ok {
		return "", &TargetError{
			Kind: NotFound, Err: words.Errorf("process %s is in cgroup %q, which is outside of what is mounted here (%s)", pid, cgroup, h.Root),
			Hint: words.Key("run memwhy on the node, or mount the node's /sys and use --host-root"),
		}
	}
	return cgroup, nil
}

// resolveOnly finds the one container of a tree that does not say what it was
// taken of.
func resolveOnly(src kernel.Source, h cgroupfs.Hierarchy) (string, error) {
	all, _, err := cgroups(src, h)
	if err != nil {
		return "", &TargetError{Kind: Unreadable, Err: err}
	}
	var found []string
	for _, c := range all {
		if id := identity.Parse(c); id.Kind == identity.Container && id.Dir == c {
			found = append(found, c)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	if len(found) == 0 {
		found = all[:min(len(all), 20)]
	}
	return "", &TargetError{Kind: Ambiguous, Err: words.Errorf("say which cgroup to explain"), Candidates: found}
}

// cgroups lists all memory cgroups, parents first.
func cgroups(src kernel.Source, h cgroupfs.Hierarchy) (paths []string, complete bool, err error) {
	dirs, complete, err := cgroupfs.Walk(src, h.Point, maxCgroups)
	for _, d := range dirs {
		if c, ok := h.Cgroup(d); ok {
			paths = append(paths, c)
		}
	}
	return paths, complete, err
}
