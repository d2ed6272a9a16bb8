package names

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// Bounds of what is believed of one source.
const (
	maxContainers = 5000
	maxName       = 512  // bytes
	maxPath       = 4096 // bytes
	maxLabels     = 64
	maxLabel      = 320 // bytes of a key or of a value; Kubernetes allows keys of 317
)

// bounded cuts what a source said to the bounds, and notes it.
func bounded(s *snapshot.NameSource, all []snapshot.Named) []snapshot.Named {
	if len(all) > maxContainers {
		all, s.Err = all[:maxContainers], "more containers than are taken: the others have no name"
	}
	for i := range all {
		n := &all[i]
		for _, field := range []*string{&n.Runtime, &n.Name, &n.Namespace, &n.Pod, &n.PodUID, &n.Sandbox, &n.Image, &n.QoS, &n.State} {
			*field = cut(*field, maxName)
		}
		n.Cgroup = cut(n.Cgroup, maxPath)
		if n.Last != nil {
			n.Last.ID, n.Last.Reason = cut(n.Last.ID, maxName), cut(n.Last.Reason, maxName)
		}
		n.Labels = labels(n.Labels)
	}
	s.Runtime = cut(s.Runtime, maxName)
	return all
}

func cut(s string, most int) string { return s[:min(len(s), most)] }

// labels keeps the first by name, and of these the beginning.
func labels(all map[string]string) map[string]string {
	if len(all) == 0 {
		return nil
	}
	kept := make(map[string]string, min(len(all), maxLabels))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if len(kept) == maxLabels {
			break
		}
		kept[cut(key, maxLabel)] = cut(all[key], maxLabel)
	}
	return kept
}

// fill takes from more what n does not say, and where better what both say of
// the container's life.
func fill(n *snapshot.Named, more snapshot.Named, better bool) {
	for _, f := range []struct{ to, from *string }{
		{&n.Runtime, &more.Runtime},
		{&n.Name, &more.Name},
		{&n.Namespace, &more.Namespace},
		{&n.Pod, &more.Pod},
		{&n.PodUID, &more.PodUID},
		{&n.Sandbox, &more.Sandbox},
		{&n.Image, &more.Image},
		{&n.QoS, &more.QoS},
		{&n.Cgroup, &more.Cgroup},
	} {
		*f.to = cmp.Or(*f.to, *f.from)
	}
	if strings.HasPrefix(n.Image, "sha256:") && more.Image != "" {
		n.Image = more.Image // of a kubelet's container CRI may know the digest alone
	}
	n.PID = cmp.Or(n.PID, more.PID)
	if n.Labels == nil {
		n.Labels = more.Labels
	}
	if better {
		n.State = cmp.Or(more.State, n.State)
		n.Request, n.Limit = cmp.Or(more.Request, n.Request), cmp.Or(more.Limit, n.Limit)
		n.Restarts, n.Last = cmp.Or(more.Restarts, n.Restarts), cmp.Or(more.Last, n.Last)
	} else {
		n.Request, n.Limit = cmp.Or(n.Request, more.Request), cmp.Or(n.Limit, more.Limit)
		n.Restarts, n.Last = cmp.Or(n.Restarts, more.Restarts), cmp.Or(n.Last, more.Last)
	}
	n.Says = append(n.Says, more.Says...)
}
