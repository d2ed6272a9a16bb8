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
	nMarks
	counts
)

// Kinds of rows.
const (
	keyNone = iota
	keyAnon
	keyKSM
	keyTable
	keyKernel
	keyHugetlb
	keyLargeKmalloc
	keyOther
	keyFile
	keyObjects
	keySlabs
)

// Each walker counts the sums before sumBadMapping of all frames.
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

// rowRecord has its group in the low half of the key, above it the number of an
// inode or kernel cache, and above that the kind.
type rowRecord struct {
	key uint64
	n   [counts]uint32
}

func (r *rowRecord) group() int { return int(uint32(r.key)) }
func (r *rowRecord) item() int  { return int(r.key >> 32 & (1<<28 - 1)) }
func (r *rowRecord) kind() int  { return int(r.key >> 60) }

type inodeRecord struct {
	_                            uint64
	_, _                         uint32
	ino, size                    uint64
	generation, nlink, name, dir uint32
	super, mode                  uint16
	len, named                   uint8
	_                            [2]uint8
}

// What inodeRecord.named says.
const (
	hasName = 1 + iota
	isRoot  // of its file system, or of no tree at all
	unreadable
)

type dentryRecord struct {
	_                          uint64
	_, parent, name, len, _, _ uint32
}

type groupRecord struct {
	id, usage                                  uint64
	lists                                      [4]uint64 // inactive and active anon, inactive and active file; in pages
	parent, name, len, flags, memoryID, listed uint32
}

type superRecord struct {
	_      uint64
	_, dev uint32
	magic  uint64
	kind   [16]byte
}

type cacheRecord struct {
	address                uint64
	size, flags, name, len uint32
}

type chunkRecord [1 << 20]byte

// gens is of generations: four, of each anon and file.
const gens = 8

type state struct {
	Pfn, End, Buffered, Slice                  uint64
	Vec, VecLeft, VecStride, VecCache, VecNode uint64
	Vmemmap, Subsystem, _                      uint64
	Arena                                      uint64
	Used, Lost                                 [tables]uint64
	Sum                                        [sums]uint64
	Gens                                       [gens]uint64
}

// add adds what another walker has counted of its own.
func (s *state) add(o *state) {
	for i, n := range o.Lost {
		s.Lost[i] += n
	}
	for i := sumBadMapping; i < sums; i++ {
		s.Sum[i] += o.Sum[i]
	}
	for i, n := range o.Gens {
		s.Gens[i] += n
	}
}

type roomState struct{ Rows, Inodes, Dentries, Names uint64 }

type tourState struct {
	_                     [3 + 64 + 1 + 4 + 3]uint64
	Found, Restarts, Lost uint64
	Gens                  [gens]uint64
}

type selfState struct {
	Folio, Mapping, Host, Memcg, Subsystem, NodeObjcg, ObjcgMemcg, Charge, Flags, MaxSeq, Refcount uint64
}
