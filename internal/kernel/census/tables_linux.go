package census

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// tableSet is the tables as memory that is shared with the program.
type tableSet struct {
	rows     table[rowRecord]
	inodes   table[inodeRecord]
	dentries table[dentryRecord]
	names    table[chunkRecord]
	groups   []groupRecord
	supers   []superRecord
	caches   []cacheRecord
	indexes  [][]bucket
	regions  [][]byte
}

func (s *tableSet) close() {
	for _, b := range s.regions {
		_ = unix.Munmap(b)
	}
	for _, t := range s.growers() {
		t.close()
	}
	*s = tableSet{}
}

// bucket is entries of an index.
type bucket [16]uint32

// share maps a table into this process.
func share[T any](m *ebpf.Map) ([]T, []byte, error) {
	var record T
	if m == nil || uintptr(m.ValueSize()) != unsafe.Sizeof(record) {
		return nil, nil, fmt.Errorf("table %v is not what this program was built for", m)
	}
	b, err := unix.Mmap(m.FD(), 0, int(m.MaxEntries()*m.ValueSize()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, err
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), m.MaxEntries()), b, nil
}

// sizes are entries of the tables that do not grow in pieces.
type sizes struct{ rowIndex, inodeIndex, dentryIndex, groups uint32 }

// wantedSizes makes room for all inodes that the kernel has in memory and all
// memory cgroups, as far as a table can go. Walkers share the inodes, nearly evenly;
// each meets every cgroup, and as many directories as there are, or files of its own.
func wantedSizes(walkers int) sizes {
	inodes := firstNumber("/proc/sys/fs/inode-nr", 1<<18)
	share := inodes
	if walkers > 1 {
		share = inodes / uint64(walkers) * 9 / 8
	}
	groups := cgroupCount()
	within := func(n, low, high uint64) uint32 { return uint32(min(max(n, low), high)+15) &^ 15 }
	return sizes{
		rowIndex:    within(groups*256+share/4, 1<<16, 1<<21),
		inodeIndex:  within(share*5/4, 1<<15, 1<<21),
		dentryIndex: within(inodes/uint64(walkers+1), 1<<15, 1<<21),
		groups:      within(groups*5/4+1024, 1<<12, 1<<16),
	}
}

// covers reports whether s has room for o still: an eighth of what was asked for is
// spare.
func (s sizes) covers(o sizes) bool {
	room := func(have, want uint32) bool { return have >= want-want/8 }
	return room(s.rowIndex, o.rowIndex) && room(s.inodeIndex, o.inodeIndex) && room(s.dentryIndex, o.dentryIndex) && room(s.groups, o.groups)
}

func firstNumber(file string, otherwise uint64) uint64 {
	b, err := os.ReadFile(file)
	if f := strings.Fields(string(b)); err == nil && len(f) > 0 {
		if n, err := strconv.ParseUint(f[0], 10, 40); err == nil {
			return n
		}
	}
	return otherwise
}

// cgroupCount is how many memory cgroups there are, dying ones among them; all
// that can be where that is not told.
func cgroupCount() uint64 {
	b, _ := os.ReadFile("/proc/cgroups")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 4 && f[0] == "memory" {
			if n, err := strconv.ParseUint(f[2], 10, 32); err == nil {
				return n
			}
		}
	}
	return 1 << 16
}

// probes is how many buckets are looked at for a key, from the one that it is sent to.
const probes = 4

// apply sets sizes and makes the tables in pieces what they are.
func (s sizes) apply(spec *ebpf.CollectionSpec) error {
	const buckets = uint32(len(bucket{}))
	for name, n := range map[string]uint32{
		"row_index": s.rowIndex / buckets, "inode_index": s.inodeIndex / buckets, "dentry_index": s.dentryIndex / buckets,
		"groups": s.groups, "group_index": 2 * s.groups / buckets,
	} {
		spec.Maps[name].MaxEntries = n
	}
	for name, n := range map[string]uint32{
		"row_buckets": s.rowIndex / buckets, "inode_buckets": s.inodeIndex / buckets, "dentry_buckets": s.dentryIndex / buckets,
		"group_buckets": 2 * s.groups / buckets,
	} {
		if err := spec.Variables[name].Set(uint64(n - probes + 1)); err != nil {
			return err
		}
	}
	spec.Maps["rows"].InnerMap = pieceSpec[rowRecord]()
	spec.Maps["inodes"].InnerMap = pieceSpec[inodeRecord]()
	spec.Maps["dentries"].InnerMap = pieceSpec[dentryRecord]()
	spec.Maps["names"].InnerMap = pieceSpec[chunkRecord]()
	return nil
}

func (d *shard) mapAll() (err error) {
	s := &d.maps
	s.inPieces(d.loaded.Maps)
	s.groups, err = mapped[groupRecord](d, "groups", err)
	s.supers, err = mapped[superRecord](d, "supers", err)
	s.caches, err = mapped[cacheRecord](d, "caches", err)
	for _, name := range []string{"row_index", "inode_index", "dentry_index", "group_index", "super_index", "cache_index"} {
		var index []bucket
		index, err = mapped[bucket](d, name, err)
		s.indexes = append(s.indexes, index)
	}
	return err
}

// mapped maps one table into this process. An earlier error is passed on.
func mapped[T any](d *shard, name string, earlier error) ([]T, error) {
	if earlier != nil {
		return nil, earlier
	}
	records, b, err := share[T](d.loaded.Maps[name])
	if err != nil {
		return nil, &Refusal{ErrKernel, "load", "map table " + name, err}
	}
	d.maps.regions = append(d.maps.regions, b)
	return records, nil
}
