package diagnose

import (
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// fileOf is a census of one file of the target, in mebibytes.
func fileOf(s *snapshot.Snapshot, bytes int64) *snapshot.Snapshot {
	return censused(s, []snapshot.CensusInode{{Type: "ext4", Device: 8<<20 | 1, Number: 5, Path: "/var/log/app.log"}}, []snapshot.PageState{pages(bytes, 0, 0)})
}

// position is that of process 7 in the file.
func position(offset int64, writes bool) snapshot.Reading[[]snapshot.Position] {
	return read([]snapshot.Position{{FD: 3, Path: "/var/log/app.log", Device: 0x801, Inode: 5, Offset: offset * mib, Writes: writes}})
}

// growingFile is a log that grew by so many mebibytes while it was watched.
func growingFile(by int64) *snapshot.Snapshot {
	s := fileOf(watched(charged(200, "file", 90, "anon", 10), nil), 90)
	first := s.Watch.First
	first.Census = fileOf(charged(200), 90-by).Census
	first.Processes[0].Positions, s.Processes[0].Positions = position(90-by, true), position(90, true)
	for i := range s.Watch.Looks {
		c := &s.Watch.Looks[i].Cgroup
		for k := range c.Stat.Value.Entries {
			if e := &c.Stat.Value.Entries[k]; e.Key == "file" {
				e.Value -= by * mib * int64(len(s.Watch.Looks)-1-i) / int64(len(s.Watch.Looks)-1)
			}
		}
	}
	return s
}

// reading is a file in which a process went on, reading so much in all.
func readOn(from, to int64, in int) *snapshot.Snapshot {
	s := fileOf(watched(charged(200, "file", 90, "anon", 10), nil, "pgfault", 10), 90)
	s.Watch.First.Census = fileOf(charged(200), 90).Census
	s.Watch.First.Processes[0].Positions, s.Processes[0].Positions = position(from, false), position(to, false)
	s.Processes[0].IO = stat("rchar", in*mib, "wchar", 0)
	return s
}

// Cache is hot as far as it was seen to be used, and cold beyond.
func TestHotIsWhatWasSeen(t *testing.T) {
	back := watched(charged(200, "file", 90, "anon", 10), nil, "workingset_refault_file", 70*256, "workingset_activate_file", 60*256)
	elsewhere := watched(charged(200, "file", 90, "anon", 10), nil, "pgfault", 10, "workingset_refault_file", 70*256)
	elsewhere.Watch.Looks[6].IO = read(snapshot.IO{Read: 60 * mib})
	sendfile := watched(charged(200, "file", 90, "anon", 10), nil, "pgfault", 10)
	sendfile.Processes[0].IO = stat("rchar", 400*mib, "wchar", 400*mib)
	for name, c := range map[string]struct {
		s          *snapshot.Snapshot
		code       string
		bytes      int64
		confidence string
		title      string
	}{
		"round and round":               {readOn(5, 4, 500), codeHot, 90, high, "read again within 6.0 s; most of it is /var/log/app.log"},
		"a part":                        {readOn(5, 45, 40), codeCold, 50, medium, "nobody is seen to use"},
		"nothing":                       {readOn(5, 5, 0), codeIdle, 90, high, "did not touch"},
		"came back":                     {back, codeHot, 60, high, "70.0 MiB had been evicted and came back: what is used is more than what fits"},
		"evicted long ago, by whomever": {elsewhere, codeCold, 90, medium, "nobody is seen to use"},
		"by descriptors that are gone":  {sendfile, codeCold, 90, low, "perhaps in use: its processes read and wrote 800.0 MiB within 6.0 s, 0 of it from the disk"},
	} {
		got := find(t, c.s)
		r, ok := of(got, c.code)
		if !ok || *r.Bytes != c.bytes*mib || r.Confidence != c.confidence || !strings.Contains(r.Title, c.title) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	r, _ := of(find(t, readOn(5, 4, 500)), codeHot)
	if len(r.Evidence) < 2 || !strings.Contains(r.Evidence[1].Statement, "of /var/log/app.log, by app (pid 7)") || r.Evidence[1].Source != "/proc/7/fdinfo" {
		t.Errorf("%+v", r.Evidence)
	}
}

// After a restart no slope is told, whatever the amounts.
func TestARestartIsNoLeak(t *testing.T) {
	s := watched(charged(200, "anon", 90, "file", 10), []int{60, 65, 70, 75, 80, 85, 90})
	s.Processes[0].Times.Value.Start++
	got := find(t, s)
	if _, ok := of(got, codeLeak); ok {
		t.Errorf("a leak: %+v", got)
	}
	w, err := ledger.Explain(s)
	if err != nil {
		t.Fatal(err)
	}
	if a := Suspicions(words.Printer{}, s, w, got)[1]; a.Answer != cannotTell || !strings.Contains(a.Because, "restarted within 6.0 s") || !strings.Contains(a.Because, "was 60.0 MiB and is 90.0 MiB") {
		t.Errorf("%+v", a)
	}
}

// What came and went hides a small rise in a short window, not in a long one.
func TestChurnHidesASmallRise(t *testing.T) {
	for churned, want := range map[int]bool{20_000: true, 200_000: false} {
		s := watched(charged(200, "anon", 90, "file", 10), []int{60, 65, 70, 75, 80, 85, 90}, "pgfault", churned, "pgpgin", churned)
		got := find(t, s)
		if _, ok := of(got, codeLeak); ok != want {
			t.Errorf("%d: %+v", churned, got)
		}
		w, _ := ledger.Explain(s)
		if a := Suspicions(words.Printer{}, s, w, got)[1]; (a.Answer == likely) != want || !want && a.Answer != cannotTell {
			t.Errorf("%d: %+v", churned, a)
		}
	}
}

// A file is named as the container sees it; many small ones by the deepest directory
// that has most of them.
func TestFilesAreNamedAsTheContainerSeesThem(t *testing.T) {
	const ext4, shm = 8<<20 | 1, 40
	tables := []snapshot.MountTable{
		{PID: 1, Host: true, Mounts: read([]snapshot.Mount{{ID: 1, Device: ext4, Root: "/", Point: "/", Type: "ext4"}})},
		{PID: 7, Cgroup: "/kubepods/pod1/app", Mounts: read([]snapshot.Mount{
			{ID: 2, Device: ext4, Root: "/var/lib/vol", Point: "/srv", Type: "ext4"},
			{ID: 3, Parent: 2, Device: shm, Root: "/", Point: "/dev/shm", Type: "tmpfs"},
		})},
	}
	on := func(device uint32, path string, number uint64) snapshot.CensusInode {
		in := snapshot.CensusInode{Type: "ext4", Device: device, Path: path, Number: number}
		if device == shm {
			in.Type, in.Magic = "tmpfs", snapshot.MagicTmpfs
		}
		return in
	}
	tree := []snapshot.CensusInode{on(ext4, "/etc/other", 9)}
	states := []snapshot.PageState{pages(10, 0, 0)}
	for i := range 8 {
		tree = append(tree, on(ext4, "/var/lib/vol/www/img/"+string(rune('a'+i%4))+"/x", uint64(10+i)))
		states = append(states, pages(10, 0, 0))
	}
	for name, c := range map[string]struct {
		s     *snapshot.Snapshot
		code  string
		title string
	}{
		"tmpfs":     {censused(charged(200, "file", 90, "shmem", 80, "anon", 10), []snapshot.CensusInode{on(shm, "/upload", 3)}, []snapshot.PageState{pages(80, 0, 0)}), codeTmpfs, "most of it is /dev/shm/upload"},
		"a volume":  {censused(charged(200, "file", 90, "anon", 10), []snapshot.CensusInode{on(ext4, "/var/lib/vol/big", 3)}, []snapshot.PageState{pages(90, 0, 0)}), codeCold, "most of it is /srv/big"},
		"the node":  {censused(charged(200, "file", 90, "anon", 10), []snapshot.CensusInode{on(ext4, "/home/x", 3)}, []snapshot.PageState{pages(90, 0, 0)}), codeCold, "most of it is /home/x"},
		"elsewhere": {censused(charged(200, "file", 90, "anon", 10), []snapshot.CensusInode{on(77, "y", 3)}, []snapshot.PageState{pages(90, 0, 0)}), codeCold, "most of it is /y"},
		"a tree":    {censused(charged(200, "file", 90, "anon", 10), tree, states), codeCold, "most of it is in 8 files below /srv/www/img"},
	} {
		c.s.Mounts = tables
		r, ok := of(find(t, c.s), c.code)
		if !ok || !strings.HasSuffix(r.Title, c.title) {
			t.Errorf("%s: %q, want %q", name, r.Title, c.title)
		}
	}
}

// Files in memory that a removed cgroup wrote are told as files, not as a fault of
// the kernel.
func TestFilesLeftInMemory(t *testing.T) {
	upload := []snapshot.CensusInode{{Type: "tmpfs", Magic: snapshot.MagicTmpfs, Number: 5, Path: "/upload"}}
	s := censused(charged(200, "file", 90, "shmem", 80, "anon", 10), upload, []snapshot.PageState{pages(80, 0, 0)})
	c := s.Census.Value
	c.Groups = append(c.Groups, snapshot.CensusGroup{Path: "/kubepods/pod1/app/before", Parent: 1, Dying: true, Shmem: 80 * mib, File: pages(80, 0, 0)})
	c.Files[0].Group = len(c.Groups) - 1
	got := find(t, s)
	r, ok := of(got, codeTmpfs)
	if !ok || !strings.HasSuffix(r.Title, "most of it is /upload; removed cgroups wrote 80.0 MiB of it, and it stays without them") {
		t.Errorf("%+v", got)
	}
	if d, ok := of(got, codeDying); !ok || d.PartOf != codeTmpfs {
		t.Errorf("%+v", d)
	}
}

// What grows and is no heap is named too: the file in memory, the kernel's cache.
func TestWhatGrewIsNamed(t *testing.T) {
	grown := func(key string) *snapshot.Snapshot {
		s := watched(charged(200, "file", 90, "shmem", 80, "kernel", 0, "anon", 10), nil, "pgfault", 10)
		for i := range s.Watch.Looks {
			st := &s.Watch.Looks[i].Cgroup.Stat.Value
			for k := range st.Entries {
				if e := &st.Entries[k]; e.Key == key {
					e.Value += int64(i) * 4 * mib
				}
			}
		}
		upload := []snapshot.CensusInode{{Type: "tmpfs", Magic: snapshot.MagicTmpfs, Number: 5, Path: "/upload"}}
		censused(s, upload, []snapshot.PageState{pages(80, 0, 0)}, slabOf(1, "dentry", 20), slabOf(1, "kmalloc-rcl-256", 20))
		s.Watch.First.Census = censused(charged(200), upload, []snapshot.PageState{pages(56, 0, 0)}, slabOf(1, "dentry", 8), slabOf(1, "kmalloc-rcl-256", 8)).Census
		return s
	}
	for key, want := range map[string]string{
		"shmem":  "it rises: shmem by 24.0 MiB within 6.0 s; most of it is /upload",
		"kernel": "it rises: kernel by 24.0 MiB within 6.0 s; most of it is names of files that the kernel remembers (dentries)",
	} {
		s := grown(key)
		w, err := ledger.Explain(s)
		if err != nil {
			t.Fatal(err)
		}
		if a := Suspicions(words.Printer{}, s, w, find(t, s))[1]; a.Answer != likely || a.Because != want {
			t.Errorf("%s: %+v", key, a)
		}
	}
}
