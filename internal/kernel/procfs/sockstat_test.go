package procfs

import "testing"

func TestParseSockstat(t *testing.T) {
	const real = "sockets: used 13\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 219\nUDP: inuse 0 mem 3\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 7\n"
	for in, want := range map[string]int64{
		real:                                222 * 4096,
		"TCP: inuse 1 mem 5\n":              5 * 4096,
		"TCP: mem -3\nUDP: mem 2":           2 * 4096,
		"":                                  -1,
		"sockets: used 13\nTCP: inuse 1\n":  -1,
		"TCP: mem x\n":                      -1,
		"TCP: mem 9223372036854775807\n":    -1,
		"TCP: mem 99999999999999999999999":  -1,
		"FRAG: inuse 0 memory 7\nTCP6: mem": -1,
	} {
		got, err := ParseSockstat([]byte(in), 4096)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d (%v)", in, got, want, err)
		}
	}
}

func FuzzParseSockstat(f *testing.F) {
	f.Add([]byte("TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 219\nUDP: inuse 0 mem 0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := ParseSockstat(b, 4096); err == nil && n < 0 {
			t.Errorf("%q: %d", b, n)
		}
	})
}
