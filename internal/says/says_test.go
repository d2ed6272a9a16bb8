package says

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

func cgroup(v snapshot.Version, keys map[string]int64) *snapshot.Cgroup {
	c := &snapshot.Cgroup{Path: "/a", Version: v}
	c.Stat.State = snapshot.Present
	for k, n := range keys {
		c.Stat.Value.Entries = append(c.Stat.Value.Entries, snapshot.Entry{Key: k, Value: n})
	}
	c.UseHierarchy = snapshot.Reading[int64]{State: snapshot.Present, Value: 1}
	return c
}

// cadvisor is setMemoryStats of cAdvisor's libcontainer handler in its own
// unsigned arithmetic.
func cadvisor(usage uint64, stats map[string]uint64, v2 bool) uint64 {
	key := "total_inactive_file"
	if v2 {
		key = "inactive_file"
	}
	workingSet := usage
	if v, ok := stats[key]; ok {
		if workingSet < v {
			workingSet = 0
		} else {
			workingSet -= v
		}
	}
	return workingSet
}

func TestWorkingSetIsCAdvisors(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		keys, unsigned := map[string]int64{}, map[string]uint64{}
		for _, k := range []string{"inactive_file", "total_inactive_file"} {
			if r.IntN(4) > 0 {
				n := r.Int64N(1 << 40)
				if r.IntN(10) == 0 {
					n = -n // as an underflowed unsigned number reads
				}
				keys[k], unsigned[k] = n, uint64(n)
			}
		}
		usage := r.Int64N(1 << 40)
		for _, v := range []snapshot.Version{snapshot.V1, snapshot.V2} {
			got, _, _ := WorkingSet(cgroup(v, keys), usage)
			if want := cadvisor(uint64(usage), unsigned, v == snapshot.V2); uint64(got) != want {
				t.Fatalf("%s, usage %d, %v: %d, cAdvisor says %d", v, usage, keys, got, want)
			}
		}
	}
}

func TestFormulas(t *testing.T) {
	c := cgroup(snapshot.V1, map[string]int64{"total_inactive_file": 30, "inactive_file": 5, "cache": 60, "total_cache": 70, "total_rss": 20})
	s := &snapshot.Snapshot{Path: []snapshot.Cgroup{*c}, PIDs: []int{7, 8}, Processes: []snapshot.Process{{PID: 7}, {PID: 8}}}
	s.Processes[0].Status = snapshot.Reading[snapshot.Status]{State: snapshot.Present, Value: snapshot.Status{Fields: snapshot.Stat{
		Entries: []snapshot.Entry{{Key: "VmRSS", Value: 11}, {Key: "RssFile", Value: 4}},
	}}}
	s.Processes[1].Status = snapshot.Reading[snapshot.Status]{State: snapshot.Absent, Err: snapshot.Vanished}
	want := map[string]string{
		"kubectl, crictl": "70 = usage_in_bytes 100 - total_inactive_file 30",
		"docker stats":    "70 = usage_in_bytes 100 - total_inactive_file 30",
		"docker <= 19.03": "40 = usage_in_bytes 100 - cache 60",
		"cAdvisor rss":    "20 = total_rss 20",
		"podman, systemd": "100 = usage_in_bytes 100",
		"ps, summed RSS":  "11 = VmRSS of 1 process, 4 B of it file or shared",
	}
	for _, n := range All(words.Printer{}, s, 100) {
		if got := itoa(n.Bytes) + " = " + n.Formula(); got != want[n.Tool] || !n.Known {
			t.Errorf("%s: %q, want %q", n.Tool, got, want[n.Tool])
		}
		delete(want, n.Tool)
	}
	if len(want) > 0 {
		t.Errorf("nobody said %v", want)
	}
}

func itoa(n int64) string {
	if n == math.MinInt64 {
		return "min"
	}
	return (Number{Terms: []Term{{'+', "", n}}}).Formula()[1:]
}

// Docker subtracts only what is smaller; cAdvisor floors at 0.
func TestWhereDockerAndCAdvisorPart(t *testing.T) {
	c := cgroup(snapshot.V2, map[string]int64{"inactive_file": 100, "anon": 1})
	s := &snapshot.Snapshot{Path: []snapshot.Cgroup{*c}}
	got := map[string]int64{}
	for _, n := range All(words.Printer{}, s, 100) {
		got[n.Tool] = n.Bytes
	}
	if got["kubectl, crictl"] != 0 || got["docker stats"] != 100 {
		t.Errorf("%v", got)
	}
}

func TestUnreadProcessesMakeTheSumUnknown(t *testing.T) {
	s := &snapshot.Snapshot{Path: []snapshot.Cgroup{*cgroup(snapshot.V2, nil)}, PIDs: []int{1}, Processes: []snapshot.Process{{PID: 1}}}
	s.Processes[0].Status = snapshot.Reading[snapshot.Status]{State: snapshot.Denied}
	for _, n := range All(words.Printer{}, s, 100) {
		if n.Tool == "ps, summed RSS" && n.Known {
			t.Errorf("%+v", n)
		}
	}
}
