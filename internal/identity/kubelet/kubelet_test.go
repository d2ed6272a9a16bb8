package kubelet

import (
	"testing"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestQuantity(t *testing.T) {
	for in, want := range map[string]int64{
		"128Mi": 128 << 20, "1Gi": 1 << 30, "1.5Gi": 3 << 29, "100M": 100e6, "1e3": 1000, "128974848": 128974848, "2000m": 2, "1k": 1000,
		"": 0, "-5": 0, "x": 0, "1Zi": 0, "NaN": 0, "Inf": 0, "9e99": 0, "Mi": 0,
	} {
		if got := quantity(in); got != want {
			t.Errorf("%q: %d, want %d", in, got, want)
		}
	}
}

// The cgroup of a static pod is called by the hash of its file, not by the UID
// of its mirror.
func TestStaticPod(t *testing.T) {
	all, err := Pods(func(string) ([]byte, error) {
		return []byte(`{"items":[{"metadata":{"name":"etcd-n1","namespace":"kube-system","uid":"m","annotations":{"kubernetes.io/config.hash":"5d2f0a1c0000000000000000000000ff"}}}]}`), nil
	})
	if err != nil || len(all) != 1 || all[0].PodUID != "5d2f0a1c0000000000000000000000ff" || identity.Title(&all[0]) != "kube-system/etcd-n1" {
		t.Errorf("%+v, %v", all, err)
	}
}

// Whatever arrives: no panic, whole ids only.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"items":[{"metadata":{"uid":"u"},"status":{"containerStatuses":[{"containerID":"containerd://x"}]}}]}`))
	f.Add([]byte(`{"pods":[{"podRef":{"uid":"u"},"memory":{},"containers":[{"name":"app"}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		get := func(string) ([]byte, error) { return b, nil }
		all, _ := Pods(get)
		for _, n := range all {
			if n.Kind == snapshot.NamedContainer && !identity.IsID(n.ID) || n.Limit < 0 || n.Request < 0 {
				t.Errorf("%+v", n)
			}
		}
		_ = Summary(get, &snapshot.Named{PodUID: "u", Name: "app"})
	})
}
