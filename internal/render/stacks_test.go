package render

import (
	"bytes"
	"testing"

	"github.com/google/pprof/profile"

	"github.com/memwhy/memwhy/internal/report"
)

var stacks = []report.Stack{
	{Frames: []string{"node", "a;b", "x y\n"}, File: "/x y\n", Bytes: 3, Reclaimable: 2, Dirty: 1},
	{Frames: []string{"node", "c", "data"}, File: "/1/data", Bytes: 4},
	{Frames: []string{"node", "c", "data"}, File: "/2/data", Bytes: 5},
}

func TestFolded(t *testing.T) {
	want := "node;a\\x3bb;x y\\n 3\nnode;c;data 9\n"
	if got := string(Folded(stacks)); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestPprof(t *testing.T) {
	b, err := Pprof(stacks)
	if err != nil {
		t.Fatal(err)
	}
	p, err := profile.Parse(bytes.NewReader(b))
	if err != nil || len(p.Sample) != 3 || len(p.SampleType) != 3 || p.SampleType[1].Type != "reclaimable" {
		t.Fatalf("%v %v", err, p)
	}
	s := p.Sample[0]
	if s.Value[0] != 3 || s.Value[1] != 2 || s.Value[2] != 1 || s.Location[0].Line[0].Function.Name != `/x y\n` || s.Location[2].Line[0].Function.Name != "node" {
		t.Errorf("%v", p)
	}
	if a, b := p.Sample[1].Location[0], p.Sample[2].Location[0]; a == b || p.Sample[1].Location[1].ID != p.Sample[2].Location[1].ID {
		t.Error("two files of one name are one, or one directory is two")
	}
	if b, err = Pprof(nil); err != nil || len(b) == 0 {
		t.Errorf("no stacks: %v", err)
	}
}
