package gather

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

const maxCandidates = 20 // of an ambiguous target

// Names asks what containers are called. That a recording does not say is no fault
// of it.
func Names(src kernel.Source) *snapshot.Names {
	n, a := askNames(src, "/")
	if a.State != snapshot.Present {
		s := snapshot.NameSource{State: a.State, Err: a.Err, At: a.At}
		if src.Origin().Replay {
			s.State, s.Err = snapshot.Absent, "it was recorded without them"
		}
		n.Sources = []snapshot.NameSource{s}
	}
	return n.Index()
}

func askNames(src kernel.Source, path string) (*snapshot.Names, kernel.Answer) {
	n := &snapshot.Names{}
	a := src.Ask(kernel.Question{Op: kernel.Containers, Path: path, Max: maxFile})
	if a.State == snapshot.Present {
		if err := json.Unmarshal(a.Data, n); err != nil {
			n, a.State, a.Err = &snapshot.Names{}, snapshot.Failed, identity.Foreign(err).Error()
		}
	}
	return n, a
}

// detail asks for more about whom the target is, and puts it in its place.
func detail(src kernel.Source, n *snapshot.Names, w identity.Who) {
	key := w.ID
	if w.Kind == identity.Pod {
		key = w.PodUID
	}
	if w.Named == nil || key == "" || strings.Contains(key, "/") {
		return
	}
	more, a := askNames(src, "/"+key)
	if a.State != snapshot.Present {
		return // a recording, of another target
	}
	n.Sources = append(n.Sources, more.Sources...)
	for _, c := range more.Containers {
		switch {
		case w.Kind == identity.Pod:
			w.Named.Says = c.Says
		case c.ID == w.Named.ID:
			c.Source = w.Named.Source
			*w.Named = c
		}
	}
}

// known is every cgroup that is a container, a pod or a unit, not one within.
func known(all []string, n *snapshot.Names) []found {
	var list []found
	for _, path := range all {
		if w := identity.Of(path, n); w.Dir == path && w.Kind != identity.Other {
			list = append(list, found{path, w})
		}
	}
	return list
}

type found struct {
	path string
	who  identity.Who
}

func (f found) String() string {
	if f.who.Title == "" || f.who.Kind == identity.Unit {
		return f.path
	}
	return f.path + "  " + printable.Text(f.who.Title)
}

// resolveName finds what a user calls by a whole id, a name, or the beginning of
// an id, in this order.
func resolveName(src kernel.Source, h cgroupfs.Hierarchy, n *snapshot.Names, target string) (string, error) {
	all, _, err := cgroups(src, h)
	if err != nil {
		return "", &TargetError{Kind: Unreadable, Err: err}
	}
	list := known(all, n)
	id := strings.ToLower(target)
	for _, match := range []func(found) bool{
		func(f found) bool { return f.who.Kind == identity.Container && f.who.ID == id },
		func(f found) bool { return slices.Contains(f.who.Calls(), target) },
		func(f found) bool { return identity.MatchID(f.path, id) },
	} {
		var hits []found
		for _, f := range list {
			if match(f) {
				hits = append(hits, f)
			}
		}
		if len(hits) == 1 {
			return hits[0].path, nil
		}
		if len(hits) > 1 {
			return "", ambiguous(target, hits)
		}
	}
	if rel := "/" + strings.Trim(target, "/"); slices.Contains(all, rel) {
		return rel, nil
	}
	path, err := resolveGone(src, h, n, target)
	var e *TargetError
	if errors.As(err, &e) && e.Kind == NotFound && len(e.Candidates) == 0 {
		if e.Candidates = near(list, target); len(e.Candidates) > 0 {
			e.Hint = words.Key("a name has to be whole; these have in theirs what was typed")
		}
	}
	return path, err
}

// near are those who have in their names what was typed, as the name of a deployment
// is in those of its pods.
func near(list []found, target string) (candidates []string) {
	if len(target) < 3 {
		return nil
	}
	for _, f := range list {
		has := slices.ContainsFunc(f.who.Calls(), func(name string) bool { return strings.Contains(name, target) })
		if has && f.who.Named != nil && f.who.Kind == identity.Container && !f.who.Sandbox() && len(candidates) < maxCandidates {
			candidates = append(candidates, printable.Text(f.who.Title)+"  "+f.path)
		}
	}
	return candidates
}

func ambiguous(target string, hits []found) error {
	e := &TargetError{Kind: Ambiguous, Err: words.Errorf("%d containers match %q", len(hits), target), Hint: words.Key("say more of the name or of the id, or its path")}
	for _, f := range hits[:min(len(hits), maxCandidates)] {
		e.Candidates = append(e.Candidates, f.String())
	}
	return e
}

// resolveGone finds a container that a runtime knows and whose cgroup its id
// does not lead to: it ended, or its cgroup is called otherwise.
func resolveGone(src kernel.Source, h cgroupfs.Hierarchy, n *snapshot.Names, target string) (string, error) {
	for i := range n.Containers {
		c := &n.Containers[i]
		w := identity.Who{Identity: identity.Identity{Kind: identity.Container, ID: c.ID}, Named: c, Title: identity.Title(c)}
		if c.Kind != snapshot.NamedContainer || !slices.Contains(w.Calls(), target) && (len(target) < 4 || !strings.HasPrefix(c.ID, strings.ToLower(target))) {
			continue
		}
		detail(src, n, w)
		if c.PID > 0 && c.State == "running" {
			if path, err := resolvePID(src, h, itoa(c.PID)); err == nil {
				return path, nil
			}
		}
		return "", &TargetError{
			Kind: NotFound, Err: words.Errorf("container %s (%.12s) has no memory cgroup here: it is %s%s", identity.Title(c), c.ID, orUnknown(c.State), ended(c)),
			Hint: words.Key("a container that ended gave its memory back; memwhy oom list shows kills that the kernel remembers"),
		}
	}
	return "", notFound("no container, pod or unit %q%s", target, silence(n))
}

// vanished says of a container that was found, not by its path, and that is gone
// when it is read, that it ended meanwhile.
func vanished(err error, target string, w identity.Who) error {
	var e *TargetError
	if !errors.As(err, &e) || e.Kind != NotFound || strings.HasPrefix(target, "/") || target == "" || w.Kind == identity.Other {
		return err
	}
	return notFound("%s ended while it was looked up: its cgroup %s is gone", cmp.Or(w.Title, target), w.Dir)
}

// silence says who did not say names, which may be why one is unknown.
func silence(n *snapshot.Names) string {
	told := false
	for _, bad := range []snapshot.State{snapshot.Denied, snapshot.Failed} {
		for _, s := range n.Sources {
			if s.State == bad {
				return fmt.Sprintf("; %s did not say its names: %s", s.Address, s.Err)
			}
			told = told || s.State == snapshot.Present
		}
	}
	if !told {
		return "; no runtime was there to say names"
	}
	return ""
}

func orUnknown(state string) string {
	if state == "" {
		return "in an unknown state"
	}
	return state
}

func ended(c *snapshot.Named) string {
	switch {
	case c.Last == nil:
		return ""
	case c.Last.Reason != "":
		return ", " + c.Last.Reason
	case c.Last.ExitCode != nil:
		return ", with code " + itoa(int(*c.Last.ExitCode))
	}
	return ""
}
