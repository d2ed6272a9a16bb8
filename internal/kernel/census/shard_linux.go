package census

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// shard is a walker: a copy of the program with tables of its own. All walk at the
// same time over all frames, on a processor each, and count what is theirs: files by
// their mapping, for the pages of one are scattered over all of memory, and all else
// by where it lies. They share nothing that is written, and are put together when they
// are read out.
type shard struct {
	loaded *ebpf.Collection
	maps   tableSet
	slices sliceLog // of the running scan
}

// What a walker beyond the first is worth: loading its program costs as much as walking
// a few GiB. More than half of a node's processors are not for this, and each has to
// look at every frame.
const (
	walkerBytes = 4 << 30
	maxWalkers  = 4
)

// walkers is how many this node is worth now.
func walkers() int {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 1
	}
	const unit = 1 << 16 // of load averages (linux include/uapi/linux/sysinfo.h)
	busy := int((uint64(info.Loads[0]) + unit/2) / unit)
	return walkersFor(runtime.GOMAXPROCS(0), busy, uint64(info.Totalram)*uint64(info.Unit))
}

// walkersFor gives one to a node of which no processor is idle.
func walkersFor(processors, busy int, memory uint64) int {
	n := min(max(processors/2, 2), processors-busy, maxWalkers)
	return max(1, int(min(uint64(max(n, 1)), memory/walkerBytes)))
}

func (e *Engine) shards() []*shard { return append([]*shard{&e.shard}, e.more...) }

// loadShards loads all at a time: the verifier takes a while. A part of the census
// would be missing without one of them.
func (e *Engine) loadShards(spec *ebpf.CollectionSpec) error {
	e.more = nil
	for range max(e.walkers, 1) - 1 {
		e.more = append(e.more, &shard{})
	}
	shards := e.shards()
	errs := make([]error, len(shards))
	var wait sync.WaitGroup
	for i, s := range shards {
		own := spec.Copy()
		if i > 0 {
			delete(own.Programs, "list")
			delete(own.Programs, "self_test")
		}
		for name, v := range map[string]int{"walkers": len(shards), "walker": i} {
			if err := own.Variables[name].Set(uint64(v)); err != nil {
				return notLoaded("constant "+name, err)
			}
		}
		wait.Go(func() { errs[i] = s.load(own) })
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *shard) load(spec *ebpf.CollectionSpec) (err error) {
	if s.loaded, err = ebpf.NewCollection(spec); err != nil {
		return notLoaded("the kernel's verifier has to accept the program", err)
	}
	return s.mapAll()
}

func (s *shard) unload() {
	s.maps.close()
	if s.loaded != nil {
		s.loaded.Close()
	}
	s.loaded = nil
}

func (s *shard) reset(st state) error {
	for _, index := range s.maps.indexes {
		clear(index)
	}
	for i := range st.Used {
		st.Used[i] = 1 // record 0 is nothing
	}
	s.slices.begin()
	old, err := s.state()
	if err != nil {
		return err
	}
	st.Slice = old.Slice + 1 // no payer of an earlier scan is believed
	if err := s.loaded.Variables["st"].Set(&st); err != nil {
		return err
	}
	return s.grow()
}

func (s *shard) state() (st state, err error) {
	if err := s.loaded.Variables["st"].Get(&st); err != nil {
		return st, &Refusal{ErrKernel, "run", "the walk's state", err}
	}
	return st, nil
}

// slice runs a program once, and keeps how long it took.
func (s *shard) slice(ctx context.Context, program string, args ...uint64) (done bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	took, err := s.loaded.Programs[program].Run(&ebpf.RunOptions{Context: args})
	if err != nil {
		return false, &Refusal{ErrKernel, "run", "a slice of the walk", err}
	}
	s.slices.add(time.Duration(took >> 2))
	if took&2 != 0 {
		if err := s.grow(); err != nil {
			return false, err
		}
	}
	return took&1 == 1, nil
}

// walk runs slices over ranges until their end or the context's.
func (e *Engine) walk(ctx context.Context, ranges []frames) error {
	return e.each(func(s *shard) error { return s.walk(ctx, ranges) })
}

// each does something with all shards at the same time.
func (e *Engine) each(do func(*shard) error) error {
	shards := e.shards()
	errs := make([]error, len(shards))
	var wait sync.WaitGroup
	for i, s := range shards {
		wait.Go(func() { errs[i] = do(s) })
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *shard) walk(ctx context.Context, ranges []frames) error {
	runtime.LockOSThread() // whose switches are counted
	defer runtime.UnlockOSThread()
	s.slices.here()
	for _, r := range ranges {
		fresh := uint64(1)
		for done := false; !done; fresh = 0 {
			var err error
			if done, err = s.slice(ctx, "scan", r.start, r.end, fresh); err != nil {
				return err
			}
		}
	}
	return nil
}
