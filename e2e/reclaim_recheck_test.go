package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// terminal is a new one: what is typed into main is read from tty.
func terminal(t *testing.T) (main, tty *os.File) {
	t.Helper()
	main, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	must(err)
	t.Cleanup(func() { main.Close() })
	control := func(request uintptr, v *uint32) {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, main.Fd(), request, uintptr(unsafe.Pointer(v))); errno != 0 {
			t.Fatal(errno)
		}
	}
	var unlock, number uint32
	control(syscall.TIOCSPTLCK, &unlock)
	control(syscall.TIOCGPTN, &number)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	must(err)
	t.Cleanup(func() { tty.Close() })
	return main, tty
}

// charged reads files as a member of a cgroup.
func charged(t *testing.T, dir string, files ...string) {
	t.Helper()
	ends(actorIn(t, nil, dir, "caches", files...))
}

// ends ends an actor, and waits until it is gone.
func ends(actor *exec.Cmd) {
	_ = actor.Process.Kill()
	_ = actor.Wait()
}

func workdir(t *testing.T) string {
	t.Helper()
	work, err := os.MkdirTemp("/var/tmp", "mwr")
	must(err)
	t.Cleanup(func() { os.RemoveAll(work) })
	work, err = filepath.EvalSymlinks(work) // as the kernel names what is in it
	must(err)
	return work
}

// Somebody looks at a plan and answers later. A neighbour that opens one of the files
// meanwhile keeps it, and so does one that reads more of another.
func TestReclaimLooksOnceMore(t *testing.T) {
	h := memory(t)
	work := workdir(t)
	cgroup, dir := h.group(t, unique("asked"))
	_, near := h.group(t, unique("late"))
	var files []string
	for _, name := range []string{"opened", "grown", "own"} {
		files = append(files, cold(t, work, name, 32<<20))
	}
	charged(t, dir, files[0], files[2])
	half := exec.Command("/bin/sh", "-c", `echo 0 > "$0"/cgroup.procs && head -c 8M "$1" >/dev/null`, dir, files[1])
	must(half.Run())

	main, tty := terminal(t)
	state := t.TempDir()
	cmd := exec.Command(binary, "reclaim", cgroup, "--observe", "0", "--record", filepath.Join(state, "r"), "--journal", filepath.Join(state, "j"))
	var shown bytes.Buffer
	cmd.Stdin, cmd.Stdout = tty, &shown
	asks, err := cmd.StderrPipe()
	must(err)
	must(cmd.Start())
	until(t, asks, "[y/N]")

	holder := exec.Command("/bin/sh", "-c", `echo 0 > "$0"/cgroup.procs && exec sleep 600 <"$1"`, near, files[0])
	must(holder.Start())
	t.Cleanup(func() { _ = holder.Process.Kill(); _ = holder.Wait() })
	charged(t, near, files[1])
	before, held := usage(t, near), usage(t, dir)
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", holder.Process.Pid)); strings.HasSuffix(exe, "sleep") || strings.HasSuffix(exe, "busybox") {
			break
		}
	}
	_, err = main.WriteString("y\n")
	must(err)
	rest, _ := io.ReadAll(asks)
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 6 {
		t.Errorf("exit code %d, %v: %s%s", code, err, shown.String(), rest)
	}
	text := strings.Join(strings.Fields(shown.String()), " ")
	// Who is charged for what is counted anew when the count is old; how much is in
	// memory always.
	if grown := strings.Contains(text, "read since it was looked at") || strings.Contains(text, "other cgroups are charged"); !grown || !strings.Contains(text, "left alone at the last look: used by pid") {
		t.Errorf("no reasons in %s", shown.String())
	}
	if lost := before - usage(t, near); lost > 1<<20 {
		t.Errorf("the neighbour lost %d bytes", lost)
	}
	const own, tenth = 32 << 20, 32 << 20 / 10
	if went := held - usage(t, dir); went < own-tenth || went > own+tenth {
		t.Errorf("%d went, want %d", went, own)
	}
}

// Only what is spelled out is acted on: a path without its slash is refused, with what to
// type.
func TestReclaimWantsWholeNames(t *testing.T) {
	t.Parallel()
	h := memory(t)
	cgroup, _ := h.group(t, unique("whole"))
	run(t, "explain", strings.TrimPrefix(cgroup, "/")).want(t, 0)
	run(t, "reclaim", strings.TrimPrefix(cgroup, "/"), "--observe", "0").want(t, 2, "spelled out", "type that, or "+cgroup)
	run(t, "reclaim", "--dying", strings.TrimPrefix(cgroup, "/"), "--observe", "0").want(t, 2, "spelled out")
	run(t, "reclaim", filepath.Join(h.point, cgroup), "--observe", "0").want(t, 0)
}

// until reads until a text was read.
func until(t *testing.T, r io.Reader, text string) {
	t.Helper()
	var all []byte
	for b := make([]byte, 1); !bytes.Contains(all, []byte(text)); all = append(all, b[0]) {
		if _, err := r.Read(b); err != nil {
			t.Fatalf("%v after %q", err, all)
		}
	}
}
