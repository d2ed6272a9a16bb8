package words_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// telling are the rooms whose sentences are for users.
var telling = []string{"advisory", "check", "diagnose", "explain", "ledger", "oom", "remedy", "render", "runtimes", "says", "trend"}

// sentence is two words in a row. Commands have them too.
var (
	sentence = regexp.MustCompile(`([a-z]{2,}|%[^ ]*)[,;:]? [a-z]{3,}`)
	command  = regexp.MustCompile(`(^| )(cat|grep|ls|docker|sudo|memwhy|sysctl|kubernetes:) |^[a-z_]+ [a-z_]+$`)
)

// names are what the test takes for sentences and are none: names of tools, sources
// and files, values of counters, version ranges, what stands in a program; and the
// pages of advisories, which are English.
var names = []string{
	"cAdvisor rss", "free, available", "kubectl, crictl", "kubelet memory.available", "podman, systemd", "ps, summed RSS",
	"/proc/PID/io of its processes", "/proc/PID/stat of its processes", "census by ", "the cgroup tree", "memory num_cgroups ",
	" (anon + file; the root has no memory.current)", "MemTotal - all of the above", "zoneinfo, count of the pagesets",
	"Active + Inactive + Unevictable - AnonPages - Cached - Buffers, within 0..SwapCached",
	"block device ", "block device %d:%d", "files that could not be read", "shared anonymous memory", "%s inode %d, name forgotten",
	"at least %d clones", "no such word", "kernel memory accounting disabled in this runc build", "Input/output error", "not asked: ",
	" to before ", "all of ", "only with: ", "no version of the kernel: ",
	"transparent_hugepage=madvise, khugepaged/max_ptes_none=0", "+ep memwhy", "kmem_cache: %d active objects, %d caches", "kmem_cache: %d active objects",
	"%d names CACHE(N:CGROUP) of %d owners", "pgfault %d, total_pgfault %d", ", %d directories", "%s inode %d", "%s %s inode %d",
}

// quiet are calls whose texts no screen shows: errors, which are English, and those
// that look into a text.
var quiet = regexp.MustCompile(`^(errors\.New|fmt\.Errorf|words\.Errorf|panic|regexp\.MustCompile|strings\.\w+|slices\.\w+|size\.\w+)$`)

// What reads like a sentence in the rooms that tell, passes a printer.
func TestWrapped(t *testing.T) {
	for _, room := range telling {
		files, err := filepath.Glob("../" + room + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatal(room, err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range bare(t, path, src) {
				t.Error(text)
			}
		}
	}
}

// bare finds the sentences of a file that pass no printer.
func bare(t *testing.T, path string, src []byte) (found []string) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, src, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.CallExpr:
			name := called(n.Fun)
			if _, is := said[name[strings.LastIndexByte(name, '.')+1:]]; is || quiet.MatchString(name) {
				return false
			}
		case *ast.CompositeLit:
			if name := called(n.Type); name == "Rule" || name == "Doc" { // said by the name of their fields
				return false
			}
		case *ast.KeyValueExpr:
			return !slices.Contains([]string{"Source", "Value", "Tool"}, called(n.Key))
		case *ast.Field: // its tag
			return n.Tag == nil
		case *ast.BinaryExpr:
			return !slices.Contains([]token.Token{token.EQL, token.NEQ}, n.Op)
		case *ast.BasicLit:
			text, err := strconv.Unquote(n.Value)
			if n.Kind == token.STRING && err == nil && sentence.MatchString(text) && !command.MatchString(text) && !slices.Contains(names, text) {
				found = append(found, set.Position(n.Pos()).String()+": "+n.Value)
			}
		}
		return true
	})
	return found
}

// called is the name of a function or a type.
func called(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		if x := called(e.X); x != "" {
			return x + "." + e.Sel.Name
		}
		return e.Sel.Name
	}
	return ""
}
