package census

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"maps"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

//go:generate ../../../scripts/generate

//go:embed census.bpf.o
var object []byte

// sliceBudget is how long a run may hold its processor: it ends at the first look
// at the clock after this, 10 to 50 us later. Nothing preempts it on a kernel
// without preemption.
const sliceBudget = 800 * time.Microsecond

// Engine is the loaded program with its tables, kernel memory that is charged to
// this process's cgroup. They grow with what there is to list, and stay. An engine
// is made to be kept. Its methods may be called concurrently; scans take turns.
type Engine struct {
	mu      sync.Mutex
	shard            // the first, which also lists cgroups and looks at the own page
	more    []*shard // that walk at the same time
	walkers int      // as many as were wanted
	layout  constants
	sizes   sizes
	self    *selfPage

	vmemmap, subsystem uint64
	ownID              uint64       // of the cgroup that the self-test's page is charged to
	ownUsage           string       // the file of its usage; the root may have none
	gens               [gens]uint64 // pages by generation, as the kernel counted them at the last tour
}

// Open loads the program and proves on a page of its own that it reads this
// kernel right.
func Open(ctx context.Context) (*Engine, error) { return OpenWith(ctx, walkers()) }

// Try says whether Open would succeed.
func Try(ctx context.Context) error {
	e, err := OpenWith(ctx, 1)
	if err != nil {
		return err
	}
	return e.Close()
}

// OpenWith opens an engine of so many walkers, whatever the node is worth.
func OpenWith(ctx context.Context, walkers int) (*Engine, error) {
	if err := permitted(); err != nil {
		return nil, err
	}
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, &Refusal{ErrKernel, gateTypes, "needs /sys/kernel/btf/vmlinux", err}
	}
	l, err := layoutOf(spec, os.Getpagesize())
	if err != nil {
		return nil, &Refusal{ErrKernel, gateLayout, "every name that the walk needs", err}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e := &Engine{layout: l, walkers: walkers}
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

// load loads the program once for each walker. Only the first has to succeed: the
// others save time.
func (e *Engine) load() error {
	if err := rlimit.RemoveMemlock(); err != nil {
		return &Refusal{ErrPrivilege, "load", "tables count against RLIMIT_MEMLOCK before 5.11, and it cannot be lifted without CAP_SYS_RESOURCE", err}
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return notLoaded("the embedded object", err)
	}
	set := map[string]uint64{"budget": uint64(sliceBudget)}
	if e.layout["zones"] > 0 {
		set["nodes"] = possibleNodes()
	}
	maps.Copy(set, e.layout)
	for name, v := range set {
		variable, ok := spec.Variables[name]
		if !ok {
			return notLoaded("constant "+name, errors.New("not in the object"))
		}
		if err := variable.Set(v); err != nil {
			return notLoaded("constant "+name, err)
		}
	}
	e.sizes = wantedSizes(max(e.walkers, 1))
	if err := e.sizes.apply(spec); err != nil {
		return notLoaded("sizes of tables", err)
	}
	return e.loadShards(spec)
}

func notLoaded(why string, err error) error {
	if errors.Is(err, unix.EPERM) {
		return &Refusal{ErrPrivilege, "load", why + ": bpf(2) is denied although the capabilities are there, by seccomp or a security module", err}
	}
	return &Refusal{ErrKernel, "load", why, err}
}

// Close frees everything. The engine must not be used afterwards.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unload()
	if e.self != nil {
		e.self.close()
	}
	e.self = nil
	return nil
}

func (e *Engine) unload() {
	for _, s := range e.shards() {
		s.unload()
	}
	e.more = nil
}

// reset makes the tables empty. Records need no clearing: adding one sets all of
// it.
func (e *Engine) reset() error {
	return e.each(func(s *shard) error { return s.reset(state{Vmemmap: e.vmemmap, Subsystem: e.subsystem}) })
}

// tourSlices bounds a tour of groups that come and go faster than it gets on.
// 65535 groups take about 100.
const tourSlices = 1000

// tour lists every memory cgroup. complete is false when some may be missing.
func (e *Engine) tour(ctx context.Context) (complete bool, err error) {
	runtime.LockOSThread() // whose switches are counted
	defer runtime.UnlockOSThread()
	e.slices.here()
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
	e.gens = t.Gens
	return done && t.Lost == 0, nil
}
