package diagnose

import (
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// holding adds a process with one mapping: so much of it anonymous, and of that shared,
// in mebibytes.
func holding(s *snapshot.Snapshot, pid, parent int, exe string, anon, shared int64, name string) *snapshot.Snapshot {
	m := snapshot.Mapping{Name: name, Perms: [4]byte([]byte("rw-p")), Rss: anon * mib, Anonymous: anon * mib, SharedDirty: shared * mib, Pss: (anon - shared/2) * mib}
	s.Processes = append(s.Processes, snapshot.Process{
		PID: pid, Status: read(snapshot.Status{Name: "thread-name", PPID: parent}), Exe: read(exe),
		Smaps: read(snapshot.Smaps{Maps: []snapshot.Mapping{m}, Has: ^snapshot.SmapsKeys(0)}),
	})
	s.PIDs = append(s.PIDs, pid)
	return s
}

// Who holds anonymous memory is told the way that an expert would: alone or many
// alike, in copies that are still shared.
func TestHoldersOfAnonymousMemory(t *testing.T) {
	anon := func() *snapshot.Snapshot { return charged(200, "anon", 90, "file", 10) }
	large := func() *snapshot.Snapshot {
		s := charged(900, "anon", 400)
		s.Path[0].Usage = read(int64(400 * mib))
		return s
	}
	for name, c := range map[string]struct {
		s     *snapshot.Snapshot
		says  string
		never string
	}{
		"one process":      {holding(large(), 7, 1, "/usr/sbin/db", 400, 0, "[heap]"), "held by thread-name (pid 7), mostly heap", "processes of"},
		"workers":          {holding(holding(holding(anon(), 7, 1, "/bin/w", 35, 0, ""), 8, 1, "/bin/w", 30, 0, ""), 9, 1, "/bin/w", 25, 0, ""), "held by 3 processes of w, each with memory of its own, the largest with 35.0 MiB", "fork"},
		"of two programs":  {holding(holding(anon(), 7, 1, "/bin/v", 45, 0, ""), 8, 1, "/bin/w", 45, 0, ""), "", "processes of"},
		"a fork":           {holding(holding(anon(), 7, 1, "/bin/w", 100, 60, ""), 8, 7, "/bin/w", 60, 60, ""), "; thread-name (pid 8) is a fork of thread-name (pid 7): what either writes to is copied, up to 60.0 MiB more", ""},
		"another program":  {holding(holding(anon(), 7, 1, "/bin/w", 100, 60, ""), 8, 7, "/bin/v", 60, 60, ""), "", "fork"},
		"no parent at all": {holding(holding(anon(), 7, 1, "/bin/w", 100, 60, ""), 8, 1, "/bin/w", 60, 60, ""), "", "fork"},
	} {
		r, ok := of(find(t, c.s), codeAnon)
		if !ok || !strings.Contains(r.Title, c.says) || c.never != "" && strings.Contains(r.Title, c.never) {
			t.Errorf("%s: %q", name, r.Title)
		}
	}
}

// A JVM that holds far more than its heap needs no smaller heap.
func TestNativeMemoryIsNotTheHeap(t *testing.T) {
	s := charged(900, "anon", 400)
	s.Path[0].Usage = read(int64(400 * mib))
	s = holding(s, 7, 1, "/usr/bin/java", 400, 0, "/usr/lib/jvm/libjvm.so")
	p := &s.Processes[0]
	p.Heaps = read(snapshot.Heaps{Libraries: []string{"libjvm.so"}, JVM: &snapshot.JVMHeap{Reserved: 512 * mib, Committed: 64 * mib, Used: 32 * mib}})
	r, _ := of(find(t, s), codeAnon)
	if !strings.Contains(r.Title, "only 64.0 MiB of it is the heap that the JVM accounts for") || !strings.Contains(r.Remedies[1].Command, "MaxDirectMemorySize") {
		t.Errorf("%+v", r)
	}
	p.Heaps.Value.JVM.Committed = 300 * mib
	if r, _ = of(find(t, s), codeAnon); strings.Contains(r.Title, "outside of it") || strings.Contains(r.Remedies[1].Command, "MaxDirectMemorySize") {
		t.Errorf("%+v", r)
	}
}

// Shared memory is told with those who have it, and with the setting that sizes it.
func TestSharedMemoryOfADatabase(t *testing.T) {
	zero := []snapshot.CensusInode{{Type: "tmpfs", Magic: snapshot.MagicTmpfs, Number: 5, Path: "dev/zero", Pseudo: true}, {Type: "tmpfs", Magic: snapshot.MagicTmpfs, Number: 6, Path: "/small"}}
	s := censused(charged(200, "file", 90, "shmem", 80, "anon", 10), zero, []snapshot.PageState{pages(79, 0, 0), pages(1, 0, 0)})
	s = running(running(s, stat("RssShmem", 60*mib)), stat("RssShmem", 0))
	shared := snapshot.Mapping{Name: "/dev/zero (deleted)", Start: 1 << 40, End: 1<<40 + 80*mib, Perms: [4]byte([]byte("rw-s"))}
	s.Processes[1].PID, s.Processes[1].Smaps = 8, read(snapshot.Smaps{Maps: []snapshot.Mapping{shared}})
	r, _ := of(find(t, s), codeTmpfs)
	if !strings.HasSuffix(r.Title, "gives back: shared anonymous memory, which app (pid 7) and 1 more have mapped") || !strings.Contains(r.Remedies[1].Command, "shared_buffers") {
		t.Errorf("%+v", r)
	}
}

// A database that has the same data in its shared memory and in the page cache.
func TestDoubleBuffering(t *testing.T) {
	files := []snapshot.CensusInode{{Type: "tmpfs", Magic: snapshot.MagicTmpfs, Number: 5, Path: "dev/zero", Pseudo: true}, {Type: "ext4", Number: 6, Path: "/pg/base/16384"}, {Type: "ext4", Number: 7, Path: "/backup"}}
	s := censused(charged(200, "file", 95, "shmem", 40, "anon", 5), files, []snapshot.PageState{pages(40, 0, 0), pages(30, 0, 0), pages(25, 0, 0)})
	s = running(s, stat("RssShmem", 38*mib))
	open := func(inode int64, name string) {
		s.Processes[0].Positions = read([]snapshot.Position{{FD: 3, Path: name, Inode: inode}})
	}
	open(6, "/data/16384")
	if r, _ := of(find(t, s), codeTmpfs); !strings.HasSuffix(r.Title, "; of the files that they have open 30.0 MiB is in the page cache: the same data may be in memory twice") {
		t.Errorf("%+v", r)
	}
	open(7, "/other")
	if r, _ := of(find(t, s), codeTmpfs); strings.Contains(r.Title, "twice") {
		t.Errorf("%+v", r)
	}
}
