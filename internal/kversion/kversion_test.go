package kversion

import (
	"testing"
)

func TestParse(t *testing.T) {
	for release, want := range map[string]Vendor{
		"3.10.0-514.el7.x86_64":                  EL7,
		"3.10.0-1062.18.1.el7.x86_64":            EL7,
		"3.10.0-957.27.2.el7.centos.plus.x86_64": EL7,
		"3.10.0-1160.el7":                        EL7,
		"2.6.32-754.el6.x86_64":                  EL6,
		"4.18.0-147.el8.x86_64":                  EL8,
		"4.18.0-240.1.1.el8_3.x86_64":            EL8,
		"5.14.0-427.50.1.el9_4.x86_64":           EL9,
		"5.14.0-427.50.1.el9_4.aarch64+64k":      EL9,
		"6.12.0-55.9.1.el10_0.x86_64":            EL10,
		"4.1.12-112.16.4.el7uek.x86_64":          UEK,
		"5.15.0-72-generic":                      Ubuntu,
		"6.5.0-1014-gcp":                         Ubuntu,
		"5.15.0-101-generic-64k":                 Ubuntu,
		"5.10.0-32-cloud-amd64":                  Debian,
		"6.1.0-50-amd64":                         Debian,
		"6.12.117+deb13-cloud-arm64":             Debian,
		"5.4.242-155.348.amzn2.x86_64":           Amazon2,
		"6.12.58-82.121.amzn2023.x86_64":         Amazon2023,
		"4.19.91-26.al7.x86_64":                  Alibaba,
		"6.18.19":                                Upstream,
		"7.1":                                    Upstream,
		"7.1.0-rc3":                              Upstream,
		"6.1.0-custom+":                          Custom,
		"5.4.226-1.el7.elrepo.x86_64":            Custom,
		"5.4.0-1062.el7.x86_64":                  Custom, // another base than Red Hat's
		"5.15.146.1-microsoft-standard-WSL2":     Custom,
		"5.15.154+":                              Custom,
		"6.18.44-fc-v657":                        Custom,
		"3.10.0-1062.el7.x86_64.evil":            Custom,
		"3.10.0-1062.el77.x86_64":                Custom,
		"5.15.0-rc0":                             Custom,
	} {
		v, ok := Parse(release)
		if !ok || v.Vendor != want {
			t.Errorf("%q: %+v %v, want %s", release, v, ok, want)
		}
	}
	for _, release := range []string{"", "\n", "linux", "x6.1.0", "6", "6.", ".1", "99999999.1", "six.one"} {
		if v, ok := Parse(release); ok {
			t.Errorf("%q is %+v", release, v)
		}
	}
}

func TestOrder(t *testing.T) {
	for _, chain := range [][]string{
		{"3.10.0-514.el7.x86_64", "3.10.0-693.2.2.el7.x86_64", "3.10.0-957.el7.x86_64", "3.10.0-957.27.2.el7.x86_64", "3.10.0-1062.el7.x86_64", "3.10.0-1062.18.1.el7.x86_64", "3.10.0-1127.el7.x86_64", "3.10.0-1160.108.1.el7.x86_64"},
		{"4.19", "4.19.1", "5.3.0-rc1", "5.3.0-rc2", "5.3", "5.15.85", "5.15.153", "7.1"},
		{"5.15.0-72-generic", "5.15.0-143-generic", "5.15.0-144-generic", "5.15.0-1014-gcp"},
	} {
		for i := range chain {
			for j := range chain {
				a, _ := Parse(chain[i])
				b, _ := Parse(chain[j])
				if c := a.Compare(b); (c < 0) != (i < j) || (c > 0) != (i > j) {
					t.Errorf("%s against %s: %d", chain[i], chain[j], c)
				}
			}
		}
	}
}

func TestMark(t *testing.T) {
	m, ok := Mark(EL7, "3.10.0-1062")
	v, _ := Parse("3.10.0-1062.18.1.el7.x86_64")
	if !ok || m.Compare(v) >= 0 {
		t.Errorf("%+v %v against %+v", m, ok, v)
	}
	for _, bad := range []string{"", "5", "5.3-", "5.3-x", "3.10.0-1062.el7", "5.3 ", "v5.3"} {
		if _, ok := Mark(EL7, bad); ok {
			t.Errorf("%q is a mark", bad)
		}
	}
	if _, ok := Mark("el77", "5.3"); ok {
		t.Error("a vendor that nobody knows")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"3.10.0-1062.el7.x86_64", "5.15.0-72-generic", "6.12.117+deb13-cloud-arm64", "6.1.0-custom+", "7.1.0-rc3", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, ok := Parse(s)
		if !ok {
			return
		}
		if v.Compare(v) != 0 || v.Vendor == "" {
			t.Errorf("%q: %+v", s, v)
		}
		if v.Origin().Compare(v) > 0 && v.Base == v.Origin().Base && v.RC == 0 {
			t.Errorf("%q: a build is earlier than what it is based on", s)
		}
	})
}
