package vm

import (
	"context"
	"os"
	"sort"
	"strings"
	"testing"
	"time"
)

// elsewhere are the live tests that need more than these machines have: a shell,
// FUSE, or a processor that is not emulated. TestLabs is what the machines do.
const elsewhere = "TestLabs|TestTreeOfAnUntouchedNode|TestStuckCommandLine|TestBudget"

// TestKernels boots every machine of the matrix, two at a time, and judges what
// its labs left. KERNEL=6.12 or KERNEL=5.10-v1 picks machines by the beginning
// of their release.
func TestKernels(t *testing.T) {
	f := Files{Kernels: os.Getenv("MEMWHY_VM") + "/kernels", Bin: os.Getenv("MEMWHY_VM") + "/bin"}
	only, mode, _ := strings.Cut(os.Getenv("KERNEL"), "-")
	for _, m := range Machines() {
		release, err := f.Release(m)
		if err != nil {
			t.Fatal(err)
		}
		if only != "" && !strings.HasPrefix(release, only+".") && release != only || mode != "" && mode != m.Cgroup && mode != m.Arch {
			continue
		}
		skip := elsewhere
		if m.Suite != "sid" {
			skip += "|TestHostileNames" // half a minute under emulation: once is enough
		}
		t.Run(release+"-"+m.Arch+"-"+m.Cgroup, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			run, err := Boot(ctx, m, f, t.TempDir(), "memwhy.bytes=24M", "memwhy.tests="+skip)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for n := range run.Files {
				names = append(names, n)
			}
			sort.Strings(names)
			t.Logf("%.1f s\n%s\n%s", run.Wall.Seconds(), strings.Join(names, " "), run.Console)
			for _, n := range names {
				if strings.HasSuffix(n, ".failed") || n == "error" {
					t.Errorf("%s: %s", n, run.Files[n])
				}
			}
		})
	}
}
