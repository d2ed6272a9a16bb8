package capture

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// What runtimes say is hidden as the paths of cgroups are: the same container is
// found by its hidden id, and no name is left.
func TestRedactNames(t *testing.T) {
	id, sandbox, uid := strings.Repeat("ab", 32), strings.Repeat("cd", 32), "11111111-2222-3333-4444-555555555555"
	dir := "/kubepods/burstable/pod" + uid + "/" + id
	names := snapshot.Names{
		Sources: []snapshot.NameSource{
			{Kind: "cri", Address: "/run/secret/c.sock", Runtime: "containerd 1.6.20~ds1", State: snapshot.Present},
			{Kind: "docker", Address: "/run/docker.sock", Runtime: "secret 1", State: snapshot.Failed, Err: `"secret/x" failed`},
		},
		Containers: []snapshot.Named{{
			Kind: snapshot.NamedContainer, Runtime: "containerd", ID: id, Name: "secretapp", Namespace: "secretns", Pod: "secretpod", PodUID: uid, Sandbox: sandbox,
			Image: "secret.corp/secret/app:1", Labels: map[string]string{"secret/key": "secretvalue"}, QoS: "burstable", State: "running",
			Last: &snapshot.Termination{Reason: "secretreason", At: time.Unix(1, 0)}, Cgroup: dir,
			Says: []snapshot.ToolSays{{Tool: "docker stats", Bytes: 5, From: "GET /containers/" + id + "/stats"}},
		}},
	}
	data, err := json.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	a := &Archive{Meta: Meta{Schema: Schema, Target: dir, PageSize: 4096}, answers: map[key]kernel.Answer{
		{kernel.Containers, "/"}:                                      {State: snapshot.Present, Data: data},
		{kernel.Containers, "/" + id}:                                 {State: snapshot.Present, Data: data},
		{kernel.Containers, "/" + uid}:                                {State: snapshot.Present, Data: data},
		{kernel.Read, "/sys/fs/cgroup/memory" + dir + "/memory.stat"}: {State: snapshot.Present},
	}}
	hidden, err := a.Prepare(true, false)
	if err != nil {
		t.Fatal(err)
	}
	who := identity.Parse(hidden.Meta.Target)
	for _, path := range []string{"/", "/" + who.ID, "/" + who.PodUID} {
		got := hidden.Ask(kernel.Question{Op: kernel.Containers, Path: path, Max: 1 << 20})
		var n snapshot.Names
		if got.State != snapshot.Present || json.Unmarshal(got.Data, &n) != nil {
			t.Fatalf("%s: %+v", path, got)
		}
		for _, never := range []string{"secret", id, sandbox, uid, "corp"} {
			if strings.Contains(string(got.Data), never) {
				t.Errorf("%s still says %q: %s", path, never, got.Data)
			}
		}
		c, ok := n.Index().ByID(who.ID)
		if !ok || c.PodUID != who.PodUID || c.Cgroup != hidden.Meta.Target || c.QoS != "burstable" || c.State != "running" || len(c.Labels) != 1 {
			t.Errorf("%+v", c)
		}
		if n.Sources[0].Runtime != "containerd 1.6.20~ds1" || n.Sources[0].Kind != "cri" {
			t.Errorf("%+v", n.Sources)
		}
	}
	plain, err := a.Prepare(false, false)
	if err != nil || string(plain.Ask(kernel.Question{Op: kernel.Containers, Path: "/", Max: 1}).Data) != string(data) {
		t.Errorf("without redaction it is kept as it is: %v", err)
	}
}
