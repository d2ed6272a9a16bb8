package gather

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Every zram device is read, and a node without one has none, which is known.
func TestZram(t *testing.T) {
	n := fake()
	if r := zram(n); r.State != snapshot.Absent || len(r.Value) != 0 {
		t.Errorf("%+v", r)
	}
	n.files["/sys/block/zram0/mm_stat"] = "1073741824 268435456 271581184 0 271581184 12 0 0 0\n"
	n.files["/sys/block/zram1/mm_stat"] = " 4096 100 4096 0 4096 0 0 0\n"
	want := []snapshot.Zram{{Name: "zram0", Stored: 1 << 30, Compressed: 1 << 28, Used: 271581184}, {Name: "zram1", Stored: 4096, Compressed: 100, Used: 4096}}
	if r := zram(n); r.State != snapshot.Present || !cmp.Equal(r.Value, want) {
		t.Errorf("%+v", r)
	}
	n.faults["/sys/block/zram1/mm_stat"] = kernel.Answer{State: snapshot.Denied, Err: "permission denied"}
	if r := zram(n); r.State != snapshot.Denied || len(r.Value) != 1 {
		t.Errorf("%+v", r)
	}
	if tuned := tuning(n); tuned.Zswap.State != snapshot.Absent || tuned.Swappiness.State != snapshot.Absent {
		t.Errorf("%+v", tuned)
	}
}
