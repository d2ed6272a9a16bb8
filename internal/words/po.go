package words

import (
	"fmt"
	"strconv"
	"strings"
)

// parse reads a catalogue: pairs of msgid and msgstr, each of one or more quoted
// strings. Comments and the header, whose msgid is empty, are passed over, and what
// is not translated yet.
func parse(po string) (map[string]string, error) {
	texts := map[string]string{}
	var id, text string
	var part *string
	end := func() {
		if id != "" && text != "" {
			texts[id] = text
		}
		id, text = "", ""
	}
	n := 0
	for line := range strings.Lines(po) {
		n++
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
			continue
		case strings.HasPrefix(line, "msgid "):
			end()
			part, line = &id, line[len("msgid "):]
		case strings.HasPrefix(line, "msgstr "):
			part, line = &text, line[len("msgstr "):]
		}
		s, err := strconv.Unquote(line)
		if err != nil || part == nil {
			return nil, fmt.Errorf("line %d: neither msgid, msgstr nor a quoted string: %.80q", n, line)
		}
		*part += s
	}
	end()
	return texts, nil
}
