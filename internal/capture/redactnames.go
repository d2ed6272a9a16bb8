package capture

import (
	"encoding/json"
	"regexp"
	"strings"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// publicWords are what runtimes and the kubelet say of a state, of a class and
// of an end.
var publicWords = map[string]bool{
	"created": true, "running": true, "exited": true, "paused": true, "unknown": true, "configured": true, "stopped": true, "dead": true, "restarting": true,
	"guaranteed": true, "burstable": true, "besteffort": true,
	"OOMKilled": true, "Error": true, "Completed": true, "StartError": true, "ContainerCannotRun": true, "ContainerStatusUnknown": true, "Unknown": true,
	"cri": true, "docker": true, "podman": true, "kubelet": true, "checkpoint": true, "containerd": true, "cri-o": true,
}

var runtimeVersion = regexp.MustCompile(`^(containerd|cri-o|docker|podman|kubelet)( v?[0-9][0-9A-Za-z.+~_-]*)?$`)

// containers redacts what runtimes said: ids, UIDs and paths as they are in the
// paths of cgroups.
func (p *preparer) containers(k key, a kernel.Answer) (key, kernel.Answer, bool) {
	if id := strings.TrimPrefix(k.path, "/"); id != "" {
		k.path = "/" + p.r.ID(id)
	}
	if a.State != snapshot.Present {
		return k, a, true
	}
	var n snapshot.Names
	if json.Unmarshal(a.Data, &n) != nil {
		return k, a, false
	}
	for i := range n.Sources {
		s := &n.Sources[i]
		s.Kind, s.Address, s.Err = p.word(s.Kind), p.r.Path(s.Address), publicErr(s.Err)
		if !runtimeVersion.MatchString(s.Runtime) {
			s.Runtime = p.r.Name(s.Runtime)
		}
	}
	for i := range n.Containers {
		p.named(&n.Containers[i])
	}
	b, err := json.Marshal(n)
	a.Data = b
	return k, a, err == nil
}

func (p *preparer) named(n *snapshot.Named) {
	for i := range n.Says {
		n.Says[i].From = strings.ReplaceAll(n.Says[i].From, n.ID, p.r.ID(n.ID))
	}
	n.ID, n.Sandbox, n.PodUID = p.r.ID(n.ID), p.r.ID(n.Sandbox), p.r.ID(n.PodUID)
	n.Name, n.Namespace, n.Pod = p.r.Name(n.Name), p.r.Name(n.Namespace), p.r.Name(n.Pod)
	n.Image, n.Cgroup = p.r.Path(n.Image), p.r.Path(n.Cgroup)
	n.Runtime, n.QoS, n.State = p.word(n.Runtime), p.word(n.QoS), p.word(n.State)
	if n.Last != nil {
		n.Last.ID, n.Last.Reason = p.r.ID(n.Last.ID), p.word(n.Last.Reason)
	}
	labels := make(map[string]string, len(n.Labels))
	for k, v := range n.Labels {
		labels[p.r.Name(k)] = p.r.Name(v)
	}
	n.Labels = labels
}

func (p *preparer) word(s string) string {
	if publicWords[s] {
		return s
	}
	return p.r.Name(s)
}
