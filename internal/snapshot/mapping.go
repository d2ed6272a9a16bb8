package snapshot

// Smaps is /proc/PID/smaps: what one process has mapped, by address.
type Smaps struct {
	Maps []Mapping
	Has  SmapsKeys // the lines that this kernel prints; the fields of the others are not known
}

// Mapping is one mapping of a process.
type Mapping struct {
	Start, End uint64
	Perms      [4]byte // rwxp, as printed: p is private, s shared
	Inode      uint64  // 0 without a file
	Name       string  // of the file, or [heap], [stack], [anon:NAME]; empty for plain anonymous memory

	Rss, Pss                   int64 // resident; divided by the number of processes that map each page
	SharedClean, SharedDirty   int64 // of Rss, mapped by others too
	PrivateClean, PrivateDirty int64 // of Rss, mapped by this process alone
	Anonymous                  int64 // of Rss, no page of a file or of shared memory
	AnonHuge                   int64 // of Anonymous, mapped as huge pages
	LazyFree                   int64 // of Anonymous, given back with MADV_FREE
	Swap, SwapPss              int64 // not in Rss
}

// SmapsKeys is a set of the lines of smaps that are kept.
type SmapsKeys uint16

// The lines of smaps, one bit each.
const (
	SmapsRss SmapsKeys = 1 << iota
	SmapsPss
	SmapsSharedClean
	SmapsSharedDirty
	SmapsPrivateClean
	SmapsPrivateDirty
	SmapsAnonymous
	SmapsAnonHuge
	SmapsLazyFree
	SmapsSwap
	SmapsSwapPss
)

// All reports whether each of want is there.
func (k SmapsKeys) All(want SmapsKeys) bool { return k&want == want }

// LinkText is one symbolic link of a directory.
type LinkText struct{ Name, Text string }

// OpenFile is a regular file without a name that a process keeps open: deleted,
// or never named.
type OpenFile struct {
	FD   int
	Path string // as its link in /proc/PID/fd reads
	Stat Reading[Stat]
}

// The keys of OpenFile.Stat.
const (
	FileDevice    = "device"
	FileInode     = "inode"
	FileMode      = "mode"
	FileLinks     = "links"     // names that it has
	FileBytes     = "bytes"     // its length
	FileAllocated = "allocated" // bytes of its blocks
	FileSystem    = "fs"        // f_type of statfs(2)
)
