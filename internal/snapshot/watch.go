package snapshot

import "time"

// Watch is what earlier looks at the target of a snapshot said.
type Watch struct {
	First  *Snapshot // the first look in full, but of the target alone: Path[0], Processes, Census
	Looks  []Look    // oldest first; the last is that of the snapshot itself
	Since  bool      // of two captures, with nothing between them
	Remade bool      // the cgroup of the first look was removed and made anew under its name
	Doubts []string  // why the looks may not be comparable
}

// Look is what the counters of a cgroup said at one moment.
type Look struct {
	At     time.Time
	Cgroup Cgroup         // the fields that ReadCore of package cgroupfs fills
	CPU    Reading[int64] // nanoseconds that its tasks ran, since it was made
	IO     Reading[IO]    // since it was made
}

// IO is what went to and came from block devices, in bytes.
type IO struct{ Read, Written int64 }

// Times is /proc/PID/stat.
type Times struct {
	Start                    int64         // clock ticks from boot to its start: with its PID, that names a process
	CPU                      time.Duration // that it ran, all threads together
	MinorFaults, MajorFaults int64         // counts; without those of its children
}

// The keys of Process.IO, bytes since it began.
const (
	IORead    = "rchar"       // by system calls, from files, sockets and pipes
	IOWritten = "wchar"       // the same
	DiskRead  = "read_bytes"  // what it made block devices read
	DiskWrite = "write_bytes" // of pages that it made dirty
)

// Position is how far a process is in a regular file that it has open.
type Position struct {
	FD            int
	Path          string // as its link in /proc/PID/fd reads
	Device, Inode int64  // as stat tells them
	Offset        int64
	Writes        bool // it was opened to be written alone
}
