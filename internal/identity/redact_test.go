package identity

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var testRedactor = NewRedactor([]byte("a key of the tests"))

func TestRedactedForms(t *testing.T) {
	hash := testRedactor.hash
	i1, i2 := testRedactor.ID(id1), testRedactor.ID(id2)
	u1 := testRedactor.ID(uid1)
	u1_ := strings.ReplaceAll(u1, "-", "_")
	for in, want := range map[string]string{
		"":                       "",
		"/":                      "/",
		"//acme/":                "//" + hash("acme") + "/",
		"/../..":                 "/../..",
		"/sys/fs/cgroup/memory":  "/sys/fs/cgroup/memory",
		"/usr/lib/acme/bin/java": "/usr/lib/" + hash("acme") + "/bin/" + hash("java"),
		"/docker/" + id1:         "/docker/" + i1,
		"/kubepods/burstable/pod" + uid1 + "/" + id1: "/kubepods/burstable/pod" + u1 + "/" + i1,
		"/kubepods/pod" + mir:                        "/kubepods/pod" + testRedactor.ID(mir),
		"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + uid_ + ".slice/cri-containerd-" + id1 + ".scope": "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + u1_ + ".slice/cri-containerd-" + i1 + ".scope",
		"/acme.slice/acme-kubepods.slice":                     "/" + hash("acme") + ".slice/" + hash("acme") + "-kubepods.slice",
		"/kubelet.slice/kubelet-kubepods.slice":               "/kubelet.slice/kubelet-kubepods.slice",
		"/acme.slice:docker:" + id1:                           "/" + hash("acme") + ".slice:docker:" + i1,
		"/machine.slice/machine-libpod_pod_" + id2 + ".slice": "/machine.slice/machine-libpod_pod_" + i2 + ".slice",
		"/machine.slice/libpod-conmon-" + id1 + ".scope":      "/machine.slice/libpod-conmon-" + i1 + ".scope",
		"/lxc.payload.acme/lxc/acme":                          "/lxc.payload." + hash("acme") + "/lxc/" + hash("acme"),
		"/machine.slice/systemd-nspawn@acme.service/payload":  "/machine.slice/systemd-nspawn@" + hash("acme") + ".service/payload",
		"/system.slice/acme.service":                          "/system.slice/" + hash("acme") + ".service",
		"/system.slice/containerd.service":                    "/system.slice/containerd.service",
		"/user.slice/user-1000.slice/session-3.scope":         "/user.slice/" + hash("user-1000") + ".slice/" + hash("session-3") + ".scope",
		"/acme (deleted)":                                     "/" + hash("acme") + " (deleted)",
		"/docker/" + id1 + " (deleted)":                       "/docker/" + i1 + " (deleted)",
		"/" + id1[:12]:                                        "/" + hash(id1[:12]),
		"/a\nb":                                               "/" + hash("a\nb"),
	} {
		if got := testRedactor.Path(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestRedactedOutput(t *testing.T) {
	for got, want := range map[string]string{
		testRedactor.Path("/acme"): `^/x[0-9a-f]{12}$`,
		testRedactor.ID(id1):       `^[0-9a-f]{64}$`,
		testRedactor.ID(id1[:12]):  `^[0-9a-f]{12}$`,
		testRedactor.ID(uid1):      `^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`,
		testRedactor.ID(uid_):      `^[0-9a-f]{8}(_[0-9a-f]{4}){3}_[0-9a-f]{12}$`,
		testRedactor.ID(mir):       `^[0-9a-f]{32}$`,
		testRedactor.ID("acme!"):   `^x[0-9a-f]{12}$`,
		testRedactor.Name("acme"):  `^x[0-9a-f]{12}$`,
	} {
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%q is not %s", got, want)
		}
	}
}

func TestKeysMatter(t *testing.T) {
	key := []byte("one key")
	a, b := NewRedactor(key), NewRedactor([]byte("another"))
	path := a.Path("/acme/" + id1)
	if path == b.Path("/acme/"+id1) {
		t.Error("two keys, one redaction")
	}
	key[0] = 'x'
	if a.Path("/acme/"+id1) != path {
		t.Error("the redactor shares its key with the caller")
	}
}

func TestNames(t *testing.T) {
	hash := testRedactor.hash
	for in, want := range map[string]string{
		"java": "java", "python3": "python3", "containerd-shim": "containerd-shim", "systemd-journal": "systemd-journal", "": "",
		"payroll": hash("payroll"), "javax": hash("javax"), "Java": hash("Java"), "\xff": hash("\xff"),
		"java (deleted)": "java (deleted)", "payroll (deleted)": hash("payroll") + " (deleted)",
		// Words of paths are not names of programs.
		"home": hash("home"),
	} {
		if got := testRedactor.Name(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestRedactedCommands(t *testing.T) {
	hash := testRedactor.hash
	for _, c := range []struct{ in, want []string }{
		{nil, nil},
		{[]string{""}, []string{""}},
		{[]string{"java", "-Xmx1g", "-Dpassword=hunter2"}, []string{"java", "-Xmx1g"}},
		{[]string{"/usr/bin/java", "-Xmx1g"}, []string{"/usr/bin/java", "-Xmx1g"}},
		{[]string{"/opt/acme/bin/payroll", "--memory=hunter2"}, []string{"/opt/" + hash("acme") + "/bin/" + hash("payroll"), "--memory=..."}},
		{[]string{"postgres: acme payroll [local] idle"}, []string{"postgres"}},
		{[]string{"/opt/acme/"}, []string{"/opt/" + hash("acme") + "/"}},
		{[]string{"payroll", "acme"}, []string{hash("payroll")}},
	} {
		if d := cmp.Diff(c.want, testRedactor.Command(c.in)); d != "" {
			t.Errorf("%q (-want +got):\n%s", c.in, d)
		}
	}
	in := []string{"payroll", "acme"}
	if testRedactor.Command(in); in[0] != "payroll" {
		t.Error("the caller's words were changed")
	}
}

var (
	token   = regexp.MustCompile(`[0-9A-Za-z\x80-\x{10ffff}]+`)
	onlyHex = regexp.MustCompile(`^[0-9a-f]{1,8}$`)
	output  = regexp.MustCompile(`^[A-Za-z0-9._:@,()/ -]*$`)
)

// publicTokens are what may be in a path before and after.
var publicTokens = func() map[string]bool {
	m := words("cri containerd nerdctl docker crio libpod payload conmon kubepods burstable besteffort pod slice service scope lxc monitor systemd nspawn deleted")
	for _, list := range []map[string]bool{publicParts, publicNames} {
		for word := range list {
			for _, t := range token.FindAllString(word, -1) {
				m[t] = true
			}
		}
	}
	return m
}()

// survivors returns the tokens of in that are neither public nor gone from out.
// Short hex may come back by chance.
func survivors(in, out string) (left []string) {
	in = strings.ToValidUTF8(in, "?")
	after := map[string]bool{}
	for _, t := range token.FindAllString(out, -1) {
		after[t] = true
	}
	for _, t := range token.FindAllString(in, -1) {
		if len(t) >= 4 && after[t] && !publicTokens[t] && !onlyHex.MatchString(t) {
			left = append(left, t)
		}
	}
	return left
}

func FuzzRedactor(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		r := testRedactor
		out := r.Path(in)
		if again := NewRedactor([]byte("a key of the tests")).Path(in); again != out {
			t.Errorf("%q: %q, and then %q", in, out, again)
		}
		if !output.MatchString(out) {
			t.Errorf("%q: hostile %q", in, out)
		}
		if left := survivors(in, out); left != nil {
			t.Errorf("%q: %q holds %q", in, out, left)
		}
		parts, redacted := strings.Split(in, "/"), strings.Split(out, "/")
		for i, part := range parts {
			if r.Path(part) != redacted[i] {
				t.Errorf("%q: %q depends on where it is", in, part)
			}
			for _, tok := range token.FindAllString(strings.ToValidUTF8(part, "?"), -1) {
				if part == redacted[i] && !publicTokens[tok] {
					t.Errorf("%q: %q stays", in, part)
				}
			}
		}
		id := Parse(in)
		want := Identity{Kind: id.Kind, Runtime: id.Runtime, QoS: id.QoS, ID: r.ID(id.ID), PodUID: r.ID(id.PodUID), Name: r.Path(id.Name), Dir: r.Path(id.Dir)}
		if d := cmp.Diff(want, Parse(out)); d != "" {
			t.Errorf("%q: %q (-want +got):\n%s", in, out, d)
		}
	})
}
