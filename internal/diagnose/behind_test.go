package diagnose

import (
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
)

func kernelCodes(all []report.Finding) string {
	var out []string
	for _, f := range all {
		if strings.HasPrefix(f.Code, "kernel.") {
			out = append(out, f.Code+" "+f.Confidence+" "+strings.TrimSuffix(strings.Fields(f.Title)[0], ".0"))
		}
	}
	return strings.Join(out, ", ")
}

// What stands behind descriptors is told once, and no more of it than there is.
func TestKernelMemoryBehindDescriptors(t *testing.T) {
	twice := tracing(charged(200, "kernel", 60, "vmalloc", 50), 25, 25)
	other := twice.Processes[0]
	other.PID = 8
	twice.Processes, twice.PIDs = append(twice.Processes, other), append(twice.PIDs, 8)
	sparse := tracing(charged(200, "kernel", 60, "vmalloc", 50), 40)
	sparse.Processes[0].BPF.Value[0].Flags = snapshot.BPFNoPrealloc
	old := tracing(charged(200, "kernel", 60, "vmalloc", 50), 50)
	old.Host.Kernel = read("5.10.0-28-amd64")
	unread := charged(200, "kernel", 60, "vmalloc", 50)
	unread = tracing(unread)
	unread.Processes[0].BPF.State = snapshot.Denied
	both := tracing(piping(charged(200, "kernel", 80, "vmalloc", 30), 30), 30)
	shared := piping(charged(200, "kernel", 60), 50)
	shared.Processes = append(shared.Processes, shared.Processes[0])
	for name, c := range map[string]struct {
		s    *snapshot.Snapshot
		want string
	}{
		"one map of two processes":           {twice, "kernel.bpf high 50, kernel.other medium 10"},
		"of which little is used perhaps":    {sparse, "kernel.bpf low 40, kernel.other medium 20"},
		"not charged to cgroups":             {old, "kernel.other medium 60"},
		"not seen":                           {unread, "kernel.other medium 60"},
		"pinned, or others have it":          {tracing(charged(200, "kernel", 60, "vmalloc", 50)), "kernel.other medium 60"},
		"larger than all there is":           {tracing(charged(200, "kernel", 60, "vmalloc", 50), 62), "kernel.other medium 60"},
		"less than there is":                 {tracing(charged(200, "kernel", 60, "vmalloc", 50), 20), "kernel.other medium 40, kernel.bpf medium 20"},
		"together more than there is":        {tracing(charged(200, "kernel", 60, "vmalloc", 50), 40, 40), "kernel.bpf low 60"},
		"maps and pipes":                     {both, "kernel.bpf high 30, kernel.pipe high 30, kernel.other medium 20"},
		"a pipe of two processes":            {shared, "kernel.pipe high 50, kernel.other medium 10"},
		"more in pipes than is charged":      {piping(charged(200, "kernel", 60), 90), "kernel.pipe medium 60"},
		"empty pipes":                        {piping(charged(200, "kernel", 60), 0), "kernel.other medium 60"},
		"pipes, where other counters had it": {piping(charged(200, "kernel", 60, "vmalloc", 60), 50), "kernel.other medium 60"},
	} {
		if got := kernelCodes(find(t, c.s)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	r, _ := of(find(t, tracing(charged(200, "kernel", 60, "vmalloc", 50))), codeKernel)
	if !strings.Contains(r.Title, "none of its processes has a BPF map open") {
		t.Error(r.Title)
	}
	asked := piping(charged(200, "kernel", 60), 0)
	asked.Processes[0].BPF = read([]snapshot.BPFMap{})
	if r, _ = of(find(t, asked), codeKernel); !strings.Contains(r.Title, "next to nothing waits in its pipes") {
		t.Error(r.Title)
	}
	asked.Processes[0].Pipes.State = snapshot.Denied
	if r, _ = of(find(t, asked), codeKernel); strings.Contains(r.Title, "next to nothing waits in its pipes") {
		t.Error(r.Title)
	}
	if r, _ = of(find(t, unread), codeKernel); strings.Contains(r.Title, "none of its processes") {
		t.Error(r.Title)
	}
}

// Names of nothing are told apart only as far as that is certain.
func TestNamesOfNothing(t *testing.T) {
	slabs := func(dentries, inodes int64) *snapshot.Snapshot {
		s := censused(charged(200, "kernel", 90, "slab_reclaimable", 90), nil, nil, slabOf(1, "dentry", 80), slabOf(1, "ext4_inode_cache", 4))
		s.Census.Value.Slabs[0].Objects, s.Census.Value.Slabs[1].Objects = dentries, inodes
		return s
	}
	unread := slabs(1000, 0)
	unread.Node.Dentries = snapshot.Reading[snapshot.Dentries]{State: snapshot.Denied}
	for name, c := range map[string]struct {
		s     *snapshot.Snapshot
		code  string
		mibs  int64
		sure  string
		title string
	}{
		"nearly all":      {remembered(slabs(1000, 10), 1100, 1050), codeNegative, 79, high, "do not exist (negative dentries)"},
		"half for sure":   {remembered(slabs(1000, 10), 2300, 1900), codeNegative, 79, high, "do not exist (negative dentries)"},
		"most of them":    {remembered(slabs(1000, 300), 1300, 900), codeNegative, 56, medium, "do not exist (negative dentries)"},
		"probably":        {remembered(slabs(1000, 10), 90_000, 2000), codeDentry, 80, high, "most of them probably of files that do not exist"},
		"of files":        {remembered(slabs(1000, 990), 90_000, 2000), codeDentry, 80, high, "most of them probably of files that exist"},
		"none on a node":  {remembered(slabs(1000, 10), 1100, 3), codeDentry, 80, high, "cannot be told"},
		"nobody counts":   {remembered(slabs(1000, 10), 1100, 0), codeDentry, 80, high, "cannot be told"},
		"was not allowed": {unread, codeDentry, 80, high, "cannot be told"},
	} {
		r, ok := of(find(t, c.s), c.code)
		if !ok || bytes(r)/mib != c.mibs || r.Confidence != c.sure || !strings.Contains(r.Title, c.title) {
			t.Errorf("%s: %v %d %+v", name, ok, bytes(r)/mib, r)
		}
	}
	misread := remembered(censused(charged(110, "anon", 30, "kernel", 70, "slab_reclaimable", 70), nil, nil, slabOf(1, "dentry", 70)), 1, 1)
	if r, ok := of(find(t, misread), codeMisread); ok && r.PartOf != codeNegative {
		t.Errorf("%+v", r)
	}
}

// Cache is foreign only where everybody of the target was asked, and others are seen.
func TestForeignCache(t *testing.T) {
	log := []snapshot.CensusInode{{Type: "ext4", Number: 5, Path: "/var/log/app.log"}}
	file := func(mapped int64) *snapshot.Snapshot {
		return censused(charged(200, "file", 90, "anon", 10), log, []snapshot.PageState{pages(80, 0, mapped)})
	}
	open := usedBy(file(0), 9)
	open.Users.Value[1].Open, open.Users.Value[1].Mapped.Value = read([]snapshot.LinkText{{Name: "3", Text: "/var/log/app.log"}}), nil
	dirty := usedBy(censused(charged(200, "file", 90, "anon", 10), log, []snapshot.PageState{pages(80, 60, 20)}), 9)
	refused := usedBy(file(80), 9)
	refused.Users.Value[0].Mapped.State = snapshot.Denied
	unlisted := usedBy(file(80), 9)
	unlisted.PIDs = append(unlisted.PIDs, 8)
	below := usedBy(file(80), 9)
	below.Users.Value[1].Cgroup = below.Target().Path + "/child"
	nameless := usedBy(file(80), 9)
	nameless.Users.Value[1].Cgroup = ""
	elsewhere := usedBy(file(80), 9)
	elsewhere.Users.Value[1].Namespace = "mnt:[2]" // no table of that is at hand
	hostile := usedBy(file(80), 9)
	hostile.Users.Value[1].Cgroup = "/\xff\n\x1b[2J<script>"
	gone := usedBy(file(80), 9)
	gone.Processes, gone.PIDs, gone.Users.Value = nil, nil, gone.Users.Value[1:]
	for name, c := range map[string]struct {
		s    *snapshot.Snapshot
		mibs int64
		want string
	}{
		"mapped":                {usedBy(file(80), 9), 80, high},
		"by many":               {usedBy(file(80), 9, 10, 11), 80, high},
		"only open":             {open, 80, medium},
		"dirty":                 {dirty, 20, high},
		"nobody is left":        {gone, 80, high},
		"hostile":               {hostile, 80, high},
		"used by its own too":   {usedBy(file(80), 9, 7), 0, ""},
		"by its own alone":      {usedBy(file(80), 7), 0, ""},
		"by nobody":             {usedBy(file(80)), 0, ""},
		"its own was not asked": {refused, 0, ""},
		"not all were asked":    {unlisted, 0, ""},
		"by a child":            {below, 0, ""},
		"by whom is not known":  {nameless, 0, ""},
		"a file of that name":   {elsewhere, 0, ""},
	} {
		got := find(t, c.s)
		r, ok := of(got, codeForeign)
		if ok != (c.want != "") || ok && (bytes(r) != c.mibs*mib || r.Confidence != c.want) {
			t.Errorf("%s: %+v", name, got)
		}
		var sum int64
		for _, r := range got {
			if strings.HasPrefix(r.Code, "cache.") {
				sum += bytes(r)
			}
		}
		if sum > 90*mib {
			t.Errorf("%s: %d MiB of 90", name, sum/mib)
		}
		for _, r := range got {
			if b, err := report.Encode(r); err != nil || strings.Contains(string(b), "\ufffd") {
				t.Errorf("%s: %v %s", name, err, b)
			}
		}
	}
	r, _ := of(find(t, usedBy(file(80), 9, 10, 11)), codeForeign)
	if !strings.HasSuffix(r.Title, "used by pid 9 of /elsewhere and 2 more") {
		t.Error(r.Title)
	}
}
