package capture

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/kmsg"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// fake is a node made of a map. Paths that are not in it are absent.
type fake map[string]string

func (f fake) Origin() kernel.Origin { return kernel.Origin{PageSize: 4096} }

func (f fake) Ask(q kernel.Question) kernel.Answer {
	at := time.Unix(1_800_000_000, 5).UTC()
	s, ok := f[string(q.Op)+" "+q.Path]
	if !ok {
		return kernel.Answer{State: snapshot.Absent, Err: "no such file", At: at}
	}
	return kernel.Answer{Data: []byte(s), State: snapshot.Present, At: at}
}

// planted looks like the inside of an archive, as a container could write it.
const planted = "java\x00-Dx=\nsection read present 3 0 \"/proc/1/cmdline\" \"\"\nabc\nend 2\n\x00"

func node() fake {
	return fake{
		"read /proc/7/cmdline":                         planted,
		"read /proc/7/status":                          "Name:\tend 3\\nsection read\nState:\tS (sleeping)\nPid:\t7\n",
		"list /sys/fs/cgroup/memory":                   "section read present 1 0 x\x00end 1\x00",
		"read /sys/fs/cgroup/memory/end 1/memory.stat": "cache 1\n",
		"link /proc/7/exe":                             "/opt/x\ny",
		"read /proc/version":                           "",
	}
}

func record(t *testing.T, f fake) *Archive {
	t.Helper()
	rec := NewRecorder(f)
	for k := range f {
		op, path, _ := strings.Cut(k, " ")
		rec.Ask(kernel.Question{Op: kernel.Op(op), Path: path, Max: 1 << 20})
	}
	rec.Ask(kernel.Question{Op: kernel.Read, Path: "/proc/none", Max: 10})
	return rec.Archive(Meta{PageSize: 4096, Target: "/end 1", Generated: time.Unix(1_800_000_000, 0).UTC()})
}

func encode(t *testing.T, a *Archive) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := a.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What is planted in a cmdline, a comm and a cgroup name is data.
func TestSectionHeadersInDataAreData(t *testing.T) {
	a := record(t, node())
	again, err := Parse(encode(t, a))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(a.answers, again.answers, cmp.AllowUnexported(key{}), cmp.Transformer("none", func(b []byte) string { return string(b) })); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(a.Meta, again.Meta); d != "" {
		t.Error(d)
	}
	if !bytes.Equal(encode(t, a), encode(t, again)) {
		t.Error("writing it again gives other bytes")
	}
}

func TestEveryTruncationIsSeen(t *testing.T) {
	b := encode(t, record(t, node()))
	for n := range b {
		if _, err := Parse(b[:n]); err == nil {
			t.Fatalf("%d of %d bytes were taken for a whole capture", n, len(b))
		}
	}
}

func TestBadArchives(t *testing.T) {
	meta := fmt.Sprintf(`{"schema":%q,"pageSize":4096}`, Schema)
	head := fmt.Sprintf("%ssection meta present %d 0 \"\" \"\"\n%s\n", magic, len(meta), meta)
	for name, c := range map[string]struct{ body, want string }{
		"not one":        {"hello", "not a memwhy capture"},
		"parent path":    {head + "section read present 0 0 \"/proc/../etc/shadow\" \"\"\n\nend 2\n", "not a clean absolute path"},
		"relative path":  {head + "section read present 0 0 \"../x\" \"\"\n\nend 2\n", "not a clean absolute path"},
		"empty path":     {head + "section read present 0 0 \"\" \"\"\n\nend 2\n", "not a clean absolute path"},
		"huge length":    {head + "section read present 99999999999 0 \"/x\" \"\"\n\nend 2\n", "truncated"},
		"negative":       {head + "section read present -1 0 \"/x\" \"\"\n\nend 2\n", "section header"},
		"same twice":     {head + strings.Repeat("section read present 0 0 \"/x\" \"\"\n\n", 2) + "end 3\n", "a second time"},
		"unknown op":     {head + "section write present 0 0 \"/x\" \"\"\n\nend 2\n", "unknown operation"},
		"unknown state":  {head + "section read maybe 0 0 \"/x\" \"\"\n\nend 2\n", "unknown state"},
		"no meta":        {magic + "end 0\n", "no meta"},
		"bytes after":    {head + "end 1\nx", "after the end"},
		"wrong schema":   {magic + "section meta present 34 0 \"\" \"\"\n{\"schema\":\"other\",\"pageSize\":4096}\nend 1\n", "schema"},
		"wrong count":    {head + "end 7\n", "section header"},
		"missing length": {head + "section read present 0 \"/x\" \"\"\n\nend 2\n", "section header"},
	} {
		_, err := Parse([]byte(c.body))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestOpenRefusesWhatIsNoCapture(t *testing.T) {
	dir := t.TempDir()
	huge := filepath.Join(dir, "huge")
	f, err := os.Create(huge)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(maxArchive + 1); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for name, want := range map[string]string{huge: "too large", filepath.Join(dir, "none"): "no such file", dir: "neither proc nor sys", os.DevNull: "not a regular file"} {
		if _, err := Open(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestFilesAreTheOwnersOnly(t *testing.T) {
	name := filepath.Join(t.TempDir(), "c")
	if err := os.WriteFile(name, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := record(t, node()).WriteFile(name); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(name)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if _, err := Open(name); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(name), ".memwhy*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestWhatWasNotAskedIsFailedNotAbsent(t *testing.T) {
	a := record(t, node())
	if got := a.Ask(kernel.Question{Op: kernel.Read, Path: "/proc/other", Max: 1}); got.State != snapshot.Failed {
		t.Errorf("%+v", got)
	}
	if got := a.Ask(kernel.Question{Op: kernel.Read, Path: "/proc/none", Max: 1}); got.State != snapshot.Absent {
		t.Errorf("%+v", got)
	}
}

const id = "8d2c5b0a7f6e4d3c2b1a09182736455463728190a0b1c2d3e4f5061728394a5b"

const acmeKill = "6,2,2000,-;payroll invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n" +
	"6,3,2001,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=acme,mems_allowed=0,oom_memcg=/kubepods/burstable/pod0d9f7a52-4c1e-11e9-a3b5-fa163e2f9b10/" + id + ",task_memcg=/kubepods/burstable/pod0d9f7a52-4c1e-11e9-a3b5-fa163e2f9b10/" + id + ",task=payroll,pid=7,uid=0\n" +
	"3,4,2002,-;Memory cgroup out of memory: Killed process 7 (payroll) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0\n"

func private() fake {
	pod := "/sys/fs/cgroup/memory/kubepods/burstable/pod0d9f7a52-4c1e-11e9-a3b5-fa163e2f9b10"
	return fake{
		"read /proc/self/mountinfo": "1 0 8:1 / /home/acme rw - ext4 /dev/acme rw\n" +
			"2 1 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
			"3 1 0:2 / /sys/fs/cgroup/x rw - cgroup acme rw,release_agent=/opt/acme/x,name=acme\n",
		"read /proc/7/cmdline": "/opt/acme/payroll\x00-Xmx512m\x00--password=hunter2\x00--db\x00postgres://u:hunter2@acme\x00",
		"read /proc/7/status":  "Name:\tpayroll\nUmask:\t0022\nState:\tS (sleeping)\nPid:\t7\nPPid:\t1\nVmRSS:\t 12 kB\n",
		"read /proc/7/cgroup":  "4:memory:/kubepods/burstable/pod0d9f7a52-4c1e-11e9-a3b5-fa163e2f9b10/" + id + "\n1:name=acme:/\n",
		"link /proc/7/exe":     "/opt/acme/payroll",
		"read /proc/7/smaps": "00400000-00452000 r-xp 00000000 08:02 17 /opt/acme/payroll (deleted)\nRss:                   8 kB\n" +
			"7f00-7f01 rw-p 00000000 00:00 0 [anon:acme pool]\nRss:                   8 kB\n7f01-7f02 rw-p 00000000 00:00 0 [anon: Go: heap]\n" +
			"7f02-7f03 r-xp 00000000 08:02 17 /opt/acme/libc.so.6\n7f03-7f04 rw-p 00000000 00:00 0 [heap]\n7f04-7f05 rw-s 00000000 00:00 0 /SYSV00acme (deleted)\njunk acme\n",
		"read /proc/7/maps":                                "00400000-00452000 r-xp 00000000 08:02 17     /opt/acme/x\\012acme\n",
		"read /proc/7/smaps_rollup":                        "00400000-7f02 ---p 00000000 00:00 0 [rollup]\nPss:                   8 kB\n",
		"links /proc/7/fd":                                 "3\x00/data/acme/spool (deleted)\x004\x00socket:[77]\x005\x00/memfd:acme (deleted)\x006\x00acme:[x]\x00",
		"stat /proc/7/fd/3":                                "inode 5\nlinks 0\n",
		"read /proc/7/fdinfo/3":                            "pos:\t4096\nflags:\t0100000\nmnt_id:\t29\nfanotify acme:1\n",
		"read /proc/7/fdinfo/9":                            "pos:\t0\nmap_type:\t2\nmemlock:\t8192\nmap_id:\t12\nacme:\t1\n",
		"list /proc":                                       "7\x00acme\x00",
		"pipes /proc/7/fd":                                 "77 65536 65536\n",
		"read /proc/sys/fs/dentry-state":                   "10\t5\t45\t0\t3\t0\n",
		"buildinfo /proc/7/exe":                            "\xff Go buildinf:\x08\x02" + strings.Repeat("\x00", 16) + "\x08go1.26.8\x300w\xaf\x0c\x92t\x08\x02acme\n",
		"list " + pod:                                      id + "\x00",
		"read " + pod + "/" + id + "/memory.stat":          "cache 4096\n",
		"read " + pod + "/" + id + "/memory.kmem.slabinfo": "dentry(3:acme) 1 1 1 1 1 : tunables 0 0 0 : slabdata 1 1 0\n",
		"read /proc/swaps":                                 "Filename Type Size Used Priority\n/acme/swapfile file 8 0 -2\n",
		"read /proc/cmdline":                               "root=UUID=acme cgroup.memory=nokmem acme=1 swapaccount=1\n",
		"read /proc/version":                               "Linux version 5.4.0 (acme@builder) (gcc) #1 SMP\n",
		"read /etc/os-release":                             "PRETTY_NAME=\"Debian\"\nHOME_URL=acme\n",
		"read /etc/acme":                                   "anything",
		"log /dev/kmsg":                                    "6,1,1000,-;acme: hello\n" + acmeKill,
		"link /proc/self/ns/cgroup":                        "cgroup:[4026531835]",
	}
}

// secrets may be in no redacted capture; hunter2 in no capture at all.
func TestRedaction(t *testing.T) {
	a := record(t, private())
	a.Meta.Target = "/kubepods/burstable/pod0d9f7a52-4c1e-11e9-a3b5-fa163e2f9b10/" + id
	plain, err := a.Prepare(false, false)
	if err != nil {
		t.Fatal(err)
	}
	b := encode(t, plain)
	if bytes.Contains(b, []byte("hunter2")) || bytes.Contains(b, []byte("/home/acme")) {
		t.Error("a plain capture holds arguments or other mounts")
	}
	if !bytes.Contains(b, []byte("-Xmx512m")) {
		t.Error("a flag about memory is lost")
	}
	if bytes.Contains(b, []byte("acme: hello")) || !bytes.Contains(b, []byte(acmeKill)) {
		t.Error("of the kernel's log other lines are kept, or not all of a kill")
	}
	with, _ := a.Prepare(false, true)
	if !bytes.Contains(encode(t, with), []byte("hunter2")) {
		t.Error("--with-args lost an argument")
	}
	redacted, err := a.Prepare(true, false)
	if err != nil {
		t.Fatal(err)
	}
	b = encode(t, redacted)
	for _, secret := range []string{"hunter2", "acme", "payroll", id[:12], "0d9f7a52", "builder"} {
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("a redacted capture holds %q", secret)
		}
	}
	for _, public := range []string{"kubepods", "burstable", "-Xmx512m", "cache 4096", "[anon: Go: heap]", "/libc.so.6\n", "[heap]", "[rollup]", "socket:[77]", "go1.26.8", "inode 5", "map_type:\t2\nmemlock:\t8192\nmap_id:\t12\n", "77 65536 65536\n", "10\t5\t45\t0\t3\t0\n", "cgroup.memory=nokmem", "Linux version 5.4.0", "cgroup cgroup rw,memory\n"} {
		if !bytes.Contains(b, []byte(public)) {
			t.Errorf("a redacted capture lost %q", public)
		}
	}
	if got := redacted.Ask(kernel.Question{Op: kernel.List, Path: "/proc", Max: 10}).Names(); !slices.Equal(got, []string{"7"}) {
		t.Errorf("processes %q", got)
	}
	checkHiddenKill(t, redacted)
	other, _ := a.Prepare(true, false)
	if bytes.Equal(b, encode(t, other)) {
		t.Error("two redactions have one key")
	}
	if _, err := Parse(b); err != nil {
		t.Error(err)
	}
}

// A redacted kill is still that of the cgroup that it was, also after another round.
func checkHiddenKill(t *testing.T, redacted *Archive) {
	t.Helper()
	again, err := redacted.Prepare(false, false)
	if err != nil {
		t.Fatal(err)
	}
	log, err := kmsg.Read(again.Ask(kernel.Question{Op: kernel.Log, Path: kernel.LogPath, Max: 1 << 20}).Data, 4096)
	if err != nil || len(log.Records) != 1 || log.Records[0].LimitOwner != redacted.Meta.Target || len(log.Records[0].Victims) != 1 {
		t.Errorf("%v: %+v, target %s", err, log.Records, redacted.Meta.Target)
	}
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"proc/meminfo":             "MemTotal: 1 kB\n",
		"proc/denied.err":          "cat: /proc/denied: Permission denied\n",
		"proc/gone.err":            "open: No such file or directory\n",
		"proc/eio.err":             "read: Input/output error\n",
		"proc/mode.err":            "not readable: mode 0200\n",
		"sys/kernel/slab.ls":       ":0000 -> x\ndentry\nkmalloc-8 -> :0000\n",
		"sys/fs/cgroup/a/b/x.stat": "1\n",
		"dmesg":                    "[ 1.0] x\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "proc/escape")); err != nil {
		t.Fatal(err)
	}
	src, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]snapshot.State{
		"/proc/meminfo": snapshot.Present, "/proc/denied": snapshot.Denied, "/proc/gone": snapshot.Absent, "/proc/eio": snapshot.Failed,
		"/proc/mode": snapshot.Denied, "/proc/other": snapshot.Absent, "/run/x": snapshot.Failed, "/proc/escape": snapshot.Failed,
		"/proc/../../../etc/passwd": snapshot.Failed,
	} {
		if got := src.Ask(kernel.Question{Op: kernel.Read, Path: path, Max: 100}); got.State != want {
			t.Errorf("%s: %s (%s), want %s", path, got.State, got.Err, want)
		}
	}
	if got := src.Ask(kernel.Question{Op: kernel.Log, Path: kernel.LogPath, Max: 100}); string(got.Data) != "[ 1.0] x\n" {
		t.Errorf("log %+v", got)
	}
	if got := src.Ask(kernel.Question{Op: kernel.List, Path: "/sys/kernel/slab", Max: 10}).Names(); len(got) != 3 || got[1] != "dentry" {
		t.Errorf("listing %q", got)
	}
	links := src.Ask(kernel.Question{Op: kernel.Links, Path: "/sys/kernel/slab", Max: 10})
	if got := links.Links(); len(got) != 2 || got[1] != (snapshot.LinkText{Name: "kmalloc-8", Text: ":0000"}) {
		t.Errorf("links %q", got)
	}
	if got := src.Ask(kernel.Question{Op: kernel.Links, Path: "/sys/kernel/slab", Max: 1}); got.State != snapshot.Failed {
		t.Errorf("more links than asked for: %+v", got)
	}
	for _, op := range []kernel.Op{kernel.Stat, kernel.BuildInfo, kernel.Links} {
		if got := src.Ask(kernel.Question{Op: op, Path: "/proc/7/x", Max: 10}); got.State == snapshot.Present {
			t.Errorf("%s of a tree: %+v", op, got)
		}
	}
	if got := src.Ask(kernel.Question{Op: kernel.List, Path: "/sys/fs/cgroup/a", Max: 10}).Names(); len(got) != 1 || got[0] != "b" {
		t.Errorf("directories %q", got)
	}
	if got := src.Ask(kernel.Question{Op: kernel.Read, Path: "/proc/meminfo", Max: 3}); got.State != snapshot.Failed {
		t.Errorf("an answer longer than allowed: %+v", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(magic))
	f.Add([]byte(magic + "section meta present 2 0 \"\" \"\"\n{}\nend 1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Parse(b)
		if err != nil {
			return
		}
		var w bytes.Buffer
		if err := a.Write(&w); err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(w.Bytes()); err != nil {
			t.Errorf("what was parsed and written is no capture: %v", err)
		}
	})
}
