package identity

import "strings"

// shape is how a runtime, the kubelet or systemd makes the name of a directory.
type shape int

const (
	plain      shape = iota
	kubeRoot         // kubepods, kubepods.slice, LEAD-kubepods.slice
	kubeClass        // kubepods-burstable.slice
	kubePod          // pod<uid>, kubepods-burstable-pod<uid>.slice
	podmanPod        // machine-libpod_pod_<id>.slice
	scope            // cri-containerd-<id>.scope, crio-<id>, LEAD.slice:docker:<id>
	monitor          // libpod-conmon-<id>.scope
	bareID           // <id>
	lxcPayload       // lxc.payload.NAME
	lxcMonitor       // lxc.monitor.NAME
	nspawn           // systemd-nspawn@NAME.service
	unit             // NAME.slice, NAME.service, NAME.scope
)

// name is one part of a path taken apart. The part is lead, before, own and
// after, one behind the other; before and after are public words.
type name struct {
	shape
	lead    string // a name of its own: of the slice that this one is in
	before  string
	own     string // the id, UID or name
	after   string
	runtime string
	qos     string
}

// scopes are the prefixes of container ids; monitors those of the ids of
// containers that a conmon watches.
//
// opencontainers/cgroups systemd/common.go getUnitName; containerd
// internal/cri/server/helpers.go getCgroupsPath; cri-o internal/config/cgmgr.
var (
	scopes = map[string]string{
		"cri-containerd": "containerd", "nerdctl": "containerd", "docker": "docker",
		"crio": "cri-o", "libpod": "podman", "libpod-payload": "podman",
	}
	monitors = map[string]string{"crio-conmon": "cri-o", "libpod-conmon": "podman"}
)

// maxName is far above what a file system allows, and bounds the work on text
// that is no path.
const maxName = 4096

// takeApart is total: a part of no known shape is plain, all of it its own.
func takeApart(part string) name {
	if len(part) > maxName {
		return name{own: part}
	}
	for _, take := range []func(string) (name, bool){takeKube, takePodDir, takeScope, takeLiteral, takePodmanPod, takeNamed} {
		if n, ok := take(part); ok {
			return n
		}
	}
	if len(part) == 64 && isHex(part) {
		return name{shape: bareID, own: part}
	}
	if own, suffix := cutUnit(part); suffix != "" {
		return name{shape: unit, own: own, after: suffix}
	}
	return name{own: part}
}

// takeKube takes a slice of a kubelet with the systemd driver. A cgroup root of
// its own leads: kubelet-kubepods.slice. With the cgroupfs driver it is a
// directory of its own.
//
// kubernetes pkg/kubelet/cm/cgroup_manager_linux.go ToSystemd.
func takeKube(part string) (name, bool) {
	if part == "kubepods" {
		return name{shape: kubeRoot, before: part}, true
	}
	s, ok := strings.CutSuffix(part, ".slice")
	if !ok {
		return name{}, false
	}
	n := name{shape: kubeRoot, after: ".slice"}
	if i := strings.LastIndex(s, "-pod"); i >= 0 && isUID(s[i+4:], '_') {
		n.shape, n.own, n.before, n.qos = kubePod, s[i+4:], "-pod", "guaranteed"
		s = s[:i]
	}
	for _, qos := range []string{"burstable", "besteffort"} {
		if rest, ok := strings.CutSuffix(s, "-"+qos); ok {
			s, n.before, n.qos = rest, "-"+qos+n.before, qos
			n.shape = max(n.shape, kubeClass)
			break
		}
	}
	lead, ok := strings.CutSuffix(s, "kubepods")
	if n.before = "kubepods" + n.before; ok && strings.HasSuffix(lead, "-") && len(lead) > 1 {
		n.lead, n.before = lead[:len(lead)-1], "-"+n.before
		return n, true
	}
	return n, ok && lead == ""
}

func takePodDir(part string) (name, bool) {
	uid, ok := strings.CutPrefix(part, "pod")
	return name{shape: kubePod, before: "pod", own: uid}, ok && isUID(uid, '-')
}

// takeScope takes a prefix and an id. Scopes may have short ids, since clients
// of containerd choose them; other directories have whole ones only.
func takeScope(part string) (name, bool) {
	s, after := part, ""
	shortest := 64
	if cut, ok := strings.CutSuffix(part, ".scope"); ok {
		s, after, shortest = cut, ".scope", 12
	}
	i := strings.LastIndexByte(s, '-')
	if i < 0 {
		return name{}, false
	}
	n := name{before: s[:i+1], own: s[i+1:], after: after}
	if len(n.own) < shortest || len(n.own) > 64 || !isHex(n.own) {
		return name{}, false
	}
	var ok bool
	if n.runtime, ok = scopes[s[:i]]; ok {
		n.shape = scope
	} else if n.runtime, ok = monitors[s[:i]]; ok {
		n.shape = monitor
	}
	return n, ok
}

// takeLiteral takes the cgroupsPath of a systemd driver that runc, told to use
// the cgroupfs driver, made a directory of: SLICE:PREFIX:ID.
func takeLiteral(part string) (name, bool) {
	lead, rest, _ := strings.Cut(part, ":")
	prefix, id, ok := strings.Cut(rest, ":")
	if _, suffix := cutUnit(lead); !ok || suffix != ".slice" || len(id) < 12 || len(id) > 64 || !isHex(id) {
		return name{}, false
	}
	runtime, ok := scopes[prefix]
	return name{shape: scope, lead: lead, before: ":" + prefix + ":", own: id, runtime: runtime}, ok
}

// takePodmanPod takes the slice of a podman pod, in machine.slice, user.slice or
// one that the user chose.
//
// containers/podman libpod/runtime_pod_linux.go.
func takePodmanPod(part string) (name, bool) {
	const infix = "-libpod_pod_"
	s, ok := strings.CutSuffix(part, ".slice")
	i := len(s) - 64 - len(infix)
	if !ok || i < 1 || s[i:i+len(infix)] != infix || !isHex(s[len(s)-64:]) {
		return name{}, false
	}
	return name{shape: podmanPod, lead: s[:i], before: infix, own: s[len(s)-64:], after: ".slice"}, true
}

// takeNamed takes containers that have a name and no id.
func takeNamed(part string) (name, bool) {
	for _, n := range []name{
		{shape: lxcPayload, before: "lxc.payload."},
		{shape: lxcMonitor, before: "lxc.monitor."},
		{shape: nspawn, before: "systemd-nspawn@", after: ".service"},
	} {
		if len(part) > len(n.before)+len(n.after) && strings.HasPrefix(part, n.before) && strings.HasSuffix(part, n.after) {
			n.own = part[len(n.before) : len(part)-len(n.after)]
			return n, true
		}
	}
	return name{}, false
}

// cutUnit cuts the suffix of a systemd unit off a name that is not empty.
func cutUnit(part string) (own, suffix string) {
	for _, suffix := range []string{".slice", ".service", ".scope"} {
		if own, ok := strings.CutSuffix(part, suffix); ok && own != "" {
			return own, suffix
		}
	}
	return part, ""
}

// isUID reports whether s is a pod's UID, with sep where the API server writes a
// dash, or the hash that stands for one with static pods.
func isUID(s string, sep byte) bool {
	if len(s) != 36 {
		return len(s) == 32 && isHex(s)
	}
	for i := range len(s) {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (s[i] == sep) || !dash && !isHex(s[i:i+1]) {
			return false
		}
	}
	return true
}

// isHex reports whether s is lower-case hex, at least one digit of it.
func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}
