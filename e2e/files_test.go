package e2e

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

type files struct {
	Schema string
	Totals struct {
		Files int
		Bytes int64
	}
	Files []struct {
		Kind, Path, PathBytes, HostPath, FS, Device, Volume, Layer string
		Bytes                                                      int64
		State                                                      map[string]int64
		ChargedTo                                                  []struct {
			Cgroup string
			Bytes  int64
		}
		UsedBy []struct {
			Cgroup, How string
			PID         int
		}
	}
	Directories []struct {
		Path  string
		Bytes int64
	}
	Coverage struct {
		Engine       string
		Complete     bool
		CounterBytes int64
		FoundBytes   int64

		SearchedFiles int
	}
	NotSeen []struct{ Source, State, Why string }
}

func listFiles(t *testing.T, args ...string) files {
	t.Helper()
	r := run(t, append([]string{"files", "-o", "json"}, args...)...).want(t, 0)
	var f files
	if err := json.Unmarshal([]byte(r.out), &f); err != nil {
		t.Fatalf("%v: %q", err, r.out)
	}
	return f
}

// A container on layers, with a volume that another one reads, and a tmpfs that
// nobody else sees.
func TestFilesAsTheContainerSeesThem(t *testing.T) {
	h := memory(t)
	known, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		t.Fatal(err)
	}
	root, upper, overlay := "root", "root", strings.Contains(string(known), "\toverlay\n")
	mode := "bind"
	if overlay {
		root, upper, mode = "image-layer", "writable-layer", "overlay"
	}
	cgroup, dir := h.group(t, unique("layers"))
	other, otherDir := h.group(t, unique("reader"))
	on := t.TempDir()
	cmd := actorIn(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}, dir, "layers", on, mode)
	pid := cmd.Process.Pid
	reader := actorIn(t, nil, otherDir, "reader", filepath.Join(on, "volume", hostileFile)).Process.Pid

	f := listFiles(t, cgroup)
	base, layer := "/base", filepath.Join(on, "lower")
	written := filepath.Join(on, "upper")
	if !overlay {
		layer, written = "", filepath.Join(on, "lower")
	}
	for _, want := range []struct {
		kind, path, host, layer string
		bytes                   int64
		users                   map[int]string // pid to cgroup
	}{
		{root, base, filepath.Join(on, "lower", "base"), layer, plantedLower, map[int]string{pid: cgroup}},
		{upper, "/new", filepath.Join(written, "new"), written, plantedUpper, map[int]string{pid: cgroup}},
		{"tmpfs", "/own/private", "/proc/" + strconv.Itoa(pid) + "/root/own/private", "", plantedPrivate, map[int]string{pid: cgroup}},
		{"volume", "/vol/" + hostileFile, filepath.Join(on, "volume", hostileFile), "", plantedVolume, map[int]string{pid: cgroup, reader: other}},
	} {
		if !overlay {
			want.layer = ""
		}
		found := false
		for _, got := range f.Files {
			exact := got.Path
			if got.PathBytes != "" {
				b, err := base64.StdEncoding.DecodeString(got.PathBytes)
				if err != nil {
					t.Error(err)
				}
				exact = string(b)
			}
			if exact != want.path {
				continue
			}
			found = true
			if got.Kind != want.kind || got.Bytes != want.bytes || got.Layer != want.layer || want.path == base && got.HostPath != want.host {
				t.Errorf("%+v, want %+v", got, want)
			}
			if got.ChargedTo[0].Cgroup != cgroup || got.ChargedTo[0].Bytes != want.bytes {
				t.Errorf("%q is charged to %+v", want.path, got.ChargedTo)
			}
			users := map[int]string{}
			for _, u := range got.UsedBy {
				users[u.PID] = u.Cgroup
			}
			for p, c := range want.users {
				if users[p] != c {
					t.Errorf("%q is used by %v, want %v", want.path, users, want.users)
				}
			}
		}
		if !found {
			t.Errorf("%q is not among the files of its container: %+v", want.path, f.Files)
		}
	}
	if f.Coverage.Engine != "bpf" || !f.Coverage.Complete {
		t.Errorf("%+v", f.Coverage)
	}
	near(t, "the counter", f.Coverage.FoundBytes, f.Coverage.CounterBytes)

	screen := run(t, "files", cgroup).want(t, 0).out
	checkScreen(t, screen)
	if !strings.Contains(screen, "+ /vol/v\\n\\x1b[31m\\xff<script>") {
		t.Errorf("who else uses it is not on the screen:\n%s", screen)
	}
	if by := listFiles(t, cgroup, "--depth", "1"); len(by.Directories) < 3 || len(by.Files) != 0 {
		t.Errorf("%+v", by)
	}
	if all := listFiles(t, "--node", "-n", "0"); all.Totals.Bytes < f.Totals.Bytes || len(all.Files) != all.Totals.Files {
		t.Errorf("the node has %+v, %d listed", all.Totals, len(all.Files))
	}
	replaysFiles(t, cgroup, on)
}

// replaysFiles checks that a capture names the same files, and a redacted one none.
func replaysFiles(t *testing.T, cgroup, secret string) {
	t.Helper()
	dir := t.TempDir()
	plain, redacted := filepath.Join(dir, "plain"), filepath.Join(dir, "redacted")
	run(t, "capture", cgroup, "-o", plain, "--census", "auto").want(t, 0)
	run(t, "capture", "--from", plain, "-o", redacted, "--redact").want(t, 0)
	live, again, hidden := listFiles(t, cgroup), listFiles(t, "--from", plain), listFiles(t, "--from", redacted)
	if again.Totals != hidden.Totals || again.Totals.Bytes == 0 {
		t.Errorf("plain %+v, redacted %+v", again.Totals, hidden.Totals)
	}
	kinds := func(f files) map[string]int {
		m := map[string]int{}
		for _, x := range f.Files {
			if x.Kind != "host" && x.Kind != "block-device" {
				m[x.Kind]++
			}
		}
		return m
	}
	for kind, n := range kinds(live) {
		if kinds(again)[kind] != n || kinds(hidden)[kind] != n {
			t.Errorf("%d of kind %s, %v replayed, %v redacted", n, kind, kinds(again), kinds(hidden))
		}
	}
	b, err := os.ReadFile(redacted)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{filepath.Base(filepath.Dir(secret)), "private", "script"} {
		if strings.Contains(string(b), s) {
			t.Errorf("the redacted capture holds %q", s)
		}
	}
}

func TestFilesWithoutTheRight(t *testing.T) {
	run(t, "files", "self", "--census", "off").want(t, 3, "switched off")
	run(t, "files").want(t, 2)
	run(t, "files", "self", "--node").want(t, 2, "not both")
	run(t, "files", "self", "--sort", "x").want(t, 2, "bytes")
	run(t, "files", "self", "-n", "-7").want(t, 2)
	run(t, "files", "--census", "x", "self").want(t, 2, "auto")
}

// go tool pprof reads the profile.
func TestFilesAsProfile(t *testing.T) {
	h := memory(t)
	cgroup, dir := h.group(t, unique("profile"))
	on := t.TempDir()
	actorIn(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}, dir, "layers", on, "bind")
	folded := run(t, "files", cgroup, "-o", "folded").want(t, 0).out
	want := ";file;volume;vol/;v\\n\\x1b[31m\\xff<script> " + strconv.Itoa(plantedVolume) + "\n"
	if !strings.Contains(folded, want) || !strings.HasPrefix(folded, "node;") {
		t.Errorf("no %q in:\n%s", want, folded)
	}
	if node := run(t, "files", "--node", "-o", "folded").want(t, 0).out; !strings.Contains(node, want) {
		t.Errorf("no %q of the node", want)
	}
	file := filepath.Join(t.TempDir(), "profile")
	if err := os.WriteFile(file, []byte(run(t, "files", cgroup, "-o", "pprof").want(t, 0).out), 0o600); err != nil {
		t.Fatal(err)
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		return // a test machine has no other program; Parse is tested without
	}
	out, err := exec.Command(goTool, "tool", "pprof", "-top", file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "/vol/v") {
		t.Errorf("%v: %s", err, out)
	}
}

// Removed cgroups with what holds them; where the kernel hands their memory on,
// the parent has it.
func TestNodeDying(t *testing.T) {
	tr, _, _ := lab(t, "dying-children")
	var node struct {
		Dying struct {
			Count  int64
			Groups []struct {
				Cgroup   string
				Bytes    int64
				PinnedBy []struct {
					Kind, Path string
					Bytes      int64
				}
			}
			Inherited []struct {
				Cgroup string
				Bytes  int64
			}
			IDs struct{ Taken, Live, Dead int64 }
		}
	}
	if err := json.Unmarshal([]byte(run(t, "node", "--dying", "-o", "json").want(t, 0).out), &node); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, h := range tr.Holders {
		if h.Kind != "cgroup" {
			continue
		}
		for _, g := range node.Dying.Groups {
			if g.Cgroup != h.Path {
				continue
			}
			found++
			near(t, g.Cgroup, g.Bytes, h.Bytes)
			if len(g.PinnedBy) == 0 || g.PinnedBy[0].Kind != "file" || filepath.Base(g.PinnedBy[0].Path) != h.Name {
				t.Errorf("%s is held by %+v", g.Cgroup, g.PinnedBy)
			}
		}
	}
	for _, in := range node.Dying.Inherited {
		if in.Cgroup == tr.Cgroup {
			found = 4
			near(t, "inherited", in.Bytes, tr.Accounts[0].Bytes)
		}
	}
	if ids := node.Dying.IDs; found != 4 || ids.Taken != ids.Live+ids.Dead || ids.Live == 0 {
		t.Errorf("%d of 4 removed cgroups found: %+v", found, node.Dying)
	}
	checkScreen(t, run(t, "node", "--dying").want(t, 0).out)
	run(t, "node", "--dying", "x").want(t, 2)
}
