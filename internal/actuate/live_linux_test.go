package actuate

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/kernel/knob"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/snapshot"
)

var kills = flag.Int("kills", 30, "how often memwhy, its guardian, or both are killed")

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

func TestLowerAndRestore(t *testing.T) {
	g := group(t, "lower")
	cache(t, g, 64<<20)
	was, state := limit(t, g), private(t)
	p := &remedy.Plan{Target: g, Want: 32 << 20}
	for range 8 {
		p.Steps = append(p.Steps, lowering(g, 4<<20))
	}
	r, err := Run(context.Background(), p, options(t, state))
	if err != nil {
		t.Fatal(err)
	}
	if r.Stopped != "" || !r.Restored || len(r.Left) > 0 || r.RecordErr != nil || limit(t, g) != was {
		t.Fatalf("%+v, limit %s", r, limit(t, g))
	}
	if r.Freed < 24<<20 || r.Freed > 48<<20 {
		t.Errorf("freed %d of 32 MiB: %+v", r.Freed, r.Steps)
	}
	if got := Pending(state); len(got) > 0 {
		t.Errorf("pending: %+v", got)
	}
	h, err := History(state)
	if err != nil || len(h) != 1 || h[0].Ended.IsZero() || *h[0].Freed != r.Freed || h[0].Knobs[0].Steps != len(r.Steps) || h[0].Why != "a test" {
		t.Errorf("%+v, %v", h, err)
	}
	if left, _ := filepath.Glob(state + "/*.lock"); len(left) > 0 {
		t.Errorf("locks are left: %v", left)
	}
}

func TestDropFile(t *testing.T) {
	g := group(t, "file")
	f := cache(t, g, 32<<20)
	p := &remedy.Plan{Target: g, Want: 32 << 20, Steps: []remedy.Step{{Knob: remedy.FileCache, Group: g, Bytes: 32 << 20, File: fileOf(t, f)}}}
	r, err := Run(context.Background(), p, options(t, private(t)))
	if err != nil {
		t.Fatal(err)
	}
	if d := r.Steps[0]; d.Err != nil || d.Freed < 30<<20 || d.Dropped.State == snapshot.Present && d.Dropped.Value != 32<<20 {
		t.Errorf("%+v", r)
	}
}

func TestForceEmpty(t *testing.T) {
	g := group(t, "empty")
	if g.Version != snapshot.V1 {
		t.Skip("version 1 has it")
	}
	cache(t, g, 32<<20)
	p := &remedy.Plan{Target: g, Want: 32 << 20, Steps: []remedy.Step{{Knob: remedy.ForceEmpty, Group: g, Bytes: 32 << 20}}}
	r, err := Run(context.Background(), p, options(t, private(t)))
	if err != nil || r.Stopped != "" || r.Freed < 30<<20 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestReclaim(t *testing.T) {
	g := group(t, "reclaim")
	if _, err := os.Stat(filepath.Join(g.Dir, "memory.reclaim")); err != nil {
		t.Skip("no memory.reclaim here")
	}
	cache(t, g, 64<<20)
	zero := 0
	p := &remedy.Plan{Target: g, Want: 32 << 20}
	for range 2 {
		p.Steps = append(p.Steps, remedy.Step{Knob: remedy.Reclaim, Group: g, Bytes: 16 << 20, Swappiness: &zero})
	}
	r, err := Run(context.Background(), p, options(t, private(t)))
	if err != nil {
		t.Fatal(err)
	}
	if errors.Is(r.Steps[0].Err, knob.ErrSwappiness) { // before 6.11
		if len(r.Steps) != 2 || !errors.Is(r.Steps[1].Err, ErrSkipped) {
			t.Errorf("%+v", r.Steps)
		}
		for i := range p.Steps {
			p.Steps[i].Swappiness, p.Steps[i].KeepSwap = nil, true
		}
		swap, _ := os.ReadFile(filepath.Join(g.Dir, "memory.swap.max"))
		if r, err = Run(context.Background(), p, options(t, private(t))); err != nil {
			t.Fatal(err)
		}
		if now, _ := os.ReadFile(filepath.Join(g.Dir, "memory.swap.max")); string(now) != string(swap) {
			t.Errorf("memory.swap.max is %s, was %s", now, swap)
		}
	}
	if r.Freed < 30<<20 || !r.Restored || r.Stopped != "" {
		t.Errorf("%+v", r)
	}
	t.Logf("asked %d, freed %d", r.Asked, r.Freed)
}

// victim is memwhy in another process, which is killed on its way.
func victim(args []string) error {
	id, _ := strconv.ParseUint(args[1], 10, 64)
	version, _ := strconv.Atoi(args[2])
	steps, _ := strconv.Atoi(args[4])
	when, _ := strconv.Atoi(args[5])
	whom, writer := args[6], args[7]
	g := remedy.Group{Path: "/victim", Dir: args[0], Version: snapshot.Version(version), ID: id}
	p := &remedy.Plan{Target: g, Want: 1 << 40, Guards: remedy.Guards{StepTime: time.Second}}
	for range steps {
		p.Steps = append(p.Steps, lowering(g, 64<<10))
	}
	var guardianPID int
	seen := 0
	at = func(string) {
		if seen++; seen != when {
			return
		}
		if guardianPID == 0 {
			guardianPID = guardianOf(os.Getpid())
		}
		if whom != "memwhy" && guardianPID > 0 {
			_ = syscall.Kill(guardianPID, syscall.SIGKILL)
		}
		if whom != "guardian" {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}
	live, err := kernel.OpenLive("/")
	if err != nil {
		return err
	}
	_, err = Run(context.Background(), p, Options{State: args[3], Meter: NewMeter(live, false), Guardian: command(asGuardian), Writer: command(writer)})
	return err
}

// half is a writer that is stuck in the worst moment: what it lowered is lowered.
func half(in io.Reader, out io.Writer, most int) error {
	enc, dec := json.NewEncoder(out), json.NewDecoder(in)
	if err := enc.Encode(knob.Reply{}); err != nil {
		return err
	}
	for range most {
		var o knob.Order
		if err := dec.Decode(&o); err != nil {
			return nil
		}
		text := strconv.FormatInt(o.Squeeze.Set, 10)
		if err := os.WriteFile(filepath.Join(string(o.Group.Dir), o.Squeeze.Name), []byte(text), 0); err != nil {
			return err
		}
	}
	return nil
}

// guardianOf finds the guardian among the children of a process. The kernel may leave one
// out while others come and go.
func guardianOf(pid int) int {
	for range 100 {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		for _, f := range lists {
			b, _ := os.ReadFile(f)
			for _, w := range strings.Fields(string(b)) {
				line, _ := os.ReadFile("/proc/" + w + "/cmdline")
				if slices.Contains(strings.Split(string(line), "\x00"), asGuardian) {
					n, _ := strconv.Atoi(w)
					return n
				}
			}
		}
		time.Sleep(time.Millisecond)
	}
	return 0
}

// Whoever is killed, and whenever: after 200 ms, or after Recover when nobody is left,
// the limit is what it was.
func TestKilled(t *testing.T) {
	g := group(t, "killed")
	cache(t, g, 64<<20)
	set := strconv.Itoa(1 << 30)
	if err := os.WriteFile(filepath.Join(g.Dir, setting(g)), []byte(set), 0); err != nil {
		t.Fatal(err)
	}
	was, state := limit(t, g), private(t)
	died, restoredByOthers := 0, 0
	for i := range *kills {
		whom := []string{"memwhy", "guardian", "both"}[i%3]
		when := 1 + rand.IntN(32) // of some 30 points
		if i%25 == 24 {           // the steps of earlier runs ate it up
			cache(t, g, 64<<20)
		}
		cmd := exec.Command("/proc/self/exe", asMemwhy, g.Dir, strconv.FormatUint(g.ID, 10), strconv.Itoa(int(g.Version)), state, "4", strconv.Itoa(when), whom, asWriter)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() {
			died++
		} else if err != nil {
			t.Fatalf("%s at %d: %v: %s", whom, when, err, out)
		}
		if whom == "memwhy" {
			waitFor(t, func() bool { return limit(t, g) == was }, fmt.Sprintf("%s at %d: the limit to be back", whom, when))
		}
		waitFor(t, func() bool { return noneRuns(state, g) }, "the others to end")
		pending := Pending(state)
		all, err := Recover(state)
		if err != nil || !settled(all) {
			t.Fatalf("%s at %d: %+v, %v", whom, when, all, err)
		}
		if len(pending) != len(all) {
			t.Errorf("%s at %d: pending %+v, recovered %+v", whom, when, pending, all)
		}
		for _, r := range all {
			if r.Outcome == PutBack {
				restoredByOthers++
			}
		}
		if now := limit(t, g); now != was {
			t.Fatalf("%s at %d: the limit is %s, was %s", whom, when, now, was)
		}
		if len(Pending(state)) > 0 {
			t.Fatalf("%s at %d: something is still pending", whom, when)
		}
	}
	t.Logf("%d runs, %d killed, %d limits put back by Recover", *kills, died, restoredByOthers)
	if died < *kills/4 {
		t.Errorf("only %d of %d runs were killed", died, *kills)
	}
	if h, err := History(state); err != nil || len(h) == 0 {
		t.Errorf("%d records, %v", len(h), err)
	}
}

// A setting is lowered, and stays so until somebody puts it back.
func TestKilledHalfway(t *testing.T) {
	g := group(t, "halfway")
	cache(t, g, 64<<20)
	set := strconv.Itoa(1 << 30)
	if err := os.WriteFile(filepath.Join(g.Dir, setting(g)), []byte(set), 0); err != nil {
		t.Fatal(err)
	}
	was := limit(t, g)
	var slowest time.Duration
	defer func() { t.Logf("the guardian took %s at most", slowest.Round(time.Millisecond)) }()
	for i := range max(6, *kills/5) {
		whom := []string{"memwhy", "both", "guardian"}[i%3]
		if i%25 == 24 { // the cache may be gone by now
			cache(t, g, 64<<20)
		}
		state := private(t)
		cmd := exec.Command("/proc/self/exe", asMemwhy, g.Dir, strconv.FormatUint(g.ID, 10), strconv.Itoa(int(g.Version)), state, "1", "0", whom, asHalf)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { return limit(t, g) != was }, "the limit to be lowered")
		guardian := guardianOf(cmd.Process.Pid)
		if guardian == 0 {
			t.Fatal("no guardian")
		}
		if whom != "memwhy" {
			_ = syscall.Kill(guardian, syscall.SIGKILL)
		}
		if whom != "guardian" {
			_ = syscall.Kill(cmd.Process.Pid, syscall.SIGKILL)
		}
		killed := time.Now()
		err := cmd.Wait()
		switch whom {
		case "both":
			waitFor(t, func() bool { return noneRuns(state, g) }, "the lock")
			if _, err := Run(context.Background(), &remedy.Plan{Target: g, Steps: []remedy.Step{lowering(g, 4096)}}, options(t, state)); !errors.Is(err, ErrPending) {
				t.Errorf("another run beside a pending journal: %v", err)
			}
			if p := Pending(state); len(p) != 1 || p[0].Was != was || p[0].Setting != setting(g) || p[0].Outcome != "" {
				t.Errorf("pending: %+v", p)
			}
			all, err := Recover(state)
			if err != nil || len(all) != 1 || all[0].Outcome != PutBack {
				t.Errorf("recovered: %+v, %v", all, err)
			}
		case "memwhy":
			waitFor(t, func() bool { return limit(t, g) == was }, "the guardian")
			slowest = max(slowest, time.Since(killed))
			waitFor(t, func() bool { return noneRuns(state, g) }, "the guardian to end")
			if left, _ := filepath.Glob(state + "/*.lock"); len(left) > 0 {
				t.Errorf("locks are left: %v", left)
			}
		case "guardian": // memwhy itself gives the step up
			if err != nil {
				t.Error(err)
			}
			h, err := History(state)
			if err != nil || len(h) != 1 || !h[0].Restored || h[0].Stopped != ByStepTime {
				t.Errorf("%+v, %v", h, err)
			}
		}
		if now := limit(t, g); now != was {
			t.Fatalf("%s: the limit is %s, was %s", whom, now, was)
		}
		if p := Pending(state); len(p) > 0 {
			t.Errorf("%s: pending: %+v", whom, p)
		}
		if h, err := History(state); err != nil || len(h) != 1 || whom != "guardian" && (len(h[0].Recovered) != 1 || !h[0].Restored) {
			t.Errorf("%s: %+v, %v", whom, h, err)
		}
	}
}

// noneRuns reports that nobody holds the lock of the group.
func noneRuns(state string, g remedy.Group) bool {
	root, err := os.OpenRoot(state)
	if err != nil {
		return true
	}
	defer root.Close()
	return !locked(root, strconv.FormatUint(g.ID, 10)+lockEnd)
}

// waitFor waits for what has to come soon. The time is patience for a slow machine.
func waitFor(t *testing.T, done func() bool, what string) {
	t.Helper()
	for range 1000 {
		if done() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("waited too long for %s", what)
}

// Two reclaims of one cgroup: the second does nothing.
func TestSecondRefuses(t *testing.T) {
	g := group(t, "second")
	cache(t, g, 16<<20)
	state := private(t)
	o := options(t, state)
	var second error
	o.Each = func(Done) {
		_, second = Run(context.Background(), &remedy.Plan{Target: g, Steps: []remedy.Step{lowering(g, 1<<20)}}, options(t, state))
	}
	r, err := Run(context.Background(), &remedy.Plan{Target: g, Steps: []remedy.Step{lowering(g, 1<<20)}}, o)
	if err != nil || r.Stopped != "" || !errors.Is(second, ErrBusy) {
		t.Errorf("%+v, %v; second: %v", r, err, second)
	}
}

// A cgroup of the same path that is not the one that was planned is not touched.
func TestRecreated(t *testing.T) {
	g := group(t, "recreated")
	remove(g.Dir)
	if err := os.Mkdir(g.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	now, err := named(g.Dir, g.Path, g.Version)
	if err != nil || now.ID == g.ID {
		t.Skip("the kernel used the inode number again: ", err)
	}
	cache(t, now, 16<<20)
	was := limit(t, g)
	r, err := Run(context.Background(), &remedy.Plan{Target: g, Steps: []remedy.Step{lowering(g, 1<<20)}}, options(t, private(t)))
	if err != nil || r.Stopped != ByTarget || r.Freed > 1<<20 || limit(t, g) != was {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestVanishes(t *testing.T) {
	g := group(t, "vanishes")
	f := cache(t, g, 16<<20)
	o := options(t, private(t))
	o.Each = func(Done) {
		_ = os.Remove(f)
		remove(g.Dir)
	}
	p := &remedy.Plan{Target: g, Steps: []remedy.Step{lowering(g, 1<<20), lowering(g, 1<<20), lowering(g, 1<<20)}}
	r, err := Run(context.Background(), p, o)
	if err != nil || r.Stopped != ByTarget || r.After.Usage.State == snapshot.Present || !r.Restored || len(r.Steps) > 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

// What somebody else sets while a step runs stays.
func TestSetMeanwhile(t *testing.T) {
	g := group(t, "meanwhile")
	cache(t, g, 16<<20)
	state := private(t)
	theirs := strconv.Itoa(900 << 20)
	o := options(t, state)
	o.Writer = command(asHalf)
	p := &remedy.Plan{Target: g, Steps: []remedy.Step{lowering(g, 1<<20), lowering(g, 1<<20)}, Guards: remedy.Guards{StepTime: 300 * time.Millisecond}}
	was := limit(t, g)
	go func() {
		for range 1000 {
			if limit(t, g) != was {
				_ = os.WriteFile(filepath.Join(g.Dir, setting(g)), []byte(theirs), 0)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	r, err := Run(context.Background(), p, o)
	if err != nil || r.Stopped != ByStepTime || r.Restored || len(r.Left) != 1 || limit(t, g) != theirs || len(r.Steps) != 1 {
		t.Errorf("%+v, %v; limit %s", r, err, limit(t, g))
	}
	if p := Pending(state); len(p) > 0 {
		t.Errorf("pending: %+v", p)
	}
}

// mounted mounts something for a test, as root may.
func mounted(t *testing.T, source, dir, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, dir, kind, flags, data); err != nil {
		if os.Getenv("MEMWHY_LIVE") == "required" {
			t.Fatal(err)
		}
		t.Skip("nothing can be mounted here: ", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// Where the journal finds no room, or may not be written, nothing is lowered at all.
func TestJournalWithoutRoom(t *testing.T) {
	g := group(t, "room")
	cache(t, g, 16<<20)
	full, readOnly := private(t), private(t)
	mounted(t, "memwhy-hands", full, "tmpfs", 0, "size=64k,mode=0700")
	for i := 0; ; i++ {
		if err := os.WriteFile(filepath.Join(full, strconv.Itoa(i)), make([]byte, 4096), 0o600); err != nil {
			break
		}
	}
	mounted(t, "memwhy-hands", readOnly, "tmpfs", unix.MS_RDONLY, "mode=0700")
	for name, dir := range map[string]string{"full": full, "read-only": readOnly} {
		o := options(t, private(t))
		o.Journal = dir
		before := usage(t, g)
		_, err := Run(context.Background(), &remedy.Plan{Target: g, Steps: []remedy.Step{lowering(g, 8<<20)}}, o)
		if !errors.Is(err, ErrJournal) || usage(t, g) < before-(1<<20) {
			t.Errorf("%s: %v", name, err)
		}
		o.State, o.Journal = dir, private(t)
		if _, err := Run(context.Background(), &remedy.Plan{Target: g, Steps: []remedy.Step{lowering(g, 8<<20)}}, o); !errors.Is(err, ErrRecord) {
			t.Errorf("%s record: %v", name, err)
		}
	}
}

func usage(t *testing.T, g remedy.Group) int64 {
	t.Helper()
	s, err := NewMeter(node(t), false).Read(g)
	if err != nil {
		t.Fatal(err)
	}
	return s.Usage.Value
}

// A cgroup file system that may only be read, and one knob of which is refused half way.
func TestReadOnlyCgroups(t *testing.T) {
	g := group(t, "readonly")
	cache(t, g, 16<<20)
	dir := private(t)
	mounted(t, g.Dir, dir, "", unix.MS_BIND, "")
	if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	was, state := limit(t, g), private(t)
	barred := g
	barred.Dir = dir
	f := fileOf(t, cache(t, g, 4<<20))
	p := &remedy.Plan{Target: g, Steps: []remedy.Step{lowering(g, 1<<20), lowering(barred, 1<<20), lowering(g, 1<<20), {Knob: remedy.FileCache, Group: g, Bytes: 4 << 20, File: f}}}
	r, err := Run(context.Background(), p, options(t, state))
	if err != nil || len(r.Steps) != 4 || !r.Restored {
		t.Fatalf("%+v, %v", r, err)
	}
	if !errors.Is(r.Steps[1].Err, knob.ErrDenied) || !errors.Is(r.Steps[2].Err, ErrSkipped) || r.Steps[0].Err != nil || r.Steps[3].Err != nil || limit(t, g) != was {
		t.Errorf("%+v", r.Steps)
	}
	if p := Pending(state); len(p) > 0 {
		t.Errorf("pending: %+v", p)
	}
}

// A write that blocks is given up, and what ends it is a signal.
func TestGivenUp(t *testing.T) {
	g := group(t, "givenup")
	cache(t, g, 64<<20)
	was := limit(t, g)
	o := options(t, private(t))
	o.Writer = command(asHalf)
	r, err := Run(context.Background(), &remedy.Plan{Target: g, Steps: []remedy.Step{lowering(g, 1<<20)}, Guards: remedy.Guards{StepTime: 100 * time.Millisecond}}, o)
	if err != nil || r.Stopped != ByStepTime || !errors.Is(r.Steps[0].Err, knob.ErrInterrupted) || !r.Restored || limit(t, g) != was {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestMeter(t *testing.T) {
	g := group(t, "meter")
	f := cache(t, g, 32<<20)
	m := NewMeter(node(t), false)
	s, err := m.Read(g)
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := s.Usage.Get(); !ok || u < 32<<20 {
		t.Errorf("%+v", s.Usage)
	}
	// Up to 5.14 each processor keeps some pages of the counts to itself.
	if c, ok := s.Cache.Get(); !ok || c < 31<<20 || c > 40<<20 {
		t.Errorf("%+v of %s", s.Cache, f)
	}
	if n, ok := s.Reclaimable.Get(); !ok || n < 31<<20 {
		t.Errorf("%+v", s.Reclaimable)
	}
	if _, ok := s.MajorFaults.Get(); !ok {
		t.Errorf("%+v", s.MajorFaults)
	}
	for name, state := range map[string]snapshot.State{"refaults": s.Refaults.State, "stall": s.Stall.State, "reads": s.ReadBytes.State} {
		t.Log(name, state)
	}
	if s.ReadBytes.State != snapshot.Present && s.ReadBytes.Err == "" || s.Stall.State != snapshot.Present && s.Stall.Err == "" {
		t.Errorf("not seen, and no reason: %+v %+v", s.ReadBytes, s.Stall)
	}
	if _, err := m.Read(remedy.Group{Dir: "/nowhere", Version: g.Version}); err == nil {
		t.Error("a cgroup that is not there was read")
	}
}

// Without somebody who would put settings back none is changed.
func TestGuardianDies(t *testing.T) {
	g := group(t, "alone")
	cache(t, g, 16<<20)
	was, o := limit(t, g), options(t, private(t))
	o.Each = func(Done) {
		pid := guardianOf(os.Getpid())
		if pid == 0 || syscall.Kill(pid, syscall.SIGKILL) != nil {
			t.Error("no guardian")
		}
		waitFor(t, func() bool { return syscall.Kill(pid, 0) != nil }, "the guardian to be gone, and waited for")
		time.Sleep(10 * time.Millisecond)
	}
	p := &remedy.Plan{Target: g, Steps: []remedy.Step{lowering(g, 1<<20), lowering(g, 1<<20)}}
	r, err := Run(context.Background(), p, o)
	if err != nil || r.Stopped != ByGuardian || len(r.Steps) != 1 || !r.Restored || limit(t, g) != was {
		t.Errorf("%+v, %v", r, err)
	}
	o.Guardian = []string{"/bin/false"}
	if _, err := Run(context.Background(), p, o); !errors.Is(err, ErrJournal) {
		t.Errorf("a guardian that does not start: %v", err)
	}
}

// A signal ends a write inside the kernel, and nothing of it goes on.
func TestSignalEndsWrite(t *testing.T) {
	g := group(t, "signal")
	// Less than is cached: force_empty is all or nothing, and counts lag behind.
	step := remedy.Step{Knob: remedy.ForceEmpty, Group: g, Bytes: 192 << 20}
	if g.Version == snapshot.V2 {
		if _, err := os.Stat(filepath.Join(g.Dir, "memory.reclaim")); err != nil {
			t.Skip("no memory.reclaim here")
		}
		zero := 0
		step.Knob, step.Swappiness = remedy.Reclaim, &zero
	}
	p := &remedy.Plan{Target: g, Steps: []remedy.Step{step}, Guards: remedy.Guards{StepTime: time.Millisecond}}
	for range 5 { // a signal may come when all is over
		cache(t, g, 256<<20)
		r, err := Run(context.Background(), p, options(t, private(t)))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Steps) == 0 {
			t.Fatalf("no step was made: %s, %s", r.Stopped, r.Why)
		}
		if errors.Is(r.Steps[0].Err, knob.ErrSwappiness) {
			t.Skip("up to 6.1 a signal is seen between rounds, and a round is all that is asked")
		}
		after := r.After.Usage.Value
		if r.Stopped != ByStepTime || !errors.Is(r.Steps[0].Err, knob.ErrInterrupted) || after < 64<<20 {
			continue
		}
		time.Sleep(300 * time.Millisecond)
		if now := usage(t, g); now < after*3/4 { // of what was marked before, a little may go still
			t.Errorf("usage %d, then %d", after, now)
		}
		return
	}
	t.Error("no write was ended")
}

// With version 1 other hierarchies tell of the same processes, if they are in a cgroup of
// the same path there.
func TestMeterBesides(t *testing.T) {
	g := group(t, "besides")
	if g.Version != snapshot.V1 {
		t.Skip("version 2 has all in one place")
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", asHalf)
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	end := func() { in.Close(); _ = cmd.Wait() }
	pid := []byte(strconv.Itoa(cmd.Process.Pid))
	if err := os.WriteFile(filepath.Join(g.Dir, "cgroup.procs"), pid, 0); err != nil {
		t.Fatal(err)
	}
	before, err := NewMeter(node(t), false).Read(g)
	if err != nil || before.Stall.State != snapshot.Absent || before.ReadBytes.State != snapshot.Absent || before.Stall.Err == "" {
		t.Errorf("elsewhere: %+v %+v, %v", before.Stall, before.ReadBytes, err)
	}
	var made []string
	pressure, reads := false, false
	for _, m := range cgroupfs.ParseMountinfo(table) {
		blkio := m.Version == snapshot.V1 && slices.Contains(m.Controllers, "blkio")
		dir, ok := cgroupfs.Hierarchy{Mount: m}.Dir(g.Path)
		if !ok || !blkio && m.Version != snapshot.V2 || os.Mkdir(dir, 0o755) != nil {
			continue
		}
		made = append(made, dir)
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), pid, 0); err != nil {
			t.Error(err)
		}
		if blkio { // newer kernels count where something is throttled, and nowhere else
			b, err := os.ReadFile(filepath.Join(m.Point, "blkio.throttle.io_service_bytes_recursive"))
			n, parsed := cgroupfs.ParseBlkio(b)
			reads = err == nil && parsed == nil && n != (snapshot.IO{})
			continue
		}
		_, err := os.Stat(filepath.Join(dir, "memory.pressure"))
		pressure = err == nil
	}
	after, err := NewMeter(node(t), false).Read(g)
	end()
	for _, dir := range made {
		remove(dir)
	}
	if err != nil || pressure != (after.Stall.State == snapshot.Present) || reads != (after.ReadBytes.State == snapshot.Present) {
		t.Errorf("pressure %v, reads %v: %+v %+v, %v", pressure, reads, after.Stall, after.ReadBytes, err)
	}
	t.Logf("%+v %+v", after.Stall, after.ReadBytes)
}

// The writer is killed between lowering and putting back.
func TestWriterDies(t *testing.T) {
	g := group(t, "writer")
	cache(t, g, 16<<20)
	was, o := limit(t, g), options(t, private(t))
	o.Writer = command(asDying)
	r, err := Run(context.Background(), &remedy.Plan{Target: g, Steps: []remedy.Step{lowering(g, 1<<20), lowering(g, 1<<20)}}, o)
	if err != nil || len(r.Steps) != 2 || r.Steps[0].Err == nil || !errors.Is(r.Steps[1].Err, ErrSkipped) || !r.Restored || limit(t, g) != was {
		t.Errorf("%+v, %v", r, err)
	}
	o.Writer = []string{"/bin/false"}
	r, err = Run(context.Background(), &remedy.Plan{Target: g, Steps: []remedy.Step{lowering(g, 1<<20)}}, o)
	if err != nil || r.Steps[0].Err == nil || !r.Restored || limit(t, g) != was {
		t.Errorf("a writer that does not start: %+v, %v", r, err)
	}
}
