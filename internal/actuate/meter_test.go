package actuate

import (
	"testing"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// texts is a node of some files.
type texts map[string]string

func (n texts) Ask(q kernel.Question) kernel.Answer {
	text, ok := n[q.Path]
	if !ok {
		return kernel.Answer{State: snapshot.Absent, Err: "no such file"}
	}
	return kernel.Answer{State: snapshot.Present, Data: []byte(text)}
}

func (texts) Origin() kernel.Origin { return kernel.Origin{PageSize: 4096} }

// The root of version 2 has no counter of its own.
func TestMeterOfRoot(t *testing.T) {
	root := remedy.Group{Path: "/", Dir: "/cg", Version: snapshot.V2, ID: 1}
	for name, c := range map[string]struct {
		stat string
		want int64 // 0: it cannot be read
	}{
		"with kernel":    {"anon 100\nfile 1000\nkernel 30\nslab 20\nsock 5\nshmem 200\n", 1135},
		"without":        {"anon 100\nfile 1000\nslab 20\nkernel_stack 3\nsock 5\nshmem 200\n", 1128},
		"without a file": {"anon 100\n", 0},
	} {
		s, err := NewMeter(texts{"/cg/memory.stat": c.stat}, false).Read(root)
		if s.Usage.Value != c.want && err == nil || (err != nil) != (c.want == 0) {
			t.Errorf("%s: %+v, %v", name, s.Usage, err)
		}
	}
	if s, err := NewMeter(texts{"/cg/memory.stat": "anon 1\nfile 1\n"}, false).Read(remedy.Group{Path: "/c", Dir: "/cg/c", Version: snapshot.V2}); err == nil {
		t.Errorf("another cgroup: %+v", s.Usage)
	}
}
