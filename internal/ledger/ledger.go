// Package ledger owns the accounts of one memory cgroup: disjoint classes of
// bytes whose sum is what the kernel charges to it, the remainder that no
// account explains, and what of it the kernel can take back. It also owns the
// limits on the way to the root and the risk of being killed.
//
// It must not know how anything was read, what to advise, or how to print.
// Everything is in bytes. It is pure: same snapshot, same ledger.
package ledger

import (
	"io/fs"

	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Reclaim says what taking an account back would cost.
type Reclaim string

// The costs of reclaim.
const (
	Free      Reclaim = "free"      // can be dropped at once
	Reread    Reclaim = "reread"    // can be dropped, and is likely to be read again
	Writeback Reclaim = "writeback" // must be written first
	Swap      Reclaim = "swap"      // must be swapped out
	Pinned    Reclaim = "pinned"    // cannot be taken back
	Mixed     Reclaim = "mixed"     // some of each: see the state
	Unknown   Reclaim = "unknown"   // this kernel does not tell
)

// Paths of the leaves.
const (
	AnonLazyFree          = "anon/lazyfree"
	AnonOther             = "anon/other"
	AnonUnmapped          = "anon/unmapped"
	SwapCached            = "swapcached"
	File                  = "file"
	Shmem                 = "shmem"
	SlabReclaimable       = "kernel/slab-reclaimable"
	SlabPinned            = "kernel/slab-unreclaimable"
	Slab                  = "kernel/slab" // v1 per-cgroup slab tables do not say which caches can shrink
	Stacks                = "kernel/stacks"
	PageTables            = "kernel/pagetables"
	Percpu                = "kernel/percpu"
	Vmalloc               = "kernel/vmalloc"
	Zswap                 = "kernel/zswap"
	KernelOther           = "kernel/other"
	KernelUndivided       = "kernel/undivided"
	Sock                  = "sock"
	HugeTLB               = "hugetlb"
	Unexplained           = "unexplained"
	stockPages      int64 = 64 // linux mm/memcontrol.c MEMCG_CHARGE_BATCH, since 5.16; 32 before
)

// Account is one leaf.
type Account struct {
	Path    string
	Bytes   int64
	Reclaim Reclaim
	State   map[string]int64 // margins that the kernel gives; they overlap and need not sum to Bytes
	Derived bool             // computed from the remainder: the kernel has no counter for it
	Counted bool             // by a census: the kernel has no counter for it
}

// Missing is a number that could not be had.
type Missing struct {
	Key       string // of the number in the report
	Source    string
	State     snapshot.State
	Err       words.Text
	WouldShow words.Text
}

// Ledger is the balanced account of one cgroup.
type Ledger struct {
	Usage       int64
	UsageSource string
	Accounts    []Account // leaves; their bytes sum to Usage, the last one is Unexplained
	Bound       int64     // of Unexplained, by the kernel's batching; -1 when the number of CPUs is unknown

	// Reclaimable is what the kernel says it can take back; Unreclaimable is
	// the rest of Usage. Where the kernel does not split its own memory the
	// truth lies between UnreclaimableMin and UnreclaimableMax.
	ReclaimKnown                       bool // false: the LRU lists could not be read, and nothing below counts
	Reclaimable                        int64
	ReclaimableFile, ReclaimableSlab   int64 // parts of Reclaimable
	ReclaimableSwap                    int64
	UnreclaimableMin, UnreclaimableMax int64

	Missing []Missing
	Doubts  []words.Text // what was seen and is strange: negative counters, repeated keys
}

// Env is what a ledger needs to know beyond the cgroup's own files.
type Env struct {
	CPUs     snapshot.Reading[int]
	PageSize int64
	SwapLeft int64    // bytes that this cgroup could still swap out
	SwapOn   bool     // the node has swap, or cannot say that it has none
	Counted  *Counted // what a census found; nil without one
	LazyFree bool     // the kernel knows MADV_FREE, or cannot say that it does not
}

// ErrNoUsage is returned when the kernel's own total could not be read: without
// it there is nothing to balance.
var ErrNoUsage = words.Errorf("the cgroup's usage could not be read")

// Account returns the leaf at path.
func (l *Ledger) Account(path string) (Account, bool) {
	for _, a := range l.Accounts {
		if a.Path == path {
			return a, true
		}
	}
	return Account{}, false
}

// UnexplainedBytes is Usage minus all other leaves.
func (l *Ledger) UnexplainedBytes() int64 { return l.Accounts[len(l.Accounts)-1].Bytes }

// Balance makes the ledger of c.
func Balance(c *snapshot.Cgroup, env Env) (*Ledger, error) {
	b := &balance{c: c, env: env, keys: KeysOf(c), l: &Ledger{}}
	if err := b.usage(); err != nil {
		return nil, err
	}
	b.memory()
	switch {
	case c.Version == snapshot.V1:
		b.kernelV1()
	default:
		b.kernelV2()
	}
	b.close()
	b.reclaimable()
	b.oddities()
	return b.l, nil
}

// balance is a ledger in the making.
type balance struct {
	c    *snapshot.Cgroup
	env  Env
	keys Keys
	l    *Ledger
	sum  int64

	lru       map[string]int64
	undivided int64 // memory of which nobody knows how much can be taken
	noKernel  bool  // v2 without a kernel total
}

func (b *balance) usage() error {
	u, ok := b.c.Usage.Get()
	b.l.UsageSource = b.c.Usage.Source
	if b.c.Version == snapshot.V2 && b.c.Root() && !ok {
		// linux mm/memcontrol.c: memory.current is CFTYPE_NOT_ON_ROOT. The v1 root
		// synthesises file + anon (mem_cgroup_usage); cAdvisor does the same here.
		anon, okA := b.keys.Get("anon")
		file, okF := b.keys.Get("file")
		if u, ok = anon+file, okA && okF; ok {
			b.l.UsageSource = b.c.Stat.Source + " (anon + file; the root has no memory.current)"
		}
	}
	if !ok && b.c.Usage.State == snapshot.Denied {
		return words.Errorf("%w: %s: %w", ErrNoUsage, b.c.Usage.Source, fs.ErrPermission)
	}
	if !ok {
		return words.Errorf("%w: %s: %s", ErrNoUsage, b.c.Usage.Source, b.c.Usage.Err)
	}
	if !size.Plausible(u) {
		return words.Errorf("%w: %s says %d, which no machine has", ErrNoUsage, b.c.Usage.Source, u)
	}
	b.l.Usage = u
	return nil
}

// get returns a counter that can be an amount of memory. A counter that cannot
// is evidence: it is kept as a doubt and treated as unknown.
func (b *balance) get(key string) (int64, bool) {
	v, ok := b.keys.Get(key)
	if ok && !size.Plausible(v) {
		b.l.Doubts = append(b.l.Doubts, words.Later("%s: %s reads %d, which is no amount of memory: a broken kernel counter",
			b.c.Stat.Source, b.keys.Name(key), v))
		return 0, false
	}
	return v, ok
}

func (b *balance) add(path string, bytes int64, cost Reclaim, state map[string]int64) {
	b.l.Accounts = append(b.l.Accounts, Account{Path: path, Bytes: bytes, Reclaim: cost, State: state})
	b.sum += bytes
}

func (b *balance) miss(account, key string, wouldShow words.Text) {
	st, why := b.c.Stat.State, words.Later("%s", b.c.Stat.Err)
	if st == snapshot.Present {
		if st = snapshot.Absent; key != "" {
			why = words.Later("no usable key %s", b.keys.Name(key))
		}
	}
	b.l.Missing = append(b.l.Missing, Missing{"accounts/" + account, b.c.Stat.Source, st, why, wouldShow})
}

// state collects the margins that are there, under the names of the report.
func (b *balance) state(pairs ...string) map[string]int64 {
	m := map[string]int64{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if v, ok := b.keys.Get(pairs[i+1]); ok && size.Plausible(v) {
			m[pairs[i]] = v
		}
	}
	return m
}

// close adds the remainder and its bound.
func (b *balance) close() {
	rest := b.l.Usage - b.sum
	if b.noKernel && rest > 0 {
		// Kernels before 5.18 have no `kernel` key: what has no key of its own
		// cannot be told from charges that are only reserved.
		b.l.Accounts = append(b.l.Accounts, Account{Path: KernelOther, Bytes: rest, Reclaim: Pinned, Derived: true})
		rest = 0
	}
	b.l.Accounts = append(b.l.Accounts, Account{Path: Unexplained, Bytes: rest, Reclaim: Unknown})
	b.l.Bound = b.bound()
}

// bound is how far usage and accounts may differ; -1 when that is unknown.
func (b *balance) bound() int64 {
	cpus, ok := b.env.CPUs.Get()
	if !ok {
		return -1
	}
	return stockPages * b.env.PageSize * int64(cpus) * int64(2+max(b.c.Descendants.Value, 0))
}

// oddities says what the files themselves showed.
func (b *balance) oddities() {
	st, ok := b.c.Stat.Get()
	if !ok {
		return
	}
	if st.Repeated > 0 {
		b.l.Doubts = append(b.l.Doubts, words.Later("%s: %d keys stand there twice; the first one counts", b.c.Stat.Source, st.Repeated))
	}
	if st.Malformed > 0 {
		b.l.Doubts = append(b.l.Doubts, words.Later("%s: %d lines are not `key number`", b.c.Stat.Source, st.Malformed))
	}
}
