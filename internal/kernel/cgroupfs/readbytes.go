package cgroupfs

import (
	"bytes"
	"errors"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// ParseReadBytes sums what io.stat of version 2, or blkio.throttle.io_service_bytes of
// version 1, counts as read from all devices. A stacked device counts at each level. An
// empty file is 0: nothing was read yet.
func ParseReadBytes(b []byte) (int64, error) {
	var sum int64
	seen := len(b) == 0
	for line := range bytes.Lines(b) {
		words := bytes.Fields(line)
		if len(words) > 0 && bytes.ContainsRune(words[0], ':') {
			seen = true
			sum += readBytes(words[1:])
		}
		if len(words) == 2 && string(words[0]) == "Total" { // version 1, its last line
			seen = true
		}
		if sum < 0 {
			return 0, errors.New("more than can be read")
		}
	}
	if !seen {
		return 0, errors.New("expected lines of a device and what was read from it")
	}
	return sum, nil
}

// readBytes is what one line counts: "rbytes=N wbytes=N ..." or "Read N".
func readBytes(words [][]byte) int64 {
	if len(words) == 2 && string(words[0]) == "Read" {
		n, ok := snapshot.Number(words[1])
		return ifAmount(n, ok)
	}
	for _, w := range words {
		if v, found := bytes.CutPrefix(w, []byte("rbytes=")); found {
			n, ok := snapshot.Number(v)
			return ifAmount(n, ok)
		}
	}
	return 0
}

func ifAmount(n int64, ok bool) int64 {
	if !ok || n < 0 {
		return 0
	}
	return n
}
