// Package identity owns what the path of a memory cgroup says about the
// container, the pod and the runtime it belongs to, and how such names and
// command lines are made fit for other eyes.
//
// It is pure. It must not know how to ask a runtime nor how to read a file, and
// it never guesses: a bare id below kubepods may be containerd's or docker's, so
// its runtime is empty.
package identity

import "strings"

// Kind says what a cgroup is the cgroup of.
type Kind string

// The kinds.
const (
	Container Kind = "container"
	Pod       Kind = "pod"
	Monitor   Kind = "monitor" // the runtime's own process beside a container, as conmon
	Unit      Kind = "unit"    // a systemd slice, service or scope
	Other     Kind = "other"
)

// Identity is what a path says. What it does not say is empty.
type Identity struct {
	Kind    Kind
	Runtime string // docker, containerd, cri-o, podman, lxc, nspawn
	ID      string // of the container, or of the one that a monitor watches: lower-case hex
	Name    string // of a unit, or of an LXC or nspawn container: any bytes but a slash
	PodUID  string // with dashes where the API server writes them; podman's pods have 64 hex
	QoS     string // guaranteed, burstable, besteffort: of a pod and what is in it, or of all pods of that class
	Dir     string // the directory of what was identified; the path is it or lies below it
}

// Parse reads a cgroup path. The innermost container or pod wins: where a
// cluster runs inside of a container, it is the one nearest to the end. What
// lies below a container is the container's, whatever it is called. Kinds that
// are Other have their own path as Dir.
func Parse(path string) Identity {
	w := walk{id: Identity{Kind: Other}}
	end := 0
	for part := range strings.SplitSeq(path, "/") {
		end += len(part)
		if part != "" && part != "." {
			w.step(part, path[:end])
		}
		end++
	}
	if w.id.Kind == Other {
		w.id.Dir = path
	}
	return w.id
}

// MatchID reports whether path is the directory of a container, not one below
// it nor its monitor's, whose id starts with prefix.
func MatchID(path, prefix string) bool {
	if !isHex(prefix) {
		return false
	}
	id := Parse(path)
	return id.Kind == Container && strings.HasPrefix(id.ID, prefix) && strings.TrimRight(path, "/") == id.Dir
}

// walk is what is known on the way down a path.
type walk struct {
	id     Identity
	dir    string // the path down to this part
	parent string // the part above, unless it was the name of a container or a pod
	above  string // the path down to parent
	kube   bool   // below kubepods, with no container in between
	qos    string // the class that a directory below kubepods stands for
}

func (w *walk) step(part, dir string) {
	w.dir = dir
	if part == ".." {
		*w = walk{id: Identity{Kind: Other}, above: dir}
		return
	}
	if w.owned(part) {
		w.parent, w.above = "", dir
		return
	}
	w.parent, w.above = part, dir
}

// owned reports whether part names a container, a monitor or a pod, and takes
// note of it, or else of what it says about those below.
func (w *walk) owned(part string) bool {
	n := takeApart(part)
	switch n.shape {
	case kubeRoot, kubeClass:
		w.kube, w.qos = true, n.qos
		w.unit(part, n)
		return false
	case kubePod:
		return w.kubePod(n)
	case podmanPod:
		w.pod("podman", n.own, "")
		return true
	case monitor:
		return w.monitor(n.runtime, n.own, "")
	case scope:
		if lead := takeApart(n.lead); lead.shape == kubePod {
			w.kubePod(lead)
		}
		return w.container(n.runtime, n.own, "")
	case lxcMonitor:
		return w.monitor("lxc", "", n.own)
	case lxcPayload:
		return w.container("lxc", "", n.own)
	case nspawn:
		return w.container("nspawn", "", n.own)
	}
	return w.byParent(part, n)
}

// byParent takes note of a part that means something only because of the one
// above it, and of bare ids and units.
func (w *walk) byParent(part string, n name) bool {
	switch {
	case w.parent == "lxc", w.parent == "lxc.payload":
		return w.container("lxc", "", part)
	case w.parent == "lxc.monitor":
		return w.monitor("lxc", "", part)
	case part == "conmon" && (w.parent == "libpod_parent" || w.id.Kind == Pod && w.id.Runtime == "podman"):
		return w.monitor("podman", "", "")
	case part == "supervisor" && w.id.Runtime == "nspawn" && w.id.Kind == Container && w.above == w.id.Dir:
		return w.monitor("nspawn", "", w.id.Name)
	case n.shape == bareID && w.parent == "libpod_parent":
		w.pod("podman", part, "")
		return true
	case n.shape == bareID:
		return w.container(bareRuntimes[w.parent], part, "")
	case n.shape == unit:
		w.unit(part, n)
	case w.kube && w.parent == "kubepods" && (part == "burstable" || part == "besteffort"):
		w.qos = part
		if w.id.Kind == Other || w.id.Kind == Unit {
			w.id.QoS = part
		}
	}
	return false
}

// bareRuntimes says whose a bare id is, by the directory above it: docker's
// default parent, and the containerd namespace of the kubelet.
var bareRuntimes = map[string]string{"docker": "docker", "k8s.io": "containerd"}

// kubePod takes note of a kubelet's pod. The form `pod<uid>` says so below
// kubepods, or where the levels above are cut off by a cgroup namespace.
func (w *walk) kubePod(n name) bool {
	qos := n.qos
	if n.after == "" {
		if !w.kube && w.id.Kind == Container {
			return false
		}
		if qos = w.qos; w.kube && qos == "" {
			qos = "guaranteed"
		}
	}
	w.pod("", strings.ReplaceAll(n.own, "_", "-"), qos)
	return true
}

func (w *walk) pod(runtime, uid, qos string) {
	w.id = Identity{Kind: Pod, Runtime: runtime, PodUID: uid, QoS: qos, Dir: w.dir}
	w.qos = qos
}

// container takes note of a container, in the pod that is above it if there is
// one: also when that pod holds the container that holds this one.
func (w *walk) container(runtime, id, name string) bool {
	uid, qos := w.id.PodUID, w.id.QoS
	if w.kube && w.qos != "" {
		qos = w.qos
	}
	w.id = Identity{Kind: Container, Runtime: runtime, ID: id, Name: name, PodUID: uid, QoS: qos, Dir: w.dir}
	w.kube, w.qos = false, ""
	return true
}

func (w *walk) monitor(runtime, id, name string) bool {
	w.container(runtime, id, name)
	w.id.Kind = Monitor
	return true
}

// unit takes note of a systemd unit. Those inside of a container are run by the
// container's own systemd, and are part of it.
func (w *walk) unit(part string, n name) {
	if n.after != "" && (w.id.Kind == Other || w.id.Kind == Unit) {
		w.id = Identity{Kind: Unit, Name: part, QoS: w.qos, Dir: w.dir}
	}
}
