// Package kubelet owns what the kubelet of a node says of its pods: which of its
// read endpoints are asked and how the answers are read.
//
// It must not know how a question is carried, nor what a cgroup is. It is total:
// answers come from outside. Amounts are bytes.
package kubelet

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/snapshot"
)

type pod struct {
	Metadata struct {
		Name, Namespace, UID string
		Labels, Annotations  identity.Labels
	}
	Spec struct {
		Containers, InitContainers identity.List[spec]
	}
	Status struct {
		QOSClass              string
		ContainerStatuses     identity.List[status]
		InitContainerStatuses identity.List[status]
	}
}

type spec struct {
	Name, Image string
	Resources   struct {
		Requests, Limits struct{ Memory string }
	}
}

type status struct {
	Name, ContainerID string
	RestartCount      int64
	State, LastState  struct {
		Running    *struct{}
		Terminated *struct {
			ContainerID string
			Reason      string
			ExitCode    int64
			FinishedAt  time.Time
		}
	}
}

// Pods lists the pods of the node and their containers.
func Pods(get identity.Get) ([]snapshot.Named, error) {
	var list struct{ Items identity.List[pod] }
	if err := get.JSON("/pods", &list); err != nil {
		return nil, err
	}
	var all []snapshot.Named
	for _, p := range list.Items {
		if all = append(all, p.named()...); len(all) > identity.MaxList {
			break
		}
	}
	return all, nil
}

func (p *pod) named() []snapshot.Named {
	m := p.Metadata
	base := snapshot.Named{
		Kind: snapshot.NamedPod, Namespace: m.Namespace, Pod: m.Name, Labels: m.Labels,
		// A static pod's cgroup has the hash of its file, its mirror another UID.
		PodUID: cmp.Or(m.Annotations["kubernetes.io/config.hash"], m.UID), QoS: strings.ToLower(p.Status.QOSClass),
	}
	all := []snapshot.Named{base}
	for _, s := range append(p.Status.ContainerStatuses, p.Status.InitContainerStatuses...) {
		runtime, id, ok := strings.Cut(s.ContainerID, "://")
		if !ok || !identity.IsID(id) {
			continue
		}
		n := base
		n.Kind, n.Name, n.Runtime, n.ID, n.Restarts = snapshot.NamedContainer, s.Name, runtime, id, &s.RestartCount
		switch {
		case s.State.Running != nil:
			n.State = "running"
		case s.State.Terminated != nil:
			n.State = "exited"
		}
		if t := cmp.Or(s.State.Terminated, s.LastState.Terminated); t != nil {
			n.Last = &snapshot.Termination{Reason: t.Reason, ExitCode: &t.ExitCode, At: t.FinishedAt.UTC()}
			if _, id, _ := strings.Cut(t.ContainerID, "://"); identity.IsID(id) {
				n.Last.ID = id
			}
		}
		for _, c := range append(p.Spec.Containers, p.Spec.InitContainers...) {
			if c.Name == s.Name {
				n.Image = c.Image
				n.Request, n.Limit = quantity(c.Resources.Requests.Memory), quantity(c.Resources.Limits.Memory)
			}
		}
		all = append(all, n)
	}
	return all
}

// Summary adds the working sets that the kubelet reports to n: of a container by
// its name in its pod, of a pod by its UID.
func Summary(get identity.Get, n *snapshot.Named) error {
	type stats struct {
		Name   string
		Memory struct {
			Time            time.Time
			WorkingSetBytes *int64
		}
	}
	var v struct {
		Pods identity.List[struct {
			PodRef     struct{ UID string }
			Containers identity.List[stats]
			stats
		}]
	}
	if err := get.JSON("/stats/summary", &v); err != nil {
		return err
	}
	for _, p := range v.Pods {
		if p.PodRef.UID != n.PodUID || n.PodUID == "" {
			continue
		}
		rows := p.Containers
		if n.Kind != snapshot.NamedContainer {
			p.Name = n.Name
			rows = identity.List[stats]{p.stats}
		}
		for _, c := range rows {
			if c.Name == n.Name && c.Memory.WorkingSetBytes != nil {
				n.Says = append(n.Says, snapshot.ToolSays{
					Tool: "kubectl, crictl", Bytes: *c.Memory.WorkingSetBytes, From: "GET /stats/summary", At: c.Memory.Time.UTC(),
				})
			}
		}
	}
	return nil
}

var suffixes = []struct {
	text  string
	bytes float64
}{
	{"Ki", 1 << 10},
	{"Mi", 1 << 20},
	{"Gi", 1 << 30},
	{"Ti", 1 << 40},
	{"Pi", 1 << 50},
	{"Ei", 1 << 60},
	{"m", 1e-3},
	{"k", 1e3},
	{"M", 1e6},
	{"G", 1e9},
	{"T", 1e12},
	{"P", 1e15},
	{"E", 1e18},
	{"", 1},
}

// quantity reads an amount as Kubernetes writes it; 0 when it is none.
func quantity(s string) int64 {
	for _, suffix := range suffixes {
		digits, ok := strings.CutSuffix(s, suffix.text)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(digits, 64)
		if n *= suffix.bytes; err != nil || !(n > 0 && n < 1<<62) {
			return 0
		}
		return int64(n)
	}
	return 0
}
