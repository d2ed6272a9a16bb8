package gather

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// heapNode answers for processes of so many MiB, and each look at a heap takes a while.
type heapNode struct {
	answers map[string]string
	each    time.Duration
	now     time.Time
	replay  bool
	asked   []string
}

func (n *heapNode) Origin() kernel.Origin { return kernel.Origin{PageSize: 4096, Replay: n.replay} }

func (n *heapNode) Ask(q kernel.Question) kernel.Answer {
	n.asked = append(n.asked, string(q.Op)+" "+q.Path)
	if q.Op == kernel.Heaps {
		n.now = n.now.Add(n.each)
	}
	a := kernel.Answer{State: snapshot.Failed, Err: "not in this capture", At: n.now}
	if s, ok := n.answers[string(q.Op)]; ok {
		a.State, a.Data, a.Err = snapshot.Present, []byte(s), ""
	}
	return a
}

func sized(mib ...int64) []*snapshot.Process {
	var ps []*snapshot.Process
	for i, n := range mib {
		st := snapshot.Status{Fields: snapshot.Stat{Entries: []snapshot.Entry{{Key: "VmSize", Value: n << 20}, {Key: "VmRSS", Value: n << 20}}}}
		ps = append(ps, &snapshot.Process{PID: i + 1, Status: snapshot.Reading[snapshot.Status]{State: snapshot.Present, Value: st}})
	}
	return ps
}

func TestHeaps(t *testing.T) {
	good := map[string]string{"environ": "GOGC=50\x00TOKEN=hunter2\x00", "heaps": `{"libraries":["libc.so.6"],"glibc":{"arenas":1,"system":10,"free":5,"idle":4,"atLeast":false}}`}
	n := &heapNode{answers: good, now: time.Unix(1, 0)}
	ps := sized(100, 50, 3)
	readHeaps(n, ps)
	h, ok := ps[1].Heaps.Get()
	if !ok || h.Glibc.Idle != 4 || strings.Join(ps[0].Environ.Value, "|") != "GOGC=50" || len(n.asked) != 4 || ps[2].Heaps.Source != "" {
		t.Errorf("%+v %q %q", ps[1].Heaps, ps[0].Environ.Value, n.asked)
	}
	// The largest alone, and no longer than there is time.
	many := make([]int64, 40)
	for i := range many {
		many[i] = 10
	}
	n = &heapNode{answers: good, now: time.Unix(1, 0), each: time.Millisecond}
	ps = sized(many...)
	readHeaps(n, ps)
	if len(n.asked) != 2*maxHeaps || ps[maxHeaps-1].Heaps.State != snapshot.Present || ps[maxHeaps].Heaps.Err != notLargestHeap {
		t.Errorf("%d asked, %+v", len(n.asked), ps[maxHeaps].Heaps)
	}
	n = &heapNode{answers: good, now: time.Unix(1, 0), each: 60 * time.Millisecond}
	ps = sized(many...)
	readHeaps(n, ps)
	if len(n.asked) != maxHeaps+heapsAtOnce || ps[heapsAtOnce].Heaps.Err != overHeaps || ps[maxHeaps-1].Heaps.State != snapshot.Failed {
		t.Errorf("%d asked, %+v", len(n.asked), ps[heapsAtOnce].Heaps)
	}
	// A recording from before this was asked.
	n = &heapNode{replay: true}
	ps = sized(10)
	if readHeaps(n, ps); ps[0].Heaps.State != snapshot.Absent || ps[0].Environ.State != snapshot.Absent {
		t.Errorf("%+v", ps[0].Heaps)
	}
	for _, bad := range []string{"", "[]", `{"glibc":{"system":1,"free":2}}`, `{"go":{"inUse":-1}}`, `{"jvm":{"reserved":1,"committed":2}}`, `{"go":{"inUse":1e30}}`} {
		n = &heapNode{answers: map[string]string{"heaps": bad}}
		ps = sized(10)
		if readHeaps(n, ps); ps[0].Heaps.State != snapshot.Failed {
			t.Errorf("%s: %+v", bad, ps[0].Heaps)
		}
	}
}

func FuzzParseHeaps(f *testing.F) {
	f.Add([]byte(`{"libraries":["x"],"go":{"percent":-1,"limit":1},"jvm":{"reserved":3,"committed":2,"used":1},"unknown":[{"runtime":"go","why":"x"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeaps(b)
		if err == nil && h.Glibc != nil && h.Glibc.Free > h.Glibc.System {
			t.Error(fmt.Sprint(h))
		}
	})
}
