package snapshot

// Pipe is one of which a process has an end open, without a name.
type Pipe struct {
	Inode uint64
	Bytes int64 // in it, and not yet read
	Room  int64 // that it may hold
}

// BPFMap is one that a process has open.
type BPFMap struct {
	ID    int64 // 0 where the kernel does not tell
	Kind  int64 // enum bpf_map_type
	Flags int64 // of its making, BPF_F_NO_PREALLOC among them
	Bytes int64 // memlock: what it takes, or would if it were full
}

// BPFNoPrealloc is the flag of a map whose elements are allocated when they are used.
const BPFNoPrealloc = 1

// Dentries are the names that the kernel of a node remembers: counts.
type Dentries struct {
	All, Unused int64
	Negative    int64 // of Unused: names of nothing; 0 before 5.0, where nobody counts them
}
