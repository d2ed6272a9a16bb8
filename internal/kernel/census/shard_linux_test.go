package census

import "testing"

func TestWalkersFor(t *testing.T) {
	for _, c := range []struct {
		processors int
		memory     uint64
		want       int
	}{{1, 1 << 40, 1}, {2, 2 << 30, 1}, {2, 24 << 30, 2}, {4, 24 << 30, 2}, {8, 24 << 30, 4}, {8, 8 << 30, 2}, {64, 1 << 40, 4}, {0, 0, 1}} {
		if got := walkersFor(c.processors, c.memory); got != c.want {
			t.Errorf("%d processors, %d bytes: %d walkers", c.processors, c.memory, got)
		}
	}
}
