package explain

import (
	"fmt"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

const podUID = "11111111-2222-3333-4444-555555555555"

// v2Cgroup is a cgroup of version 2 of this much anonymous memory, file cache
// and tmpfs.
func v2Cgroup(path string, anon, file, shmem int64) snapshot.Cgroup {
	c := snapshot.Cgroup{Path: path, Version: snapshot.V2}
	st := snapshot.Stat{Entries: []snapshot.Entry{
		{Key: "anon", Value: anon},
		{Key: "file", Value: file + shmem},
		{Key: "shmem", Value: shmem},
		{Key: "inactive_anon", Value: anon + shmem},
		{Key: "active_anon", Value: 0},
		{Key: "inactive_file", Value: file},
		{Key: "active_file", Value: 0},
		{Key: "unevictable", Value: 0},
	}}
	c.Stat = snapshot.Reading[snapshot.Stat]{State: snapshot.Present, Value: st, Source: path + "/memory.stat"}
	c.Usage = snapshot.Reading[int64]{State: snapshot.Present, Value: anon + file + shmem, Source: path + "/memory.current"}
	return c
}

// pod has an app, a sandbox, and 40 MiB of tmpfs that an earlier container left.
func pod() *snapshot.Snapshot {
	const mib = 1 << 20
	dir := "/kubepods/pod" + podUID
	app, pause := strings.Repeat("a", 64), strings.Repeat("b", 64)
	names := &snapshot.Names{
		Sources: []snapshot.NameSource{{Kind: "cri", State: snapshot.Present}},
		Containers: []snapshot.Named{
			{Kind: snapshot.NamedSandbox, ID: pause, Namespace: "shop", Pod: "web", PodUID: podUID},
			{Kind: snapshot.NamedContainer, ID: app, Name: "app\x1b[31m", Namespace: "shop", Pod: "web", PodUID: podUID},
		},
	}
	return &snapshot.Snapshot{
		Names: names.Index(),
		Path:  []snapshot.Cgroup{v2Cgroup(dir, 21*mib, 5*mib, 42*mib), v2Cgroup("/", 100*mib, 0, 0)},
		Children: snapshot.Reading[[]snapshot.Cgroup]{State: snapshot.Present, Value: []snapshot.Cgroup{
			v2Cgroup(dir+"/"+app, 20*mib, 5*mib, 2*mib), v2Cgroup(dir+"/"+pause, 1*mib, 0, 0),
		}},
	}
}

func TestPodIsMoreThanItsContainers(t *testing.T) {
	r, err := Report(words.Printer{}, pod())
	if err != nil {
		t.Fatal(err)
	}
	if r.Target.Name != "shop/web" || r.Target.Kind != "pod" || r.Target.Container != "" {
		t.Errorf("%+v", r.Target)
	}
	var got []string
	for _, c := range r.Children {
		got = append(got, fmt.Sprintf("%s %q %d %s", c.Kind, c.Name, c.UsageBytes>>20, c.Largest.Account))
	}
	want := `remainder "the pod itself" 40 shmem;container "app\x1b[31m" 27 anon;sandbox "sandbox" 1 anon`
	if s := strings.Join(got, ";"); s != want {
		t.Errorf("%s\nwant %s", s, want)
	}
}

// A container that cannot be read is counted with the pod's own, and said to be.
func TestPodWithAnUnreadableContainer(t *testing.T) {
	s := pod()
	s.Children.Value[0].Usage = snapshot.Reading[int64]{State: snapshot.Denied, Source: "/x/memory.current", Err: "permission denied"}
	r, err := Report(words.Printer{}, s)
	if err != nil {
		t.Fatal(err)
	}
	said := false
	for _, n := range r.NotSeen {
		said = said || n.Key == "children" && n.State == "denied"
	}
	if len(r.Children) != 2 || !said || r.Children[0].UsageBytes>>20 != 67 {
		t.Errorf("%+v, %v", r.Children, said)
	}
	s.Children = snapshot.Reading[[]snapshot.Cgroup]{State: snapshot.Denied, Source: "/x", Err: "permission denied"}
	if r, err = Report(words.Printer{}, s); err != nil || len(r.Children) != 0 {
		t.Errorf("%+v, %v", r.Children, err)
	}
}
