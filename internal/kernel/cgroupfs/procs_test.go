package cgroupfs

import (
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePIDs(t *testing.T) {
	for _, tt := range []struct {
		file string
		want []int
	}{
		{"", nil},
		{"1\n", []int{1}},
		{"1\n2", []int{1, 2}},
		{"0\n0\n7\n3\n7\n", []int{0, 0, 7, 3, 7}},
		{"2147483647\n", []int{math.MaxInt32}},
	} {
		got, err := ParsePIDs([]byte(tt.file))
		if err != nil || !cmp.Equal(tt.want, got) {
			t.Errorf("%q: %v, %v; want %v", tt.file, got, err, tt.want)
		}
	}
	for _, junk := range []string{"\n", "x\n", "1\n\n2\n", "1 2\n", "-1\n", "2147483648\n", "1\n\x00"} {
		if got, err := ParsePIDs([]byte(junk)); err == nil {
			t.Errorf("%q: %v, want an error", junk, got)
		}
	}
}

func TestParsePIDsOfRealKernels(t *testing.T) {
	for name, want := range map[string]int{"3.10.0-1062.el7.x86_64": 38, "6.18-v2-made": 5} {
		pids, err := ParsePIDs(fixture(t, "cgroup.procs", name))
		if err != nil || len(pids) != want {
			t.Errorf("%s: %d PIDs, %v; want %d", name, len(pids), err, want)
		}
	}
}

func FuzzParsePIDs(f *testing.F) {
	seed(f, "cgroup.procs")
	f.Fuzz(func(t *testing.T, b []byte) {
		pids, err := ParsePIDs(b)
		if err != nil {
			return
		}
		var printed []byte
		for _, pid := range pids {
			if pid < 0 || pid > math.MaxInt32 {
				t.Fatalf("PID %d", pid)
			}
			printed = fmt.Appendf(printed, "%d\n", pid)
		}
		if again, err := ParsePIDs(printed); err != nil || !cmp.Equal(pids, again) {
			t.Errorf("%v printed and parsed again is %v, %v", pids, again, err)
		}
	})
}
