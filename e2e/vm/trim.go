package vm

import (
	"bytes"
	"fmt"
)

// trim makes a capture small enough to keep: of long tables of the node it
// leaves the beginning, which parses like the whole. It reads the archive by
// its published format (memwhy.capture/v1) alone.
func trim(capture []byte) ([]byte, error) {
	var out bytes.Buffer
	line, rest, ok := bytes.Cut(capture, []byte("\n"))
	if !ok || string(line) != "memwhy-capture v1" {
		return nil, fmt.Errorf("not a capture: %.40q", line)
	}
	out.Write(append(line, '\n'))
	for {
		if line, rest, ok = bytes.Cut(rest, []byte("\n")); !ok {
			return nil, fmt.Errorf("the capture has no end")
		}
		if bytes.HasPrefix(line, []byte("end ")) {
			out.Write(append(line, '\n'))
			return out.Bytes(), nil
		}
		var op, state, path string
		var size int
		var at int64
		if _, err := fmt.Sscanf(string(line), "section %s %s %d %d %q", &op, &state, &size, &at, &path); err != nil || size >= len(rest) {
			return nil, fmt.Errorf("section header %.80q: %w", line, err)
		}
		data := beginning(path, rest[:size])
		header := bytes.SplitN(line, []byte(" "), 5)
		header[3] = fmt.Append(nil, len(data))
		fmt.Fprintf(&out, "%s\n%s\n", bytes.Join(header, []byte(" ")), data)
		rest = rest[size+1:]
	}
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
