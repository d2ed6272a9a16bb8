package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// builtWith compiles testdata/holds.c with a compiler and libraries of this machine.
func builtWith(t *testing.T, compiler string, flags ...string) string {
	t.Helper()
	cc, err := exec.LookPath(compiler)
	if err != nil {
		t.Skip(err)
	}
	exe := filepath.Join(t.TempDir(), "holds")
	var args []string
	for _, f := range append([]string{"-O1", "-o", exe, "testdata/holds.c"}, flags...) {
		if strings.HasSuffix(f, ".a") {
			found, _ := filepath.Glob("/usr/lib/*/" + f)
			if len(found) == 0 {
				t.Skipf("no %s here", f)
			}
			f = found[0]
		}
		args = append(args, f)
	}
	if out, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %s", compiler, args, out)
	}
	return exe
}

// Allocators and runtimes that are not looked into are told by name where a sign of
// them is seen from outside, with what would give memory back, and nothing is claimed
// of what they hold. What has no sign is told as not recognised.
func TestAllocatorsThatAreNotLookedInto(t *testing.T) {
	h := memory(t)
	within := func(archive string) []string {
		return []string{"-rdynamic", "-Wl,--whole-archive", archive, "-Wl,--no-whole-archive", "-lstdc++", "-lm", "-lpthread", "-ldl"}
	}
	preload := func(library string) []string {
		found, _ := filepath.Glob("/usr/lib/*/" + library)
		if len(found) == 0 {
			return nil
		}
		return []string{"LD_PRELOAD=" + found[0]}
	}
	const objects = "const a = []; for (let i = 0; i < 4e5; i++) a.push({ i, s: 'x' + i }); console.log('ready'); process.stdin.on('data', () => process.exit())"
	node := func(t *testing.T) []string { return []string{"node", "-e", objects} }
	c := func(compiler string, flags ...string) func(*testing.T) []string {
		return func(t *testing.T) []string { return []string{builtWith(t, compiler, flags...)} }
	}
	for _, x := range []struct {
		name    string
		program func(*testing.T) []string
		env     []string
		want    string // of the runtimes, the first
		how     string
		cure    string
	}{
		{"jemalloc-within", c("gcc", within("libjemalloc.a")...), nil, "jemalloc", "mallctl", "dirty_decay_ms"},
		{"jemalloc-hidden", c("gcc", "libjemalloc.a", "-lstdc++", "-lm", "-lpthread", "-ldl"), nil, "unrecognised", "has the function malloc", "documentation"},
		{"tcmalloc-within", c("gcc", within("libtcmalloc_minimal.a")...), nil, "tcmalloc", "tc_malloc", "TCMALLOC_RELEASE_RATE"},
		{"mimalloc", c("gcc"), preload("libmimalloc.so.2"), "mimalloc", "libmimalloc.so.2", "MIMALLOC_PURGE_DELAY"},
		{"musl", c("musl-gcc"), nil, "musl-malloc", "musl", "another allocator"},
		{"musl-static", c("musl-gcc", "-static"), nil, "unrecognised", "no file and no function", "documentation"},
		{"node", node, nil, "node", "node is mapped", "--max-old-space-size"},
		{"V8-of-another-name", func(t *testing.T) []string {
			args := node(t)
			real, err := exec.LookPath(args[0])
			if err != nil {
				t.Skip(err)
			}
			if real, err = filepath.EvalSymlinks(real); err != nil {
				t.Fatal(err)
			}
			exe := filepath.Join(t.TempDir(), "server")
			if err := os.Link(real, exe); err != nil { // a copy takes 100 MB
				t.Skip(err)
			}
			return append([]string{exe}, args[1:]...)
		}, nil, "v8", "v8", "--max-old-space-size"},
		{"ruby", func(*testing.T) []string {
			return []string{"ruby", "-e", "a = (1..300_000).map { |i| \"x#{i}\" * 10 }; puts 'ready'; $stdout.flush; gets"}
		}, nil, "ruby", "ruby", "GC.compact"},
	} {
		t.Run(x.name, func(t *testing.T) {
			if x.name == "mimalloc" && x.env == nil {
				t.Skip("no libmimalloc.so.2 here")
			}
			args := x.program(t)
			cgroup, dir := h.group(t, unique(x.name))
			pid, _, _ := program(t, dir, x.env, args...)
			p := explain(t, cgroup, "--census", "off").process(t, pid)
			r := p.managed(t, x.want)
			if !strings.Contains(r.How, x.how) || !strings.HasPrefix(r.Unknown, "not looked into: ") || len(r.Heap) > 0 || !strings.Contains(r.Cure, x.cure) {
				t.Errorf("%+v", r)
			}
			known := []string{x.want, "glibc-malloc"} // nobody else
			for _, m := range p.Runtimes {
				if !slices.Contains(known, m.Name) {
					t.Errorf("%s is no %s", x.name, m.Name)
				}
			}
			wide := run(t, "explain", cgroup, "-o", "wide", "--census", "off").want(t, 0).out
			for _, text := range []string{fmt.Sprintf("runtime      %s", x.want), "not looked into: ", "what would give it back, or bound it: "} {
				if !strings.Contains(wide, text) {
					t.Errorf("no %q in\n%s", text, wide)
				}
			}
			if f, ok := findings(t, run(t, "explain", cgroup, "-o", "json", "--census", "off").want(t, 0).out)["alloc.retained"]; ok && !strings.Contains(f.Title, "glibc") {
				t.Errorf("%+v", f)
			}
			replays(t, cgroup, "hunter2")
		})
	}
}
