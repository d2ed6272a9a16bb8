package diagnose

import (
	"slices"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/advisory"
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

const mib = 1 << 20

func read[T any](v T) snapshot.Reading[T] {
	return snapshot.Reading[T]{Value: v, State: snapshot.Present, Source: "/file"}
}

func stat(pairs ...any) snapshot.Reading[snapshot.Stat] {
	var st snapshot.Stat
	for i := 0; i < len(pairs); i += 2 {
		st.Entries = append(st.Entries, snapshot.Entry{Key: pairs[i].(string), Value: int64(pairs[i+1].(int))})
	}
	return read(st)
}

// node is a snapshot of the target /kubepods/pod1/app on cgroup v2, on a kernel of
// nowadays, with a log.
func node(records ...snapshot.LogRecord) *snapshot.Snapshot {
	s := &snapshot.Snapshot{}
	s.Host.Kernel, s.Host.CPUs, s.Host.PageSize = read("6.1.0-13-amd64"), read(2), 4096
	for _, p := range []string{"/kubepods/pod1/app", "/kubepods/pod1", "/kubepods", "/"} {
		s.Path = append(s.Path, snapshot.Cgroup{Path: p, Dir: "/sys/fs/cgroup" + p, Version: snapshot.V2, Usage: read(int64(10 * mib))})
	}
	s.Log = read(snapshot.KernelLog{Records: records, PageSize: 4096})
	return s
}

func find(t *testing.T, s *snapshot.Snapshot) []report.Finding {
	t.Helper()
	w, err := ledger.Explain(s)
	if err != nil {
		t.Fatal(err)
	}
	n := advisory.Look(words.Printer{}, s)
	judged, err := n.ForTarget()
	if err != nil {
		t.Fatal(err)
	}
	return Find(words.Printer{}, s, w, n, judged)
}

// short is CODE SEVERITY CONFIDENCE of each.
func short(all []report.Finding) string {
	var out []string
	for _, f := range all {
		out = append(out, f.Code+" "+f.Severity+" "+f.Confidence)
	}
	return strings.Join(out, ", ")
}

// kill is a complete record of a kill at the limit of owner, of a process of task.
func kill(owner, task string) snapshot.LogRecord {
	l := snapshot.LogRecord{
		Kind: snapshot.LogMemcgOOM, Outcome: "killed", LimitOwner: owner, TaskCgroup: task, Time: "1.0",
		Memory:  &snapshot.LogCounter{Usage: ptr(int64(64 * mib)), Limit: ptr(int64(64 * mib))},
		Stats:   map[string]int64{"anon": 60 * mib, "file": mib, "active_file": 0, "inactive_file": mib},
		Victims: []snapshot.LogVictim{{PID: 7, Comm: "app", Memcg: task, AnonRSS: ptr(int64(59 * mib))}},
	}
	if owner == "" {
		l.Kind = snapshot.LogGlobalOOM
	}
	return l
}

func with(l snapshot.LogRecord, change func(*snapshot.LogRecord)) snapshot.LogRecord {
	change(&l)
	return l
}

// Which records are the target's, and whose limit it was.
func TestWhoseKill(t *testing.T) {
	const app, pod = "/kubepods/pod1/app", "/kubepods/pod1"
	nobody := func(l *snapshot.LogRecord) { l.Outcome, l.Victims, l.TaskCgroup = "no-victim", nil, "" }
	for name, c := range map[string]struct {
		record snapshot.LogRecord
		want   string
	}{
		"own":                          {kill(app, app), "oom.container warning high"},
		"own, the victim below":        {kill(app, app+"/child"), "oom.container warning high"},
		"of a cgroup below":            {kill(app+"/child", app+"/child"), "oom.container notice high"},
		"pod's, this victim":           {kill(pod, app), "oom.ancestor warning high"},
		"pod's, a sibling":             {kill(pod, pod+"/other"), "oom.ancestor notice high"},
		"a longer name than the pod's": {kill("/kubepods/pod10", "/kubepods/pod10/app"), ""},
		"a longer name than its own":   {kill(app+"2", app+"2"), ""},
		"the same name elsewhere":      {kill("/other"+app, "/other"+app), ""},
		"only the last part":           {kill("/app", "/app"), ""},
		"a sibling's own limit":        {kill(pod+"/other", pod+"/other"), ""},
		"the node, this victim":        {kill("", app), "oom.node warning high"},
		"the node, another":            {kill("", pod+"/other"), ""},
		"the node, a longer name":      {kill("", app+"2"), ""},
		"the node, nobody knows":       {kill("", ""), "oom.node notice low"},
		"cut":                          {with(kill(app, app), func(l *snapshot.LogRecord) { l.Truncated = true }), "oom.container warning medium"},
		"mixed":                        {with(kill(app, app), func(l *snapshot.LogRecord) { l.Interleaved = true }), "oom.container warning medium"},
		"nobody, own":                  {with(kill(app, app), nobody), "oom.no-victim warning high"},
		"nobody, the pod's":            {with(kill(pod, pod), nobody), "oom.no-victim warning high"},
		"nobody, elsewhere":            {with(kill("/x", "/x"), nobody), ""},
		"without a limit's owner":      {with(kill(app, app), func(l *snapshot.LogRecord) { l.LimitOwner = "" }), ""},
		"no OOM at all":                {snapshot.LogRecord{Kind: snapshot.LogPageAlloc, LimitOwner: app, TaskCgroup: app}, ""},
		"a name that mentions another": {
			with(kill(pod+"0", pod+"0/x"), func(l *snapshot.LogRecord) { l.Victims[0].Comm = app; l.TriggerComm = "of " + app }), "",
		},
	} {
		if got := short(find(t, node(c.record))); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// The whole node is the target: every kill is in it.
func TestKillsOfTheNode(t *testing.T) {
	s := node(kill("", "/x/y"), kill("/x", "/x/y"))
	s.Path = s.Path[3:]
	if got := short(find(t, s)); got != "oom.node warning high, oom.container notice high" {
		t.Error(got)
	}
}

// Kills at several limits are not counted as one's.
func TestKillsAtSeveralLimits(t *testing.T) {
	const app, pod = "/kubepods/pod1/app", "/kubepods/pod1"
	got := find(t, node(kill("/kubepods", app), kill(pod, app), kill(pod, app)))
	if short(got) != "oom.ancestor warning high" || !strings.Contains(got[0].Title, "parent pod1, 2 times so far: ") || !strings.HasSuffix(got[0].Title, "; and 1 more at other limits") {
		t.Errorf("%q: %+v", short(got), got)
	}
}

// A kill that the kernel has not counted in this cgroup was in an earlier one of
// the same path.
func TestEarlierCgroupOfTheSamePath(t *testing.T) {
	const app, pod = "/kubepods/pod1/app", "/kubepods/pod1"
	for _, c := range []struct {
		record snapshot.LogRecord
		count  int
		want   string
	}{
		{kill(app, app), 0, "oom.container info high"},
		{kill(app, app), 1, "oom.container warning high"},
		{kill(pod, app), 0, "oom.ancestor info high"},
		{kill("", app), 0, "oom.node info high"},
	} {
		s := node(c.record)
		s.Path[0].Events = stat("oom_kill", c.count, "oom", c.count)
		if got := short(find(t, s)); got != c.want {
			t.Errorf("counted %d: %q, want %q", c.count, got, c.want)
		}
	}
}

// Without the log, counters tell whose limit it was as far as they exclude the
// others.
func TestKillsByCountersAlone(t *testing.T) {
	for name, c := range map[string]struct {
		oom  [3]int // times at the limit of the target, the pod, kubepods; -1: not read
		want string
	}{
		"own":          {[3]int{2, 0, 0}, "oom.container warning medium"},
		"pod's":        {[3]int{0, 1, 0}, "oom.ancestor warning medium"},
		"kubepods'":    {[3]int{0, 0, 3}, "oom.ancestor warning medium"},
		"the node's":   {[3]int{0, 0, 0}, "oom.node warning medium"},
		"own or pod's": {[3]int{1, 1, 0}, "oom.container warning low"},
		"who knows":    {[3]int{0, -1, 0}, "oom.container warning low"},
	} {
		s := node()
		s.Log = snapshot.Reading[snapshot.KernelLog]{State: snapshot.Denied, Source: "/dev/kmsg"}
		s.Path[0].Events = stat("oom_kill", 2)
		for i, n := range c.oom {
			if n >= 0 {
				s.Path[i].EventsLocal = stat("oom", n)
			}
		}
		got := find(t, s)
		if short(got) != c.want || !strings.Contains(got[0].Title, "2 processes of it OOM-killed") || got[0].Bytes != nil {
			t.Errorf("%s: %q, want %q: %+v", name, short(got), c.want, got)
		}
	}
}

// On version 1 the kernel has no counter of OOMs, but of charges that failed.
func TestKillsByFailcnt(t *testing.T) {
	s := node()
	for i := range s.Path {
		s.Path[i].Version = snapshot.V1
		s.Path[i].Failcnt = read(int64(0))
	}
	s.Path[1].Failcnt = read(int64(9))
	s.Path[0].OOMControl = stat("oom_kill_disable", 0, "under_oom", 0, "oom_kill", 1)
	got := find(t, s)
	if short(got) != "oom.ancestor warning medium" || !strings.Contains(got[0].Title, "1 process of it") || !strings.Contains(got[0].Title, "parent pod1") {
		t.Errorf("%q %+v", short(got), got)
	}
}

func TestTasksThatWait(t *testing.T) {
	s := node()
	s.Path[1].OOMControl = stat("oom_kill_disable", 1, "under_oom", 1)
	got := find(t, s)
	if short(got) != "oom.no-victim critical high" || got[0].Bytes == nil || *got[0].Bytes != 10*mib {
		t.Errorf("%q", short(got))
	}
	s.Path[1].OOMControl = stat("oom_kill_disable", 1, "under_oom", 0)
	if got := find(t, s); len(got) != 0 {
		t.Errorf("%q", short(got))
	}
	s.Path[0].EventsLocal, s.Path[0].Events = stat("oom", 4), stat("oom_kill", 0)
	if got := find(t, s); short(got) != "oom.no-victim notice low" {
		t.Errorf("%q", short(got))
	}
}

// From within a cgroup namespace paths are others than the log's: nothing is
// linked, but what is seen through a mount made outside.
func TestNestedProcessLinksNothing(t *testing.T) {
	s := node(kill("/kubepods/pod1/app", "/kubepods/pod1/app"))
	s.Host.Nested = read(true)
	if got := find(t, s); len(got) != 0 {
		t.Errorf("%q", short(got))
	}
	s.Host.Nested = read(false)
	if got := find(t, s); len(got) != 1 {
		t.Errorf("%q", short(got))
	}
	// A mount made outside leads up to the root first.
	s.Host.Nested = read(true)
	for i := range s.Path {
		s.Path[i].Path = strings.TrimSuffix("/../.."+s.Path[i].Path, "/")
	}
	if got := find(t, s); short(got) != "oom.container warning high" || !strings.Contains(got[0].Title, "of this cgroup") {
		t.Errorf("%q %+v", short(got), got)
	}
	s.Path = s.Path[3:]
	if got := find(t, s); short(got) != "oom.container notice high" {
		t.Errorf("%q", short(got))
	}
}

// The newest kill is the title; what it was full of is evidence; what no kill frees
// and is as full now is critical.
func TestKillsAreToldWithWhatTheyWereFullOf(t *testing.T) {
	const app = "/kubepods/pod1/app"
	slab := with(kill(app, app), func(l *snapshot.LogRecord) {
		l.Stats = map[string]int64{"rss": mib / 8, "cache": mib / 8, "active_file": 0, "inactive_file": 0}
		l.Kmem = &snapshot.LogCounter{Usage: ptr(int64(63 * mib))}
		l.Victims[0].AnonRSS = ptr(int64(mib / 16))
		l.Time = "2.0"
	})
	s := node(kill(app, app), slab)
	s.Path[0].Limit = read(int64(64 * mib))
	got := find(t, s)
	if short(got) != "oom.container warning high" {
		t.Fatalf("%q", short(got))
	}
	f := got[0]
	for _, want := range []string{"64.0 MiB of this cgroup, 2 times so far: killed app", "the kernel's own memory was 63.0 MiB, which no kill frees"} {
		if !strings.Contains(f.Title, want) {
			t.Errorf("no %q in %q", want, f.Title)
		}
	}
	if *f.Bytes != 64*mib || !slices.ContainsFunc(f.Evidence, func(e report.Evidence) bool { return strings.Contains(e.Value, "kernel 63.0 MiB") }) ||
		!slices.ContainsFunc(f.Evidence, func(e report.Evidence) bool { return e.Value == "[1.0]" }) {
		t.Errorf("%+v", f)
	}
	s.Path[0].Usage, s.Path[0].Stat = read(int64(64*mib)), stat("anon", mib/8, "file", mib/8, "inactive_file", 0, "active_file", 0, "inactive_anon", 0, "active_anon", 0)
	if got := find(t, s); short(got) != "oom.container critical high, kernel.other info low" {
		t.Errorf("%q", short(got))
	}
}

// Names of any bytes make valid strings, and findings no nulls.
func TestHostileNames(t *testing.T) {
	const app = "/kubepods/pod1/app"
	hostile := with(kill(app, app), func(l *snapshot.LogRecord) {
		l.Victims[0].Comm = "\xff\n\x1b[2J of " + app
		l.TriggerComm = "\xfe"
	})
	for _, f := range find(t, node(hostile)) {
		if b, err := report.Encode(f); err != nil || strings.Contains(string(b), "\ufffd") || f.Evidence == nil || f.Remedies == nil {
			t.Errorf("%v %s", err, b)
		}
	}
}

// Nothing is found where nothing was read.
func TestNothingReadNothingFound(t *testing.T) {
	s := &snapshot.Snapshot{}
	s.Host.Kernel = read("6.1.0-13-amd64")
	s.Path = []snapshot.Cgroup{{Path: "/x", Usage: read(int64(1)), Version: snapshot.V2}}
	if got := find(t, s); len(got) != 0 {
		t.Errorf("%q", short(got))
	}
}
