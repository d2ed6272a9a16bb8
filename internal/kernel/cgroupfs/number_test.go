package cgroupfs

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/size"
)

func TestParseNumberAndLimit(t *testing.T) {
	for _, tt := range []struct {
		file          string
		number, limit int64
	}{
		{"0\n", 0, 0},
		{"123\n", 123, 123},
		{"123", 123, 123},
		{"max\n", size.Unlimited, size.Unlimited},
		{"-1\n", -1, -1},
		{"-8192\n", -8192, -8192},
		{"268435456\n", 268435456, 268435456},
		{"4611686018427387903\n", 1<<62 - 1, 1<<62 - 1},
		{"4611686018427387904\n", 1 << 62, size.Unlimited},
		{"9223372036854771712\n", 9223372036854771712, size.Unlimited}, // page counters, 4 KiB pages
		{"9223372036854710272\n", 9223372036854710272, size.Unlimited}, // 64 KiB pages
		{"9223372036854775807\n", math.MaxInt64, size.Unlimited},       // res_counter
		{"18446744073709551615\n", -1, size.Unlimited},
	} {
		if n, err := ParseNumber([]byte(tt.file)); err != nil || n != tt.number {
			t.Errorf("ParseNumber(%q) = %d, %v; want %d", tt.file, n, err, tt.number)
		}
		if n, err := ParseLimit([]byte(tt.file)); err != nil || n != tt.limit {
			t.Errorf("ParseLimit(%q) = %d, %v; want %d", tt.file, n, err, tt.limit)
		}
	}
}

func TestParseNumberRefusesJunk(t *testing.T) {
	for _, junk := range []string{"", "\n", "maximum\n", "1 2\n", "1\n2\n", "12kB\n", "+1\n", "-\n", "--1\n", "18446744073709551616\n", "99999999999999999999999\n", "\x00"} {
		if n, err := ParseNumber([]byte(junk)); err == nil {
			t.Errorf("ParseNumber(%q) = %d, want an error", junk, n)
		}
		if n, err := ParseLimit([]byte(junk)); err == nil {
			t.Errorf("ParseLimit(%q) = %d, want an error", junk, n)
		}
	}
}

func TestParseLimitOfRealKernels(t *testing.T) {
	for name, want := range map[string]int64{
		"3.10.0-1062.el7.x86_64":      268435456,
		"3.10.0-1062.el7.x86_64-root": size.Unlimited,
		"6.18-root":                   size.Unlimited,
		"6.18-v2-made":                size.Unlimited,
	} {
		if n, err := ParseLimit(fixture(t, "limit", name)); err != nil || n != want {
			t.Errorf("%s: %d, %v; want %d", name, n, err, want)
		}
	}
}

func FuzzParseNumber(f *testing.F) {
	seed(f, "number", "limit")
	f.Add([]byte("-1\n"))
	f.Add([]byte("18446744073709551615"))
	f.Fuzz(func(t *testing.T, b []byte) {
		text := strings.TrimSuffix(string(b), "\n")
		want, err := strconv.ParseInt(text, 10, 64)
		if u, uerr := strconv.ParseUint(text, 10, 64); uerr == nil {
			want, err = int64(u), nil
		}
		if text == "max" {
			want, err = size.Unlimited, nil
		}
		bad := err != nil || strings.HasPrefix(text, "+")
		n, err := ParseNumber(b)
		if (err != nil) != bad || err == nil && n != want {
			t.Errorf("ParseNumber(%q) = %d, %v; want %d, bad %v", b, n, err, want, bad)
		}
	})
}

func FuzzParseLimit(f *testing.F) {
	seed(f, "number", "limit")
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := ParseNumber(b)
		limit, lerr := ParseLimit(b)
		if (err == nil) != (lerr == nil) {
			t.Fatalf("%q: number says %v, limit says %v", b, err, lerr)
		}
		if limit != n && limit != size.Unlimited || limit >= 1<<62 && limit != size.Unlimited {
			t.Errorf("%q: number %d, limit %d", b, n, limit)
		}
	})
}
