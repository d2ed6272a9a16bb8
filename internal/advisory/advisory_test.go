package advisory

import (
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// A typo in the catalogue fails here, not on a node.
func TestCatalogue(t *testing.T) {
	ids := IDs()
	if len(ids) < 76 {
		t.Errorf("%d advisories", len(ids))
	}
	for _, id := range ids {
		a, err := Load(id)
		if err != nil {
			t.Error(err)
			continue
		}
		if a.ID != id {
			t.Errorf("%s.yaml holds %s", id, a.ID)
		}
		if err := a.Check(); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		for _, text := range append([]string{a.Title, a.Summary}, a.Refs...) {
			if strings.ContainsAny(text, "\n\t") || strings.Contains(text, "  ") {
				t.Errorf("%s: %q has strange blanks", id, text)
			}
		}
	}
	for id := range predicates {
		if _, err := Load(id); err != nil {
			t.Errorf("a predicate for nothing: %v", err)
		}
	}
	for _, id := range story {
		if predicates[id] == nil {
			t.Errorf("%s has no predicate", id)
		}
	}
}

func TestTyposAreErrors(t *testing.T) {
	good := "id: x\ntitle: t\nclass: perf\ncomponent: kernel\nsummary: s\naffected: [all]\nranges: [{vendor: el7, from: 3.10.0-514, fixed: 3.10.0-1062}]\n"
	a, err := decode([]byte(good))
	if err != nil || a.Check() != nil {
		t.Fatal(err, a.Check())
	}
	for old, bad := range map[string]string{
		"title: t":          "titel: t",
		"class: perf":       "class: performance",
		"vendor: el7":       "vendor: rhel7",
		"from: 3.10.0-514":  "from: 3.10.0-514.el7",
		"fixed: 3.10.0-106": "fixed: 3.10.0-1",
		"from: 3":           "effect: unknown, from: 3",
		"affected: [all]":   "affected: []",
		"{vendor":           "{efect: free, vendor",
	} {
		a, err := decode([]byte(strings.Replace(good, old, bad, 1)))
		if err == nil && a.Check() == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func on(release string) *snapshot.Snapshot {
	s := &snapshot.Snapshot{}
	s.Host.Kernel = snapshot.Reading[string]{Value: release, State: snapshot.Present, Source: "/proc/sys/kernel/osrelease"}
	s.Kmem.Version = snapshot.V1
	return s
}

func verdictOf(t *testing.T, s *snapshot.Snapshot, id string) Judgement {
	t.Helper()
	j, err := Look(words.Printer{}, s).Judge([]string{id})
	if err != nil {
		t.Fatal(err)
	}
	if len(j[0].Evidence) == 0 || j[0].Evidence[0].Statement == "" {
		t.Errorf("%s: no evidence", id)
	}
	return j[0]
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		id, release string
		want        Verdict
	}{
		{"el7-kmem-slab-leak", "3.10.0-229.el7.x86_64", Unknown},
		{"el7-kmem-slab-leak", "3.10.0-514.el7.x86_64", VersionOnly},
		{"el7-kmem-slab-leak", "3.10.0-1062.18.1.el7.x86_64", VersionOnly},
		{"el7-kmem-slab-leak", "3.10.0-1127.el7.x86_64", Mitigated},
		{"el7-kmem-slab-leak", "3.10.0-1160.108.1.el7.x86_64", Mitigated},
		{"el7-kmem-slab-leak", "4.18.0-147.el8.x86_64", NotAffected},
		{"el7-kmem-slab-leak", "6.18.19", NotAffected},
		{"el7-kmem-slab-leak", "6.1.0-custom+", Unknown},
		{"el7-kmem-slab-leak", "", Unknown},
		{"slab-pins-dying-memcg", "4.19.91", VersionOnly},
		{"slab-pins-dying-memcg", "5.3.0", NotAffected},
		{"slab-pins-dying-memcg", "4.18.0-80.el8.x86_64", VersionOnly},
		{"slab-pins-dying-memcg", "4.18.0-147.5.1.el8_1.x86_64", NotAffected},
		{"slab-pins-dying-memcg", "5.15.0-72-generic", NotAffected},
		{"slab-pins-dying-memcg", "5.0.0-32-generic", Unknown}, // the vendor may have mended it
		{"slab-pins-dying-memcg", "3.10.0-1062.el7.x86_64", NotAffected},
		{"memcg-idr-race", "6.1.140", VersionOnly},
		{"memcg-idr-race", "6.1.141", NotAffected},
		{"memcg-idr-race", "3.10.0-1160.el7.x86_64", NotAffected},
		{"memcg-idr-race", "3.10.0-957.el7.x86_64", Unknown},
		{"ubuntu-proc-stat-softlockup", "5.15.0-143-generic", NotAffected},
		{"ubuntu-proc-stat-softlockup", "5.15.0-144-generic", VersionOnly},
		{"ubuntu-proc-stat-softlockup", "5.15.0-153-generic", NotAffected},
		{"ubuntu-proc-stat-softlockup", "5.15.0-1080-gcp", Unknown},
		{"amzn2-5.4.242-growth", "5.4.242-155.348.amzn2.x86_64", VersionOnly},
		{"pagecache-pins-dying-memcg", "6.18.19", VersionOnly},
		{"pagecache-pins-dying-memcg", "7.1.0-rc2", VersionOnly},
		{"pagecache-pins-dying-memcg", "7.1.2", NotAffected},
		{"memory-high-livelock", "5.4.1", NotAffected}, // cgroup v1
		{"thp-bloat", "6.1.0-custom+", VersionOnly},    // of all kernels
		{"go-madv-free", "6.18.19", Unknown},
	} {
		if j := verdictOf(t, on(c.release), c.id); j.Verdict != c.want {
			t.Errorf("%s on %q: %s %v, want %s", c.id, c.release, j.Verdict, j.Evidence, c.want)
		}
	}
}

// A release that nobody has seen is never free of anything but by what the node
// is seen to be.
func TestStrangeKernelsAreUnknown(t *testing.T) {
	for _, release := range []string{"", "6.1.0-custom+", "\x1b[31m", "3.10.0-9999.el77", "linux", "9.9.9-mine", strings.Repeat("9", 300)} {
		s := on(release)
		s.Kmem.Version = 0
		all, err := Look(words.Printer{}, s).Judge(IDs())
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range all {
			if j.Verdict == NotAffected || j.Bites() {
				t.Errorf("%s on %q: %s %v", j.ID, release, j.Verdict, j.Evidence)
			}
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for b.Loop() {
		decoded.Clear()
		for _, id := range IDs() {
			if _, err := Load(id); err != nil {
				b.Fatal(err)
			}
		}
	}
}
