// Package vm owns test machines: it boots a kernel under emulation with the
// shipped binary, a disk, swap and the memory controller of one version, and
// gives back what the guest wrote. It must not know what the answers should be.
package vm

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Machine is one kernel in one mode.
type Machine struct {
	Suite   string // of Debian, whose newest kernel runs
	Arch    string // amd64, arm64
	Cgroup  string // v1, v2
	Flavour string // of the kernel where it is not the cloud's: 16k
}

// Machines is the matrix. Version 1 is not built into later cloud kernels.
func Machines() []Machine {
	return []Machine{
		{Suite: "bullseye", Arch: "amd64", Cgroup: "v2"},
		{Suite: "bookworm", Arch: "amd64", Cgroup: "v2"},
		{Suite: "trixie", Arch: "amd64", Cgroup: "v2"},
		{Suite: "sid", Arch: "amd64", Cgroup: "v2"},
		{Suite: "bullseye", Arch: "amd64", Cgroup: "v1"},
		{Suite: "bookworm", Arch: "amd64", Cgroup: "v1"},
		{Suite: "trixie", Arch: "arm64", Cgroup: "v2"},
	}
}

// page is the size of a page.
func (m Machine) page() int {
	if m.Flavour == "16k" {
		return 16 << 10
	}
	return 4 << 10
}

// nodes is of memory: lists are counted by node, and one machine has two.
func (m Machine) nodes() int {
	if m.Suite == "trixie" && m.Arch == "amd64" {
		return 2
	}
	return 1
}

// CensusMachines are those that the census is tested on: arm64 has pages of 16 KiB
// there, as the labs run it with 4.
func CensusMachines() []Machine {
	machines := Machines()
	for i := range machines {
		if machines[i].Arch == "arm64" {
			machines[i].Flavour = "16k"
		}
	}
	return machines
}

func (m Machine) String() string { return m.kernel() + "-" + m.Cgroup }

// kernel is the directory that scripts/kernels left it in.
func (m Machine) kernel() string {
	if m.Flavour != "" {
		return m.Suite + "-" + m.Arch + "-" + m.Flavour
	}
	return m.Suite + "-" + m.Arch
}

// disposable is a kernel argument that only these machines are started with: there
// the caches of the whole node may be dropped (bench/reclaim).
const disposable = "memwhy.disposable"

// Files are where things are on the host: kernels as scripts/kernels leaves
// them, Bin/{memwhy,guest,e2e.test,census.test,actuate.test,reclaim.bench}-ARCH and, for a
// machine with container runtimes, Root as scripts/root leaves it and
// Bin/{runtimes.test,workload}-ARCH.
type Files struct{ Kernels, Bin, Root string }

// programs are those on the disk of a machine.
func (f Files) programs() []string {
	if f.Root != "" {
		return []string{"memwhy", "runtimes.test", "workload"}
	}
	return []string{"memwhy", "e2e.test", "census.test", "actuate.test", "reclaim.bench"}
}

// Release is the kernel's, as uname -r without what Debian appends for the
// flavour: 6.12.117+deb13.
func (f Files) Release(m Machine) (string, error) {
	b, err := os.ReadFile(filepath.Join(f.Kernels, m.kernel(), "release"))
	if err != nil {
		return "", err
	}
	release := strings.TrimSuffix(strings.TrimSpace(string(b)), "-"+m.Arch+"-"+m.Flavour)
	return strings.TrimSuffix(release, "-cloud-"+m.Arch), nil
}

// Run is what a boot left.
type Run struct {
	Files   map[string][]byte // as the guest named them
	Console []byte
	Wall    time.Duration
}

// Boot runs m until it powers off. args are kernel arguments for the guest. A
// machine that never came to its end is an error with the end of its console.
func Boot(ctx context.Context, m Machine, f Files, dir string, args ...string) (*Run, error) {
	start := time.Now()
	if err := disks(m, f, dir); err != nil {
		return nil, err
	}
	guest, err := os.ReadFile(filepath.Join(f.Bin, "guest-"+m.Arch))
	if err != nil {
		return nil, err
	}
	modules, err := filepath.Glob(filepath.Join(f.Kernels, m.kernel(), "modules", "*.ko"))
	if err != nil {
		return nil, err
	}
	initrd := filepath.Join(dir, "initrd")
	content, err := initramfs(guest, modules)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(initrd, content, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, emulator(m), append(hardware(m, f, dir),
		"-kernel", filepath.Join(f.Kernels, m.kernel(), "vmlinuz"), "-initrd", initrd,
		"-append", strings.Join(append([]string{consoleOf(m), "quiet panic=-1 swapaccount=1", disposable, "memwhy.cgroup=" + m.Cgroup}, args...), " "))...)
	said, runErr := cmd.CombinedOutput()
	run := &Run{Files: map[string][]byte{}, Wall: time.Since(start)}
	run.Console, _ = os.ReadFile(filepath.Join(dir, "console"))
	err = run.read(filepath.Join(dir, "out"))
	if _, ended := run.Files["end"]; err != nil || !ended {
		return run, fmt.Errorf("%s did not come to its end: %w\n%s\n%s", m, errors.Join(runErr, ctx.Err(), err), said, tail(run.Console, 4000))
	}
	return run, nil
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

func emulator(m Machine) string {
	if m.Arch == "arm64" {
		return "qemu-system-aarch64"
	}
	return "qemu-system-x86_64"
}

func consoleOf(m Machine) string {
	if m.Arch == "arm64" {
		return "console=ttyAMA0"
	}
	return "console=ttyS0"
}

// hardware: two processors, since counters are kept by processor. cx16 is off
// because qemu 7.2 corrupts flags around cmpxchg16b, which slab uses since 6.x.
func hardware(m Machine, f Files, dir string) []string {
	args := []string{
		"-m", "2048", "-smp", "2", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "file:" + filepath.Join(dir, "console"),
	}
	if m.Arch == "arm64" {
		cpu := "cortex-a57"
		if m.Flavour == "16k" {
			cpu = "max,pauth=off" // the other has no pages of that size
		}
		args = append(args, "-M", "virt", "-cpu", cpu, "-accel", "tcg,thread=multi")
	} else {
		args = append(args, "-M", "pc,graphics=off", "-cpu", "qemu64,-cx16", "-accel", "tcg,thread=multi")
	}
	if m.nodes() == 2 && f.Root == "" {
		args = append(args, "-object", "memory-backend-ram,id=near,size=1024M", "-object", "memory-backend-ram,id=far,size=1024M",
			"-numa", "node,memdev=near,cpus=0", "-numa", "node,memdev=far,cpus=1")
	}
	drive := func(name, file string) {
		args = append(args, "-drive", fmt.Sprintf("file=%s,if=none,id=%s,format=raw,cache=unsafe", file, name),
			"-device", fmt.Sprintf("nvme,drive=%s,serial=%s", name, name))
	}
	for _, d := range []string{"data", "swap", "out"} {
		drive(d, filepath.Join(dir, d))
	}
	if f.Root != "" { // what a machine writes to it is gone with the machine
		drive("root", f.Root+",snapshot=on")
	}
	return args
}

// disks makes the guest's: ext4 with the programs on it, swap, and a raw one for
// what it writes.
func disks(m Machine, f Files, dir string) error {
	tree := filepath.Join(dir, "tree")
	if err := os.MkdirAll(filepath.Join(tree, "tmp"), 0o755); err != nil {
		return err
	}
	for _, name := range f.programs() {
		b, err := os.ReadFile(filepath.Join(f.Bin, name+"-"+m.Arch))
		if err == nil {
			err = os.WriteFile(filepath.Join(tree, name), b, 0o755)
		}
		if err != nil {
			return err
		}
	}
	for name, size := range map[string]int64{"data": 2 << 30, "swap": 512 << 20, "out": 256 << 20} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			return err
		}
		if err := os.Truncate(file, size); err != nil {
			return err
		}
	}
	for _, c := range [][]string{
		{"mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-d", tree, filepath.Join(dir, "data")},
		{"mkswap", "-q", "-p", strconv.Itoa(m.page()), filepath.Join(dir, "swap")},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", c[0], err, out)
		}
	}
	return nil
}

// read reads the tar that the guest wrote, as far as it goes.
func (r *Run) read(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if r.Files[h.Name], err = io.ReadAll(t); err != nil {
			return err
		}
	}
}
