package wire

import (
	"errors"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/gather"
	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// What is the node's, or many containers' at once, is refused by its path alone, and so is
// what memwhy runs in.
func TestGuarded(t *testing.T) {
	const uid = "0f3b7a52-1c2d-4e5f-8a9b-0c1d2e3f4a5b"
	id := strings.Repeat("ab", 32)
	pod := "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice"
	const own = "/user.slice/session-1.scope/job"
	for cgroup, why := range map[string]string{
		"/":         "whole node",
		"/kubepods": "all pods", "/kubepods/besteffort": "", "/kubepods.slice": "all pods", "/kubepods.slice/kubepods-burstable.slice": "all pods",
		"/kubepods/burstable/pod" + uid: "a pod", pod: "a pod",
		"/system.slice": "services", "/user.slice": "services", "/machine.slice": "services", "/init.scope": "services",
		"/system.slice/containerd.service": "runtime", "/system.slice/docker.service": "runtime", "/runtime.slice/kubelet.service": "kubelet",
		"/system.slice/crio.service": "runtime", "/kubelet": "kubelet", "/system.slice/k3s.service": "runtime",
		own: "memwhy itself", "/user.slice/session-1.scope": "memwhy itself",

		"/kubepods/burstable/pod" + uid + "/" + id: "", pod + "/cri-containerd-" + id + ".scope": "", "/docker/" + id: "",
		"/system.slice/nginx.service": "", "/mine": "", own + "/child": "", own + "s": "",
	} {
		r := &gather.Reclaimable{Own: own, Snapshot: &snapshot.Snapshot{Path: []snapshot.Cgroup{{Path: cgroup}}}}
		err := refused(cgroup, r, ReclaimOptions{})
		if (err != nil) != (why != "") || err != nil && (!errors.Is(err, ErrGuarded) || !strings.Contains(err.Error(), why)) {
			t.Errorf("%s: %v, want %q", cgroup, err, why)
		}
		if err := refused(cgroup, r, ReclaimOptions{Really: true}); err != nil {
			t.Errorf("%s, really: %v", cgroup, err)
		}
		if got := identity.Parse(cgroup).Together(cgroup); (got == "") != (why == "" || why == "memwhy itself") {
			t.Errorf("%s holds %q in common", cgroup, got)
		}
	}
	if err := refused("/", &gather.Reclaimable{Snapshot: &snapshot.Snapshot{Replayed: true, Path: []snapshot.Cgroup{{Path: "/"}}}}, ReclaimOptions{Really: true}); !errors.Is(err, ErrReplayed) {
		t.Errorf("a capture: %v", err)
	}
}
