package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// hostileName is a file name of 255 bytes.
var hostileName = "a\nb\x1b[31m\xff\xfe\"\\ " + strings.Repeat("x", 240)

// beContainer makes mounts like those of a container out of a directory, plants
// files in them and moves its root there: an overlay, a volume with things that
// lead elsewhere, a tmpfs, and a file system whose server is silent.
func beContainer(base, fuse string) {
	dir := func(names ...string) string {
		p := filepath.Join(append([]string{base}, names...)...)
		must(os.MkdirAll(p, 0o755))
		return p
	}
	write := func(p string, bytes int) int {
		fd := create(p, bytes)
		must(syscall.Fsync(fd))
		return fd
	}
	mount := func(source, target, kind string, flags uintptr, data string) {
		must(syscall.Mount(source, target, kind, flags, data))
	}
	mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	low, vol, root := dir("low"), dir("vol"), dir("root")
	syscall.Close(write(low+"/lower.bin", 1<<20))
	syscall.Close(write(dir("outside")+"/secret", 1<<20))
	if err := syscall.Mount("overlay", root, "overlay", 0, "lowerdir="+low+",upperdir="+dir("up")+",workdir="+dir("work")); err != nil {
		mount(low, root, "", syscall.MS_BIND, "") // a kernel without
	}
	for _, name := range []string{"vol", "shm", "fuse"} {
		must(os.MkdirAll(root+"/"+name, 0o755))
	}
	mount(vol, root+"/vol", "", syscall.MS_BIND, "")
	mount("tmpfs", root+"/shm", "tmpfs", 0, "")
	mount(fuse, root+"/fuse", "", syscall.MS_BIND, "")
	must(syscall.Chroot(root))
	must(os.Chdir("/"))

	syscall.Close(write("/upper.bin", 1<<20))
	fd, err := syscall.Open("/lower.bin", syscall.O_RDONLY, 0)
	must(err)
	fill := make([]byte, 1<<20)
	_, err = syscall.Read(fd, fill)
	must(err)
	write("/vol/disk", 3<<20)
	syscall.Close(write("/vol/"+hostileName, 256<<10))
	syscall.Close(write("/vol/once", 512<<10))
	must(os.Link("/vol/once", "/vol/twice"))
	cold := write("/vol/cold", 1<<20)
	_, _, errno := syscall.Syscall6(syscall.SYS_FADVISE64, uintptr(cold), 0, 0, 4, 0, 0)
	if errno != 0 {
		panic(errno)
	}
	syscall.Close(cold)
	must(os.Symlink(base+"/outside", "/vol/away"))
	must(os.Symlink("../../outside/secret", "/vol/out"))
	must(syscall.Mkfifo("/vol/fifo", 0o600))
	must(syscall.Mknod("/vol/null", syscall.S_IFCHR|0o600, 1<<8|3))
	deep := "/vol"
	for range 30 {
		deep += "/" + strings.Repeat("d", 100)
	}
	must(os.MkdirAll(deep, 0o755))
	syscall.Close(write(deep+"/deep", 64<<10))
	must(os.Mkdir("/vol/inner", 0o755))
	mount("tmpfs", "/vol/inner", "tmpfs", 0, "")
	syscall.Close(write("/vol/inner/inner", 64<<10))
	syscall.Close(write("/shm/tmp", 2<<20))
	write("/vol/gone", 512<<10)
	must(os.Remove("/vol/gone"))
	sparse, err := os.Create("/shm/sparse")
	must(err)
	must(sparse.Truncate(1 << 42))
}

// cachedFile is a line of the census of a capture.
type cachedFile struct {
	kind, path string
	flags      int // 1 deleted, 2 a label, 4 not from its root
	bytes      int64
}

// censusOf is the census that a capture has, by path, and its first line.
func censusOf(t *testing.T, capture string) (head string, files map[string]cachedFile) {
	t.Helper()
	_, text, ok := strings.Cut(capture, "\nsection census ")
	if !ok {
		t.Fatalf("no census in %.500s", capture)
	}
	lines := strings.Split(text, "\n")
	var inodes []cachedFile
	files = map[string]cachedFile{}
	for _, line := range lines[2:] {
		f := strings.SplitN(line, " ", 10)
		switch {
		case f[0] == "i" && len(f) == 10:
			name, err := strconv.Unquote(f[9])
			if err != nil {
				t.Fatal(line)
			}
			kind, path, _ := strings.Cut(name, "\x00")
			inodes = append(inodes, cachedFile{kind: kind, path: path, flags: number(f[7])})
		case f[0] == "f" && len(f) == 10:
			in := inodes[number(f[2])-1]
			in.bytes = int64(number(f[3]))
			if _, twice := files[in.path]; twice && in.flags == 0 {
				t.Errorf("%q is there twice", in.path)
			}
			files[in.path] = in
		case strings.HasPrefix(line, "section "):
			return lines[1], files
		}
	}
	return lines[1], files
}

func capture(t *testing.T, attr *syscall.SysProcAttr, args ...string) (head string, files map[string]cachedFile) {
	t.Helper()
	r := runAs(t, attr, append([]string{"capture", "-o", "-"}, args...)...).want(t, 0)
	return censusOf(t, r.out)
}

// ending finds the one file whose path ends so.
func ending(t *testing.T, files map[string]cachedFile, end string) (found cachedFile) {
	t.Helper()
	for path, f := range files {
		if strings.HasSuffix(path, end) {
			found = f
		}
	}
	return found
}

// Without page frames, what is cached is found by looking: at open files, and all
// over the mounts of a container, but never out of them, and never at what might
// not answer.
func TestCensusByFiles(t *testing.T) {
	h := memory(t)
	cgroup, dir := h.group(t, unique("reach\x1b[1m"))
	served, release := t.TempDir(), func() {}
	if _, err := os.Stat("/dev/fuse"); err == nil {
		var silent string
		silent, release = silentFile(t)
		served = filepath.Dir(silent)
	}
	base := t.TempDir()
	c := actorIn(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}, dir, "container", base, served)
	head, files := capture(t, nil, cgroup, "--census", "files")
	release()
	if strings.Contains(head, "out of its share of time") {
		t.Skipf("this machine is too slow to look at all of it in time, and that is told: %.900s", head)
	}
	for end, want := range map[string]int64{
		"/lower.bin": 1 << 20, "/upper.bin": 1 << 20, "/vol/disk": 3 << 20, "/vol/" + hostileName: 256 << 10, "/tmp": 2 << 20, "/inner": 64 << 10,
		"/deep": 64 << 10, "/vol/gone": 512 << 10,
	} {
		if f := ending(t, files, end); f.bytes != want || (f.flags&1 != 0) != (end == "/vol/gone") || f.flags&6 != 0 {
			t.Errorf("%q: %+v, want %d bytes", end, f, want)
		}
	}
	once, twice := ending(t, files, "/vol/once"), ending(t, files, "/vol/twice")
	if once.bytes+twice.bytes != 512<<10 {
		t.Errorf("%+v and %+v are one file", once, twice)
	}
	for path, f := range files {
		if strings.Contains(path, "secret") || strings.Contains(path, "silent") || strings.Contains(path, "/cold") && f.kind == "ext4" {
			t.Errorf("%+v", f)
		}
	}
	_, fuse := os.Stat("/dev/fuse")
	if !strings.Contains(head, `"Complete":false`) || fuse == nil && !strings.Contains(head, "files on fuse were not touched") || !strings.Contains(head, "whoever is charged") {
		t.Errorf("%s", head)
	}
	t.Logf("%.900s", head)
	// To look is not to read: another look finds nothing more.
	again, more := capture(t, nil, fmt.Sprintf("pid:%d", c.Process.Pid), "--census", "files")
	if f := ending(t, more, "/vol/cold"); f.bytes != 0 && f.kind == "ext4" {
		t.Errorf("%+v, %s", f, again)
	}
}

// What others own is not for everybody to know, and is not called cached.
func TestCensusByFilesOfNobody(t *testing.T) {
	h := memory(t)
	cgroup, dir := h.group(t, unique("reach-nobody"))
	actorIn(t, nil, dir, "sleeper")
	public(t)
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	head, files := capture(t, nobody, cgroup, "--census", "auto")
	if len(files) != 0 || !strings.Contains(head, `"Engine":"files"`) || !strings.Contains(head, "CAP_SYS_ADMIN") || !strings.Contains(head, "may not be seen") {
		t.Errorf("%d files, %s", len(files), head)
	}
}
