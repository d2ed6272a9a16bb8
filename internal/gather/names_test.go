package gather

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

const (
	uidA = "11111111-2222-3333-4444-555555555555"
	uidB = "22222222-2222-3333-4444-555555555555"
)

func hex(c string) string { return strings.Repeat(c, 64) }

// cluster is a node of two pods, of one name in two namespaces, a docker
// container, a unit and an LXC container.
func cluster(t *testing.T) *fakeNode {
	t.Helper()
	n := fake()
	pods := "/kubepods/burstable/pod"
	add := func(path, procs string) {
		dir := top + path
		n.files[dir+"/memory.usage_in_bytes"], n.files[dir+"/memory.stat"], n.files[dir+"/cgroup.procs"] = "8192\n", "cache 4096\ntotal_cache 4096\n", procs
	}
	for _, p := range []string{"/kubepods", "/kubepods/burstable", pods + uidA, pods + uidB} {
		add(p, "")
	}
	add(pods+uidA+"/"+hex("a"), "101\n")
	add(pods+uidA+"/"+hex("b"), "102\n")
	add(pods+uidB+"/"+hex("c"), "103\n")
	add("/system.slice", "")
	add("/system.slice/nginx.service", "104\n")
	add("/lxc.payload.web 写", "105\n")
	add("/docker/"+hex("d"), "106\n")
	names := snapshot.Names{
		Sources: []snapshot.NameSource{{Kind: "cri", Address: "/c.sock", Runtime: "containerd 1", State: snapshot.Present}},
		Containers: []snapshot.Named{
			{Kind: snapshot.NamedSandbox, ID: hex("b"), Sandbox: hex("b"), Namespace: "payments", Pod: "render", PodUID: uidA},
			{Kind: snapshot.NamedContainer, ID: hex("a"), Sandbox: hex("b"), Namespace: "payments", Pod: "render", PodUID: uidA, Name: "app", Labels: map[string]string{"app": "x"}},
			{Kind: snapshot.NamedContainer, ID: hex("c"), Namespace: "shop", Pod: "render", PodUID: uidB, Name: "app"},
			{Kind: snapshot.NamedContainer, ID: hex("d"), Name: "web\x1b[31m"},
			{Kind: snapshot.NamedContainer, ID: hex("e"), Name: "gone", State: "exited", Last: &snapshot.Termination{Reason: "OOMKilled"}},
			{Kind: snapshot.NamedContainer, ID: hex("f"), Name: "odd", State: "running", PID: 7},
			{Kind: snapshot.NamedContainer, ID: strings.Repeat("1", 64), Name: "lost", State: "running", PID: 4000},
			{Kind: snapshot.NamedContainer, ID: strings.Repeat("2", 64), Name: hex("d")[:12]},
		},
	}
	b, err := json.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	n.files["/"] = string(b)
	return n
}

func TestTargetsByName(t *testing.T) {
	pods := "/kubepods/burstable/pod"
	for target, want := range map[string]string{
		"payments/render/app":  pods + uidA + "/" + hex("a"),
		"shop/render/app":      pods + uidB + "/" + hex("c"),
		"payments/render":      pods + uidA,
		uidB:                   pods + uidB,
		"aaaa":                 pods + uidA + "/" + hex("a"),
		strings.ToUpper("bbb"): pods + uidA + "/" + hex("b"),
		"web\x1b[31m":          "/docker/" + hex("d"),
		"nginx.service":        "/system.slice/nginx.service",
		"web 写":                "/lxc.payload.web 写",
		"odd":                  "/docker/" + id, // by its process
		"kubepods":             "/kubepods",
		"/docker/" + hex("d"):  "/docker/" + hex("d"),
	} {
		s, err := Explain(cluster(t), target, Options{})
		if err != nil || s.Target().Path != want {
			t.Errorf("%q: %v, want %s", target, err, want)
		}
	}
	for target, c := range map[string]struct {
		kind       Kind
		says       string
		candidates int
	}{
		"app":         {Ambiguous, "2 containers", 2},
		"render":      {Ambiguous, "2 containers", 2},
		"render/app":  {Ambiguous, "2 containers", 2},
		"gone":        {NotFound, "exited, OOMKilled", 0},
		"lost":        {NotFound, "no memory cgroup here: it is running", 0},
		"nobody":      {NotFound, "no container, pod or unit", 0},
		"rend":        {NotFound, "no container, pod or unit", 2},
		"nts/ren":     {NotFound, "no container, pod or unit", 1},
		"re":          {NotFound, "no container, pod or unit", 0},
		"payments/":   {NotFound, "no container", 1},
		"//render":    {NotFound, "", 0},
		"\x00\xff":    {NotFound, "", 0},
		"-":           {NotFound, "", 0},
		"eeeeeeeeeee": {NotFound, "exited", 0},
	} {
		var e *TargetError
		_, err := Explain(cluster(t), target, Options{})
		if !errors.As(err, &e) || e.Kind != c.kind || !strings.Contains(e.Error(), c.says) || len(e.Candidates) != c.candidates {
			t.Errorf("%q: %v", target, err)
			continue
		}
		if c.candidates > 0 && !strings.Contains(e.Candidates[0], "payments/render") {
			t.Errorf("%q: %q", target, e.Candidates)
		}
	}
}

// dying is a node whose cgroups are gone when they have been listed.
type dying struct {
	*fakeNode
	mu     sync.Mutex
	listed map[string]bool
}

func (n *dying) Ask(q kernel.Question) kernel.Answer {
	n.mu.Lock()
	defer n.mu.Unlock()
	gone := kernel.Answer{State: snapshot.Absent, Err: "no such file"}
	switch {
	case !strings.HasPrefix(q.Path, top+"/"):
	case q.Op != kernel.List || n.listed[q.Path]:
		return gone
	default:
		n.listed[q.Path] = true
	}
	return n.fakeNode.Ask(q)
}

// Who ends between the list and the reading is told as what it was asked for.
func TestTargetThatEnds(t *testing.T) {
	for target, says := range map[string]string{
		"shop/render/app": "shop/render/app ended while it was looked up",
		"cccc":            "shop/render/app ended while it was looked up",
		"nginx.service":   "nginx.service ended while it was looked up",
	} {
		var e *TargetError
		_, err := Explain(&dying{fakeNode: cluster(t), listed: map[string]bool{}}, target, Options{})
		if !errors.As(err, &e) || e.Kind != NotFound || !strings.Contains(e.Error(), says) {
			t.Errorf("%q: %v", target, err)
		}
	}
	l, err := List(&dying{fakeNode: cluster(t), listed: map[string]bool{}}, Options{}, Want{})
	if err != nil || len(l.Snapshots) != 0 {
		t.Errorf("%v, %d rows", err, len(l.Snapshots))
	}
}

// Names that a source forged or broke lead nowhere else, and cost nothing but
// themselves.
func TestNamesThatAreNoJSON(t *testing.T) {
	n := cluster(t)
	n.files["/"] = `{"containers":[{"id":`
	s, err := Explain(n, "aaaa", Options{})
	if err != nil || len(s.Names.Sources) != 1 || s.Names.Sources[0].State != snapshot.Failed {
		t.Errorf("%+v, %v", s, err)
	}
}

// What a container's own page says takes the place of what the list said.
func TestDetail(t *testing.T) {
	n := cluster(t)
	n.files["/"+hex("a")] = `{"sources":[{"kind":"kubelet","state":"denied","err":"no"}],"containers":[{"kind":"container","id":"` + hex("a") + `","name":"app","pod":"render","namespace":"payments","limit":5}]}`
	s, err := Explain(n, "payments/render/app", Options{})
	if err != nil {
		t.Fatal(err)
	}
	who := identity.Of(s.Target().Path, s.Names)
	if who.Named.Limit != 5 || who.Title != "payments/render/app" || len(s.Names.Sources) != 2 {
		t.Errorf("%+v, %+v", who.Named, s.Names.Sources)
	}
}

// A list has the containers, with what is below them, and no sandboxes; with
// all it has every cgroup with processes.
func TestListOfContainers(t *testing.T) {
	n := cluster(t)
	l, err := List(n, Options{}, Want{})
	if err != nil || l.All {
		t.Fatal(l, err)
	}
	var got []string
	for _, s := range l.Snapshots {
		got = append(got, strings.TrimPrefix(s.Target().Path, "/kubepods/burstable/"))
	}
	slices.Sort(got)
	want := []string{"/docker/" + id, "/docker/" + hex("d"), "/lxc.payload.web 写", "pod" + uidA + "/" + hex("a"), "pod" + uidB + "/" + hex("c")}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, s := range l.Snapshots {
		if s.Target().Path == "/docker/"+id && len(s.PIDs) != 4 {
			t.Errorf("%v: the processes below it belong to it", s.PIDs)
		}
	}
	all, err := List(n, Options{}, Want{All: true})
	if err != nil || !all.All || len(all.Snapshots) != len(want)+3 {
		t.Errorf("%d cgroups, %v", len(all.Snapshots), err)
	}
	none := fake()
	for p := range none.files {
		if strings.Contains(p, "/docker") && strings.HasPrefix(p, top) {
			delete(none.files, p)
		}
	}
	none.files[top+"/system.slice/a.service/cgroup.procs"] = "7\n"
	none.files[top+"/system.slice/a.service/memory.usage_in_bytes"] = "4096\n"
	if l, err := List(none, Options{}, Want{}); err != nil || !l.All || len(l.Snapshots) != 1 {
		t.Errorf("no container: %+v, %v", l, err)
	}
}

// The systemd driver's paths, of version 2: dashes of a UID are underscores, a
// container may have cgroups of its own.
func TestNamesWithTheSystemdDriver(t *testing.T) {
	n := &fakeNode{files: map[string]string{}, faults: map[string]kernel.Answer{}}
	n.files["/proc/self/mountinfo"] = "9 1 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
	n.files["/sys/fs/cgroup/cgroup.controllers"] = "memory\n"
	slice := "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + strings.ReplaceAll(uidA, "-", "_") + ".slice"
	for path, procs := range map[string]string{
		slice: "", slice + "/cri-containerd-" + hex("a") + ".scope": "", slice + "/cri-containerd-" + hex("a") + ".scope/init.scope": "101\n",
		slice + "/crio-" + hex("b") + ".scope": "102\n", slice + "/crio-conmon-" + hex("b") + ".scope": "103\n",
	} {
		dir := "/sys/fs/cgroup" + path
		n.files[dir+"/memory.current"], n.files[dir+"/memory.stat"], n.files[dir+"/cgroup.procs"] = "8192\n", "anon 4096\nfile 4096\n", procs
	}
	n.files["/"] = cluster(t).files["/"]
	for target, want := range map[string]string{
		"payments/render/app": slice + "/cri-containerd-" + hex("a") + ".scope",
		"render":              slice,
		uidA:                  slice,
	} {
		s, err := Explain(n, target, Options{})
		if err != nil || s.Target().Path != want {
			t.Errorf("%q: %v, want %s", target, err, want)
		}
		if target == "render" && len(s.Children.Value) != 3 {
			t.Errorf("%d children", len(s.Children.Value))
		}
	}
	l, err := List(n, Options{}, Want{})
	if err != nil || len(l.Snapshots) != 1 || !slices.Equal(l.Snapshots[0].PIDs, []int{101}) {
		t.Errorf("%+v, %v", l, err)
	}
}
