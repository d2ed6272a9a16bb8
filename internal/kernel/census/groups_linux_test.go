package census

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// inodeOf is a directory's inode, which is its cgroup's id.
func inodeOf(t *testing.T, dir string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// mountPoint is the hierarchy that a cgroup's directory is in.
func mountPoint(dir string) string {
	for {
		var here, above unix.Stat_t
		up := filepath.Dir(dir)
		if unix.Stat(dir, &here) != nil || unix.Stat(up, &above) != nil || here.Dev != above.Dev || up == dir {
			return dir
		}
		dir = up
	}
}

// directories are the ids of all cgroups below a directory that the memory
// controller knows.
func directories(t *testing.T, top string) map[uint64]string {
	t.Helper()
	ids := map[uint64]string{}
	_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && (path == top || unix.Access(path+"/memory.stat", unix.F_OK) == nil) {
			ids[st.Ino] = path
		}
		return nil
	})
	return ids
}

// list runs the tour alone.
func list(t *testing.T, e *Engine) (*snapshot.Census, tourState) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.reset(); err != nil {
		t.Fatal(err)
	}
	complete, err := e.tour(context.Background())
	if err != nil || !complete {
		t.Fatal(complete, err)
	}
	c, _, err := e.readOut()
	if err != nil {
		t.Fatal(err)
	}
	var tour tourState
	if err := e.loaded.Variables["tour"].Get(&tour); err != nil {
		t.Fatal(err)
	}
	return c, tour
}

// The list has every cgroup that has a directory, and besides them only dying
// ones, as many as the kernel counts.
func TestEveryCgroupIsListed(t *testing.T) {
	e := engine(t)
	dir, version := newGroup(t, "listed")
	top := mountPoint(dir)
	var wrong []string
	for range 5 {
		c := scan(t, e)
		if !c.Walked {
			t.Fatal("not walked")
		}
		if wrong = compareList(c, directories(t, top), top, version); len(wrong) == 0 {
			break
		}
		t.Log(wrong)
		time.Sleep(200 * time.Millisecond)
	}
	for _, w := range wrong {
		t.Error(w)
	}
}

func compareList(c *snapshot.Census, dirs map[uint64]string, top string, version snapshot.Version) (wrong []string) {
	seen := map[uint64]bool{}
	dying, ids := 0, 0
	for _, g := range c.Groups[1:] {
		if seen[g.ID] {
			wrong = append(wrong, fmt.Sprintf("%d is listed twice", g.ID))
		}
		seen[g.ID] = true
		if g.MemoryID > 0 {
			ids++
		}
		if g.Dying {
			dying++
			continue
		}
		dir := dirs[g.ID]
		switch {
		case dir == "":
			wrong = append(wrong, fmt.Sprintf("%q, id %d, is listed and has no directory", g.Path, g.ID))
		case filepath.Join(top, g.Path) != dir && g.Path != "/":
			wrong = append(wrong, fmt.Sprintf("%q is listed as %q", dir, g.Path))
		case (g.Usage == snapshot.Unknown) != (g.Path == "/"):
			wrong = append(wrong, fmt.Sprintf("%q has a usage of %d", dir, g.Usage))
		case g.MemoryID <= 0 || g.MemoryID > 65535:
			wrong = append(wrong, fmt.Sprintf("%q has number %d", dir, g.MemoryID))
		}
	}
	for id, dir := range dirs {
		if !seen[id] {
			wrong = append(wrong, fmt.Sprintf("%q is not listed", dir))
		}
	}
	if ids < len(dirs) {
		wrong = append(wrong, fmt.Sprintf("%d numbers of the controller are in use by %d cgroups", ids, len(dirs)))
	}
	if said, ok := dyingCount(top, version, len(dirs)); ok && said != dying {
		wrong = append(wrong, fmt.Sprintf("%d dying cgroups are listed, the kernel counts %d", dying, said))
	}
	return wrong
}

// dyingCount is the kernel's own: of version 1, /proc/cgroups counts them among
// the others.
func dyingCount(top string, version snapshot.Version, living int) (int, bool) {
	if version == snapshot.V1 {
		b, _ := os.ReadFile("/proc/cgroups")
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) == 4 && f[0] == "memory" {
				n, err := strconv.Atoi(f[2])
				return n - living, err == nil
			}
		}
		return 0, false
	}
	b, _ := os.ReadFile(top + "/cgroup.stat")
	stat := parseCounters(b)
	if n, ok := stat["nr_dying_subsys_memory"]; ok {
		return int(n), true
	}
	n, ok := stat["nr_dying_descendants"]
	return int(n), ok
}

// makeGroups makes n cgroups in dir, some of them deep in others.
func makeGroups(t *testing.T, dir string, version snapshot.Version, n int) (made []string) {
	t.Helper()
	t.Cleanup(func() {
		for i := len(made) - 1; i >= 0; i-- {
			_ = os.Remove(made[i])
		}
	})
	at, depth := dir, 0
	for i := range n {
		if i%10 == 0 {
			at, depth = dir, 0
		} else if i%10 < 4 && depth < 4 {
			at, depth = made[len(made)-1], depth+1
		}
		if version == snapshot.V2 {
			_ = os.WriteFile(filepath.Join(at, "cgroup.subtree_control"), []byte("+memory"), 0)
		}
		name := filepath.Join(at, fmt.Sprintf("g%04d", i))
		if err := os.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
		made = append(made, name)
	}
	return made
}

func TestTwoThousandCgroups(t *testing.T) {
	e := engine(t)
	dir, version := newGroup(t, "many")
	made := makeGroups(t, dir, version, 2000)
	var c *snapshot.Census
	for range 3 {
		start := time.Now()
		var tour tourState
		c, tour = list(t, e)
		took := e.summary()
		t.Logf("%d groups in %v of %v, %v each; slices %+v, restarts %d", tour.Found, took.Total, time.Since(start), took.Total/time.Duration(tour.Found), took, tour.Restarts)
	}
	at := map[uint64]int{}
	for i, g := range c.Groups {
		at[g.ID] = i
	}
	for _, m := range made {
		i := at[inodeOf(t, m)]
		g := c.Groups[i]
		if i == 0 || !strings.HasSuffix(m, g.Path) || g.Dying || g.Parent != at[inodeOf(t, filepath.Dir(m))] || g.Usage == snapshot.Unknown {
			t.Fatalf("%q: %d, %+v", m, i, g)
		}
	}
}

// hasty is an engine whose runs end as soon as they may.
func hasty(t *testing.T) *Engine {
	t.Helper()
	return altered(t, func(l constants) { l["budget"] = 1 })
}

// altered is an engine with another layout.
func altered(t *testing.T, change func(constants)) *Engine {
	t.Helper()
	layout := maps.Clone(engine(t).layout)
	change(layout)
	e := &Engine{layout: layout}
	t.Cleanup(func() { e.Close() })
	if err := e.load(); err != nil {
		t.Fatal(err)
	}
	if err := e.prove(context.Background()); err != nil {
		t.Fatal(err)
	}
	return e
}

// The group that the tour stopped at is gone when it goes on, every time.
func TestTourFindsItsPlaceAgain(t *testing.T) {
	e := hasty(t)
	dir, version := newGroup(t, "place")
	if version == snapshot.V2 {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory"), 0)
	}
	names, ids := map[uint64]string{}, []uint64{}
	for i := range 40 {
		name := filepath.Join(dir, fmt.Sprintf("g%d", i))
		if err := os.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(name) })
		ids = append(ids, inodeOf(t, name))
		names[inodeOf(t, name)] = name
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.reset(); err != nil {
		t.Fatal(err)
	}
	listed := map[uint64]bool{}
	var tour tourState
	fresh, before := uint64(1), 1
	for done := false; !done; fresh = 0 {
		var err error
		if done, err = e.slice(context.Background(), "list", fresh); err != nil {
			t.Fatal(err)
		}
		var st state
		if err := errors.Join(e.loaded.Variables["st"].Get(&st), e.loaded.Variables["tour"].Get(&tour)); err != nil {
			t.Fatal(err)
		}
		for i := before; i < int(st.Used[tableGroup]); i++ {
			listed[e.maps.groups[i].id] = true
			if name := names[e.maps.groups[i].id]; name != "" {
				_ = os.Remove(name)
			}
		}
		if before != int(st.Used[tableGroup]) {
			time.Sleep(100 * time.Millisecond) // until the kernel has let it go
		}
		before = int(st.Used[tableGroup])
	}
	for _, id := range ids {
		if !listed[id] {
			t.Errorf("%q is not listed", names[id])
		}
	}
	if tour.Restarts == 0 || tour.Lost != 0 {
		t.Errorf("%+v", tour)
	}
	t.Logf("%d groups found, %d times from the root again", tour.Found, tour.Restarts)
}

// Groups that are there all the time are listed, whatever comes and goes around
// them while the tour stops after every few groups.
func TestTourAmongChangingCgroups(t *testing.T) {
	e := hasty(t)
	dir, version := newGroup(t, "changing")
	made := makeGroups(t, dir, version, 300)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				var names []string
				for j := range 20 {
					name := filepath.Join(made[(i*7+j*31)%len(made)], fmt.Sprintf("w%d-%d", w, i+j))
					if os.Mkdir(name, 0o755) == nil {
						names = append(names, name)
					}
				}
				for _, name := range names {
					_ = os.Remove(name)
				}
			}
		})
	}
	var restarts, found uint64
	for range 50 {
		c, tour := list(t, e)
		restarts, found = restarts+tour.Restarts, found+tour.Found
		seen := map[uint64]bool{}
		for _, g := range c.Groups[1:] {
			if seen[g.ID] || strings.ContainsFunc(filepath.Base(g.Path), func(r rune) bool { return r == 0xfffd }) {
				t.Fatalf("%+v", g)
			}
			seen[g.ID] = true
		}
		for _, m := range made {
			if !seen[inodeOf(t, m)] {
				t.Errorf("%q is not listed", m)
			}
		}
		if t.Failed() {
			break
		}
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d groups found, %d times from the root again", found, restarts)
}

// Short-lived cgroups that leave dirty files behind. Up to 7.0 each keeps its
// pages; later, only the writeback of a file that another wrote before holds it.
func TestDyingCgroupsOfDirtyFiles(t *testing.T) {
	e := engine(t)
	dir, version := newGroup(t, "dirty")
	if version == snapshot.V2 {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory"), 0)
	}
	files, ids := t.TempDir(), map[uint64]bool{}
	for i := range 40 {
		group := filepath.Join(dir, fmt.Sprintf("writer%d", i))
		if err := os.Mkdir(group, 0o755); err != nil {
			t.Fatal(err)
		}
		ids[inodeOf(t, group)] = true
		write := exec.Command("/proc/self/exe")
		write.Env = append(os.Environ(), "MEMWHY_CENSUS_WRITE="+filepath.Join(files, fmt.Sprint(i%10)), "MEMWHY_CENSUS_GROUP="+group+"/cgroup.procs")
		if out, err := write.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		removeGroup(group)
	}
	var wrong []string
	for range 20 {
		var dying int
		dying, wrong = compareDying(scan(t, e), ids, inodeOf(t, dir), e.layout["folio_has_objcg"] == 1)
		t.Logf("%d of %d removed groups are dying", dying, len(ids))
		if dying == 0 && e.layout["folio_has_objcg"] == 0 {
			wrong = append(wrong, "no group kept the pages of its file")
		}
		if len(wrong) == 0 {
			break
		}
		time.Sleep(100 * time.Millisecond) // the kernel takes its time with the last one
	}
	for _, w := range wrong {
		t.Error(w)
	}
}

// compareDying looks at removed groups that are listed still. Where their memory
// went to the parent they hold nothing, and what they use is stale.
func compareDying(c *snapshot.Census, ids map[uint64]bool, parent uint64, inherit bool) (dying int, wrong []string) {
	for _, g := range c.Groups[1:] {
		if !ids[g.ID] {
			continue
		}
		dying++
		if !g.Dying || !strings.HasPrefix(filepath.Base(g.Path), "writer") || c.Groups[g.Parent].ID != parent ||
			inherit != (g.Usage == snapshot.Unknown) || !inherit && g.Usage < g.File.Bytes || inherit && g.File.Bytes != 0 {
			wrong = append(wrong, fmt.Sprintf("%+v", g))
		}
	}
	return dying, wrong
}

// rewrite is a process of the test: it enters a cgroup and writes half a megabyte
// of a file, anew or from a place on.
func rewrite(file string) {
	err := os.WriteFile(os.Getenv("MEMWHY_CENSUS_GROUP"), []byte(strconv.Itoa(os.Getpid())), 0)
	at, notNew := strconv.ParseInt(os.Getenv("MEMWHY_CENSUS_AT"), 10, 64)
	switch {
	case err != nil:
	case notNew != nil:
		err = os.WriteFile(file, make([]byte, 512<<10), 0o600)
	default:
		var f *os.File
		if f, err = os.OpenFile(file, os.O_WRONLY, 0); err == nil {
			_, err = f.WriteAt(make([]byte, 512<<10), at)
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
