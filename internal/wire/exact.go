package wire

import (
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// ErrInexact is told of a target that a part of a name led to: what is acted on is spelled
// out.
var ErrInexact = words.Errorf("giving back needs a target that is spelled out")

// spelledOut reports whether typed can stand for nothing but cgroup: its path, a process
// of it, or the whole id or name of the container, pod or unit. pids are its processes.
func spelledOut(typed, cgroup string, names *snapshot.Names, pids []int) error {
	if strings.HasPrefix(typed, "/") || strings.HasPrefix(typed, "pid:") || typed == "self" {
		return nil
	}
	who := identity.Of(cgroup, names)
	whole := []string{who.Title, cgroup}
	if who.Kind == identity.Container {
		whole = []string{who.Title, who.ID, cgroup}
	} else if who.Kind == identity.Pod {
		whole = []string{who.Title, who.PodUID, cgroup}
	}
	if names != nil && who.Kind == identity.Other { // its path does not tell whose it is: a process of it did
		for i := range names.Containers {
			if c := &names.Containers[i]; c.PID > 0 && slices.Contains(pids, c.PID) {
				whole = append([]string{identity.Title(c), c.ID}, whole...)
			}
		}
	}
	whole = slices.DeleteFunc(whole, func(s string) bool { return s == "" })
	if slices.ContainsFunc(whole, func(s string) bool { return s == typed || s == strings.ToLower(typed) }) {
		return nil
	}
	return words.Errorf("%w: %q led to %s: type that, or %s", ErrInexact, typed, whole[0], cgroup)
}
