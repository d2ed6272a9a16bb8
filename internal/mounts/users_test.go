package mounts

import (
	"fmt"
	"slices"
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// A file is in use by whoever has its very path in its own namespace: a new file of
// the name of a deleted one is another, and labels count only where they are unique.
func TestEachUse(t *testing.T) {
	const disk = 8<<20 | 1
	present := func(m ...snapshot.Mount) snapshot.Reading[[]snapshot.Mount] {
		return snapshot.Reading[[]snapshot.Mount]{State: snapshot.Present, Value: m}
	}
	n := New([]snapshot.MountTable{
		{Namespace: "mnt:[1]", PID: 1, Host: true, Mounts: present(snapshot.Mount{ID: 1, Device: disk, Root: "/", Point: "/", Type: "ext4"})},
		{Namespace: "mnt:[2]", PID: 7, Mounts: present(snapshot.Mount{ID: 2, Device: disk, Root: "/vol", Point: "/data", Type: "ext4"})},
	})
	files := []*snapshot.CensusInode{
		{Device: disk, Path: "/vol/a", Number: 1},
		{Device: disk, Path: "/vol/a", Number: 2, Deleted: true},
		{Device: disk, Path: "/other", Number: 3},
		{Path: "memfd:x", Number: 4, Pseudo: true},
		{Path: "memfd:two", Number: 5, Pseudo: true},
		{Path: "memfd:two", Number: 6, Pseudo: true},
		{Device: disk, Number: 7},
		nil,
	}
	user := func(pid int, namespace string, mapped []string, open ...snapshot.LinkText) snapshot.FileUser {
		return snapshot.FileUser{
			PID: pid, Namespace: namespace,
			Open:   snapshot.Reading[[]snapshot.LinkText]{State: snapshot.Present, Value: open},
			Mapped: snapshot.Reading[[]string]{State: snapshot.Present, Value: mapped},
		}
	}
	users := []snapshot.FileUser{
		user(1, "mnt:[1]", []string{"/vol/a", "/memfd:x (deleted)", "/memfd:two (deleted)", "/nowhere"}),
		user(7, "mnt:[2]", []string{"/vol/a", "/other"}, snapshot.LinkText{Name: "3", Text: "/data/a"}, snapshot.LinkText{Name: "4", Text: "/data/a (deleted)"}),
		user(8, "mnt:[3]", []string{"/vol/a"}),
	}
	var got []string
	n.EachUse(files, users, func(in *snapshot.CensusInode, u *snapshot.FileUser, how string) {
		got = append(got, fmt.Sprintf("%d of %d, %s", in.Number, u.PID, how))
	})
	if want := []string{"1 of 1, mapped", "4 of 1, mapped", "1 of 7, fd 3", "2 of 7, fd 4"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
