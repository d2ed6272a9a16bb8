package explain

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

func present[T any](v T) snapshot.Reading[T] {
	return snapshot.Reading[T]{State: snapshot.Present, Value: v, Source: "test"}
}

func alike(n, dirty int64) *snapshot.PageState { m := pages(n, dirty); return &m }

func pages(n, dirty int64) snapshot.PageState { return snapshot.PageState{Bytes: n, Dirty: dirty} }

const disk = 8<<20 | 1

// counted is a node with two containers: one file is charged to both, one is only
// used by the other; one child of the first was removed.
func counted() *snapshot.Snapshot {
	s := &snapshot.Snapshot{Path: []snapshot.Cgroup{{
		Path: "/c/one", Version: snapshot.V2, Usage: present(int64(100)),
		Stat: present(snapshot.Stat{Entries: []snapshot.Entry{{Key: "anon", Value: 4}, {Key: "file", Value: 70}, {Key: "shmem", Value: 20}, {Key: "slab", Value: 7}}}),
	}}}
	s.Host.PageSize = 1
	s.Census = present(&snapshot.Census{
		Engine: snapshot.EngineBPF, Complete: true, PageSize: 1, Frames: 9,
		Groups: []snapshot.CensusGroup{
			{Parent: -1},
			{Path: "/", Parent: -1},
			{Path: "/c", Parent: 1},
			{Path: "/c/one", Parent: 2, Anon: pages(4, 0), File: pages(60, 30), Shmem: 20, Slab: 7, Tables: 2},
			{Path: "/c/two", Parent: 2, File: pages(50, 0)},
			{Path: "/c/one/job\x1b[31m", Parent: 3, Dying: true, File: pages(10, 0)},
		},
		Inodes: []snapshot.CensusInode{
			{Type: "ext4", Device: disk, Number: 1, Links: 1, Path: "/srv/shared"},
			{Type: "ext4", Device: disk, Number: 2, Links: 1, Path: "/srv/log/\xff\n"},
			{Type: "tmpfs", Magic: snapshot.MagicTmpfs, Device: 5, Number: 3, Path: "memfd:x", Pseudo: true},
			{Type: "ext4", Device: disk, Number: 4, Path: "/srv/log/old", Deleted: true},
			{Type: "bdev", Device: 3, Number: disk},
		},
		Files: []snapshot.CensusFile{
			{Group: 3, Inode: 0, PageState: alike(15, 0)},
			{Group: 4, Inode: 0, PageState: alike(50, 0)},
			{Group: 3, Inode: 1, PageState: alike(25, 25)},
			{Group: 3, Inode: 2, PageState: alike(20, 0)},
			{Group: 5, Inode: 3, PageState: alike(10, 0)},
			{Group: 0, Inode: 4, PageState: alike(8, 0)},
			{Group: 4, Inode: -1, PageState: alike(1, 0)},
		},
		Slabs: []snapshot.CensusSlab{{Group: 3, Cache: "dentry", Objects: 2, Bytes: 5, Reclaimable: true}, {Group: 3, Cache: "kmalloc-8", Objects: 1, Bytes: 2}},
	})
	s.Mounts = []snapshot.MountTable{
		{Host: true, PID: 1, Namespace: "mnt:[1]", Mounts: present([]snapshot.Mount{{ID: 1, Device: disk, Root: "/", Point: "/", Type: "ext4"}})},
		{PID: 10, Cgroup: "/c/one", Namespace: "mnt:[2]", Mounts: present([]snapshot.Mount{{ID: 2, Device: disk, Root: "/srv", Point: "/data", Type: "ext4"}})},
	}
	link := func(fd, text string) snapshot.LinkText { return snapshot.LinkText{Name: fd, Text: text} }
	s.Users = present([]snapshot.FileUser{
		{PID: 10, Cgroup: "/c/one", Namespace: "mnt:[2]", Open: present([]snapshot.LinkText{link("3", "/data/shared"), link("4", "/memfd:x (deleted)"), link("5", "/data/log/old (deleted)")})},
		{PID: 20, Cgroup: "/c/two", Namespace: "mnt:[1]", Mapped: present([]string{"/srv/log/\xff\n", "/srv/shared (deleted)", "/srv/log/old", "/none"})},
		{PID: 30, Cgroup: "/c/two", Namespace: "mnt:[9]", Open: present([]snapshot.LinkText{link("3", "/srv/shared")})},
	})
	return s
}

func TestFilesOfATarget(t *testing.T) {
	r, err := Files(words.Printer{}, counted(), FileOptions{Sort: FilesByBytes})
	if err != nil {
		t.Fatal(err)
	}
	one, two := report.Charge{Cgroup: "/c/one", Bytes: 15}, report.Charge{Cgroup: "/c/two", Bytes: 50}
	ext4 := func(f report.File) report.File { f.FS, f.Device = "ext4", "8:1"; return f }
	want := []report.File{
		ext4(report.File{
			Kind: "volume", Path: "/data/log/\\xff\n", PathBytes: "L2RhdGEvbG9nL/8K", HostPath: "/srv/log/\\xff\n", HostPathBytes: "L3Nydi9sb2cv/wo=",
			Inode: 2, Links: 1, Bytes: 25, State: map[string]int64{"dirty": 25}, ChargedTo: []report.Charge{{Cgroup: "/c/one", Bytes: 25}},
			UsedBy: []report.User{{Cgroup: "/c/two", PID: 20, How: "mapped"}},
		}),
		{
			Kind: "memfd", Path: "memfd:x", FS: "tmpfs", Device: "0:5", Inode: 3, Bytes: 20, State: map[string]int64{},
			ChargedTo: []report.Charge{{Cgroup: "/c/one", Bytes: 20}}, UsedBy: []report.User{{Cgroup: "/c/one", PID: 10, How: "fd 4"}},
		},
		ext4(report.File{
			Kind: "volume", Path: "/data/shared", HostPath: "/srv/shared", Inode: 1, Links: 1, Bytes: 15, State: map[string]int64{},
			ChargedTo: []report.Charge{two, one}, UsedBy: []report.User{{Cgroup: "/c/one", PID: 10, How: "fd 3"}},
		}),
		ext4(report.File{
			Kind: "volume", Path: "/data/log/old", HostPath: "/srv/log/old", Inode: 4, Deleted: true, Bytes: 10, State: map[string]int64{},
			ChargedTo: []report.Charge{{Cgroup: "/c/one/job\x1b[31m", Dying: true, Bytes: 10}}, UsedBy: []report.User{{Cgroup: "/c/one", PID: 10, How: "fd 5"}},
		}),
	}
	if d := cmp.Diff(want, r.Files); d != "" {
		t.Error(d)
	}
	if r.Totals.Bytes != 70 || r.Totals.Files != 4 || *r.Coverage.CounterBytes != 70 || r.Coverage.NamedBytes != 70 || !r.Coverage.Complete || r.Target.Cgroup != "/c/one" {
		t.Errorf("%+v %+v", r.Totals, r.Coverage)
	}
}

func TestFilesAreBoundedAndSorted(t *testing.T) {
	r, err := Files(words.Printer{}, counted(), FileOptions{Sort: FilesByDirty, Max: 1})
	if err != nil || len(r.Files) != 1 || r.Files[0].Inode != 2 || r.Omitted.Count != 3 || r.Omitted.Bytes != 45 || r.Totals.Bytes != 70 {
		t.Errorf("%v %+v", err, r)
	}
	r, err = Files(words.Printer{}, counted(), FileOptions{Sort: FilesByPath})
	if err != nil || r.Files[0].Path != "/data/log/\\xff\n" || r.Files[3].Path != "memfd:x" {
		t.Errorf("%v %+v", err, r.Files)
	}
	r, err = Files(words.Printer{}, counted(), FileOptions{Sort: FilesByBytes, Depth: 2})
	want := []report.Directory{
		{Path: "/data/log", Files: 2, Bytes: 35, State: map[string]int64{"dirty": 25}},
		{Path: "(memfd)", Files: 1, Bytes: 20, State: map[string]int64{}},
		{Path: "/data", Files: 1, Bytes: 15, State: map[string]int64{}},
	}
	if d := cmp.Diff(want, r.Directories); err != nil || d != "" || len(r.Files) != 0 {
		t.Errorf("%v\n%s", err, d)
	}
}

func TestFilesOfTheNode(t *testing.T) {
	s := counted()
	s.Path = nil
	s.Node.Vmstat = present(snapshot.Stat{Entries: []snapshot.Entry{{Key: "nr_file_pages", Value: 140}}})
	r, err := Files(words.Printer{}, s, FileOptions{Sort: FilesByBytes})
	if err != nil || r.Target != nil || r.Totals.Bytes != 129 || *r.Coverage.CounterBytes != 140 || r.Coverage.NamedBytes != 120 {
		t.Fatalf("%v %+v", err, r)
	}
	if f := r.Files[0]; f.Path != "/srv/shared" || f.Bytes != 65 || f.Kind != "host" {
		t.Errorf("%+v", f)
	}
	if f := r.Files[4]; f.Path != "block device 8:1" || f.ChargedTo[0].Cgroup != "" {
		t.Errorf("%+v", f)
	}
	if f := r.Files[5]; f.Kind != "no-name" || f.Bytes != 1 {
		t.Errorf("%+v", f)
	}
}

func TestFilesWithoutACensus(t *testing.T) {
	s := counted()
	s.Census = snapshot.Reading[*snapshot.Census]{State: snapshot.Denied, Err: "CAP_BPF is missing"}
	if _, err := Files(words.Printer{}, s, FileOptions{}); !errors.Is(err, ErrNoFiles) || !strings.Contains(err.Error(), "CAP_BPF is missing") {
		t.Error(err)
	}
	s = counted()
	s.Census.Value.Engine = snapshot.EngineKpage
	if _, err := Files(words.Printer{}, s, FileOptions{}); !errors.Is(err, ErrNoFiles) {
		t.Error(err)
	}
}

// What a census found opens the accounts of a report.
func TestCensusHolders(t *testing.T) {
	s := counted()
	w, err := ledger.Explain(s)
	if err != nil {
		t.Fatal(err)
	}
	all, _ := holders(words.Printer{}, s, w.Ledger)
	got := map[string]int64{}
	for _, h := range all {
		got[h.Kind+" "+h.Account+" "+h.Name] = h.Bytes
	}
	want := map[string]int64{
		"slab-cache kernel/slab dentry": 5, "slab-cache kernel/slab kmalloc-8": 2,
		"file file \\xff\n": 25, "file file shared": 15, "file file old": 10, "file shmem memfd:x": 20,
		"cgroup file job\x1b[31m": 10,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	differences := []report.Difference{{Account: "anon", CensusBytes: 4, CounterBytes: 4}, {Account: "file", CensusBytes: 50, CounterBytes: 50}, {Account: "shmem", CensusBytes: 20, CounterBytes: 20}, {Account: "kernel/slab", CensusBytes: 7, CounterBytes: 7}}
	if d := cmp.Diff(&report.Census{Engine: "bpf", Complete: true, Differences: differences}, agreement(s)); d != "" {
		t.Error(d)
	}
}

func TestStacks(t *testing.T) {
	s := counted()
	got, err := Stacks(s)
	if err != nil || len(got) != 4 {
		t.Fatalf("%v %+v", err, got)
	}
	one := []string{"node", "c", "one"}
	want := []report.Stack{
		{Frames: append(one[:3:3], "file", "volume", "data/", "shared"), File: "/data/shared", Bytes: 15, Reclaimable: 15},
		{Frames: append(one[:3:3], "file", "volume", "data/", "log/", "\xff\n"), File: "/data/log/\xff\n", Bytes: 25, Reclaimable: 25, Dirty: 25},
		{Frames: append(one[:3:3], "shmem", "memfd", "memfd:x"), File: "memfd:x", Bytes: 20},
		{Frames: append(one[:3:3], "job\x1b[31m (removed)", "file", "volume", "data/", "log/", "old (deleted)"), File: "/data/log/old (deleted)", Bytes: 10, Reclaimable: 10},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	s.Path = nil
	s.Node.Meminfo = present(snapshot.Stat{Entries: []snapshot.Entry{{Key: "SwapFree", Value: 1}}})
	s.Census.Value.Groups[4].Path = "/kubepods/burstable/pod0d9f7a52-4c1e-11e9-a3b5-fa163e2f9b10/8d2c5b0a7f6e4d3c2b1a09182736455463728190a0b1c2d3e4f5061728394a5b"
	if got, err = Stacks(s); err != nil || len(got) != 7 {
		t.Fatalf("%v %+v", err, got)
	}
	if d := cmp.Diff([]string{"node", "pod 0d9f7a52-4c1e-11e9-a3b5-fa163e2f9b10", "container 8d2c5b0a7f6e", "file", "host", "srv/", "shared"}, got[1].Frames); d != "" {
		t.Error(d)
	}
	if got[3].Reclaimable != 20 || got[5].Frames[1] != "no cgroup" {
		t.Errorf("%+v", got)
	}
}

// Many small files of a directory are one line, before themselves.
func TestCrowdedDirectory(t *testing.T) {
	s := counted()
	c := s.Census.Value
	for i := range 6 {
		c.Inodes = append(c.Inodes, snapshot.CensusInode{Type: "ext4", Device: disk, Number: uint64(100 + i), Links: 1, Path: "/srv/many/f" + string(rune('0'+i))})
		c.Files = append(c.Files, snapshot.CensusFile{Group: 3, Inode: len(c.Inodes) - 1, PageState: alike(4, 0)})
	}
	w, err := ledger.Explain(s)
	if err != nil {
		t.Fatal(err)
	}
	all, _ := holders(words.Printer{}, s, w.Ledger)
	var got []report.Holder
	for _, h := range all {
		if h.Kind == "directory" {
			got = append(got, h)
		}
	}
	want := []report.Holder{{
		Kind: "directory", Account: "file", Name: "/data/many", Path: "/data/many", HostPath: "/srv/many", Where: "volume", Bytes: 24, State: map[string]int64{"files": 6},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// One inode number is that of several files.
func TestUsersOfAFile(t *testing.T) {
	const dev = 8<<8 | 1 // 8:1 as stat(2) has it
	s := &snapshot.Snapshot{Processes: []snapshot.Process{
		holding(7, 0, openOn(dev, 3, "/srv/old (deleted)", 12), openOn(5, 4, "/memfd:x (deleted)", 12), openOn(99, 5, "/upper/old (deleted)", 12), openOn(dev, 6, "/srv/x (deleted)", 13)),
	}}
	open := openFiles(s)
	for _, c := range []struct {
		in   snapshot.CensusInode
		want []report.User
	}{
		{snapshot.CensusInode{Device: disk, Number: 12, Path: "/srv/old"}, []report.User{{PID: 7, How: "fd 3"}, {PID: 7, How: "fd 5"}}},
		{snapshot.CensusInode{Device: 5, Number: 12, Path: "memfd:x"}, []report.User{{PID: 7, How: "fd 4"}}},
		{snapshot.CensusInode{Device: disk, Number: 14, Path: "/srv/x"}, nil},
	} {
		if d := cmp.Diff(c.want, usersOf(&c.in, open)); d != "" {
			t.Errorf("%+v\n%s", c.in, d)
		}
	}
	if got := snapshot.KernelDevice(0x12345678<<8&0xfff00000 | 254<<8 | 7); got>>20 != 254 || got&0xff != 7 {
		t.Errorf("%#x", got)
	}
}

func openOn(dev int64, fd int, path string, inode int64) snapshot.OpenFile {
	f := open(fd, path, inode, 0, 4096, ext4)
	f.Stat.Value.Entries[0].Value = dev
	return f
}
