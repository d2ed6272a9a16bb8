package census

import (
	"errors"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// pieceRecords is how many records a piece of a table has. It and the number of
// pieces are those of census.bpf.c.
const (
	pieceRecords = 1 << 13
	pieces       = 128
)

// table is one in pieces. To add a piece the kernel waits for all processors (linux
// kernel/bpf/syscall.c, maybe_wait_bpf_programs). So pieces of several tables are
// added at the same time, and those of a table before there is no room without.
type table[T any] struct {
	outer  *ebpf.Map
	unit   uint64 // records, or bytes of names, in a piece
	margin uint64 // that a run may add after it was to end
	ahead  uint64 // of that, when the next piece is begun
	limit  int    // of pieces

	inner   []*ebpf.Map
	pieces  [][]T
	regions [][]byte
	coming  chan piece[T] // is being added; nil for none
}

type piece[T any] struct {
	inner   *ebpf.Map
	records []T
	region  []byte
	err     error
}

// grower is a table of whatever records. One goroutine at a time may call it.
type grower interface {
	begin(used uint64)
	room(used uint64) (uint64, error)
	settle()
	close()
}

func (t *table[T]) at(i uint32) *T { return &t.pieces[i/pieceRecords][i%pieceRecords] }

// end is where a run has to end, so that all it may still add has room.
func (t *table[T]) end() int64 { return int64(uint64(len(t.inner))*t.unit) - int64(t.margin) }

// begin starts adding a piece when the last one is filling up.
func (t *table[T]) begin(used uint64) {
	if t.coming != nil || len(t.inner) >= t.limit || int64(used+t.ahead) < t.end() {
		return
	}
	at, coming := uint32(len(t.inner)), make(chan piece[T], 1)
	t.coming = coming
	go func() { coming <- newPiece[T](t.outer, at) }()
}

// room is how far the table may fill up before it has to be asked again. It waits
// for a piece where there is none left.
func (t *table[T]) room(used uint64) (uint64, error) {
	for int64(used) >= t.end() && len(t.inner) < t.limit {
		t.begin(used)
		if err := t.take(<-t.coming); err != nil && len(t.inner) == 0 {
			return 0, err
		}
	}
	select {
	case p := <-t.coming: // never of nil
		_ = t.take(p)
		t.begin(used)
	default:
	}
	switch {
	case t.coming != nil:
		return uint64(t.end()), nil
	case len(t.inner) >= t.limit:
		return 1 << 62, nil
	}
	return uint64(max(t.end()-int64(t.ahead), 0)), nil
}

// take adds what has come. After a failure there are to be no more pieces.
func (t *table[T]) take(p piece[T]) error {
	t.coming = nil
	if p.err != nil {
		t.limit = len(t.inner)
		return p.err
	}
	t.inner, t.pieces, t.regions = append(t.inner, p.inner), append(t.pieces, p.records), append(t.regions, p.region)
	return nil
}

// settle waits for what is being added.
func (t *table[T]) settle() {
	if t.coming != nil {
		_ = t.take(<-t.coming)
	}
}

func (t *table[T]) close() {
	t.settle()
	for _, b := range t.regions {
		_ = unix.Munmap(b)
	}
	for _, m := range t.inner {
		m.Close()
	}
}

// newPiece adds a piece to a table of tables.
func newPiece[T any](outer *ebpf.Map, at uint32) (p piece[T]) {
	if p.inner, p.err = ebpf.NewMap(pieceSpec[T]()); p.err != nil {
		return p
	}
	if p.records, p.region, p.err = share[T](p.inner); p.err == nil {
		p.err = outer.Put(at, p.inner)
	}
	if p.err != nil {
		if p.region != nil {
			_ = unix.Munmap(p.region)
		}
		p.inner.Close()
	}
	return p
}

// pieceSpec describes a piece: pieceRecords records, or one of a megabyte.
func pieceSpec[T any]() *ebpf.MapSpec {
	var record T
	n := uint32(pieceRecords)
	if unsafe.Sizeof(record) >= 1<<20 {
		n = 1
	}
	return &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: uint32(unsafe.Sizeof(record)), MaxEntries: n, Flags: unix.BPF_F_MMAPABLE}
}

// How many records, or bytes of names, a run may add after it was to end: a slab's
// objects may all be different cgroups', and a path has up to 2048 directories.
const (
	rowMargin    = 4608 // a slab of 32 KiB has up to 4096 objects
	inodeMargin  = 64
	dentryMargin = 4096
	nameMargin   = 640 << 10
)

// inPieces says of what size and how many pieces the tables are.
func (s *tableSet) inPieces(maps map[string]*ebpf.Map) {
	s.rows = table[rowRecord]{outer: maps["rows"], unit: pieceRecords, margin: rowMargin, ahead: pieceRecords / 4, limit: pieces}
	s.inodes = table[inodeRecord]{outer: maps["inodes"], unit: pieceRecords, margin: inodeMargin, ahead: pieceRecords / 4, limit: pieces}
	s.dentries = table[dentryRecord]{outer: maps["dentries"], unit: pieceRecords, margin: dentryMargin, ahead: pieceRecords / 4, limit: pieces}
	s.names = table[chunkRecord]{outer: maps["names"], unit: 1 << 20, margin: nameMargin, ahead: 128 << 10, limit: 64}
}

func (s *tableSet) growers() [4]grower { return [4]grower{&s.rows, &s.inodes, &s.dentries, &s.names} }

// grow adds pieces to tables that are nearly full. Where there are to be no more,
// what there is no room for is counted as lost.
func (d *shard) grow() error {
	st, err := d.state()
	if err != nil {
		return err
	}
	used := [4]uint64{st.Used[tableRow], st.Used[tableInode], st.Used[tableDentry], st.Arena}
	tables := d.maps.growers()
	for i, t := range tables {
		t.begin(used[i])
	}
	var room [4]uint64
	var errs [4]error
	for i, t := range tables {
		room[i], errs[i] = t.room(used[i])
	}
	if err := errors.Join(errs[:]...); err != nil {
		return &Refusal{ErrKernel, "run", "memory for tables", err}
	}
	if err := d.loaded.Variables["room"].Set(&roomState{room[0], room[1], room[2], room[3]}); err != nil {
		return &Refusal{ErrKernel, "run", "room of tables", err}
	}
	return nil
}
