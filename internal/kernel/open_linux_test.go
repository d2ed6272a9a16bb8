package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Where there is no openat2 the same paths are opened, and the same are not.
func TestStepwiseAgreesWithOpenat2(t *testing.T) {
	top := t.TempDir()
	for _, d := range []string{"a/b", "out"} {
		if err := os.MkdirAll(filepath.Join(top, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"a/b/file", "out/file"} {
		if err := os.WriteFile(filepath.Join(top, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{"a/up": "../out", "a/b/link": "../../out/file", "a/root": "/", "a/b/self": "/proc/self/exe"} {
		if err := os.Symlink(to, filepath.Join(top, from)); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := unix.Open(filepath.Join(top, "a"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	const flags = unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW
	for _, name := range []string{".", "b", "b/file", "b//file", "b/./file", "up", "up/file", "b/link", "root/etc", "b/self", "none", "b/file/x", "../out/file", "b/../../out/file"} {
		how := unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
		want, wantErr := unix.Openat2(dir, name, &how)
		if errors.Is(wantErr, unix.ENOSYS) {
			t.Skip("no openat2 to agree with")
		}
		got, err := stepwise(dir, name, flags)
		if kind, wantKind := kindOf(t, got, err), kindOf(t, want, wantErr); kind != wantKind {
			t.Errorf("%s: %q, openat2: %q", name, kind, wantKind)
		}
	}
}

// kindOf says what was opened, and closes it.
func kindOf(t *testing.T, fd int, err error) string {
	t.Helper()
	if err != nil {
		return "nothing"
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%o %d", st.Mode, st.Ino)
}
