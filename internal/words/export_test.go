package words

import (
	"os"
	"testing"
)

// Parse reads a catalogue.
func Parse(t *testing.T, file string) (map[string]string, error) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return parse(string(b))
}
