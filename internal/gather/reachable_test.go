package gather

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestNamesOfReachedFiles(t *testing.T) {
	vol := &snapshot.Mount{ID: 1, Device: 7, Root: "/pods/a/vol", Point: "/data", Type: "ext4"}
	root := &snapshot.Mount{ID: 2, Device: 9, Root: "/", Point: "/", Type: "overlay"}
	for _, c := range []struct {
		in    snapshot.CensusInode
		mount *snapshot.Mount
		text  string
		want  snapshot.CensusInode
	}{
		{snapshot.CensusInode{Links: 1, Device: 8}, vol, "/data/x", snapshot.CensusInode{Links: 1, Device: 7, Type: "ext4", Path: "/pods/a/vol/x"}},
		{snapshot.CensusInode{Links: 1}, vol, "/data", snapshot.CensusInode{Links: 1, Device: 7, Type: "ext4", Path: "/pods/a/vol"}},
		{snapshot.CensusInode{Links: 1}, root, "/x", snapshot.CensusInode{Links: 1, Device: 9, Type: "overlay", Path: "/x"}},
		{snapshot.CensusInode{}, vol, "/data/x (deleted)", snapshot.CensusInode{Device: 7, Type: "ext4", Path: "/pods/a/vol/x", Deleted: true}},
		{snapshot.CensusInode{Links: 1}, vol, "/data/x (deleted)", snapshot.CensusInode{Links: 1, Device: 7, Type: "ext4", Path: "/pods/a/vol/x (deleted)"}},
		{snapshot.CensusInode{Links: 1}, vol, "/database/x", snapshot.CensusInode{Links: 1, Device: 7, Type: "ext4", Path: "/database/x", Partial: true}},
		{snapshot.CensusInode{Magic: snapshot.MagicTmpfs, Device: 1}, nil, "/memfd:a b (deleted)", snapshot.CensusInode{Magic: snapshot.MagicTmpfs, Device: 1, Type: "tmpfs", Path: "memfd:a b", Pseudo: true}},
		{snapshot.CensusInode{Magic: snapshot.MagicTmpfs, Device: 1}, nil, "/SYSV0000002a (deleted)", snapshot.CensusInode{Magic: snapshot.MagicTmpfs, Device: 1, Type: "tmpfs", Path: "SYSV0000002a", Pseudo: true}},
		{snapshot.CensusInode{Magic: snapshot.MagicTmpfs, Device: 1}, nil, "/dev/zero (deleted)", snapshot.CensusInode{Magic: snapshot.MagicTmpfs, Device: 1, Type: "tmpfs", Path: "dev/zero", Pseudo: true}},
		{snapshot.CensusInode{Magic: 0xef53, Device: 1}, nil, "/memfd:x", snapshot.CensusInode{Magic: 0xef53, Device: 1, Path: "/memfd:x", Partial: true, Deleted: true}},
	} {
		named(&c.in, c.mount, c.text)
		if d := cmp.Diff(c.want, c.in); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.text, d)
		}
	}
}

// Mounts that are worth a walk: not twice the same files, nothing that others
// serve, nothing that can only be reached past them.
func TestMountsToWalk(t *testing.T) {
	v := &reachView{byID: map[int]*snapshot.Mount{}, mounts: []snapshot.Mount{
		{ID: 1, Parent: 0, Device: 9, Root: "/", Point: "/", Type: "overlay"},
		{ID: 2, Parent: 1, Device: 3, Root: "/", Point: "/proc", Type: "proc"},
		{ID: 3, Parent: 1, Device: 7, Root: "/pods/a/vol", Point: "/data", Type: "ext4"},
		{ID: 4, Parent: 1, Device: 7, Root: "/pods/a/vol/sub", Point: "/part", Type: "ext4"},
		{ID: 5, Parent: 1, Device: 7, Root: "/pods/a/vol", Point: "/again", Type: "ext4"},
		{ID: 6, Parent: 1, Device: 5, Root: "/", Point: "/net", Type: "nfs4"},
		{ID: 7, Parent: 6, Device: 6, Root: "/", Point: "/net/tmp", Type: "tmpfs"},
		{ID: 8, Parent: 1, Device: 4, Root: "/", Point: "/home", Type: "fuse.sshfs"},
		{ID: 9, Parent: 1, Device: 11, Root: "/", Point: "/over", Type: "xfs"},
		{ID: 10, Parent: 9, Device: 12, Root: "/", Point: "/over", Type: "tmpfs"},
		{ID: 11, Parent: 1, Device: 13, Root: "/", Point: "/auto", Type: "autofs"},
		{ID: 12, Parent: 2, Device: 14, Root: "/x", Point: "/proc/timer_list", Type: "tmpfs"},
	}}
	for i := range v.mounts {
		v.byID[v.mounts[i].ID] = &v.mounts[i]
	}
	r := &reach{}
	var got []string
	for _, w := range r.mounts(v) {
		got = append(got, w.m.Point)
	}
	if d := cmp.Diff([]string{"/", "/data", "/over", "/proc/timer_list"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if strange := sortedKeys(r.strange); !slices.Equal(strange, []string{"autofs", "fuse.sshfs", "nfs4"}) {
		t.Errorf("%q", strange)
	}
}

func TestReachableWithoutProcesses(t *testing.T) {
	if c, err := Reachable(context.Background(), &fakeNode{}, nil, Options{}); err == nil {
		t.Errorf("%+v", c)
	}
}

// What may not be seen of a process is said, and nothing takes its place.
func TestReachableWithoutRights(t *testing.T) {
	denied := kernel.Answer{State: snapshot.Denied, Err: "permission denied"}
	n := &fakeNode{
		files: map[string]string{
			"/proc/self/mountinfo": "25 1 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/cgroup.controllers": "memory\n",
			"/proc/7/cgroup": "0::/a/b\n", "/proc/7/mountinfo": "1 0 9:0 / / rw - overlay overlay rw\n",
		},
		faults: map[string]kernel.Answer{"/proc/7/fd": denied, "/proc/7/maps": denied, "/proc/7/root/": denied, "/proc/7/root": denied, "/proc/7/ns/mnt": denied},
	}
	c, err := Reachable(context.Background(), n, []int{7}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	doubts := strings.Join(c.Doubts, "\n")
	if len(c.Files) != 0 || c.Complete || !strings.Contains(doubts, "may not be seen") || !strings.Contains(doubts, "not searched: /: permission denied") {
		t.Errorf("%+v", c)
	}
	if len(c.Groups) != 4 || c.Groups[3].Path != "/a/b" || c.Groups[3].Parent != 2 || c.Groups[3].File.Bytes != snapshot.Unknown {
		t.Errorf("%+v", c.Groups)
	}
}
