package oom

import (
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

func bytes(n int64) *int64 { return &n }

func log(records ...snapshot.LogRecord) *snapshot.KernelLog {
	return &snapshot.KernelLog{Records: records, PageSize: 4096}
}

// kmem is the kill of el7 whose processes held nothing.
func kmem() snapshot.LogRecord {
	return snapshot.LogRecord{
		Kind: snapshot.LogMemcgOOM, Kernel: "3.10.0-1062.el7.x86_64", LimitOwner: "/kubepods/a", TaskCgroup: "/kubepods/a",
		Memory:  &snapshot.LogCounter{Usage: bytes(64 * size.MiB), Limit: bytes(64 * size.MiB)},
		Kmem:    &snapshot.LogCounter{Usage: bytes(63 * size.MiB), Limit: bytes(size.Unlimited)},
		Stats:   map[string]int64{"rss": 128 << 10, "cache": 116 << 10, "active_file": 60 << 10, "inactive_file": 56 << 10},
		Outcome: "killed", Victims: []snapshot.LogVictim{{PID: 131, Comm: "php", AnonRSS: bytes(52 << 10)}},
	}
}

func TestTheContradictionIsNamed(t *testing.T) {
	r := Report(words.Printer{}, log(kmem()), nil, nil).Records[0]
	want := "OOM at the limit 64.0 MiB of /kubepods/a: killed php (pid 131), which held 52 KiB; the kernel's own memory was 63.0 MiB, which no kill frees"
	if r.Summary != want {
		t.Errorf("got  %s\nwant %s", r.Summary, want)
	}
	if r.Whose != "self" || r.LimitKind != "memory" || !r.Kmem.Unlimited || r.Kmem.LimitBytes != nil {
		t.Errorf("%+v", r)
	}
	if got := *r.Full.UnreclaimableBytes; got != 64*size.MiB-116<<10 {
		t.Errorf("unreclaimable %d", got)
	}
}

func TestWhoseLimit(t *testing.T) {
	for _, c := range []struct{ owner, task, want string }{
		{"/a", "/a", "self"},
		{"/a", "/a/b", "ancestor"},
		{"/", "/a", "ancestor"},
		{"/a", "/ab", ""},
		{"", "/a", ""},
		{"/a", "", ""},
	} {
		l := kmem()
		l.LimitOwner, l.TaskCgroup = c.owner, c.task
		if got := whose(&l); got != c.want {
			t.Errorf("%s, %s: %q, want %q", c.owner, c.task, got, c.want)
		}
	}
}

func TestWhatIsNotPrintedIsNull(t *testing.T) {
	r := Report(words.Printer{}, log(snapshot.LogRecord{Kind: snapshot.LogMemcgOOM}), nil, nil).Records[0]
	f := r.Full
	if f.AnonBytes != nil || f.FileBytes != nil || f.ShmemBytes != nil || f.KernelBytes != nil || f.UnreclaimableBytes != nil || r.UsageBytes != nil || r.Trigger.PID != nil {
		t.Errorf("%+v", r)
	}
	if want := "OOM at the limit of a cgroup that the log does not name: the log does not say who was killed"; r.Summary != want {
		t.Errorf("got %s", r.Summary)
	}
}

// On a v1 host of 6.18 both keys are printed, and the cgroup has children.
func TestHierarchicalKeysWin(t *testing.T) {
	l := kmem()
	l.Stats = map[string]int64{"rss": 1, "total_rss": 60 * size.MiB, "cache": 2, "total_cache": 3 * size.MiB, "total_shmem": size.MiB}
	f := Report(words.Printer{}, log(l), nil, nil).Records[0].Full
	if *f.AnonBytes != 60*size.MiB || *f.FileBytes != 2*size.MiB || *f.ShmemBytes != size.MiB {
		t.Errorf("%d %d %d", *f.AnonBytes, *f.FileBytes, *f.ShmemBytes)
	}
}

func TestSlabOfACgroupIsACandidateOnlyWithoutAKill(t *testing.T) {
	slub := snapshot.LogRecord{Kind: snapshot.LogSlub, Slab: &snapshot.LogSlab{Cache: "dentry", Index: bytes(4), Cgroup: "a"}}
	other := kmem()
	other.LimitOwner, other.TaskCgroup = "/kubepods/b", "/kubepods/b"
	if got := Report(words.Printer{}, log(slub, other), nil, nil).Records[0].Advisories; len(got) != 1 || got[0].ID != "el7-kmem-slab-leak" {
		t.Errorf("%+v", got)
	}
	if got := Report(words.Printer{}, log(slub, kmem()), nil, nil).Records[0].Advisories; len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if got := Report(words.Printer{}, log(slub), nil, nil).Records[0].Advisories; got == nil || len(got) != 0 {
		t.Errorf("a kernel that is not known: %+v", got)
	}
}

func TestNamesThatAreNotUTF8(t *testing.T) {
	l := kmem()
	l.Victims[0].Comm, l.LimitOwner = "a\xffb", "/\xfe"
	r := Report(words.Printer{}, log(l), nil, nil).Records[0]
	if r.Victims[0].Comm != `a\xffb` || !strings.Contains(r.Summary, `a\xffb`) || r.LimitOwner != `/\xfe` {
		t.Errorf("%+v", r)
	}
}

// A record has the names of the containers in it, as far as somebody told; with
// a redactor the hidden ones.
func TestNames(t *testing.T) {
	id, uid := strings.Repeat("ab", 32), "11111111-2222-3333-4444-555555555555"
	pod := "/kubepods/burstable/pod" + uid
	named := (&snapshot.Names{Containers: []snapshot.Named{
		{Kind: snapshot.NamedContainer, ID: id, Name: "app", Namespace: "shop", Pod: "web-1", PodUID: uid},
	}}).Index()
	l := snapshot.LogRecord{Kind: snapshot.LogMemcgOOM, LimitOwner: pod, TaskCgroup: pod + "/" + id, Victims: []snapshot.LogVictim{{PID: 7, Comm: "java"}}}
	r := Report(words.Printer{}, log(l), nil, named).Records[0]
	if r.LimitOwnerName != "shop/web-1" || r.TaskName != "shop/web-1/app" ||
		!strings.Contains(r.Summary, "(the pod shop/web-1, not one of its containers)") || !strings.Contains(r.Summary, "of shop/web-1/app") {
		t.Errorf("%+v", r)
	}
	r = Report(words.Printer{}, log(l), identity.NewRedactor([]byte("k")), named).Records[0]
	if r.TaskName == "" || strings.Contains(r.Summary+r.TaskName+r.LimitOwnerName, "web") || strings.Contains(r.Summary+r.TaskName, "shop") {
		t.Errorf("%+v", r)
	}
	if r := Report(words.Printer{}, log(l), nil, nil).Records[0]; r.LimitOwnerName != "" || r.TaskName != "" {
		t.Errorf("%+v", r)
	}
}
