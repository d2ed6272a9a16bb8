package identity

import (
	"path"
	"slices"
	"strings"
)

// Common is what a cgroup has in it that is more than one container, service or job.
type Common string

// What is in common.
const (
	Node     Common = "node"
	OfPod    Common = "pod"
	OfClass  Common = "class"    // all pods of a class of service
	Services Common = "services" // of the node
	Runtimes Common = "runtime"  // not a container, but what runs them all
)

// runtimes are units whose memory is that of the runtimes, not of containers.
var runtimes = []string{
	"containerd.service", "docker.service", "crio.service", "kubelet.service", "podman.service", "cri-docker.service", "dockerd", "containerd", "kubelet",
	"k3s.service", "k3s-agent.service", "rke2-server.service", "rke2-agent.service",
}

// Together says what the cgroup with this identity holds in common; empty: it stands for
// itself.
func (id Identity) Together(cgroup string) Common {
	base := path.Base(cgroup)
	switch {
	case cgroup == "/":
		return Node
	case id.Kind == Pod:
		return OfPod
	case strings.HasPrefix(base, "kubepods"):
		return OfClass
	case slices.Contains([]string{"system.slice", "user.slice", "machine.slice", "init.scope"}, base):
		return Services
	case slices.Contains(runtimes, base):
		return Runtimes
	}
	return ""
}
