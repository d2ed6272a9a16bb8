// Package archtest holds the arrows of the house, what each room may import, and
// the test that they hold. It owns no code.
package archtest

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/memwhy/memwhy/"

// arrows: the room on the left may import exactly the rooms on the right.
// Paths without a leading slash are below internal/.
var arrows = map[string]string{
	"size":             "",
	"words":            "",
	"printable":        "",
	"identity":         "snapshot",
	"snapshot":         "words",
	"kernel":           "identity kernel/heaps kernel/procfs snapshot",
	"kernel/heaps":     "snapshot words",
	"kernel/procfs":    "snapshot",
	"kernel/cgroupfs":  "kernel size snapshot",
	"kernel/kmsg":      "size snapshot",
	"kernel/census":    "kernel kernel/cgroupfs snapshot",
	"gather":           "identity kernel kernel/cgroupfs kernel/kmsg kernel/procfs mounts printable size snapshot words",
	"capture":          "identity kernel kernel/kmsg snapshot",
	"ledger":           "size snapshot words",
	"mapping":          "size snapshot words",
	"runtimes":         "size snapshot words",
	"check":            "printable report size words",
	"trend":            "ledger mapping size snapshot words",
	"mounts":           "snapshot",
	"kversion":         "",
	"advisory":         "kversion size snapshot words",
	"says":             "ledger mapping size snapshot words",
	"report":           "",
	"oom":              "identity printable report size snapshot words",
	"explain":          "advisory diagnose identity kversion ledger mapping mounts printable remedy report runtimes says size snapshot trend words",
	"render":           "advisory diagnose printable report size words",
	"wire":             "actuate capture explain gather identity kernel kernel/census kernel/kmsg kernel/knob names oom remedy report size snapshot words",
	"cli":              "advisory check diagnose explain gather kernel/cgroupfs ledger printable remedy render report size wire words /lab",
	"diagnose":         "advisory identity ledger mapping mounts oom printable report runtimes says size snapshot trend words",
	"archtest":         "",
	"/lab":             "",
	"/cmd/memwhy":      "cli",
	"identity/cri":     "identity snapshot",
	"identity/engine":  "identity snapshot",
	"identity/kubelet": "identity snapshot",
	"remedy":           "size snapshot words",
	"kernel/knob":      "kernel kernel/cgroupfs size snapshot",
	"actuate":          "kernel kernel/cgroupfs kernel/knob remedy size snapshot words",
	"names":            "identity/cri identity/engine identity/kubelet snapshot",
}

// importers: who may import a dependency, and nobody else. The standard library
// packages are here because they reach the kernel or the outside.
var importers = map[string]string{
	"github.com/spf13/cobra":                   "cli",
	"go.yaml.in/yaml/v4":                       "advisory render",
	"github.com/invopop/jsonschema":            "report",
	"github.com/santhosh-tekuri/jsonschema/v6": "report",
	"github.com/google/pprof/profile":          "render",
	"github.com/google/go-cmp/cmp":             "*",
	"github.com/cilium/ebpf":                   "kernel/census",
	"github.com/cilium/ebpf/btf":               "kernel/census",
	"github.com/cilium/ebpf/rlimit":            "kernel/census",
	"golang.org/x/sys/unix":                    "kernel kernel/census kernel/knob /lab",
	"golang.org/x/text/width":                  "render",
	"syscall":                                  "actuate kernel kernel/cgroupfs names /cmd/memwhy /lab",
	"os":                                       "actuate capture cli kernel kernel/census kernel/knob names /cmd/memwhy /lab",
	"os/exec":                                  "actuate archtest kernel /lab",
	"net":                                      "names",
	"net/http":                                 "names",
	"google.golang.org/protobuf/encoding/protowire": "identity/cri",
	"crypto/tls": "names",
}

// pure rooms must not reach the door, however many arrows away.
var pure = []string{"advisory", "kversion", "ledger", "mapping", "says", "report", "explain", "render", "identity", "snapshot", "size", "printable", "words", "/lab", "oom", "mounts", "diagnose", "identity/cri", "identity/engine", "identity/kubelet", "names", "remedy", "runtimes", "check", "trend"}

type pkg struct {
	ImportPath                         string
	Name, Doc                          string
	Imports, TestImports, XTestImports []string
	Deps                               []string
}

func load(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Imports,TestImports,XTestImports,Deps", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	return pkgs
}

// room is the name of a package in the tables, empty for one of another module.
func room(importPath string) string {
	rest, ok := strings.CutPrefix(importPath, module)
	if !ok {
		return ""
	}
	if in, ok := strings.CutPrefix(rest, "internal/"); ok {
		return in
	}
	return "/" + rest
}

func TestArrows(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range load(t) {
		r := room(p.ImportPath)
		allowed, ok := arrows[r]
		if !ok {
			t.Errorf("room %s has no row in the table", r)
			continue
		}
		seen[r] = true
		may := strings.Fields(allowed)
		for _, imp := range p.Imports {
			if to := room(imp); to != "" && !slices.Contains(may, to) {
				t.Errorf("%s imports %s, which the table does not allow", r, to)
			}
		}
		for _, to := range may {
			full := module + "internal/" + to
			if strings.HasPrefix(to, "/") {
				full = module + to[1:]
			}
			if !slices.Contains(p.Imports, full) {
				t.Errorf("the table lets %s import %s, which it does not: delete the arrow", r, to)
			}
		}
	}
	for r := range arrows {
		if !seen[r] {
			t.Errorf("the table has a row for %s, which does not exist", r)
		}
	}
}

func TestOneImporterPerDependency(t *testing.T) {
	for _, p := range load(t) {
		r := room(p.ImportPath)
		for _, imp := range p.Imports {
			who, ok := importers[imp]
			if !ok && strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") && room(imp) == "" {
				t.Errorf("%s imports %s, a dependency without a row in the table", r, imp)
			}
			if ok && who != "*" && !slices.Contains(strings.Fields(who), r) {
				t.Errorf("%s imports %s; only %q may", r, imp, who)
			}
		}
	}
}

func TestThoughtCannotReachTheKernel(t *testing.T) {
	for _, p := range load(t) {
		if !slices.Contains(pure, room(p.ImportPath)) {
			continue
		}
		for _, dep := range p.Deps {
			if to := room(dep); to == "kernel" || strings.HasPrefix(to, "kernel/") {
				t.Errorf("%s reaches %s", room(p.ImportPath), to)
			}
		}
	}
}

func TestEveryRoomSaysWhatItOwns(t *testing.T) {
	for _, p := range load(t) {
		if p.Doc == "" && p.Name != "main" && room(p.ImportPath) != "archtest" {
			t.Errorf("%s has no package doc", room(p.ImportPath))
		}
	}
}
