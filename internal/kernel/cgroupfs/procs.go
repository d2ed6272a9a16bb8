package cgroupfs

import (
	"bytes"
	"fmt"
	"math"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// ParsePIDs parses cgroup.procs, keeping its order, its repetitions and its
// zeros, which stand for processes outside of this PID namespace. One line that
// is no PID is an error: a list of processes must not be silently shorter.
func ParsePIDs(b []byte) ([]int, error) {
	if len(b) == 0 {
		return nil, nil
	}
	pids := make([]int, 0, min(bytes.Count(b, []byte{'\n'}), len(b)/2)+1)
	for line := range bytes.Lines(b) {
		n, ok := snapshot.Number(bytes.TrimSuffix(line, []byte("\n")))
		if !ok || n < 0 || n > math.MaxInt32 {
			return nil, fmt.Errorf("line %d: expected a process ID", len(pids)+1)
		}
		pids = append(pids, int(n))
	}
	return pids, nil
}
