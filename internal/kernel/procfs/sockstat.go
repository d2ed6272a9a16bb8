package procfs

import (
	"errors"
	"strconv"
	"strings"
)

// ParseSockstat returns the bytes that the buffers of TCP and UDP sockets have, from
// the mem columns of /proc/net/sockstat. They are pages of the whole node, not of a
// network namespace (linux net/ipv4/proc.c sockstat_seq_show, proto_memory_allocated).
func ParseSockstat(b []byte, pageSize int64) (bytes int64, err error) {
	found := false
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "TCP:" && f[0] != "UDP:" {
			continue
		}
		for i := 1; i+1 < len(f); i += 2 {
			if f[i] != "mem" {
				continue
			}
			pages, err := strconv.ParseInt(f[i+1], 10, 64)
			if err != nil {
				return 0, errors.New("expected a number of pages")
			}
			n, ok := scale(max(pages, 0), pageSize) // a processor may be ahead of the others
			if !ok || bytes+n < 0 {
				return 0, errors.New("expected a number of pages that fits")
			}
			bytes, found = bytes+n, true
		}
	}
	if !found {
		return 0, errors.New("expected TCP: or UDP: with mem")
	}
	return bytes, nil
}
