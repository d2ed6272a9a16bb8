package gather

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// tellingNode answers questions for pipes too, and by a clock.
type tellingNode struct {
	*fakeNode
	pipes string
	step  time.Duration
	now   time.Time
}

func (n *tellingNode) Ask(q kernel.Question) kernel.Answer {
	a := n.fakeNode.Ask(q)
	if q.Op == kernel.Pipes {
		a = kernel.Answer{Data: []byte(n.pipes), State: snapshot.Present}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now = n.now.Add(n.step)
	a.At = n.now
	return a
}

// What stands behind descriptors is asked where the kernel keeps something that has no
// name, and only of who has such descriptors.
func TestHeldBehindDescriptors(t *testing.T) {
	const info = "map_type:\t2\nmap_flags:\t0x0\nmemlock:\t8192\nmap_id:\t"
	n := &tellingNode{fakeNode: crowd(3, func(int) (int, int64) { return 40, 2 << 20 }), pipes: "77 65536 65536\n"}
	n.files["/proc/1000/fd"] = "0\x00pipe:[77]\x001\x00pipe:[77]\x005\x00anon_inode:bpf-map\x006\x00anon_inode:bpf-map\x00x\x00anon_inode:bpf-map\x007\x00anon_inode:bpf-prog\x00"
	n.files["/proc/1001/fd"] = strings.Repeat("3\x00anon_inode:bpf-map\x00", 600)
	n.files["/proc/1002/fd"] = "0\x00/dev/null\x00"
	n.files["/proc/1000/fdinfo/5"], n.files["/proc/1000/fdinfo/6"], n.files["/proc/1001/fdinfo/3"] = info+"3\n", "memlock:\tx\n", info+"4\n"
	s, err := Explain(n, id, Options{})
	if err != nil {
		t.Fatal(err)
	}
	first, second, third := &s.Processes[0], &s.Processes[1], &s.Processes[2]
	if want := []snapshot.Pipe{{Inode: 77, Bytes: 65536, Room: 65536}}; !slices.Equal(first.Pipes.Value, want) || first.Pipes.State != snapshot.Present {
		t.Errorf("%+v", first.Pipes)
	}
	if want := []snapshot.BPFMap{{ID: 3, Kind: 2, Bytes: 8192}}; !slices.Equal(first.BPF.Value, want) || first.BPF.State != snapshot.Failed {
		t.Errorf("%+v", first.BPF)
	}
	if second.BPF.State != snapshot.Failed || second.BPF.Err != overMaps || len(second.BPF.Value) != maxBPFMaps-2 {
		t.Errorf("%s %s %d", second.BPF.State, second.BPF.Err, len(second.BPF.Value))
	}
	for _, p := range []*snapshot.Process{second, third} {
		if p.Pipes.State != snapshot.Present || len(p.Pipes.Value) != 0 {
			t.Errorf("%+v", p.Pipes)
		}
	}
	h := holding(n, &snapshot.Cgroup{Version: snapshot.V1, KmemUsage: snapshot.Reading[int64]{Value: 4096, State: snapshot.Present}})
	if h != nil {
		t.Error("4 KiB of kernel memory are worth questions")
	}
	v2 := func(kernel int64) *snapshot.Cgroup {
		return &snapshot.Cgroup{Version: snapshot.V2, Stat: snapshot.Reading[snapshot.Stat]{State: snapshot.Present, Value: snapshot.Stat{Entries: []snapshot.Entry{{Key: "kernel", Value: kernel}, {Key: "slab", Value: 40 << 20}}}}}
	}
	if holding(n, v2(40<<20+4096)) != nil || holding(n, v2(42<<20)) == nil {
		t.Error("what remains beside slab is not what decides")
	}
	if old := (&snapshot.Cgroup{Version: snapshot.V2}); holding(n, old) == nil {
		t.Error("a kernel that does not count it is not asked")
	}
}

// Everybody is asked what is in use only where it matters, and not for ever.
func TestUsersOfForeignFiles(t *testing.T) {
	group := func(file int64) *snapshot.Cgroup {
		return &snapshot.Cgroup{Path: "/a", Usage: snapshot.Reading[int64]{Value: 1 << 30}, Stat: snapshot.Reading[snapshot.Stat]{Value: snapshot.Stat{Entries: []snapshot.Entry{{Key: "file", Value: file}, {Key: "shmem", Value: 8 << 20}}}}}
	}
	for file, want := range map[int64]bool{8 << 20: false, 60 << 20: false, 72 << 20: true, 512 << 20: true} {
		if got := caches(group(file)); got != want {
			t.Errorf("%d of 1 GiB: %v", file, got)
		}
	}
	n := &tellingNode{fakeNode: &fakeNode{files: map[string]string{}}, step: time.Millisecond}
	for pid := 1; pid <= 500; pid++ {
		n.files[fmt.Sprintf("/proc/%d/maps", pid)] = "00400000-00452000 r-xp 00000000 08:02 17 /bin/x\n"
	}
	all, some := &snapshot.Snapshot{}, &snapshot.Snapshot{}
	h, err := find(crowd(1, func(int) (int, int64) { return 1, 1 }), Options{})
	if err != nil {
		t.Fatal(err)
	}
	users(n, h, all, true, 0)
	users(n, h, some, true, patience)
	if len(all.Users.Value) != 500 || all.Unasked != 0 {
		t.Errorf("%d asked, %d not", len(all.Users.Value), all.Unasked)
	}
	if got := len(some.Users.Value); got < leastUsers || got == 500 || got+some.Unasked != 500 {
		t.Errorf("%d asked, %d not", got, some.Unasked)
	}
}
