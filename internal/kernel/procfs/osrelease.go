package procfs

import (
	"errors"
	"strings"
)

// ParseOSRelease returns the PRETTY_NAME of an os-release, unquoted. As in a
// shell the last assignment counts.
func ParseOSRelease(b []byte) (string, error) {
	var name string
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(strings.Trim(line, blank+"\r"), "PRETTY_NAME="); ok {
			if plain, ok := unquote(value); ok {
				name = plain
			}
		}
	}
	if name == "" {
		return "", errors.New("expected a line PRETTY_NAME=")
	}
	return name, nil
}

// unquote undoes the quoting of a shell word; false means an open quote.
func unquote(word string) (string, bool) {
	var plain strings.Builder
	quote := byte(0)
	for i := 0; i < len(word); i++ {
		c := word[i]
		switch {
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
			continue
		case c == quote && quote != 0:
			quote = 0
			continue
		case c == '\\' && quote != '\'' && i+1 < len(word) && (quote == 0 || strings.IndexByte("$\"\\`", word[i+1]) >= 0):
			i++
			c = word[i]
		}
		plain.WriteByte(c)
	}
	return plain.String(), quote == 0
}
