package vm

import (
	"strings"
	"testing"
)

func TestPlans(t *testing.T) {
	said := []byte(`    x_test.go:1: reclaimed: a deleted file; memory.high; 3 steps; planned 1048576; freed 1052672; error 4096
    x_test.go:2: reclaimed: a hot set; stopped by growth: its usage grew; of 201326592 were missing at the end 1048576; read again 2097152
`)
	got := plansOf([]*Column{{Machine: Machine{Arch: "amd64", Cgroup: "v2"}, Release: "5.10.0-32"}}, [][]byte{said})
	for _, row := range []string{
		"| 5.10 v2 | a deleted file | `memory.high` | 3 | 1024 | 1028 | 4 | 0.4 % |\n",
		"| 5.10 v2 | a hot set | growth | 192 | 1 | 2 |\n",
	} {
		if !strings.Contains(got, row) {
			t.Errorf("%s\nhas no row\n%s", got, row)
		}
	}
}

func TestBetween(t *testing.T) {
	got, err := between("a\n<!-- k -->\nold\n<!-- end of k -->\nb\n", "k", "new\n")
	if err != nil || got != "a\n<!-- k -->\n\nnew\n\n<!-- end of k -->\nb\n" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := between("a", "k", "new"); err == nil {
		t.Error("no marks are no error")
	}
}
