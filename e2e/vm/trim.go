package vm

import (
	"bytes"

	"github.com/memwhy/memwhy/e2e/archive"
)

// trim makes a capture small enough to keep: of long tables of the node it
// leaves the beginning, which parses like the whole.
func trim(capture []byte) ([]byte, error) {
	return archive.Edit(capture, func(s archive.Section) []byte { return beginning(s.Path, s.Data) })
}

// beginning is what to keep of a table of the node.
func beginning(path string, data []byte) []byte {
	if path == "/proc/slabinfo" {
		return lines(data, 12)
	}
	return data
}

func lines(b []byte, n int) []byte {
	end := 0
	for range n {
		i := bytes.IndexByte(b[end:], '\n')
		if i < 0 {
			return b
		}
		end += i + 1
	}
	return b[:end]
}
