package procfs

import (
	"strings"
	"testing"
)

func TestParseOSRelease(t *testing.T) {
	for file, want := range map[string]string{
		string(fixture(t, "os-release", "debian-12")):         "Debian GNU/Linux 12 (bookworm)",
		string(fixture(t, "os-release", "centos-7-made")):     "CentOS Linux 7 (Core)",
		"PRETTY_NAME=Alpine\r\n":                              "Alpine",
		"PRETTY_NAME='single \\ $x'":                          `single \ $x`,
		`PRETTY_NAME="a \"b\" \\ \$ \` + "`" + ` \n"`:         `a "b" \ $ ` + "`" + ` \n`,
		`PRETTY_NAME=a\ b"c"'d'`:                              "a bcd",
		"PRETTY_NAME=old\n#PRETTY_NAME=no\nPRETTY_NAME=new\n": "new",
		"PRETTY_NAME=\"good\"\nPRETTY_NAME=\"open\n":          "good",
		"XPRETTY_NAME=x\nPRETTY_NAME=\"\xff\"":                "\xff",
	} {
		if got, err := ParseOSRelease([]byte(file)); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", file, got, err, want)
		}
	}
	for _, junk := range []string{"", "NAME=x\n", "PRETTY_NAME=\n", "PRETTY_NAME=\"\"", "PRETTY_NAME=\"open", "PRETTY_NAME"} {
		if got, err := ParseOSRelease([]byte(junk)); err == nil {
			t.Errorf("%q: %q, want an error", junk, got)
		}
	}
}

func FuzzParseOSRelease(f *testing.F) {
	seed(f, "os-release")
	f.Fuzz(func(t *testing.T, b []byte) {
		name, err := ParseOSRelease(b)
		if (err == nil) != (name != "") || strings.Contains(name, "\n") || len(name) > len(b) {
			t.Errorf("%q: %q, %v", b, name, err)
		}
		if quoted, err := ParseOSRelease([]byte("PRETTY_NAME='" + strings.ReplaceAll(name, "'", `'\''`) + "'")); name != "" && (err != nil || quoted != name) {
			t.Errorf("%q quoted and parsed again is %q, %v", name, quoted, err)
		}
	})
}
