package ledger

import (
	"maps"
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestCold(t *testing.T) {
	file := func(group, inode int, m snapshot.PageState) snapshot.CensusFile {
		return snapshot.CensusFile{Group: group, Inode: inode, PageState: &m}
	}
	c := &snapshot.Census{
		Engine: snapshot.EngineBPF,
		Groups: []snapshot.CensusGroup{
			{Parent: -1},
			{Path: "/pod", Parent: 0},
			{Path: "/pod/a", Parent: 1, File: snapshot.PageState{Bytes: 1000, Inactive: 900, Mapped: 100, Dirty: 50}, Shmem: 200},
			{Path: "/pod/b", Parent: 1, File: snapshot.PageState{Bytes: 40, Inactive: 40}},
			{Path: "/pod/b", Parent: 3, Dying: true, File: snapshot.PageState{Bytes: 7, Inactive: 7}},
			{Path: "/pod/c", Parent: 1, File: snapshot.PageState{Bytes: 10, Inactive: 10, Mapped: snapshot.Unknown}},
		},
		Inodes: []snapshot.CensusInode{{Magic: 0xef53}, {Magic: snapshot.MagicTmpfs}},
		Files: []snapshot.CensusFile{
			file(2, 0, snapshot.PageState{Bytes: 300, Inactive: 300}),             // all cold
			file(2, 0, snapshot.PageState{Bytes: 100, Inactive: 60, Mapped: 100}), // none
			file(2, 0, snapshot.PageState{Bytes: 100, Inactive: 60, Dirty: 50}),   // 10 to 50
			file(2, 0, snapshot.PageState{Bytes: 200, Inactive: 180}),             // 180, the others are active
			file(2, 1, snapshot.PageState{Bytes: 200, Inactive: 200}),             // shared memory
			file(2, -1, snapshot.PageState{Bytes: 60, Inactive: 60}),              // who knows
			file(3, 0, snapshot.PageState{Bytes: 40, Inactive: 40}),
			file(4, 0, snapshot.PageState{Bytes: 7, Inactive: 7}),
		},
	}
	// Of /pod/a 40 are in no file; none of them can be shared memory.
	want := map[string]Bounds{
		"/pod": {490 + 40 + 40 + 7, 530 + 60 + 40 + 40 + 7 + 10}, "/pod/a": {490 + 40, 530 + 60 + 40}, "/pod/b": {47, 47}, "/pod/c": {0, 10},
	}
	if got := Cold(c); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for name, change := range map[string]func(*snapshot.Census){
		"does not split":   func(c *snapshot.Census) { c.Engine = snapshot.EngineFiles },
		"an estimate":      func(c *snapshot.Census) { c.Sampled = 0.5 },
		"not all is there": func(c *snapshot.Census) { c.Dropped.Files = 1 },
	} {
		other := *c
		change(&other)
		if got := Cold(&other); got != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Without files, as of a census from /proc/kpageflags, groups are bounded as a whole.
func TestColdWithoutFiles(t *testing.T) {
	c := &snapshot.Census{Engine: snapshot.EngineKpage, Groups: []snapshot.CensusGroup{
		{Parent: -1},
		{Path: "/a", File: snapshot.PageState{Bytes: 100, Inactive: 80, Mapped: 5, Dirty: 30, Writeback: 10}, Shmem: 20},
	}}
	if got := Cold(c)["/a"]; got != (Bounds{15, 70}) {
		t.Errorf("%+v", got)
	}
}
