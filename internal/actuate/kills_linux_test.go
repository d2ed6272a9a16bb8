package actuate

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
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

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/knob"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/snapshot"
)

var kills = flag.Int("kills", 30, "how often memwhy, its guardian, or both are killed")

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
	at = func(point string) {
		if seen++; seen != when {
			return
		}
		fmt.Println(point)
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
	died, restoredByOthers, points := 0, 0, map[string]int{}
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
		if point, _, ok := strings.Cut(string(out), "\n"); ok {
			points[point]++
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
	t.Logf("%d runs, memwhy killed in %d, %d limits put back by Recover; by where somebody was killed: %v", *kills, died, restoredByOthers, points)
	if all := []string{"prepared", "journal written", "journal in place", "order", "written", "restored", "journal cleared", "step over"}; *kills >= 300 {
		for _, point := range all {
			if points[point] == 0 {
				t.Errorf("nobody was killed at %q", point)
			}
		}
	}
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
