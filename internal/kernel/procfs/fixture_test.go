package procfs

import (
	"os"
	"path/filepath"
	"testing"
)

// fixture reads testdata/KIND/NAME.txt; testdata/README.md says where it is from.
func fixture(tb testing.TB, kind, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", kind, name+".txt"))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// seed gives a fuzz target every fixture of these kinds.
func seed(f *testing.F, kinds ...string) {
	f.Helper()
	for _, kind := range kinds {
		files, _ := filepath.Glob(filepath.Join("testdata", kind, "*.txt"))
		if len(files) == 0 {
			f.Fatalf("no fixture of kind %s", kind)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
}
