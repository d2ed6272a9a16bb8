package census

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/snapshot"
)

//go:generate ../../../scripts/generate

//go:embed census.bpf.o
var object []byte

// sliceBudget is how long a run may hold its processor: it ends at the first look
// at the clock after this, 10 to 50 us later. Nothing preempts it on a kernel
// without preemption.
const sliceBudget = 800 * time.Microsecond

// Engine is the loaded program with its tables (60 MB of kernel memory, charged
// to this process's cgroup). It is made to be kept. Its methods may be called
// concurrently; scans take turns.
type Engine struct {
	mu     sync.Mutex
	loaded *ebpf.Collection
	layout constants
	maps   mapped
	self   *selfPage

	vmemmap, subsystem uint64
	ownID              uint64          // of the cgroup that the self-test's page is charged to
	ownUsage           string          // the file of its usage; the root may have none
	slices             []time.Duration // of the running scan
}

// mapped are the tables as memory that is shared with the program.
type mapped struct {
	rows     []rowRecord
	inodes   []inodeRecord
	dentries []dentryRecord
	groups   []groupRecord
	supers   []superRecord
	caches   []cacheRecord
	names    []chunkRecord
	indexes  [][]uint64
	regions  [][]byte
}

// Open loads the program and proves on a page of its own that it reads this
// kernel right.
func Open(ctx context.Context) (*Engine, error) {
	if err := permitted(); err != nil {
		return nil, err
	}
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, &Refusal{ErrKernel, "type information", "needs /sys/kernel/btf/vmlinux", err}
	}
	l, err := layoutOf(spec, os.Getpagesize())
	if err != nil {
		return nil, &Refusal{ErrKernel, "layout", "every name that the walk needs", err}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e := &Engine{layout: l}
	if err := e.load(); err != nil {
		e.Close()
		return nil, err
	}
	if err := e.prove(ctx); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// permitted says which right is missing before the kernel does with EPERM.
func permitted() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return &Refusal{ErrPrivilege, "capabilities", "/proc/self/status", err}
	}
	var effective uint64
	for line := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			_, _ = fmt.Sscanf(strings.TrimSpace(hex), "%x", &effective)
		}
	}
	if effective>>unix.CAP_SYS_ADMIN&1 == 0 {
		return &Refusal{ErrPrivilege, "capabilities", "needs CAP_SYS_ADMIN, for page frame numbers and BPF; it would show " + Gain, nil}
	}
	if b, err := os.ReadFile("/sys/kernel/security/lockdown"); err == nil && bytes.Contains(b, []byte("[confidentiality]")) {
		return &Refusal{ErrPrivilege, "lockdown", "confidentiality mode forbids BPF to read kernel memory; it would show " + Gain, nil}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil && strings.HasPrefix(unix.ByteSliceToString(u.Release[:]), "5.11.") {
		return &Refusal{ErrKernel, "layout", "5.11 marks kernel pages in a way that its type information does not tell", nil}
	}
	return nil
}

func (e *Engine) load() error {
	refuse := func(why string, err error) error {
		kind := ErrKernel
		if errors.Is(err, unix.EPERM) {
			kind = ErrPrivilege
		}
		return &Refusal{kind, "load", why, err}
	}
	if err := rlimit.RemoveMemlock(); err != nil { // before 5.11 tables count against it
		return refuse("lift RLIMIT_MEMLOCK", err)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return refuse("the embedded object", err)
	}
	set := map[string]uint64{"budget": uint64(sliceBudget)}
	for name, v := range e.layout {
		set[name] = v
	}
	for name, v := range set {
		variable, ok := spec.Variables[name]
		if !ok {
			return refuse("constant "+name, errors.New("not in the object"))
		}
		if err := variable.Set(v); err != nil {
			return refuse("constant "+name, err)
		}
	}
	if e.loaded, err = ebpf.NewCollection(spec); err != nil {
		return refuse("the kernel's verifier has to accept the program", err)
	}
	return e.mapAll()
}

func (e *Engine) mapAll() (err error) {
	m := &e.maps
	m.rows, err = table[rowRecord](e, "rows", err)
	m.inodes, err = table[inodeRecord](e, "inodes", err)
	m.dentries, err = table[dentryRecord](e, "dentries", err)
	m.groups, err = table[groupRecord](e, "groups", err)
	m.supers, err = table[superRecord](e, "supers", err)
	m.caches, err = table[cacheRecord](e, "caches", err)
	m.names, err = table[chunkRecord](e, "names", err)
	for _, name := range []string{"row_index", "inode_index", "dentry_index", "group_index", "super_index", "cache_index"} {
		var index []uint64
		index, err = table[uint64](e, name, err)
		m.indexes = append(m.indexes, index)
	}
	return err
}

// table maps one table into this process. An earlier error is passed on.
func table[T any](e *Engine, name string, earlier error) ([]T, error) {
	if earlier != nil {
		return nil, earlier
	}
	m := e.loaded.Maps[name]
	var record T
	if m == nil || uintptr(m.ValueSize()) != unsafe.Sizeof(record) {
		return nil, &Refusal{ErrKernel, "load", "table " + name + " is not what this program was built for", nil}
	}
	size := int(m.MaxEntries()) * int(m.ValueSize())
	b, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, &Refusal{ErrKernel, "load", "map table " + name, err}
	}
	e.maps.regions = append(e.maps.regions, b)
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), m.MaxEntries()), nil
}

// Close frees everything. The engine must not be used afterwards.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range e.maps.regions {
		_ = unix.Munmap(b)
	}
	e.maps = mapped{}
	if e.loaded != nil {
		e.loaded.Close()
	}
	e.loaded = nil
	if e.self != nil {
		e.self.close()
	}
	e.self = nil
	return nil
}

// reset makes the tables empty. Records need no clearing: adding one sets all of
// it.
func (e *Engine) reset() error {
	for _, index := range e.maps.indexes {
		clear(index)
	}
	st := state{Vmemmap: e.vmemmap, Subsystem: e.subsystem}
	for i := range st.Used {
		st.Used[i] = 1 // record 0 is nothing
	}
	e.slices = e.slices[:0]
	var old state
	if err := e.loaded.Variables["st"].Get(&old); err != nil {
		return err
	}
	st.Slice = old.Slice + 1 // no payer of an earlier scan is believed
	return e.loaded.Variables["st"].Set(&st)
}

// walk runs slices over ranges until their end or the context's.
func (e *Engine) walk(ctx context.Context, ranges []frames) error {
	for _, r := range ranges {
		fresh := uint64(1)
		for done := false; !done; fresh = 0 {
			var err error
			if done, err = e.slice(ctx, "scan", r.start, r.end, fresh); err != nil {
				return err
			}
		}
	}
	return nil
}

// tourSlices bounds a tour of groups that come and go faster than it gets on.
// 65535 groups take about 100.
const tourSlices = 1000

// tour lists every memory cgroup. complete is false when some may be missing.
func (e *Engine) tour(ctx context.Context) (complete bool, err error) {
	done := false
	for fresh, i := uint64(1), 0; !done && i < tourSlices; fresh, i = 0, i+1 {
		if done, err = e.slice(ctx, "list", fresh); err != nil {
			return false, err
		}
	}
	var t tourState
	if err := e.loaded.Variables["tour"].Get(&t); err != nil {
		return false, &Refusal{ErrKernel, "run", "the state of the list of cgroups", err}
	}
	return done && t.Lost == 0, nil
}

// slice runs a program once, and keeps how long it took.
func (e *Engine) slice(ctx context.Context, program string, args ...uint64) (done bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	took, err := e.loaded.Programs[program].Run(&ebpf.RunOptions{Context: args})
	if err != nil {
		return false, &Refusal{ErrKernel, "run", "a slice of the walk", err}
	}
	e.slices = append(e.slices, time.Duration(took>>1))
	return took&1 == 1, nil
}

func (e *Engine) sliceTimes() snapshot.CensusSlices {
	if len(e.slices) == 0 {
		return snapshot.CensusSlices{}
	}
	sorted := slices.Clone(e.slices)
	slices.Sort(sorted)
	s := snapshot.CensusSlices{Count: len(sorted), Median: sorted[len(sorted)/2], P99: sorted[len(sorted)*99/100], Max: sorted[len(sorted)-1]}
	for _, d := range sorted {
		s.Total += d
	}
	return s
}
