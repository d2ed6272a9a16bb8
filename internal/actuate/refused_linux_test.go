package actuate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/kernel/knob"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/snapshot"
)

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

// Where the journal finds no room any more half way, no further setting is lowered.
func TestJournalFillsUp(t *testing.T) {
	g := group(t, "fills")
	cache(t, g, 16<<20)
	dir := private(t)
	mounted(t, "memwhy-hands", dir, "tmpfs", 0, "size=64k,mode=0700")
	o := options(t, private(t))
	o.Journal = dir
	o.Each = func(Done) {
		for i := 0; ; i++ {
			if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), make([]byte, 4096), 0o600); err != nil {
				return
			}
		}
	}
	was := limit(t, g)
	r, err := Run(context.Background(), &remedy.Plan{Target: g, Steps: []remedy.Step{lowering(g, 1<<20), lowering(g, 4<<20), lowering(g, 4<<20)}}, o)
	if err != nil || r.Stopped != ByRestore || len(r.Steps) != 2 || r.Steps[0].Err != nil || !errors.Is(r.Steps[1].Err, ErrJournal) || !r.Restored || r.Met || r.Freed > 3<<20 || limit(t, g) != was {
		t.Errorf("%+v, %v; limit %s", r, err, limit(t, g))
	}
	if p := Pending(dir); len(p) > 0 {
		t.Errorf("pending: %+v", p)
	}
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
