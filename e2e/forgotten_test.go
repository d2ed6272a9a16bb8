package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// forgotten makes files that have cache and no dentry: they are opened by their handles
// on a file system that was mounted anew, so that the kernel never looked up a name.
func forgotten(t *testing.T, names []string, size int) (at string, numbers []uint64) {
	t.Helper()
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	at = filepath.Join(dir, "at")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 64<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	mount := func() error { return exec.Command("mount", "-o", "loop", image, at).Run() }
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", image).CombinedOutput(); err != nil {
		t.Skipf("mkfs.ext4: %v: %s", err, out)
	}
	if err := mount(); err != nil {
		t.Skipf("no loop device: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	var handles []unix.FileHandle
	for _, name := range names {
		p := filepath.Join(at, name)
		must(os.MkdirAll(filepath.Dir(p), 0o700))
		must(os.WriteFile(p, make([]byte, size), 0o600))
		h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, p, 0)
		if err != nil {
			t.Fatal(err)
		}
		handles = append(handles, h)
	}
	if err := unix.Unmount(at, 0); err != nil {
		t.Fatal(err)
	}
	if err := mount(); err != nil {
		t.Fatal(err)
	}
	root, err := os.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, h := range handles {
		fd, err := unix.OpenByHandleAt(int(root.Fd()), h, unix.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "by its handle")
		var st unix.Stat_t
		must(unix.Fstat(fd, &st))
		numbers = append(numbers, st.Ino)
		_, err = io.Copy(io.Discard, f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	return at, numbers
}

// What the kernel has no name for is found in the directory that has it, whatever it
// is called there.
func TestForgottenNames(t *testing.T) {
	var names []string
	for i := range 6 {
		names = append(names, fmt.Sprintf("deep/down/file-%d", i))
	}
	names = append(names, "other/"+hostileFile)
	const size = 400 << 10
	at, numbers := forgotten(t, names, size)
	found := map[string]int64{}
	all := listFiles(t, "--node", "-n", "0")
	if n := all.Coverage.SearchedFiles; n < len(names) {
		t.Errorf("%d names were found by reading directories", n)
	}
	for _, f := range all.Files {
		found[f.HostPath] = f.Bytes
	}
	for i, name := range names {
		shown := strings.ReplaceAll(name, "\xff", `\xff`) // as JSON has it, which knows no such byte
		if n := found[filepath.Join(at, shown)]; n < size {
			t.Errorf("inode %d, %q: %d bytes of %d by that name", numbers[i], name, n, size)
		}
	}
}
