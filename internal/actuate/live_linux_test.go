package actuate

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Other lives of the test program.
const (
	asGuardian = "__guard"
	asWriter   = "__write"
	asHalf     = "__half"   // a writer that lowers a setting and does not put it back
	asDying    = "__dying"  // one that lowers a setting and is killed
	asFiller   = "__fill"   // GROUP-DIR FILE BYTES
	asMemwhy   = "__memwhy" // GROUP-DIR GROUP-ID VERSION STATE STEPS KILL-AT WHOM
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		var err error
		switch os.Args[1] {
		case asGuardian:
			err = ServeGuardian(os.Stdin, os.Stdout)
		case asWriter:
			err = ServeWriter(os.Stdin, os.Stdout)
		case asHalf:
			err = half(os.Stdin, os.Stdout, math.MaxInt)
		case asDying:
			if err = half(os.Stdin, os.Stdout, 1); err == nil {
				err = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		case asFiller:
			err = fill(os.Args[2:])
		case asMemwhy:
			err = victim(os.Args[2:])
		default:
			os.Exit(m.Run())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func command(life string) []string { return []string{"/proc/self/exe", life} }

// group makes a memory cgroup of the running node for a test.
func group(t testing.TB, name string) remedy.Group {
	t.Helper()
	src := node(t)
	h, err := cgroupfs.Find(src, false)
	if err == nil {
		var g remedy.Group
		if g, err = makeGroup(h, fmt.Sprintf("/memwhy-hands-%s-%d", name, os.Getpid())); err == nil {
			t.Cleanup(func() { remove(g.Dir) })
			return g
		}
	}
	if os.Getenv("MEMWHY_LIVE") == "required" {
		t.Fatal(err)
	}
	t.Skip("no memory cgroup can be made here: ", err)
	return remedy.Group{}
}

func makeGroup(h cgroupfs.Hierarchy, name string) (remedy.Group, error) {
	dir, ok := h.Dir(name)
	if !ok {
		return remedy.Group{}, errors.New("nowhere to make a cgroup")
	}
	remove(dir)
	if h.Version == snapshot.V2 {
		_ = os.WriteFile(filepath.Join(h.Point, "cgroup.subtree_control"), []byte("+memory"), 0)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return remedy.Group{}, err
	}
	return named(dir, name, h.Version)
}

func named(dir, name string, v snapshot.Version) (remedy.Group, error) {
	var st unix.Stat_t
	err := unix.Stat(dir, &st)
	return remedy.Group{Path: name, Dir: dir, Version: v, ID: st.Ino}, err
}

func remove(dir string) {
	for range 100 {
		if err := os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func node(t testing.TB) kernel.Source {
	t.Helper()
	live, err := kernel.OpenLive("/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { live.Close() })
	return live
}

// cache makes a file of some bytes whose cache is charged to the group.
func cache(t testing.TB, g remedy.Group, bytes int) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "cached")
	if out, err := exec.Command("/proc/self/exe", asFiller, g.Dir, f, strconv.Itoa(bytes)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return f
}

// fill moves itself into a group and writes a file.
func fill(args []string) error {
	if err := os.WriteFile(filepath.Join(args[0], "cgroup.procs"), []byte("0"), 0); err != nil {
		return err
	}
	f, err := os.Create(args[1])
	if err != nil {
		return err
	}
	bytes, _ := strconv.Atoi(args[2])
	block := make([]byte, 1<<20)
	for ; bytes > 0; bytes -= len(block) {
		if _, err := f.Write(block[:min(bytes, len(block))]); err != nil {
			return err
		}
	}
	return errors.Join(f.Sync(), f.Close())
}

func fileOf(t testing.TB, p string) *remedy.File {
	t.Helper()
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := errors.Join(unix.Stat(p, &st), unix.Statfs(p, &fs)); err != nil {
		t.Fatal(err)
	}
	kind := map[int64]string{unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs"}[int64(fs.Type)]
	if kind == "" {
		t.Skipf("files here are on %x, whose cache is not dropped", fs.Type)
	}
	return &remedy.File{PID: os.Getpid(), Path: p, FS: kind, Device: kernel.SDev(st.Dev), Inode: st.Ino, Bytes: st.Size}
}

func options(t testing.TB, state string) Options {
	return Options{State: state, Meter: NewMeter(node(t), false), Guardian: command(asGuardian), Writer: command(asWriter), Why: "a test"}
}

func limit(t testing.TB, g remedy.Group) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(g.Dir, setting(g)))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func setting(g remedy.Group) string {
	return map[snapshot.Version]string{snapshot.V1: "memory.limit_in_bytes", snapshot.V2: "memory.high"}[g.Version]
}

// lowering is a step that changes a setting, in either version.
func lowering(g remedy.Group, bytes int64) remedy.Step {
	return remedy.Step{Knob: map[snapshot.Version]remedy.Knob{snapshot.V1: remedy.Limit, snapshot.V2: remedy.High}[g.Version], Group: g, Bytes: bytes}
}

func usage(t *testing.T, g remedy.Group) int64 {
	t.Helper()
	s, err := NewMeter(node(t), false).Read(g)
	if err != nil {
		t.Fatal(err)
	}
	return s.Usage.Value
}
