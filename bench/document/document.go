// Package document owns putting figures into a page, between marks that say which
// command they come from.
package document

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Replace puts said in place of what is between two marks of a file.
func Replace(file, begin, end, said string) error {
	b, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no marks %q and %q", file, begin, end)
	}
	return os.WriteFile(file, []byte(before+begin+"\n"+strings.TrimSpace(said)+"\n\n"+end+after), 0o644)
}
