package wire

import (
	"errors"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// Whatever the end of a name or the beginning of an id leads to, only the whole of it is
// acted on.
func TestSpelledOut(t *testing.T) {
	id, other := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	const uid = "0f3b7a52-1c2d-4e5f-8a9b-0c1d2e3f4a5b"
	names := (&snapshot.Names{Containers: []snapshot.Named{
		{Kind: snapshot.NamedContainer, ID: id, Name: "api", Namespace: "prod", Pod: "api-7d9", PodUID: uid, PID: 7},
		{Kind: snapshot.NamedContainer, ID: other, Name: "web", PID: 9},
	}}).Index()
	pod := "/kubepods/burstable/pod" + uid
	for _, c := range []struct {
		cgroup string
		exact  []string
		parts  []string
		whole  string // what a refusal says to type
	}{
		{pod + "/" + id, []string{id, strings.ToUpper(id), "prod/api-7d9/api", pod + "/" + id, "pid:7", "self"}, []string{"api", "api-7d9/api", id[:12], id[:63]}, "prod/api-7d9/api"},
		{pod, []string{"prod/api-7d9", uid, pod}, []string{"api-7d9", uid[:8]}, "prod/api-7d9"},
		{"/docker/" + strings.Repeat("ef", 32), []string{strings.Repeat("ef", 32)}, []string{"efef"}, strings.Repeat("ef", 32)},
		{"/system.slice/nginx.service", []string{"nginx.service", "/system.slice/nginx.service"}, []string{"system.slice/nginx.service"}, "nginx.service"},
		{"/mine", []string{"/mine", "web", other}, []string{"mine", other[:20]}, "web"},
	} {
		for _, typed := range c.exact {
			if err := spelledOut(typed, c.cgroup, names, []int{9}); err != nil {
				t.Errorf("%s for %s: %v", typed, c.cgroup, err)
			}
		}
		for _, typed := range c.parts {
			err := spelledOut(typed, c.cgroup, names, []int{9})
			if !errors.Is(err, ErrInexact) || !strings.Contains(err.Error(), "led to "+c.whole+":") || !strings.HasSuffix(err.Error(), c.cgroup) {
				t.Errorf("%s for %s: %v", typed, c.cgroup, err)
			}
		}
	}
	if err := spelledOut("lone", "/lone", nil, nil); !errors.Is(err, ErrInexact) || !strings.Contains(err.Error(), "led to /lone:") {
		t.Errorf("%v", err)
	}
}
