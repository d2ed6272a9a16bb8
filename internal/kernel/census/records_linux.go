package census

// The records of census.bpf.c, field by field. Both sides are little-endian and
// have no padding that is not named.

const (
	tableRow = iota
	tableInode
	tableDentry
	tableGroup
	tableSuper
	tableCache
	tables
)

const (
	nPages = iota
	nActive
	nInactive
	nUnevictable
	nOffLRU
	nDirty
	nWriteback
	nMapped
	nReferenced
	nLarge
	nHuge
	nInherited
	counts
)

// What a row is about when its key is no pointer, and the low bits of one that
// points to a kernel cache.
const (
	keyAnon = iota + 1
	keyKSM
	keyTable
	keyKernel
	keyHugetlb
	keyLargeKmalloc
	keyOther

	keyPointer   = 4096
	keyObjects   = 1
	keySlabPages = 2
)

const (
	sumSteps = iota
	sumFaults
	sumFree
	sumTails
	sumIdle
	sumReserved
	sumOffline
	sumUnowned
	sumSlabs
	sumKmallocs
	sumBadMapping
	sumBadObjcg
	sumBadGroup
	sumLostNames
	sumLostPages
	sumDeep
	sumActiveAnon
	sumInactiveAnon
	sumActiveFile
	sumInactiveFile
	sums
)

type rowRecord struct {
	key         uint64
	group, item uint32
	n           [counts]uint32
}

type inodeRecord struct {
	_                              uint64
	_, dentry                      uint32
	ino, size                      uint64
	super, nlink, mode, generation uint32
}

type dentryRecord struct {
	_                    uint64
	_, parent, name, len uint32
}

type groupRecord struct {
	id                   uint64
	_, parent, name, len uint32
	flags, usage         uint64
	memoryID, listed     uint32
}

type superRecord struct {
	_      uint64
	dev, _ uint32
	magic  uint64
	kind   [16]byte
}

type cacheRecord struct {
	_                  uint64
	_, size, name, len uint32
}

type chunkRecord [1 << 20]byte

type state struct {
	Pfn, End, Buffered, Slice                  uint64
	Vec, VecLeft, VecStride, VecCache, VecNode uint64
	LastKey, LastGroup, LastRow                uint64
	Vmemmap, Subsystem                         uint64
	Arena                                      uint64
	Used, Lost                                 [tables]uint64
	Sum                                        [sums]uint64
}

type tourState struct {
	_                     [3 + 64 + 1 + 4 + 3]uint64
	Found, Restarts, Lost uint64
}

type selfState struct {
	Folio, Mapping, Host, Memcg, Subsystem, NodeObjcg, ObjcgMemcg, Charge, Flags, MaxSeq, Refcount uint64
}
