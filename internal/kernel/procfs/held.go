package procfs

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// ParsePipes parses the answer to a question for pipes: inode, bytes, room.
func ParsePipes(b []byte) (pipes []snapshot.Pipe, err error) {
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) != 3 {
			return nil, errors.New("expected an inode, bytes and room")
		}
		inode, err := strconv.ParseUint(f[0], 10, 64)
		in, ok1 := snapshot.Number(f[1])
		room, ok2 := snapshot.Number(f[2])
		if err != nil || !ok1 || !ok2 || in < 0 || room < 0 || in > 1<<31 || room > 1<<31 {
			return nil, errors.New("expected an inode, bytes and room")
		}
		pipes = append(pipes, snapshot.Pipe{Inode: inode, Bytes: in, Room: room})
	}
	return pipes, nil
}

// ParseMapInfo takes of /proc/PID/fdinfo/N of a BPF map what it is and takes: linux
// kernel/bpf/syscall.c bpf_map_show_fdinfo.
func ParseMapInfo(b []byte) (m snapshot.BPFMap, err error) {
	known := false
	for line := range bytes.Lines(b) {
		key, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), ":\t")
		var into *int64
		switch key {
		case "map_id":
			into = &m.ID
		case "map_type":
			into = &m.Kind
		case "memlock":
			into, known = &m.Bytes, true
		case "map_flags":
			n, err := strconv.ParseUint(value, 0, 32)
			if err != nil {
				return snapshot.BPFMap{}, errors.New("expected flags")
			}
			m.Flags = int64(n)
			continue
		default:
			continue
		}
		n, ok := snapshot.Number(value)
		if !ok || n < 0 || n > 1<<50 {
			return snapshot.BPFMap{}, errors.New("expected a number")
		}
		*into = n
	}
	if !known {
		return snapshot.BPFMap{}, errors.New("expected memlock")
	}
	return m, nil
}

// ParseDentries parses /proc/sys/fs/dentry-state: linux fs/dcache.c dentry_stat_t.
func ParseDentries(b []byte) (d snapshot.Dentries, err error) {
	f := strings.Fields(string(b))
	if len(f) < 5 {
		return d, errors.New("expected six numbers")
	}
	for at, into := range map[int]*int64{0: &d.All, 1: &d.Unused, 4: &d.Negative} {
		n, ok := snapshot.Number(f[at])
		if !ok {
			return snapshot.Dentries{}, errors.New("expected six numbers")
		}
		*into = max(0, n) // summed over processors, one after the other
	}
	return d, nil
}
