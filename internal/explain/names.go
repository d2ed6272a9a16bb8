package explain

import (
	"cmp"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// target tells who the target is: by its path, and by what its runtime says.
func target(s *snapshot.Snapshot) report.Target {
	t := s.Target()
	w := identity.Of(t.Path, s.Names)
	r := report.Target{
		Kind: kind(&w), CgroupVersion: t.Version.String(),
		ID: w.ID, Runtime: w.Runtime, PodUID: w.PodUID, QoS: w.QoS,
		PIDs:     append([]int{}, s.PIDs[:min(len(s.PIDs), report.MaxPIDs)]...),
		PIDCount: len(s.PIDs) + s.Outside,
	}
	r.Cgroup, r.CgroupBytes = name(t.Path)
	r.Name = text(w.Title)
	if w.Named != nil {
		say(&r, &w, s)
	} else if n, ok := s.Names.ByPod(w.PodUID); ok {
		r.Namespace, r.Pod = text(n.Namespace), text(n.Pod)
	}
	return r
}

func kind(w *identity.Who) string {
	if w.Sandbox() {
		return string(snapshot.NamedSandbox)
	}
	return string(w.Kind)
}

func text(s string) string {
	s, _ = name(s)
	return s
}

// say adds what the runtime says. Of a pod only what is not its container's.
func say(r *report.Target, w *identity.Who, s *snapshot.Snapshot) {
	n, names := w.Named, s.Names
	r.Namespace, r.Pod = text(n.Namespace), text(n.Pod)
	r.QoS = cmp.Or(r.QoS, text(n.QoS))
	if n.Source < len(names.Sources) {
		src := names.Sources[n.Source]
		r.RuntimeVersion, r.NamedBy = text(src.Runtime), text(src.Address)
	}
	if w.Kind != identity.Container || n.Kind != snapshot.NamedContainer {
		return
	}
	r.Runtime = cmp.Or(r.Runtime, text(n.Runtime))
	r.Container, r.Image, r.State = text(n.Name), text(n.Image), text(n.State)
	r.RestartCount = n.Restarts
	if size.Plausible(n.Request) && size.Plausible(n.Limit) {
		r.RequestBytes, r.SpecLimitBytes = n.Request, n.Limit
	}
	if n.Last != nil {
		r.LastTermination = &report.Termination{Reason: text(n.Last.Reason), ExitCode: n.Last.ExitCode, FinishedAt: n.Last.At, OOMKilled: killed(n.Last, s)}
	}
	if len(n.Labels) > 0 {
		r.Labels = make(map[string]string, len(n.Labels))
		for k, v := range n.Labels {
			r.Labels[text(k)] = text(v)
		}
	}
}

// sigkilled is how a container exits whose first process was killed.
const sigkilled = 128 + 9

// killed reports whether the kernel's log tells of an OOM kill in a container that
// ended. Runtimes may learn of it too late, and then say that it failed.
func killed(t *snapshot.Termination, s *snapshot.Snapshot) bool {
	if t.ID == "" || t.ExitCode == nil || *t.ExitCode != sigkilled {
		return false
	}
	in := func(cgroup string) bool {
		id := identity.Parse(cgroup)
		return id.Kind == identity.Container && id.ID == t.ID
	}
	return slices.ContainsFunc(s.Log.Value.Records, func(l snapshot.LogRecord) bool {
		return l.Outcome == "killed" && (in(l.TaskCgroup) || slices.ContainsFunc(l.Victims, func(v snapshot.LogVictim) bool { return in(v.Memcg) }))
	})
}

// reported puts what tools themselves said beside what is computed here.
func reported(row *report.Says, s *snapshot.Snapshot) {
	w := identity.Of(s.Target().Path, s.Names)
	if w.Named == nil {
		return
	}
	for _, said := range w.Named.Says {
		if said.Tool != row.Tool || !size.Plausible(said.Bytes) {
			continue
		}
		r := report.Reported{Bytes: said.Bytes, Source: text(said.From)}
		if row.Bytes != nil {
			r.DifferenceBytes = ptr(*row.Bytes - said.Bytes)
		}
		if !said.At.IsZero() && said.At.Year() > 1 {
			r.At = ptr(said.At.UTC())
		}
		row.Reported = append(row.Reported, r)
	}
}

// names says of every source that was asked why it did not tell, and where
// nobody was there what a socket would add.
func (l *missingList) names(s *snapshot.Snapshot, wanted bool) {
	if s.Names == nil {
		return
	}
	would, told := l.Say("names of containers and pods, images, labels, restarts"), false
	for _, src := range s.Names.Sources {
		address := cmp.Or(src.Address, "container runtimes")
		switch {
		case src.State != snapshot.Present:
			if src.Address != "" || wanted {
				l.add("", address, src.State, src.Err, would)
			}
			told = true
		case src.Err != "":
			l.add("", address, snapshot.Failed, src.Err, would)
			told = true
		default:
			told = true
		}
	}
	if !told && wanted {
		l.add("", "/run/containerd/containerd.sock, /run/crio/crio.sock, /run/docker.sock, ...", snapshot.Absent,
			l.Say("no container runtime listens here"), would)
	}
}

// isContainer reports a target whose names a runtime would know.
func isContainer(t report.Target) bool {
	return t.ID != "" || t.PodUID != "" || strings.HasPrefix(t.Kind, "pod")
}
