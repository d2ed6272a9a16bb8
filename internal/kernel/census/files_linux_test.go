package census

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// hostile is a file name of 255 bytes.
var hostile = "a\nb\x1b[31m\xff\xfe\"\\ " + strings.Repeat("x", 240)

// planted are the files of plant and their bytes.
var planted = []struct {
	name string
	size int
}{
	{"disk", 3 << 20},
	{hostile, 256 << 10},
	{"deleted", 1 << 20},
	{"tmpfs", 2 << 20},
	{"memfd", 768 << 10},
}

const anonPlanted = 4 << 20

// plant is a process of the test: it enters a cgroup, writes files and holds them.
// For every line that it is sent it touches all of it again and answers with the
// inodes' numbers.
func plant(dir string) {
	check := func(err error) {
		if err != nil {
			fmt.Println("plant:", err)
			os.Exit(1)
		}
	}
	// A huge page of which a part was given back is held whole, and counted in part.
	check(unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0))
	check(os.WriteFile(os.Getenv("MEMWHY_CENSUS_GROUP"), []byte(strconv.Itoa(os.Getpid())), 0))
	var open []*os.File
	for _, p := range planted {
		var f *os.File
		var err error
		switch p.name {
		case "memfd":
			var fd int
			fd, err = unix.MemfdCreate("planted", 0)
			f = os.NewFile(uintptr(fd), "planted")
		case "tmpfs":
			f, err = os.Create(filepath.Join(os.Getenv("MEMWHY_CENSUS_TMPFS"), p.name))
		default:
			f, err = os.Create(filepath.Join(dir, p.name))
		}
		check(err)
		_, err = f.Write(make([]byte, p.size))
		check(err)
		check(f.Sync())
		if p.name == "deleted" {
			check(os.Remove(f.Name()))
		}
		open = append(open, f)
	}
	anon, err := unix.Mmap(-1, 0, anonPlanted, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	check(err)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		for i := 0; i < len(anon); i += 4096 {
			anon[i]++
		}
		var said []string
		for i, f := range open {
			_, err := f.Seek(0, io.SeekStart)
			check(err)
			// Not to the end: up to 5.10 that makes a page beyond it.
			_, err = io.CopyN(io.Discard, f, int64(planted[i].size))
			check(err)
			var st unix.Stat_t
			check(unix.Fstat(int(f.Fd()), &st))
			said = append(said, strconv.FormatUint(st.Ino, 10))
		}
		fmt.Println(strings.Join(said, " "))
	}
}

// grove is a cgroup with a planting process in it.
type grove struct {
	dir     string // of the cgroup
	id      uint64
	version snapshot.Version
	files   string
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
	inodes  []uint64
}

// newGroup makes a cgroup that the test removes.
func newGroup(t *testing.T, name string) (dir string, version snapshot.Version) {
	t.Helper()
	live, err := kernel.OpenLive("/")
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	h, err := cgroupfs.Find(live, false)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := cgroupfs.ParseMembership(live.Ask(kernel.Question{Op: kernel.Read, Path: "/proc/self/cgroup", Max: 1 << 20}).Data)
	if err != nil {
		t.Fatal(err)
	}
	own, _ := h.Membership(lines)
	if h.Version == snapshot.V2 {
		own = "/"
		_ = os.WriteFile(filepath.Join(h.Point, "cgroup.subtree_control"), []byte("+memory"), 0)
	}
	dir, ok := h.Dir(filepath.Join(own, fmt.Sprintf("memwhy-census-%d-%s", os.Getpid(), name)))
	if !ok {
		t.Fatalf("no directory for a cgroup below %s", own)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeGroup(dir) })
	return dir, h.Version
}

// removeGroup removes a cgroup as soon as nobody is in it.
func removeGroup(dir string) {
	for range 100 {
		if err := os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func newGrove(t *testing.T) *grove {
	t.Helper()
	dir, version := newGroup(t, "grove\x1b[1m")
	g := &grove{dir: dir, version: version, files: t.TempDir()}
	t.Cleanup(g.remove)
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	g.id = st.Ino
	shm, err := os.MkdirTemp("/dev/shm", "memwhy-census")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(shm) })
	g.cmd = exec.Command(os.Args[0])
	g.cmd.Env = append(os.Environ(), "MEMWHY_CENSUS_PLANT="+g.files, "MEMWHY_CENSUS_TMPFS="+shm, "MEMWHY_CENSUS_GROUP="+dir+"/cgroup.procs")
	g.in, _ = g.cmd.StdinPipe()
	out, _ := g.cmd.StdoutPipe()
	g.out = bufio.NewScanner(out)
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return g
}

// touch makes the planted memory resident and its inodes known.
func (g *grove) touch(t *testing.T) {
	t.Helper()
	_, _ = io.WriteString(g.in, "\n")
	if !g.out.Scan() {
		t.Fatalf("the planting process ended: %v", g.cmd.Wait())
	}
	g.inodes = nil
	for _, word := range strings.Fields(g.out.Text()) {
		n, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			t.Fatal(g.out.Text())
		}
		g.inodes = append(g.inodes, n)
	}
}

// end ends the process and removes its cgroup.
func (g *grove) end() {
	if g.cmd != nil {
		g.in.Close()
		_ = g.cmd.Wait()
	}
	g.cmd = nil
	removeGroup(g.dir)
}

func (g *grove) remove() { g.end() }

func (g *grove) stat(t *testing.T) map[string]int64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(g.dir, "memory.stat"))
	if err != nil {
		t.Fatal(err)
	}
	return parseCounters(b)
}

func byID(c *snapshot.Census, id uint64) (int, snapshot.CensusGroup) {
	for i, g := range c.Groups {
		if g.ID == id {
			return i, g
		}
	}
	return 0, snapshot.CensusGroup{}
}

// compare says what is not as planted or as memory.stat has it, and nothing when
// all is.
func (g *grove) compare(t *testing.T, c *snapshot.Census) (wrong []string) {
	t.Helper()
	at, group := byID(c, g.id)
	if at == 0 {
		return []string{"the group is not in the census"}
	}
	if filepath.Base(group.Path) != filepath.Base(g.dir) || group.Dying {
		wrong = append(wrong, fmt.Sprintf("group %q, dying %v", group.Path, group.Dying))
	}
	for i, p := range planted {
		wrong = append(wrong, g.compareFile(c, at, g.inodes[i], p.name, int64(p.size))...)
	}
	stat := g.stat(t)
	slack := int64(0)
	if lags() {
		slack = int64(64 * runtime.NumCPU() * os.Getpagesize())
	}
	same := func(what string, seen, said, slack int64) {
		if seen < said-slack || seen > said+slack {
			wrong = append(wrong, fmt.Sprintf("%s: %d bytes seen, memory.stat has %d", what, seen, said))
		}
	}
	file, anon := "file", "anon"
	if g.version == snapshot.V1 {
		file, anon = "cache", "rss"
	}
	same("file", group.File.Bytes, stat[file], slack)
	same("anon", group.Anon.Bytes, stat[anon], slack)
	same("shmem", group.Shmem, stat["shmem"], slack)
	lists := map[string]int64{"active_anon": group.Anon.Active, "inactive_anon": group.Anon.Inactive}
	for _, f := range c.Files {
		kind := "file"
		if f.Group != at {
			continue
		}
		if f.Inode >= 0 && c.Inodes[f.Inode].Magic == snapshot.MagicTmpfs {
			kind = "anon"
		}
		lists["active_"+kind] += f.Active
		lists["inactive_"+kind] += f.Inactive
	}
	for name, seen := range lists {
		same(name, seen, stat[name], slack)
	}
	lag := int64(64 * runtime.NumCPU() * os.Getpagesize())
	if slab, ok := stat["slab"]; ok {
		same("slab", group.Slab, slab, lag)
	} else if b, err := os.ReadFile(filepath.Join(g.dir, "memory.kmem.usage_in_bytes")); err == nil {
		kmem, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		same("kmem", group.Slab+group.Kernel+group.Tables, kmem, lag)
	}
	if pt, ok := stat["pagetables"]; ok {
		same("pagetables", group.Tables, pt, slack)
	}
	if group.Slab <= 0 {
		wrong = append(wrong, "no slab")
	}
	return wrong
}

// lags reports a kernel whose memory.stat is behind by whole batches for ever.
func lags() bool {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.HasPrefix(string(b), "5.10.")
}

func (g *grove) compareFile(c *snapshot.Census, group int, ino uint64, name string, size int64) []string {
	for _, f := range c.Files {
		if f.Inode < 0 || f.Group != group || c.Inodes[f.Inode].Number != ino {
			continue
		}
		in := c.Inodes[f.Inode]
		tmp := name == "tmpfs" || name == "memfd"
		if tmp != (in.Magic == snapshot.MagicTmpfs) {
			continue
		}
		label := map[bool]string{true: "memfd:planted", false: "/" + name}[name == "memfd"]
		switch {
		case in.Path != label && !strings.HasSuffix(in.Path, label) || in.Partial:
			return []string{fmt.Sprintf("path %q of %q", in.Path, name)}
		case !tmp && !strings.HasSuffix(filepath.Join(g.files, name), in.Path):
			return []string{fmt.Sprintf("path %q in %q", in.Path, g.files)}
		case in.Deleted != (name == "deleted") || in.Pseudo != (name == "memfd") || in.Size != size:
			return []string{fmt.Sprintf("%q: %+v", name, in)}
		case f.Bytes != size:
			return []string{fmt.Sprintf("%q: %d bytes of %d", name, f.Bytes, size)}
		case f.Dirty != 0 && tmp:
			return []string{fmt.Sprintf("%q: dirty", name)}
		}
		return nil
	}
	return []string{fmt.Sprintf("%q is not in the census", name)}
}

// At rest a census says of a cgroup what was put there and what memory.stat has,
// to the byte. Motion is answered by trying again.
func TestCensusOfACgroup(t *testing.T) {
	e := engine(t)
	g := newGrove(t)
	var wrong []string
	for try := range 12 {
		g.touch(t)
		time.Sleep(time.Duration(try) * 300 * time.Millisecond) // memory.stat is flushed every 2 s
		if wrong = g.compare(t, scan(t, e)); len(wrong) == 0 {
			break
		}
		t.Logf("try %d: %.300s", try, strings.Join(wrong, "; "))
	}
	for _, w := range wrong {
		t.Error(w)
	}
	g.afterRemoval(t, e)
}

// afterRemoval: a removed group keeps its pages, or hands them to its parent,
// which says that it inherited them.
func (g *grove) afterRemoval(t *testing.T, e *Engine) {
	t.Helper()
	unix.Sync()
	g.end()
	time.Sleep(200 * time.Millisecond)
	c := scan(t, e)
	disk, size := g.inodes[0], int64(planted[0].size)
	for _, f := range c.Files {
		if f.Inode < 0 || c.Inodes[f.Inode].Number != disk || filepath.Base(c.Inodes[f.Inode].Path) != planted[0].name {
			continue
		}
		group := c.Groups[f.Group]
		t.Logf("removed: %q, dying %v, %d of %d bytes, inherited %d", group.Path, group.Dying, f.Bytes, size, group.Inherited)
		if e.layout["folio_has_objcg"] == 1 {
			if group.ID == g.id || group.Dying || group.Inherited < f.Bytes {
				t.Errorf("%+v", group)
			}
		} else if group.ID != g.id || !group.Dying || group.Inherited != snapshot.Unknown || group.Usage < f.Bytes ||
			filepath.Base(group.Path) != filepath.Base(g.dir) {
			t.Errorf("%+v", group)
		}
		return
	}
	t.Log("the file's cache went with its group")
}
