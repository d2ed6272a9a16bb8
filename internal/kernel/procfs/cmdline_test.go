package procfs

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseCmdline(t *testing.T) {
	for _, tt := range []struct {
		file string
		want []string
	}{
		{"", nil},
		{"\x00\x00\x00", nil},
		{"a", []string{"a"}},
		{"a\x00", []string{"a"}},
		{"a\x00\x00b\x00", []string{"a", "", "b"}},
		{"\x00b\x00", []string{"", "b"}},
		{"nginx: worker process\x00\x00\x00\x00", []string{"nginx: worker process"}},
		{"postgres: \xff a\nb", []string{"postgres: \xff a\nb"}},
		{string(fixture(t, "cmdline", "6.18")), []string{"sh", "-c", "sleep 2; :", "", "two words"}},
		{string(fixture(t, "cmdline", "3.10.0-1062.el7.x86_64")), []string{"/usr/bin/appserver", "app", "40", "/data/lib/model.bin", "/dev/shm/sess", "/data/app.log", "30"}},
	} {
		got, err := ParseCmdline([]byte(tt.file))
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got):\n%s", tt.file, err, diff)
		}
	}
}

func FuzzParseCmdline(f *testing.F) {
	seed(f, "cmdline")
	f.Fuzz(func(t *testing.T, b []byte) {
		args, err := ParseCmdline(b)
		if err != nil {
			t.Fatal(err)
		}
		if joined := strings.Join(args, "\x00"); joined != strings.TrimRight(string(b), "\x00") {
			t.Errorf("%q joined is %q", b, joined)
		}
		if slices.ContainsFunc(args, func(s string) bool { return strings.Contains(s, "\x00") }) {
			t.Errorf("%q", args)
		}
	})
}
