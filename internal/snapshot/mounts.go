package snapshot

// FileUser is a process and the files that it has open or mapped, as paths of its
// own root directory.
type FileUser struct {
	PID       int
	Cgroup    string              // memory cgroup; empty when it could not be told
	Namespace string              // of mounts, as in MountTable
	Open      Reading[[]LinkText] // name of the descriptor, path
	Mapped    Reading[[]string]
}

// Descriptor is one of a process's, by its name in /proc/PID/fd.
type Descriptor struct {
	PID int
	FD  string
}

// MountTable is one mount namespace, as one of its processes sees it.
type MountTable struct {
	Namespace string // as its link reads, mnt:[4026531841]; empty when that was refused
	PID       int    // whose view it is
	Cgroup    string // the memory cgroup of that process; empty for the node's own table
	Host      bool   // the node's own: paths in it are the paths of the node
	Mounts    Reading[[]Mount]
}

// Mount is one line of a mount table. Paths are the kernel's bytes.
type Mount struct {
	ID, Parent int

	Device uint32 // the kernel's s_dev, as in CensusInode
	Root   string // what of the file system is mounted
	Point  string // where
	Type   string // of the file system, with its subtype: fuse.sshfs
	Source string

	// Of an overlay, the directories that it is made of, as whoever mounted it saw
	// them. The top of the lower ones comes first.
	Lower []string
	Upper string
}
