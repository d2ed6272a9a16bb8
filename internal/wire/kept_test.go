package wire

import (
	"context"
	"testing"

	"github.com/memwhy/memwhy/internal/kernel/census"
	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestNamesAreKept(t *testing.T) {
	look := func(path string) *snapshot.Census {
		return &snapshot.Census{Inodes: []snapshot.CensusInode{{Device: 8, Number: 12, Generation: 3, Path: path}}}
	}
	searched := 0
	k := &Counter{own: true, again: true}
	first, second, last := look("/data"), look(""), look("")
	k.names(first, func() { searched++ })
	k.names(second, func() { searched++ })
	k.expect(false)
	k.names(last, func() { searched++ })
	if first.Recalled != 0 || second.Recalled != 1 || last.Recalled != 1 || last.Inodes[0].Path != "/data" {
		t.Errorf("%+v, %+v, %+v", first, second, last)
	}
	if k.last != nil {
		t.Error("names are kept for nobody")
	}
	k = &Counter{} // for many nodes
	first, second = look("/data"), look("")
	first.Files = []snapshot.CensusFile{{PageState: &snapshot.PageState{Bytes: 4096}}}
	k.names(first, func() { searched++ })
	k.names(second, func() { searched++ })
	if second.Recalled != 1 || searched != 2 {
		t.Errorf("%+v, searched %d times", second, searched)
	}
}

// The program is loaded once for all censuses, and is gone after the last.
func TestTheEngineIsKept(t *testing.T) {
	e, err := census.Open(context.Background())
	if err != nil {
		t.Skip(err)
	}
	e.Close()
	k := &Counter{own: true, again: true}
	defer k.Close()
	scan := func() *census.Engine {
		t.Helper()
		if c, err := k.scan(context.Background()); err != nil || len(c.Files) == 0 {
			t.Fatal(err)
		}
		return k.e
	}
	if e = scan(); e == nil || scan() != e {
		t.Error("loaded anew")
	}
	k.expect(false)
	if scan() != nil {
		t.Error("still loaded after the last")
	}
	if scan() != nil {
		t.Error("kept although nobody wants another")
	}
	k.expect(true)
	scan()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := k.scan(ended); err == nil || k.e != nil {
		t.Errorf("%v, %v", err, k.e)
	}
}
