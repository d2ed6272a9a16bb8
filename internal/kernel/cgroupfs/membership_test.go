package cgroupfs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMembership(t *testing.T) {
	for _, tt := range []struct {
		file string
		want []Membership
	}{
		{"4:memory:/a:b\n", []Membership{{4, []string{"memory"}, "/a:b"}}},
		{"0::/x", []Membership{{0, nil, "/x"}}},
		{string(fixture(t, "membership", "6.18-v2-made")), []Membership{{0, nil, "/kubepods.slice/kubepods-pod1.slice/cri-containerd-a:b:c.scope (deleted)"}}},
		{"2:cpuacct,cpu:/\n1:name=systemd:/../..\n", []Membership{{2, []string{"cpuacct", "cpu"}, "/"}, {1, []string{"name=systemd"}, "/../.."}}},
		{"junk\n0::/\xff\n-1::/\n1:x:relative\n99999999999:memory:/\n", []Membership{{0, nil, "/\xff"}}},
	} {
		got, err := ParseMembership([]byte(tt.file))
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got):\n%s", tt.file, err, diff)
		}
	}
	for _, junk := range []string{"", "\n", "memory:/\n", "0:/x\n", "::/\n"} {
		if got, err := ParseMembership([]byte(junk)); err == nil {
			t.Errorf("%q: %v, want an error", junk, got)
		}
	}
}

func TestParseMembershipOfRealKernels(t *testing.T) {
	for name, lines := range map[string]int{"3.10.0-1062.el7.x86_64": 4, "6.18": 10} {
		all, err := ParseMembership(fixture(t, "membership", name))
		if err != nil || len(all) != lines {
			t.Errorf("%s: %d lines, %v; want %d", name, len(all), err, lines)
		}
	}
}

func FuzzParseMembership(f *testing.F) {
	seed(f, "membership")
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := ParseMembership(b)
		if (err != nil) != (len(all) == 0) {
			t.Fatalf("%d lines, %v", len(all), err)
		}
		var printed []byte
		for _, m := range all {
			if m.Hierarchy < 0 || m.Path == "" || m.Path[0] != '/' || strings.Contains(m.Path, "\n") {
				t.Errorf("%+v", m)
			}
			printed = fmt.Appendf(printed, "%d:%s:%s\n", m.Hierarchy, strings.Join(m.Controllers, ","), m.Path)
		}
		if again, _ := ParseMembership(printed); !cmp.Equal(all, again) {
			t.Errorf("%v printed and parsed again is %v", all, again)
		}
	})
}
