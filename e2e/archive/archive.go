// Package archive owns going through a capture by its published format
// (memwhy.capture/v1) alone, so that tests can make it smaller. It must not know
// what the answers in it mean.
package archive

import (
	"bytes"
	"fmt"
)

// Section is one answer of a capture.
type Section struct {
	Op, State, Path string
	Data            []byte
}

// Edit puts what edit makes of each section in place of its data.
func Edit(capture []byte, edit func(Section) []byte) ([]byte, error) {
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
		var s Section
		var size int
		var at int64
		if _, err := fmt.Sscanf(string(line), "section %s %s %d %d %q", &s.Op, &s.State, &size, &at, &s.Path); err != nil || size < 0 || size >= len(rest) {
			return nil, fmt.Errorf("section header %.80q: %w", line, err)
		}
		s.Data = rest[:size]
		data := edit(s)
		header := bytes.SplitN(line, []byte(" "), 5)
		header[3] = fmt.Append(nil, len(data))
		fmt.Fprintf(&out, "%s\n%s\n", bytes.Join(header, []byte(" ")), data)
		rest = rest[size+1:]
	}
}
