package census

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// findFile is what all groups together have of a file, by its inode; Bytes is 0 when it
// is not in the census.
func findFile(c *snapshot.Census, st unix.Stat_t, magic uint64) (in snapshot.CensusInode, sum snapshot.PageState, groups int) {
	for _, f := range c.Files {
		if f.Inode >= 0 && c.Inodes[f.Inode].Number == st.Ino && (c.Inodes[f.Inode].Magic == snapshot.MagicTmpfs) == (magic == snapshot.MagicTmpfs) &&
			(magic != snapshot.MagicTmpfs || st.Dev == unix.Mkdev(c.Inodes[f.Inode].Device>>20, c.Inodes[f.Inode].Device&(1<<20-1))) {
			in = c.Inodes[f.Inode]
			sum.Add(*f.PageState)
			groups++
		}
	}
	return in, sum, groups
}

func statOf(t *testing.T, f *os.File) (st unix.Stat_t) {
	t.Helper()
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st
}

func filled(t *testing.T, path string, size int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		_, err = f.Write(make([]byte, size))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// readAgain brings back what the kernel may have reclaimed.
func readAgain(f *os.File, size int64) { _, _ = io.Copy(io.Discard, io.NewSectionReader(f, 0, size)) }

// A file that three cgroups wrote a part of is one file of three.
func TestFileOfThreeCgroups(t *testing.T) {
	e := engine(t)
	const part = 512 << 10
	f := filled(t, filepath.Join(t.TempDir(), "shared"), 0)
	for i := range 3 {
		dir, _ := newGroup(t, fmt.Sprintf("part%d", i))
		write := exec.Command("/proc/self/exe")
		write.Env = append(os.Environ(), "MEMWHY_CENSUS_WRITE="+f.Name(), "MEMWHY_CENSUS_GROUP="+dir+"/cgroup.procs", fmt.Sprintf("MEMWHY_CENSUS_AT=%d", i*part))
		if out, err := write.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	in, sum, groups := findFile(scan(t, e), statOf(t, f), 0)
	if sum.Bytes != 3*part || groups != 3 || filepath.Base(in.Path) != "shared" {
		t.Errorf("%d bytes of %d groups: %+v", sum.Bytes, groups, in)
	}
}

func TestPathOfFourKiB(t *testing.T) {
	e := engine(t)
	at, err := unix.Open(t.TempDir(), unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	const levels = 1900
	for range levels {
		if err = unix.Mkdirat(at, "d", 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(at, "d", unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(at)
		at = next
	}
	fd, err := unix.Openat(at, "deep", unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	unix.Close(at)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "deep")
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(make([]byte, 8192)); err != nil {
		t.Fatal(err)
	}
	in, sum, _ := findFile(scan(t, e), statOf(t, f), 0)
	if sum.Bytes != max(8192, int64(os.Getpagesize())) || in.Partial || !strings.HasSuffix(in.Path, strings.Repeat("/d", levels)+"/deep") {
		t.Errorf("%d bytes, partial %v, path of %d bytes", sum.Bytes, in.Partial, len(in.Path))
	}
}

// 200000 files are all there, each with its name.
func TestTwoHundredThousandFiles(t *testing.T) {
	const files = 200000
	e := engine(t)
	var fs unix.Statfs_t
	mem, _ := os.ReadFile("/proc/meminfo")
	if err := unix.Statfs("/dev/shm", &fs); err != nil || fs.Ffree < files || fs.Bavail*uint64(fs.Bsize) < 1<<30 || parseCounters(mem)["MemAvailable"] < 4<<20 {
		t.Skip("needs 4 GiB of memory that is available")
	}
	dir, err := os.MkdirTemp("/dev/shm", "memwhy-census")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < files; i += 4 {
				sub := filepath.Join(dir, strconv.Itoa(i/1000))
				_ = os.MkdirAll(sub, 0o755)
				if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("file-%06d", i)), []byte("x"), 0o600); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	start := time.Now()
	c := scan(t, e)
	t.Logf("%v, read-out %v, slices %+v", time.Since(start), c.ReadOut, c.Slices)
	seen := make([]bool, files)
	for _, f := range c.Files {
		if f.Inode < 0 {
			continue
		}
		in := c.Inodes[f.Inode]
		name, ok := strings.CutPrefix(filepath.Base(in.Path), "file-")
		n, err := strconv.Atoi(name)
		if !ok || err != nil || n >= files || in.Path != fmt.Sprintf("/%s/%d/file-%06d", filepath.Base(dir), n/1000, n) {
			continue
		}
		if seen[n] || f.Bytes != c.PageSize || in.Size != 1 {
			t.Fatalf("%+v, %+v", f, in)
		}
		seen[n] = true
	}
	for n, ok := range seen {
		if !ok {
			t.Fatalf("file %d is not in the census", n)
		}
	}
}

func TestMlockedFile(t *testing.T) {
	e := engine(t)
	const size = 1 << 20
	// Of small pages: large ones are not always locked whole.
	f := filled(t, filepath.Join(mounted(t, "huge=never"), "locked"), size)
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b)
	if err := unix.Mlock(b); err != nil {
		t.Fatal(err)
	}
	var sum snapshot.PageState
	for range 10 { // pages get to their list by the batch
		if _, sum, _ = findFile(scan(t, e), statOf(t, f), snapshot.MagicTmpfs); sum.Unevictable == size {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if sum.Bytes != size || sum.Mapped != size || sum.Unevictable != size {
		t.Errorf("%+v", sum)
	}
}

// mounted mounts a tmpfs.
func mounted(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("memwhy", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("tmpfs with %q: %v", options, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func TestHugeFile(t *testing.T) {
	e := engine(t)
	size := int64(8 << 20)
	b, _ := os.ReadFile("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
	if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil {
		size = max(size, 2*n) // 32 MiB with pages of 16 KiB
	}
	f := filled(t, filepath.Join(mounted(t, "huge=always"), "huge"), int(size))
	in, sum, _ := findFile(scan(t, e), statOf(t, f), snapshot.MagicTmpfs)
	if sum.Bytes != size || sum.Dirty != 0 || in.Path != "/huge" {
		t.Errorf("%+v, %+v", in, sum)
	}
	if sum.Huge == 0 {
		t.Skipf("the kernel had no huge page for it: %+v", sum)
	}
	if sum.Huge > sum.Large || sum.Huge%(2<<20) != 0 {
		t.Errorf("%+v", sum)
	}
}

func TestHugetlb(t *testing.T) {
	e := engine(t)
	const knob = "/proc/sys/vm/nr_hugepages"
	before, err := os.ReadFile(knob)
	if err != nil {
		t.Skip(err)
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(before)))
	if err := os.WriteFile(knob, []byte(strconv.Itoa(n+2)), 0); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(knob, before, 0) })
	fd, err := unix.MemfdCreate("hugetlb", unix.MFD_CLOEXEC|unix.MFD_HUGETLB)
	if err != nil {
		t.Skip(err)
	}
	defer unix.Close(fd)
	b, err := unix.Mmap(fd, 0, 2<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Skip(err)
	}
	defer unix.Munmap(b)
	b[0] = 1
	var huge int64
	for _, g := range scan(t, e).Groups {
		huge += g.Hugetlb
	}
	if huge < 2<<20 {
		t.Errorf("%d bytes", huge)
	}
}

// Through a loop device a file is read twice: as itself, and as the device.
func TestLoopDevice(t *testing.T) {
	e := engine(t)
	const size = 4 << 20
	f := filled(t, filepath.Join(t.TempDir(), "image"), size)
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		t.Skip(err)
	}
	loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer loop.Close()
	if err := unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_SET_FD, int(f.Fd())); err != nil {
		t.Skip(err)
	}
	defer func() { _ = unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_CLR_FD, 0) }()
	readAgain(loop, size)
	c := scan(t, e)
	for _, file := range c.Files {
		if file.Inode >= 0 && c.Inodes[file.Inode].Type == "bdev" && c.Inodes[file.Inode].Size == size && file.Bytes == size {
			return
		}
	}
	t.Error("no block device with the image's bytes")
}

// A file system that is mounted for one process only is seen all the same.
func TestFileOfAnotherMountNamespace(t *testing.T) {
	e := engine(t)
	dir := t.TempDir()
	made := make(chan *os.File)
	done := make(chan struct{})
	defer close(done)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		defer close(made)
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			t.Log(err)
			return
		}
		if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("memwhy", dir, "tmpfs", 0, "")); err != nil {
			t.Log(err)
			return
		}
		f, err := os.Create(filepath.Join(dir, "secret.bin"))
		if err == nil {
			_, err = f.Write(make([]byte, 1<<20))
		}
		if err != nil {
			t.Log(err)
			return
		}
		made <- f
		<-done
	}()
	f := <-made
	if f == nil {
		t.Skip("no mount namespace")
	}
	defer f.Close()
	if _, err := os.Stat(filepath.Join(dir, "secret.bin")); err == nil {
		t.Fatal("it is mounted here too")
	}
	in, sum, _ := findFile(scan(t, e), statOf(t, f), snapshot.MagicTmpfs)
	if sum.Bytes != 1<<20 || in.Path != "/secret.bin" || in.Type != "tmpfs" {
		t.Errorf("%+v, %+v", in, sum)
	}
}

// While files and directories are made, renamed and removed, and cgroups with them,
// names stay with their files, and what does not change is all there.
func TestChangesDuringTheScan(t *testing.T) {
	e := engine(t)
	dir := t.TempDir()
	still := make([]*os.File, 50)
	for i := range still {
		sub := filepath.Join(dir, fmt.Sprintf("still-%d", i%5))
		_ = os.MkdirAll(sub, 0o755)
		still[i] = filled(t, filepath.Join(sub, fmt.Sprintf("file-%d", i)), 64<<10)
	}
	group, version := newGroup(t, "scanned")
	if version == snapshot.V2 {
		_ = os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+memory"), 0)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			churn(filepath.Join(dir, fmt.Sprintf("moving-%d", w)), filepath.Join(group, strconv.Itoa(w)), &stop)
		})
	}
	defer wg.Wait()
	defer stop.Store(true)
	for range 8 {
		for _, f := range still {
			readAgain(f, 64<<10)
		}
		c := scan(t, e)
		named := 0
		for _, in := range c.Inodes {
			if said, ok := strings.CutPrefix(filepath.Base(in.Path), "inode-"); ok && strings.Contains(in.Path, filepath.Base(dir)+"/moving-") {
				named++
				if n, err := strconv.ParseUint(said, 10, 64); err != nil || n != in.Number {
					t.Errorf("inode %d is called %q", in.Number, in.Path)
				}
			}
		}
		for i, f := range still {
			in, sum, _ := findFile(c, statOf(t, f), 0)
			if sum.Bytes != 64<<10 || !strings.HasSuffix(in.Path, fmt.Sprintf("/still-%d/file-%d", i%5, i)) {
				t.Errorf("file %d: %+v, %+v", i, in, sum)
			}
		}
		if t.Failed() {
			break
		}
		t.Logf("%d files on the move; %+v", named, c.Dropped)
	}
}

// churn makes files that are called after their inodes, in a directory that is
// called anew with each of them, and removes them, and cgroups besides.
func churn(dir, group string, stop *atomic.Bool) {
	at := dir
	_ = os.MkdirAll(at, 0o755)
	for i := 0; !stop.Load(); i++ {
		var names []string
		for j := range 20 {
			f, err := os.Create(filepath.Join(at, fmt.Sprintf("new-%d", j)))
			if err != nil {
				continue
			}
			var st unix.Stat_t
			_ = unix.Fstat(int(f.Fd()), &st)
			name := filepath.Join(at, fmt.Sprintf("inode-%d", st.Ino))
			_ = os.Rename(f.Name(), name)
			_, _ = f.Write(make([]byte, 8192))
			f.Close()
			names = append(names, filepath.Base(name))
		}
		next := dir + strconv.Itoa(i%7)
		if os.Rename(at, next) == nil {
			at = next
		}
		for _, name := range names {
			_ = os.Remove(filepath.Join(at, name))
		}
		_ = os.Mkdir(group, 0o755)
		_ = os.Remove(group)
	}
}

// scanForever is a process of the test: it scans until it is interrupted.
func scanForever() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	e, err := OpenWith(ctx, 2)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var ids []string
	for _, s := range e.shards() {
		for _, p := range s.loaded.Programs {
			info, err := p.Info()
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			id, _ := info.ID()
			ids = append(ids, fmt.Sprint(id))
		}
	}
	fmt.Println(strings.Join(ids, " "))
	for err == nil {
		_, err = e.Scan(ctx)
	}
	if !errors.Is(err, context.Canceled) {
		fmt.Println(err)
		os.Exit(1)
	}
	e.Close()
}

// After an interrupt, or a kill, in the midst of a scan nothing is left in the
// kernel.
func TestInterruptLeavesNothing(t *testing.T) {
	engine(t)
	for _, sig := range []os.Signal{os.Interrupt, os.Kill} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "MEMWHY_CENSUS_LOOP=1")
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 4096)
		n, _ := out.Read(line)
		ids := strings.Fields(string(line[:n]))
		time.Sleep(30 * time.Millisecond)
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		rest, _ := io.ReadAll(out)
		err = cmd.Wait()
		if ended := cmd.ProcessState.Sys().(syscall.WaitStatus); len(ids) != 3+1 || sig == os.Interrupt && err != nil || sig == os.Kill && ended.Signal() != syscall.SIGKILL {
			t.Fatalf("%v: %v, %q, %s", sig, err, ids, rest)
		}
		for _, word := range ids {
			id, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(ids)
			}
			if !gone(ebpf.ProgramID(id)) {
				t.Errorf("%v: program %d is still there", sig, id)
			}
		}
	}
}

func gone(id ebpf.ProgramID) bool {
	for range 100 {
		p, err := ebpf.NewProgramFromID(id)
		if errors.Is(err, os.ErrNotExist) {
			return true
		}
		if err == nil {
			p.Close()
		}
		time.Sleep(20 * time.Millisecond) // the kernel frees it after a grace period
	}
	return false
}
