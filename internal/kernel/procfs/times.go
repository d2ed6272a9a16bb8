package procfs

import (
	"bytes"
	"errors"
	"math"
	"strconv"
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

// ParseFDInfo takes of /proc/PID/fdinfo/N where the descriptor is in its file, and
// whether it was opened to be written alone: linux fs/proc/fd.c seq_show.
func ParseFDInfo(b []byte) (offset int64, writes bool, err error) {
	bad := errors.New("expected pos and flags")
	var seen int
	for line := range bytes.Lines(b) {
		key, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(":\t"))
		switch string(key) {
		case "pos":
			n, ok := snapshot.Number(value)
			if !ok || n < 0 {
				return 0, false, bad
			}
			offset = n
		case "flags": // octal, of open(2)
			n, err := strconv.ParseUint(string(value), 8, 32)
			if err != nil {
				return 0, false, bad
			}
			writes = n&3 == 1
		default:
			continue
		}
		seen++
	}
	if seen != 2 {
		return 0, false, bad
	}
	return offset, writes, nil
}
