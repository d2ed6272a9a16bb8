package lab

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Before 4.19 the kernel counts shared memory with files only.
const withinFile = "file"

const tmpfsHeld = "tmpfs.held"

var tmpfsFile = Scenario{
	Name:    "tmpfs-file",
	Summary: "a file on tmpfs, written and closed",
	Finding: tmpfsHeld,
	needs:   tmpfs,
	plant: func(j job, t *Truth) error {
		f, err := os.OpenFile(filepath.Join(j.WorkDir, "planted"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		t.add("shmem", j.Bytes, withinFile)
		t.cause(tmpfsHeld, j.Bytes)
		t.file("shmem", f.Name(), j.Bytes)
		if err := fill(f, j.Bytes); err != nil {
			return err
		}
		return f.Close()
	},
}

var memfd = Scenario{
	Name:    "memfd",
	Summary: "a file in memory without a name (memfd_create), written",
	Finding: tmpfsHeld,
	plant: func(j job, t *Truth) error {
		fd, err := unix.MemfdCreate("planted", unix.MFD_CLOEXEC)
		if err != nil {
			return fmt.Errorf("memfd_create: %w", err)
		}
		f := os.NewFile(uintptr(fd), "planted")
		keep = append(keep, f)
		t.shared(j.Bytes)
		return fill(f, j.Bytes)
	},
}

var sysvShm = Scenario{
	Name:    "sysv-shm",
	Summary: "a System V shared memory segment, attached and touched",
	Finding: tmpfsHeld,
	plant: func(j job, t *Truth) error {
		id, err := unix.SysvShmGet(unix.IPC_PRIVATE, int(j.Bytes), unix.IPC_CREAT|0o600)
		if err != nil {
			return fmt.Errorf("shmget %d bytes: %w", j.Bytes, err)
		}
		mem, err := unix.SysvShmAttach(id, 0, 0)
		// Marked as removed it goes away with its last user, whatever ends that.
		if _, rmErr := unix.SysvShmCtl(id, unix.IPC_RMID, nil); err != nil || rmErr != nil {
			return fmt.Errorf("shmat, shmctl: %w, %w", err, rmErr)
		}
		touch(mem)
		t.shared(j.Bytes)
		return nil
	},
}

var sharedAnon = Scenario{
	Name:    "shared-anon",
	Summary: "shared anonymous memory, every page written",
	Finding: tmpfsHeld,
	plant: func(j job, t *Truth) error {
		mem, err := anonymous(j.Bytes, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		touch(mem)
		t.shared(j.Bytes)
		return nil
	},
}

// shared notes shared memory that this process holds.
func (t *Truth) shared(bytes int64) {
	t.add("shmem", bytes, withinFile)
	t.cause(tmpfsHeld, bytes)
	t.process("shmem", bytes)
}
