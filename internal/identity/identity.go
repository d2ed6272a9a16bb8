// Package identity owns what the path of a memory cgroup says about the
// container, the pod and the runtime it belongs to, and how such names are
// hidden in a capture that leaves its owner's hands.
//
// It is pure. It must not know how to ask a runtime, and it never guesses: a
// bare id below kubepods may be containerd's or docker's, so its runtime is
// empty.
package identity

import (
	"regexp"
	"strings"
)

// Kind says what a cgroup is the cgroup of.
type Kind string

// The kinds.
const (
	Container Kind = "container"
	Pod       Kind = "pod"
	Monitor   Kind = "monitor" // the runtime's own process beside a container: conmon
	Unit      Kind = "unit"    // a systemd slice, service or scope
	Other     Kind = "other"
)

// Identity is what a path says.
type Identity struct {
	Kind    Kind
	Runtime string // docker, containerd, cri-o, podman, lxc; empty when the path does not say
	ID      string // of the container, lower-case hex; LXC has names instead
	PodUID  string // with dashes where the API server writes them
	QoS     string // guaranteed, burstable, besteffort; empty outside of kubepods
	Dir     string // the path of the container, pod or unit itself; the path may lie below it
}

// Names of one path part, as runtimes make them.
//
// opencontainers/cgroups systemd/common.go getUnitName; containerd
// internal/cri/server/helpers.go getCgroupsPath; cri-o internal/config/cgmgr;
// kubernetes pkg/kubelet/cm/cgroup_manager_linux.go.
var (
	bareID   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	prefixed = regexp.MustCompile(`^(cri-containerd|docker|crio|libpod-payload|libpod|nerdctl)-([0-9a-f]{12,64})(\.scope)?$`)
	monitor  = regexp.MustCompile(`^(crio|libpod)-conmon-([0-9a-f]{12,64})(\.scope)?$`)
	literal  = regexp.MustCompile(`^[^:]*\.slice:(cri-containerd|docker|crio|libpod):([0-9a-f]{12,64})$`)
	podDir   = regexp.MustCompile(`^pod([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32})$`)
	podSlice = regexp.MustCompile(`^(?:.*-)?kubepods(-burstable|-besteffort)?-pod([0-9a-f]{8}_[0-9a-f]{4}_[0-9a-f]{4}_[0-9a-f]{4}_[0-9a-f]{12}|[0-9a-f]{32})\.slice$`)
	kubepods = regexp.MustCompile(`^(?:.*-)?kubepods(?:\.slice)?$`)
	lxcName  = regexp.MustCompile(`^lxc(\.payload|\.monitor)\.([A-Za-z0-9._-]+)$`)
)

var runtimes = map[string]string{
	"cri-containerd": "containerd", "nerdctl": "containerd", "docker": "docker", "crio": "cri-o", "libpod": "podman", "libpod-payload": "podman",
}

// Parse reads a cgroup path. The innermost container wins: with a cluster that
// runs inside of a container, it is the one that the path ends in.
func Parse(path string) Identity {
	id := Identity{Kind: Other}
	at := 0
	var parent string
	for part := range strings.SplitSeq(path, "/") {
		at += len(part) + 1
		if part != "" {
			id.part(part, parent, path[:at-1])
			parent = part
		}
	}
	if id.Dir == "" {
		id.Dir = path
	}
	return id
}

// part takes one more part of the path into account, from the root downwards.
func (id *Identity) part(part, parent, dir string) {
	if id.pod(part, dir) || id.container(part, parent, dir) {
		return
	}
	if id.Kind != Other && id.Kind != Unit {
		return // below a container or a pod, names are their owner's
	}
	switch {
	case strings.HasSuffix(part, ".slice"), strings.HasSuffix(part, ".service"), strings.HasSuffix(part, ".scope"):
		id.Kind, id.Dir = Unit, dir
	case id.Kind == Unit:
		// below a unit: still the unit's
	}
}

func (id *Identity) pod(part, dir string) bool {
	if kubepods.MatchString(part) {
		*id = Identity{Kind: Other, QoS: "guaranteed"}
		if strings.HasSuffix(part, ".slice") {
			id.Kind, id.Dir = Unit, dir
		}
		return true
	}
	if id.QoS == "" {
		return false
	}
	if m := podSlice.FindStringSubmatch(part); m != nil {
		id.PodUID = strings.ReplaceAll(m[2], "_", "-")
		id.Kind, id.Dir = Pod, dir
		if m[1] != "" {
			id.QoS = m[1][1:]
		}
		return true
	}
	if m := podDir.FindStringSubmatch(part); m != nil {
		id.PodUID, id.Kind, id.Dir = m[1], Pod, dir
		return true
	}
	for _, qos := range []string{"burstable", "besteffort"} {
		if part == qos || strings.HasSuffix(part, "kubepods-"+qos+".slice") {
			id.QoS = qos
		}
	}
	return false
}

func (id *Identity) container(part, parent, dir string) bool {
	set := func(kind Kind, runtime, name string) bool {
		id.Kind, id.Runtime, id.ID, id.Dir = kind, runtime, name, dir
		return true
	}
	if m := monitor.FindStringSubmatch(part); m != nil {
		return set(Monitor, runtimes[m[1]], m[2])
	}
	if m := prefixed.FindStringSubmatch(part); m != nil {
		return set(Container, runtimes[m[1]], m[2])
	}
	if m := literal.FindStringSubmatch(part); m != nil {
		return set(Container, runtimes[m[1]], m[2])
	}
	if bareID.MatchString(part) && id.Kind != Container {
		runtime := ""
		if parent == "docker" {
			runtime = "docker"
		}
		return set(Container, runtime, part)
	}
	if m := lxcName.FindStringSubmatch(part); m != nil {
		if m[1] == ".monitor" {
			return set(Monitor, "lxc", m[2])
		}
		return set(Container, "lxc", m[2])
	}
	return false
}

// MatchID reports whether path is the directory of a container whose id begins
// with prefix.
func MatchID(path, prefix string) bool {
	id := Parse(path)
	return prefix != "" && id.Kind == Container && id.Dir == path && strings.HasPrefix(id.ID, prefix)
}
