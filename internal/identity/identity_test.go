package identity

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	id1  = "8d2c5b0a7f6e4d3c2b1a09182736455463728190a0b1c2d3e4f5061728394a5b"
	id2  = "f00dfeedc0ffee5463728190a0b1c2d3e4f5061728394a5b8d2c5b0a7f6e4d3c"
	uid1 = "11111111-2222-3333-4444-555555555555"
	uid_ = "11111111_2222_3333_4444_555555555555"
	mir  = "0123456789abcdef0123456789abcdef" // static pods have a hash
	kind = "/docker/" + id1 + "/kubelet"
)

type paths []struct {
	path string
	want Identity
}

// check compares, with the whole path as Dir where the table has none.
func (ps paths) check(t *testing.T) {
	t.Helper()
	for _, p := range ps {
		if p.want.Dir == "" {
			p.want.Dir = p.path
		}
		if p.want.Kind == "" {
			p.want.Kind = Container
		}
		if d := cmp.Diff(p.want, Parse(p.path)); d != "" {
			t.Errorf("%q (-want +got):\n%s", p.path, d)
		}
	}
}

func TestKubeletCgroupfs(t *testing.T) {
	paths{
		{"/kubepods/pod" + uid1 + "/" + id1, Identity{ID: id1, PodUID: uid1, QoS: "guaranteed"}},
		{"/kubepods/burstable/pod" + uid1 + "/" + id1, Identity{ID: id1, PodUID: uid1, QoS: "burstable"}},
		{"/kubepods/besteffort/pod" + uid1 + "/" + id1, Identity{ID: id1, PodUID: uid1, QoS: "besteffort"}},
		{"/kubepods/burstable/pod" + mir + "/" + id1, Identity{ID: id1, PodUID: mir, QoS: "burstable"}},
		{"/foo/kubepods/burstable/pod" + uid1 + "/" + id1, Identity{ID: id1, PodUID: uid1, QoS: "burstable"}},
		{"/kubelet/kubepods/pod" + uid1 + "/" + id1, Identity{ID: id1, PodUID: uid1, QoS: "guaranteed"}},
		{"/kubepods/burstable/pod" + uid1 + "/crio-" + id1, Identity{Runtime: "cri-o", ID: id1, PodUID: uid1, QoS: "burstable"}},
		{"/kubepods/burstable/pod" + uid1 + "/docker-" + id1 + ".scope", Identity{Runtime: "docker", ID: id1, PodUID: uid1, QoS: "burstable"}},
		{"/kubepods/pod" + uid1, Identity{Kind: Pod, PodUID: uid1, QoS: "guaranteed"}},
		{"/kubepods/besteffort/pod" + mir, Identity{Kind: Pod, PodUID: mir, QoS: "besteffort"}},
		{"/kubepods/pod" + uid1 + "/other/er", Identity{Kind: Pod, PodUID: uid1, QoS: "guaranteed", Dir: "/kubepods/pod" + uid1}},
		{"/kubepods/burstable", Identity{Kind: Other, QoS: "burstable"}},
		{"/kubepods", Identity{Kind: Other}},
		// The levels above are cut off by a cgroup namespace.
		{"/../../pod" + uid1 + "/" + id1, Identity{ID: id1, PodUID: uid1}},
		{"/../" + id1, Identity{ID: id1}},
		// Pods without cgroups of their own.
		{"/kubepods/burstable/" + id1, Identity{ID: id1, QoS: "burstable"}},
	}.check(t)
}

func TestKubeletSystemd(t *testing.T) {
	const root, burst = "/kubepods.slice/", "/kubepods.slice/kubepods-burstable.slice/"
	scope := "/cri-containerd-" + id1 + ".scope"
	paths{
		{root + "kubepods-pod" + uid_ + ".slice" + scope, Identity{Runtime: "containerd", ID: id1, PodUID: uid1, QoS: "guaranteed"}},
		{burst + "kubepods-burstable-pod" + uid_ + ".slice" + scope, Identity{Runtime: "containerd", ID: id1, PodUID: uid1, QoS: "burstable"}},
		{root + "kubepods-besteffort.slice/kubepods-besteffort-pod" + mir + ".slice" + scope, Identity{Runtime: "containerd", ID: id1, PodUID: mir, QoS: "besteffort"}},
		{burst + "kubepods-burstable-pod" + uid_ + ".slice/crio-" + id1 + ".scope", Identity{Runtime: "cri-o", ID: id1, PodUID: uid1, QoS: "burstable"}},
		{burst + "kubepods-burstable-pod" + uid_ + ".slice/docker-" + id1 + ".scope", Identity{Runtime: "docker", ID: id1, PodUID: uid1, QoS: "burstable"}},
		{burst + "kubepods-burstable-pod" + uid_ + ".slice/crio-conmon-" + id1 + ".scope", Identity{Kind: Monitor, Runtime: "cri-o", ID: id1, PodUID: uid1, QoS: "burstable"}},
		{burst + "kubepods-burstable-pod" + uid_ + ".slice/" + id1, Identity{ID: id1, PodUID: uid1, QoS: "burstable"}},
		{burst + "kubepods-burstable-pod" + uid_ + ".slice", Identity{Kind: Pod, PodUID: uid1, QoS: "burstable"}},
		{strings.TrimSuffix(burst, "/"), Identity{Kind: Unit, Name: "kubepods-burstable.slice", QoS: "burstable"}},
		{"/kubepods.slice", Identity{Kind: Unit, Name: "kubepods.slice"}},
		{
			"/foo.slice/foo-bar.slice/foo-bar-kubepods.slice/foo-bar-kubepods-burstable.slice/foo-bar-kubepods-burstable-pod" + uid_ + ".slice" + scope,
			Identity{Runtime: "containerd", ID: id1, PodUID: uid1, QoS: "burstable"},
		},
		{"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + uid_ + ".slice" + scope, Identity{Runtime: "containerd", ID: id1, PodUID: uid1, QoS: "guaranteed"}},
		// The kubelet has the systemd driver, runc has not.
		{"/system.slice/containerd.service/kubepods-burstable-pod" + uid_ + ".slice:cri-containerd:" + id1, Identity{Runtime: "containerd", ID: id1, PodUID: uid1, QoS: "burstable"}},
		{"/kubepods-pod" + mir + ".slice:crio:" + id1, Identity{Runtime: "cri-o", ID: id1, PodUID: mir, QoS: "guaranteed"}},
		{"/system.slice:docker:" + id1, Identity{Runtime: "docker", ID: id1}},
	}.check(t)
}

func TestRuntimes(t *testing.T) {
	const user = "/user.slice/user-1000.slice/user@1000.service/user.slice"
	paths{
		{"/docker/" + id1, Identity{Runtime: "docker", ID: id1}},
		{"/docker/" + id1 + "/", Identity{Runtime: "docker", ID: id1, Dir: "/docker/" + id1}},
		{"/docker-" + id1 + ".scope", Identity{Runtime: "docker", ID: id1}},
		{"/system.slice/docker-" + id1 + ".scope", Identity{Runtime: "docker", ID: id1}},
		{"/actions_job/" + id1, Identity{ID: id1}},
		{"/default/" + id1, Identity{ID: id1}},
		{"/k8s.io/" + id1, Identity{Runtime: "containerd", ID: id1}},
		{"/" + id1, Identity{ID: id1}},
		{id1, Identity{ID: id1}},
		{"/system.slice/nerdctl-" + id1 + ".scope", Identity{Runtime: "containerd", ID: id1}},
		{"/system.slice/cri-containerd-0123456789ab.scope", Identity{Runtime: "containerd", ID: "0123456789ab"}},
		{"/machine.slice/libpod-" + id1 + ".scope", Identity{Runtime: "podman", ID: id1}},
		{"/machine.slice/libpod-" + id1 + ".scope/container", Identity{Runtime: "podman", ID: id1, Dir: "/machine.slice/libpod-" + id1 + ".scope"}},
		{"/machine.slice/libpod-conmon-" + id1 + ".scope", Identity{Kind: Monitor, Runtime: "podman", ID: id1}},
		{user + "/libpod-" + id1 + ".scope/container", Identity{Runtime: "podman", ID: id1, Dir: user + "/libpod-" + id1 + ".scope"}},
		{"/libpod_parent/libpod-" + id1, Identity{Runtime: "podman", ID: id1}},
		{"/libpod_parent/conmon", Identity{Kind: Monitor, Runtime: "podman"}},
		{"/system.slice/web.service/libpod-payload-" + id1, Identity{Runtime: "podman", ID: id1}},
		{"/machine.slice/machine-libpod_pod_" + id2 + ".slice", Identity{Kind: Pod, Runtime: "podman", PodUID: id2}},
		{"/machine.slice/machine-libpod_pod_" + id2 + ".slice/libpod-" + id1 + ".scope", Identity{Runtime: "podman", ID: id1, PodUID: id2}},
		{"/libpod_parent/" + id2 + "/libpod-" + id1, Identity{Runtime: "podman", ID: id1, PodUID: id2}},
		{"/libpod_parent/" + id2, Identity{Kind: Pod, Runtime: "podman", PodUID: id2}},
		{"/libpod_parent/" + id2 + "/conmon", Identity{Kind: Monitor, Runtime: "podman", PodUID: id2}},
		{"/crio-" + id1, Identity{Runtime: "cri-o", ID: id1}},
		{"/crio-" + id1 + "/container", Identity{Runtime: "cri-o", ID: id1, Dir: "/crio-" + id1}},
		{"/system.slice/crio-conmon-" + id1 + ".scope", Identity{Kind: Monitor, Runtime: "cri-o", ID: id1}},
	}.check(t)
}

func TestNamedContainers(t *testing.T) {
	paths{
		{"/lxc.payload.web-1", Identity{Runtime: "lxc", Name: "web-1"}},
		{"/lxc.payload.web-1/init.scope", Identity{Runtime: "lxc", Name: "web-1", Dir: "/lxc.payload.web-1"}},
		{"/lxc.monitor.web-1", Identity{Kind: Monitor, Runtime: "lxc", Name: "web-1"}},
		{"/lxc/web", Identity{Runtime: "lxc", Name: "web"}},
		{"/lxc/101/ns/system.slice/a.service", Identity{Runtime: "lxc", Name: "101", Dir: "/lxc/101"}},
		{"/lxc.monitor/101", Identity{Kind: Monitor, Runtime: "lxc", Name: "101"}},
		{"/lxc/" + id1, Identity{Runtime: "lxc", Name: id1}},
		{"/lxc/lxc/sub", Identity{Runtime: "lxc", Name: "lxc", Dir: "/lxc/lxc"}},
		{"/lxc", Identity{Kind: Other}},
		{"/lxc.payload.", Identity{Kind: Other}},
		{"/machine.slice/systemd-nspawn@deb.service", Identity{Runtime: "nspawn", Name: "deb"}},
		{"/machine.slice/systemd-nspawn@deb.service/payload/init.scope", Identity{Runtime: "nspawn", Name: "deb", Dir: "/machine.slice/systemd-nspawn@deb.service"}},
		{"/machine.slice/systemd-nspawn@deb.service/supervisor", Identity{Kind: Monitor, Runtime: "nspawn", Name: "deb"}},
		// A machine may be a container or a virtual one.
		{`/machine.slice/machine-qemu\x2d1\x2dvm.scope`, Identity{Kind: Unit, Name: `machine-qemu\x2d1\x2dvm.scope`}},
	}.check(t)
}

func TestInnermostWins(t *testing.T) {
	const node = "/docker/" + id1
	pod := kind + "/kubepods/burstable/pod" + uid1
	paths{
		{pod + "/" + id2, Identity{ID: id2, PodUID: uid1, QoS: "burstable"}},
		{pod, Identity{Kind: Pod, PodUID: uid1, QoS: "burstable"}},
		{kind + "/kubepods/burstable", Identity{Runtime: "docker", ID: id1, Dir: node}},
		{kind, Identity{Runtime: "docker", ID: id1, Dir: node}},
		{node + "/system.slice/docker.service", Identity{Runtime: "docker", ID: id1, Dir: node}},
		{
			node + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + uid_ + ".slice/cri-containerd-" + id2 + ".scope",
			Identity{Runtime: "containerd", ID: id2, PodUID: uid1, QoS: "guaranteed"},
		},
		{node + "/docker/" + id2, Identity{Runtime: "docker", ID: id2}},
		{node + "/pod" + uid1, Identity{Runtime: "docker", ID: id1, Dir: node}},
		{"/lxc.payload.n/kubepods.slice/kubepods-pod" + uid_ + ".slice/crio-" + id1 + ".scope", Identity{Runtime: "cri-o", ID: id1, PodUID: uid1, QoS: "guaranteed"}},
		// Docker in a pod is still in the pod.
		{"/kubepods/burstable/pod" + uid1 + "/" + id1 + "/docker/" + id2, Identity{Runtime: "docker", ID: id2, PodUID: uid1, QoS: "burstable"}},
		// A pod's cluster has pods of its own.
		{"/kubepods/burstable/pod" + mir + "/" + id1 + "/kubelet/kubepods/pod" + uid1 + "/" + id2, Identity{ID: id2, PodUID: uid1, QoS: "guaranteed"}},
	}.check(t)
}

func TestUnitsAndOthers(t *testing.T) {
	app := "/user.slice/user-1000.slice/user@1000.service/app.slice/run-r1.scope"
	paths{
		{"/system.slice", Identity{Kind: Unit, Name: "system.slice"}},
		{"/system.slice/docker.service", Identity{Kind: Unit, Name: "docker.service"}},
		{"/system.slice/a.service/sub/er", Identity{Kind: Unit, Name: "a.service", Dir: "/system.slice/a.service"}},
		{"/init.scope", Identity{Kind: Unit, Name: "init.scope"}},
		{app, Identity{Kind: Unit, Name: "run-r1.scope"}},
		{"/", Identity{Kind: Other}},
		{"", Identity{Kind: Other}},
		{"/..", Identity{Kind: Other}},
		{"/docker/" + id1 + "/..", Identity{Kind: Other}},
		{"/docker", Identity{Kind: Other}},
		{"/.slice", Identity{Kind: Other}},
	}.check(t)
}

// Near misses: none of them is a container or a pod.
func TestNearMisses(t *testing.T) {
	for _, path := range []string{
		"/docker/" + id1[1:], "/docker/" + id1 + "0", "/docker/" + strings.ToUpper(id1), "/docker/" + id1[:63] + "g",
		"/docker/" + id1 + "\n", "/docker/\x1b[31m" + id1[5:], "/docker/" + id1 + " (deleted)",
		"/system.slice/docker-" + id1[:11] + ".scope", "/system.slice/docker-" + id1 + "0.scope", "/system.slice/docker-" + strings.ToUpper(id1) + ".scope",
		"/docker-" + id1[:12], "/crio-" + id1[:63], "/crio-conmon-" + id1[:12], "/system.slice/docker-" + id1 + ".service", "/xdocker-" + id1 + ".scope",
		"/docker-.scope", "/system.slice/docker--" + id1 + ".scope", "/system.slice/libpod-" + id1 + "-x.scope",
		"/system.service:docker:" + id1, "/system.slice:other:" + id1, "/system.slice:docker:" + id1 + ":1", "/.slice:docker:" + id1, "/system.slice::" + id1,
		"/kubepods/podx", "/kubepods/pod" + uid_, "/kubepods/pod" + uid1 + "0", "/kubepods/pod" + strings.ReplaceAll(uid1, "1", "g"), "/kubepods/POD" + uid1,
		"/kubepods.slice/kubepods-pod" + uid1 + ".slice", "/kubepods.slice/mykubepods-pod" + uid_ + ".slice", "/kubepods-burstable-pod" + uid_,
		"/machine.slice/machine-libpod_pod_" + id1[:63] + ".slice", "/-libpod_pod_" + id1 + ".slice",
		"/conmon", "/x/conmon", "/supervisor", "/lxc.payloadweb", "/lxcfs/web", "/systemd-nspawn@.service",
	} {
		if got := Parse(path); got.Kind != Other && got.Kind != Unit || got.ID != "" || got.PodUID != "" || got.Runtime != "" {
			t.Errorf("%q: %+v", path, got)
		}
	}
}

func TestMatchID(t *testing.T) {
	for _, c := range []struct {
		path, prefix string
		want         bool
	}{
		{"/docker/" + id1, id1, true},
		{"/docker/" + id1, id1[:1], true},
		{"/docker/" + id1 + "/", id1[:12], true},
		{"/machine.slice/libpod-" + id1 + ".scope", id1[:12], true},
		{kind + "/kubepods/pod" + uid1 + "/" + id2, id2[:6], true},
		{kind + "/kubepods/pod" + uid1 + "/" + id2, id1[:6], false},
		{"/docker/" + id1, "", false},
		{"/docker/" + id1, id1 + "0", false},
		{"/docker/" + id1, id2[:1], false},
		{"/docker/" + id1, strings.ToUpper(id1[:4]), false},
		{"/docker/" + id1, "docker", false},
		{"/machine.slice/libpod-" + id1 + ".scope/container", id1[:12], false},
		{"/machine.slice/libpod-conmon-" + id1 + ".scope", id1[:12], false},
		{"/kubepods/pod" + uid1, uid1[:4], false},
		{"/libpod_parent/" + id1, id1[:4], false},
		{"/lxc/abc", "abc", false},
	} {
		if got := MatchID(c.path, c.prefix); got != c.want {
			t.Errorf("MatchID(%q, %q) = %v", c.path, c.prefix, got)
		}
	}
}

// seeds are paths of every form, for the fuzzers.
var seeds = []string{
	"", "/", "//", "/..", "/a\nb/\x1b[31m/\xff\xfe", "/" + strings.Repeat("a", 255), "/acme/payroll-prod",
	"/kubepods/burstable/pod" + uid1 + "/" + id1, kind + "/kubepods/besteffort/pod" + mir + "/" + id2 + "/init.scope",
	"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uid_ + ".slice/cri-containerd-" + id1 + ".scope",
	"/acme.slice/acme-kubepods.slice/acme-kubepods-pod" + uid_ + ".slice/crio-conmon-" + id1 + ".scope",
	"/system.slice/containerd.service/kubepods-pod" + uid_ + ".slice:cri-containerd:" + id1, "/.slice:docker:" + id1, "/acme.slice:docker:" + id1,
	"/machine.slice/machine-libpod_pod_" + id2 + ".slice/libpod-" + id1 + ".scope/container", "/libpod_parent/" + id2 + "/conmon", "/libpod_parent/conmon",
	"/lxc/acme/lxc.payload.acme.slice/lxc.monitor.x/lxc.monitor/y", "/machine.slice/systemd-nspawn@acme.service/supervisor",
	"/user.slice/user-1000.slice/user@1000.service/app.slice/acme (deleted)", "/k8s.io/" + id1 + " (deleted)", "/usr/lib/jvm/acme/bin/java",
}

func FuzzParse(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		id := Parse(path)
		if id.ID != "" && (!isHex(id.ID) || len(id.ID) < 12 || len(id.ID) > 64) {
			t.Errorf("%q: the id %q is none", path, id.ID)
		}
		if !strings.HasPrefix(path, id.Dir) || id.Kind == Other && id.Dir != path {
			t.Errorf("%q does not lie in %q", path, id.Dir)
		}
		if again := Parse(id.Dir); id.Kind != Other && again != id {
			t.Errorf("%q: %+v, but its own directory %+v", path, id, again)
		}
		if id.Kind == Container && id.ID == "" && id.Name == "" {
			t.Errorf("%q: a container of no name", path)
		}
		if id.Kind == Container && id.ID != "" && !MatchID(id.Dir, id.ID) {
			t.Errorf("%q: its directory does not match its id", path)
		}
		for n := range strings.SplitSeq(path, "/") {
			if a := takeApart(n); a.lead+a.before+a.own+a.after != n {
				t.Errorf("%q taken apart: %+v", n, a)
			}
		}
	})
}

// Text that is no path, as long as a file may be, costs no more than its length.
func TestLongNames(t *testing.T) {
	for _, word := range []string{"lxc.payload.", "/", "a.slice:docker:", " (deleted)", "-kubepods.slice", "../"} {
		long := "/" + strings.Repeat(word, 1<<20/len(word))
		Parse(long)
		if out := testRedactor.Path(long); strings.Count(out, "/") != strings.Count(long, "/") {
			t.Errorf("%q...: the number of parts changed", word)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Parse(seeds[9])
	}
}
