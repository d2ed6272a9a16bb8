package procfs

import (
	"bytes"
	"errors"
	"math"
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// tick is the unit of times in /proc/PID/stat: USER_HZ is 100 wherever memwhy runs.
const tick = 10 * time.Millisecond

// The columns of /proc/PID/stat behind the name, which may hold anything but ends
// with the last parenthesis: linux fs/proc/array.c do_task_stat.
const (
	columnMinorFaults = 7
	columnMajorFaults = 9
	columnUser        = 11
	columnSystem      = 12
	columnStart       = 19
)

// ParseTimes parses /proc/PID/stat.
func ParseTimes(b []byte) (t snapshot.Times, err error) {
	bad := errors.New("expected a line of /proc/PID/stat")
	end := bytes.LastIndexByte(b, ')')
	if end < 0 {
		return t, bad
	}
	columns := bytes.Fields(b[end+1:])
	if len(columns) <= columnStart {
		return t, bad
	}
	var user, system int64
	for _, c := range []struct {
		column int
		into   *int64
	}{{columnMinorFaults, &t.MinorFaults}, {columnMajorFaults, &t.MajorFaults}, {columnUser, &user}, {columnSystem, &system}, {columnStart, &t.Start}} {
		n, ok := snapshot.Number(columns[c.column])
		if !ok || n < 0 {
			return snapshot.Times{}, bad
		}
		*c.into = n
	}
	if most := math.MaxInt64 / int64(tick) / 2; user > most || system > most {
		return snapshot.Times{}, bad
	}
	t.CPU = time.Duration(user+system) * tick
	return t, nil
}

// ParseIO parses /proc/PID/io, lines of "key: bytes".
func ParseIO(b []byte) (s snapshot.Stat, err error) {
	err = s.Parse(bytes.ReplaceAll(b, []byte(": "), []byte(" ")))
	return s, err
}
