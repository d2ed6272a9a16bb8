package census

import "testing"

func TestWalkersFor(t *testing.T) {
	for _, c := range []struct {
		processors, busy int
		memory           uint64
		want             int
	}{
		{1, 0, 1 << 40, 1},
		{2, 0, 2 << 30, 1},
		{2, 0, 24 << 30, 2},
		{2, 1, 24 << 30, 1},
		{2, 14, 24 << 30, 1},
		{4, 1, 24 << 30, 2},
		{8, 0, 24 << 30, 4},
		{8, 5, 24 << 30, 3},
		{8, 0, 8 << 30, 2},
		{64, 20, 1 << 40, 4},
		{0, 0, 0, 1},
	} {
		if got := walkersFor(c.processors, c.busy, c.memory); got != c.want {
			t.Errorf("%d processors, %d busy, %d bytes: %d walkers", c.processors, c.busy, c.memory, got)
		}
	}
}
