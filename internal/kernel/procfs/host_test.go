package procfs

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseVersion(t *testing.T) {
	for name, want := range map[string]string{"3.10.0-1062.el7.x86_64": "3.10.0-1062.el7.x86_64", "6.18": "6.18.44"} {
		if got, err := ParseVersion(fixture(t, "version", name)); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	for _, junk := range []string{"", "\n", "Linux version", "Linux version \n", "FreeBSD 14.0", "linux version 6.1"} {
		if got, err := ParseVersion([]byte(junk)); err == nil {
			t.Errorf("%q: %q, want an error", junk, got)
		}
	}
}

func TestParseOnline(t *testing.T) {
	for file, want := range map[string]int{
		"0\n": 1, "0-1\n": 2, "0-3,5\n": 5, "0-3,5-7,64": 8, "2,4,6\n": 3, "0-1048575": 1 << 20,
		string(fixture(t, "online", "3.10.0-1062.el7.x86_64")): 2,
	} {
		if got, err := ParseOnline([]byte(file)); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", file, got, err, want)
		}
	}
	for _, junk := range []string{"", "\n", "x", "0-", "-1", "3-1", "0-3,2", "0,0", "0-1048576", "0-9223372036854775807", "0-3,", "0 - 3", "0-1-2"} {
		if got, err := ParseOnline([]byte(junk)); err == nil {
			t.Errorf("%q: %d, want an error", junk, got)
		}
	}
}

func TestParseMGLRU(t *testing.T) {
	for file, want := range map[string]bool{"0x0007\n": true, "0x0001": true, "0x0000\n": false, "0x0006\n": false, "y\n": true, "Y": true, "n\n": false, "N\n": false} {
		if got, err := ParseMGLRU([]byte(file)); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", file, got, err, want)
		}
	}
	for _, junk := range []string{"", "\n", "7\n", "0x", "0x-1", "0xg", "yes", "0x10000000000000000", "0x_7"} {
		if got, err := ParseMGLRU([]byte(junk)); err == nil {
			t.Errorf("%q: %v, want an error", junk, got)
		}
	}
}

func FuzzParseVersion(f *testing.F) {
	seed(f, "version")
	f.Fuzz(func(t *testing.T, b []byte) {
		release, err := ParseVersion(b)
		if err == nil && (release == "" || strings.ContainsAny(release, blank) || !strings.Contains(string(b), release)) {
			t.Errorf("%q: %q", b, release)
		}
	})
}

func FuzzParseOnline(f *testing.F) {
	seed(f, "online")
	f.Add([]byte("0-3,5\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := ParseOnline(b)
		if err != nil {
			return
		}
		if n < 1 || n > maxCPUs {
			t.Fatalf("%q: %d CPUs", b, n)
		}
		if again, err := ParseOnline(fmt.Appendf(nil, "0-%d\n", n-1)); err != nil || again != n {
			t.Errorf("0-%d: %d, %v", n-1, again, err)
		}
	})
}

func FuzzParseMGLRU(f *testing.F) {
	seed(f, "lru_gen")
	f.Fuzz(func(t *testing.T, b []byte) {
		var mask uint64
		on, err := ParseMGLRU(b)
		if n, serr := fmt.Sscanf(string(b), "0x%x\n", &mask); n == 1 && serr == nil && err == nil && on != (mask&1 == 1) {
			t.Errorf("%q: %v", b, on)
		}
		if err != nil && on {
			t.Errorf("%q: on with an error", b)
		}
	})
}
