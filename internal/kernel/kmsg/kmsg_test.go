package kmsg

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/snapshot"
)

var update = flag.Bool("update", false, "rewrite the goldens")

func parse(t testing.TB, text string) snapshot.KernelLog {
	t.Helper()
	p := New(4096)
	if _, err := p.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return p.Close()
}

// Every fixture against its golden, whole and in pieces of every awkward size.
func TestFixtures(t *testing.T) {
	files, err := filepath.Glob("testdata/*.log")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d fixtures, %v", len(files), err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.MarshalIndent(parse(t, string(b)), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		golden := strings.TrimSuffix(file, ".log") + ".json"
		if *update {
			if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(got)+"\n"); d != "" {
			t.Errorf("%s (-want +got):\n%s", file, d)
		}
		for _, n := range []int{1, 7, 100, 4096} {
			p := New(4096)
			for rest := b; len(rest) > 0; {
				k := min(n, len(rest))
				_, _ = p.Write(rest[:k])
				rest = rest[k:]
			}
			again, _ := json.MarshalIndent(p.Close(), "", " ")
			if d := cmp.Diff(string(got), string(again)); d != "" {
				t.Errorf("%s in pieces of %d (-whole +pieces):\n%s", file, n, d)
			}
		}
	}
}

// quiet is a line as most lines of a log are.
func quiet(i int) string {
	lines := [...]string{
		"Nov 24 10:00:00 node1 kubelet[1200]: I1124 10:00:00.123456    1200 kubelet.go:2100] SyncLoop (PLEG): event for pod web-7d9f7a52_default\n",
		"Nov 24 10:00:00 node1 kernel: [12345.678901] IPv6: ADDRCONF(NETDEV_CHANGE): veth0d9f7a52: link becomes ready\n",
		"Nov 24 10:00:01 node1 dockerd[800]: time=\"2024-11-24T10:00:01Z\" level=info msg=\"ignoring event\" container=8d2c5b0a7f6e4d3c2b1a\n",
		"Nov 24 10:00:01 node1 systemd[1]: Started libcontainer container 8d2c5b0a7f6e4d3c2b1a09182736455463728190a0b1c2d3e4f5.\n",
	}
	return lines[i%len(lines)]
}

func realistic(t testing.TB, size int) []byte {
	oom, err := os.ReadFile("testdata/el7-1062-pod-limit.log")
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	for i := 0; len(b) < size; i++ {
		if i%40000 == 20000 {
			b = append(b, oom...)
		}
		b = append(b, quiet(i)...)
	}
	return b
}

func BenchmarkParse(b *testing.B) {
	log := realistic(b, 64<<20)
	b.SetBytes(int64(len(log)))
	b.ReportAllocs()
	for b.Loop() {
		p := New(4096)
		for rest := log; len(rest) > 0; {
			k := min(256<<10, len(rest))
			_, _ = p.Write(rest[:k])
			rest = rest[k:]
		}
		if n := len(p.Close().Records); n < 10 {
			b.Fatal(n)
		}
	}
}

func BenchmarkBareLineScan(b *testing.B) {
	log := realistic(b, 64<<20)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		lines := 0
		for rest := log; ; lines++ {
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				break
			}
			rest = rest[i+1:]
		}
	}
}
