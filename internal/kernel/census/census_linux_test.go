package census

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

func TestTry(t *testing.T) {
	t0 := time.Now()
	e, err := Open(context.Background())
	if err != nil {
		var ve *ebpf.VerifierError
		if errors.As(err, &ve) {
			l := ve.Log
			t.Fatalf("%s", strings.Join(l[max(0, len(l)-60):], "\n"))
		}
		t.Fatalf("%+v", err)
	}
	t.Log("open", time.Since(t0))
	defer e.Close()
	for range 4 {
		c, err := e.Scan(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("wall %v readout %v slices %+v frames %d groups %d inodes %d files %d slabs %d node %+v dropped %+v doubts %q", c.Wall, c.ReadOut, c.Slices, c.Frames, len(c.Groups), len(c.Inodes), len(c.Files), len(c.Slabs), c.Node, c.Dropped, c.Doubts)
	}
}
