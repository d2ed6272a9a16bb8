package explain

import (
	"errors"
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// graves is a node with five removed cgroups: one holds a file that nobody uses, one a
// file that a living process has open, one a file that a living cgroup is charged for
// too, one a file whose name is forgotten, one shared memory beside a cold file.
func graves() *snapshot.Snapshot {
	s := &snapshot.Snapshot{Path: []snapshot.Cgroup{{Path: "/", Dir: "/sys/fs/cgroup", Version: snapshot.V2}}}
	s.Host.PageSize = 1
	dead := func(name string, bytes int64) snapshot.CensusGroup {
		return snapshot.CensusGroup{Path: "/pods/" + name, Parent: 2, Dying: true, File: pages(bytes, 0), ID: uint64(bytes), Usage: snapshot.Unknown}
	}
	left := dead("a", 1000)
	left.Anon = snapshot.PageState{Bytes: 40} // in no page table any more
	with := dead("e", 1500)
	with.Shmem = 500
	s.Census = present(&snapshot.Census{
		Engine: snapshot.EngineBPF, Complete: true, Walked: true, PageSize: 1,
		Groups: []snapshot.CensusGroup{
			{Parent: -1},
			{Path: "/", Parent: -1, ID: 1},
			{Path: "/pods", Parent: 1, ID: 2},
			{Path: "/pods/living", Parent: 2, ID: 3, File: pages(7, 0), Inherited: 5},
			left, dead("b", 1100), dead("c", 1200), dead("d", 1300), with,
		},
		Inodes: []snapshot.CensusInode{
			{Type: "ext4", Device: disk, Number: 1, Links: 1, Path: "/cold"},
			{Type: "ext4", Device: disk, Number: 2, Links: 1, Path: "/open"},
			{Type: "ext4", Device: disk, Number: 3, Links: 1, Path: "/both"},
			{Type: "ext4", Device: disk, Number: 4, Links: 1},
			{Type: "ext4", Device: disk, Number: 5, Links: 1, Path: "/beside"},
			{Type: "tmpfs", Magic: snapshot.MagicTmpfs, Device: 5, Number: 6, Path: "memfd:x", Pseudo: true},
		},
		Files: []snapshot.CensusFile{
			{Group: 4, Inode: 0, PageState: alike(1000, 0)},
			{Group: 5, Inode: 1, PageState: alike(1100, 0)},
			{Group: 6, Inode: 2, PageState: alike(1200, 0)},
			{Group: 3, Inode: 2, PageState: alike(7, 0)},
			{Group: 7, Inode: 3, PageState: alike(1300, 0)},
			{Group: 8, Inode: 4, PageState: alike(1000, 0)},
			{Group: 8, Inode: 5, PageState: alike(500, 0)},
		},
	})
	s.Mounts = []snapshot.MountTable{{Host: true, PID: 1, Namespace: "mnt:[1]", Mounts: present([]snapshot.Mount{{ID: 1, Device: disk, Root: "/", Point: "/", Type: "ext4"}})}}
	s.Users = present([]snapshot.FileUser{{PID: 20, Cgroup: "/pods/living", Namespace: "mnt:[1]", Open: present([]snapshot.LinkText{{Name: "3", Text: "/open"}})}})
	return s
}

func TestRelease(t *testing.T) {
	s := graves()
	earlier := s.Census.Value
	dead, err := Removed(words.Printer{}, s, Observed{ID: 1, Before: earlier, Window: time.Second, HasReclaim: snapshot.Denied})
	if err != nil {
		t.Fatal(err)
	}
	above := dead.Above
	if len(above) != 1 || above[0].Path != "/pods" || above[0].Dir != "/sys/fs/cgroup/pods" || above[0].ID != 2 || above[0].Want != 1300 || above[0].Cannot != "" ||
		len(above[0].Living) != 1 || above[0].Living[0].Most != 7 {
		t.Errorf("%+v", above)
	}
	dead.Since = [3]int{6, 12, 0}
	d, err := remedy.MakeDying(dead.Situation, dead.Graves, above, remedy.Selection{})
	if err != nil {
		t.Fatal(err)
	}
	r := Release(words.Printer{}, s, d, time.Second)
	if r.Dying.Count != 5 || r.Dying.Bytes != 6140 || r.Dying.Releases != 1 || len(r.Dying.Rest) != 4 || r.Dying.Rest[0].Cgroup != "/pods/e" {
		t.Errorf("%+v", r.Dying)
	}
	var named []string
	for _, f := range r.Plan.Files {
		named = append(named, f.Path)
	}
	if len(named) != 1 || named[0] != "/cold" {
		t.Errorf("picked %q: what is beside shared memory releases nothing", named)
	}
	if all, err := remedy.MakeDying(dead.Situation, dead.Graves, nil, remedy.Selection{All: true}); err != nil || len(all.Picked) != 2 || len(all.Goes) != 1 {
		t.Errorf("all of it: %+v, %v", all, err)
	}
	if len(r.Dying.Inherited) != 1 || r.Dying.Inherited[0].Bytes != 5 {
		t.Errorf("%+v", r.Dying.Inherited)
	}

	after := graves()
	c := after.Census.Value
	c.Groups = append(c.Groups[:4], c.Groups[5:]...) // a is gone
	c.Groups[7].ID, c.Groups[7].File = 1500, pages(500, 0)
	c.Groups = append(c.Groups, snapshot.CensusGroup{Path: "/pods/new", Parent: 2, Dying: true, File: pages(9, 0), ID: 77})
	c.Files = nil
	Released(s, after, r.Dying)
	if r.Dying.Went == nil || *r.Dying.Went != 1 || *r.Dying.BytesLeft != 1100+1200+1300+500 || len(r.Dying.Rest) != 4 {
		t.Errorf("%+v", r.Dying)
	}
	s.Census = snapshot.Reading[*snapshot.Census]{State: snapshot.Denied}
	if _, err := Removed(words.Printer{}, s, Observed{}); !errors.Is(err, ErrNoDying) {
		t.Errorf("without a census: %v", err)
	}
}

// On version 1 a cgroup may not count what is below it: its knob reaches nobody there.
func TestReleaseWithoutHierarchy(t *testing.T) {
	for use, can := range map[int64]bool{0: false, 1: true} {
		s := graves()
		s.Path[0] = snapshot.Cgroup{Path: "/pods", Dir: "/sys/fs/cgroup/pods", Version: snapshot.V1, UseHierarchy: present(use)}
		d, err := Removed(words.Printer{}, s, Observed{ID: 2, Opens: func(string) bool { return true }})
		if err != nil || len(d.Above) != 1 || (d.Above[0].Cannot == "") != can {
			t.Errorf("use_hierarchy %d: %+v, %v", use, d, err)
		}
	}
}
