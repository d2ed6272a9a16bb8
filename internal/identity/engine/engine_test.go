package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/snapshot"
)

const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// answers gives canned answers by the beginning of the path.
func answers(byPath map[string]string) identity.Get {
	return func(path string) ([]byte, error) {
		for begin, answer := range byPath {
			if strings.HasPrefix(path, begin) {
				return []byte(answer), nil
			}
		}
		return nil, fmt.Errorf("asked %s", path)
	}
}

// Old daemons take a second and more for their statistics: they are not asked.
func TestOldDockerIsNotAskedForStatistics(t *testing.T) {
	e, err := Greet(answers(map[string]string{
		"/version":     `{"Version":"19.03.1","ApiVersion":"1.40"}`,
		"/containers/": `{"Id":"` + id + `","State":{"Status":"running","Running":true,"Pid":5}}`,
	}))
	if err != nil {
		t.Fatal(err)
	}
	n := snapshot.Named{ID: id}
	if err := e.Detail(&n); err != nil || n.PID != 5 || len(n.Says) != 0 {
		t.Errorf("%+v, %v", n, err)
	}
}

// cri-dockerd keeps the names of Kubernetes in labels.
func TestKubernetesLabels(t *testing.T) {
	e, err := Greet(answers(map[string]string{
		"/version": `{"Version":"27.0","ApiVersion":"1.46"}`,
		"/containers/json": `[{"Id":"` + id + `","Names":["/k8s_app_web-1_shop_u_0"],"Labels":{"io.kubernetes.docker.type":"container",
"io.kubernetes.container.name":"app","io.kubernetes.pod.name":"web-1","io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"u"}},
{"Id":"` + strings.Repeat("a", 64) + `","Names":["/k8s_POD"],"Labels":{"io.kubernetes.docker.type":"podsandbox","io.kubernetes.pod.name":"web-1","io.kubernetes.pod.namespace":"shop"}},
{"Id":"` + strings.Repeat("b", 64) + `","Names":["/forged"],"Labels":{"io.kubernetes.pod.name":"kube-apiserver"}}]`,
	}))
	if err != nil {
		t.Fatal(err)
	}
	all, err := e.List()
	if err != nil || len(all) != 3 {
		t.Fatalf("%+v, %v", all, err)
	}
	for i, want := range []string{"shop/web-1/app", "shop/web-1 (sandbox)", "forged"} {
		if got := identity.Title(&all[i]); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Paths are built of what is known to be harmless only.
func TestNoPathFromOutside(t *testing.T) {
	var asked []string
	get := func(path string) ([]byte, error) {
		asked = append(asked, path)
		if path == "/version" {
			return []byte(`{"Version":"4","ApiVersion":"1.41","Components":[{"Name":"Podman Engine","Details":{"MinAPIVersion":"../x?"}}]}`), nil
		}
		return nil, errors.New("no")
	}
	e, err := Greet(get)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = e.List()
	_ = e.Detail(&snapshot.Named{ID: "../../kill"})
	if got := strings.Join(asked, " "); got != "/version /v4.0.0/libpod/containers/json?all=true" {
		t.Errorf("asked %s", got)
	}
}

// What docker stats shows is the daemon's usage without the inactive files,
// where these are fewer.
func TestDockerStats(t *testing.T) {
	for answer, want := range map[string]int64{
		`{"memory_stats":{"usage":100,"stats":{"total_inactive_file":30,"inactive_file":9}}}`: 70,
		`{"memory_stats":{"usage":100,"stats":{"inactive_file":9}}}`:                          91,
		`{"memory_stats":{"usage":100,"stats":{"inactive_file":100}}}`:                        100,
		`{"memory_stats":{"usage":100}}`:                                                      100,
		`{"memory_stats":{}}`:                                                                 -1,
	} {
		e := &Engine{Runtime: "docker", get: answers(map[string]string{"/": answer})}
		n := snapshot.Named{ID: id}
		if err := e.dockerStats(&n, "/x"); err != nil {
			t.Fatal(err)
		}
		got := int64(-1)
		if len(n.Says) > 0 {
			got = n.Says[0].Bytes
		}
		if got != want {
			t.Errorf("%s: %d, want %d", answer, got, want)
		}
	}
}

// Whatever arrives: no panic, whole ids only.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`[{"Id":"`+id+`","Names":[],"Labels":null,"Pod":"x"}]`), true)
	f.Add([]byte(`{"State":{"Running":true,"FinishedAt":"0001-01-01T00:00:00Z"},"Stats":[{}]}`), false)
	f.Fuzz(func(t *testing.T, b []byte, podman bool) {
		get := func(string) ([]byte, error) { return b, nil }
		_, _ = Greet(get)
		e := &Engine{Runtime: "x", get: get, minor: 41}
		if podman {
			e.libpod = "/v4/libpod"
		}
		all, _ := e.List()
		for _, n := range all {
			if !identity.IsID(n.ID) {
				t.Errorf("id %q", n.ID)
			}
		}
		n := snapshot.Named{ID: id}
		_ = e.Detail(&n)
		if n.Limit < 0 || n.PID < 0 || n.Request < 0 {
			t.Errorf("%+v", n)
		}
	})
}
