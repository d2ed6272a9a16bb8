package census

import (
	"math"
	"math/bits"
	"slices"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// What /proc/kpageflags says of a page frame (linux
// include/uapi/linux/kernel-page-flags.h).
const (
	kpReferenced  = 1 << 2
	kpUptodate    = 1 << 3
	kpDirty       = 1 << 4
	kpLRU         = 1 << 5
	kpActive      = 1 << 6
	kpSlab        = 1 << 7
	kpWriteback   = 1 << 8
	kpBuddy       = 1 << 10
	kpMapped      = 1 << 11
	kpAnon        = 1 << 12
	kpSwapBacked  = 1 << 14
	kpTail        = 1 << 16
	kpHuge        = 1 << 17
	kpUnevictable = 1 << 18
	kpNoPage      = 1 << 20
	kpKSM         = 1 << 21
	kpOffline     = 1 << 23
	kpTable       = 1 << 26
	kpReserved    = 1 << 32
)

// A block is what is read at once: so many frames, so aligned that no folio but a
// huge page of the largest kind crosses its border. Blocks are visited in passes
// of one block in passes each, spread evenly. All passes make an exact answer,
// fewer an estimate.
const (
	blockFrames = 8192
	passes      = 64
)

// passOrder is the order of the passes: after each, the blocks visited so far lie
// about evenly.
func passOrder(i int) uint64 { return uint64(bits.Reverse8(uint8(i)) >> 2) }

// tally sums what the frames of one or more passes say.
type tally struct {
	page   int64
	huge   int64 // pages of a page middle directory's size
	groups map[uint64]*groupTally
	node   snapshot.CensusNode
	frames int64
	blocks int64

	touched []*groupTally // in this block
}

type groupTally struct {
	g       snapshot.CensusGroup
	ksm     snapshot.PageState // of anonymous pages that are marked as KSM
	block   float64            // bytes in this block
	squares float64            // of all blocks before
}

func newTally(page int64) *tally {
	return &tally{page: page, huge: page / 8, groups: map[uint64]*groupTally{}}
}

func (t *tally) group(id uint64) *groupTally {
	g := t.groups[id]
	if g == nil {
		g = &groupTally{g: snapshot.CensusGroup{
			ID: id, Usage: snapshot.Unknown, MemoryID: snapshot.Unknown, Slab: snapshot.Unknown, Inherited: snapshot.Unknown,
		}}
		t.groups[id] = g
	}
	return g
}

// add adds a block. flags and ids are as long as each other.
func (t *tally) add(flags, ids []uint64) {
	for i := 0; i < len(flags); {
		n := 1
		for i+n < len(flags) && flags[i+n]&kpTail != 0 {
			n++
		}
		t.folio(flags[i], ids[i], int64(n))
		i += n
	}
	t.frames += int64(len(flags))
	t.blocks++
	for _, g := range t.touched {
		g.squares += g.block * g.block
		g.block = 0
	}
	t.touched = t.touched[:0]
}

// folio adds a page, or a head with its tails. Tails say nothing of their own
// before 6.10 and repeat their head since.
func (t *tally) folio(flags, id uint64, pages int64) {
	n := pages * t.page
	switch {
	case flags&kpNoPage != 0:
		return
	case flags&kpSlab != 0: // first: other bits of a slab page mean something else
		t.node.Slab += n
		return
	case flags&kpBuddy != 0:
		t.node.Free += n
		return
	case flags&kpOffline != 0:
		t.node.Offline += n
		return
	}
	user := flags&(kpLRU|kpUptodate|kpSwapBacked|kpAnon) != 0
	if id == 0 && !user && flags&(kpHuge|kpTable) == 0 {
		if flags&kpReserved != 0 {
			t.node.Reserved += n
		}
		return // free on a processor's list, or the kernel's
	}
	g := t.group(id)
	if g.block == 0 {
		t.touched = append(t.touched, g)
	}
	g.block += float64(n)
	switch {
	case flags&kpHuge != 0:
		g.g.Hugetlb += n
	case flags&kpTable != 0:
		g.g.Tables += n
	case flags&kpKSM != 0:
		g.ksm.Add(t.state(flags, pages))
	case flags&kpAnon != 0:
		g.g.Anon.Add(t.state(flags, pages))
	case user:
		m := t.state(flags, pages)
		if flags&kpSwapBacked != 0 {
			g.g.Shmem += n
			m.Dirty = 0
		}
		g.g.File.Add(m)
		t.node.File += n
	default:
		g.g.Kernel += n
	}
}

func (t *tally) state(flags uint64, pages int64) snapshot.PageState {
	n := pages * t.page
	m := snapshot.PageState{Bytes: n}
	switch {
	case flags&kpLRU == 0:
		m.Isolated = n
	case flags&kpUnevictable != 0:
		m.Unevictable = n
	case flags&kpActive != 0:
		m.Active = n
	default:
		m.Inactive = n
	}
	for _, f := range []struct {
		flag uint64
		into *int64
	}{{kpDirty, &m.Dirty}, {kpWriteback, &m.Writeback}, {kpMapped, &m.Mapped}, {kpReferenced, &m.Referenced}} {
		if flags&f.flag != 0 {
			*f.into = n
		}
	}
	if pages > 1 {
		m.Large = n
	}
	if pages >= t.huge {
		m.Huge = n
	}
	return m
}

// merge adds a pass.
func (t *tally) merge(o *tally) {
	for id, from := range o.groups {
		to := t.group(id)
		to.squares += from.squares
		for i, n := range from.amounts() {
			*to.amounts()[i] += *n
		}
	}
	for i, n := range nodeAmounts(&o.node) {
		*nodeAmounts(&t.node)[i] += *n
	}
	t.frames += o.frames
	t.blocks += o.blocks
}

// scale makes an estimate for all blocks of what was seen in some. The error of a
// group is two standard errors of the mean of its blocks (sampling without
// replacement).
func (t *tally) scale(all int64) {
	if t.blocks == 0 || t.blocks >= all {
		return
	}
	n, factor := float64(t.blocks), float64(all)/float64(t.blocks)
	for _, g := range t.groups {
		sum := float64(charged(&g.g) + g.ksm.Bytes)
		variance := max(0, g.squares-sum*sum/n) / max(1, n-1)
		g.g.Error = int64(2 * float64(all) * math.Sqrt(variance/n*(1-n/float64(all))))
		for _, amount := range g.amounts() {
			*amount = int64(float64(*amount) * factor)
		}
	}
	for _, amount := range nodeAmounts(&t.node) {
		*amount = int64(float64(*amount) * factor)
	}
}

// charged is all that was seen of a group.
func charged(g *snapshot.CensusGroup) int64 {
	return g.Anon.Bytes + g.KSM + g.File.Bytes + g.Tables + g.Kernel + g.Hugetlb
}

func stateAmounts(m *snapshot.PageState) []*int64 {
	return []*int64{
		&m.Bytes, &m.Active, &m.Inactive, &m.Unevictable, &m.Isolated, &m.Dirty, &m.Writeback, &m.Mapped, &m.Referenced, &m.Large, &m.Huge,
	}
}

func (g *groupTally) amounts() []*int64 {
	states := slices.Concat(stateAmounts(&g.g.Anon), stateAmounts(&g.g.File), stateAmounts(&g.ksm))
	return append(states, &g.g.Shmem, &g.g.Tables, &g.g.Kernel, &g.g.Hugetlb)
}

// merged says what the KSM mark is worth: kernels from 6.9 on have been seen to
// put it on every anonymous page. shared is how much KSM itself has, Unknown when
// it does not say. It reports whether the mark is believed.
func (t *tally) merged(shared int64) bool {
	var seen int64
	for _, g := range t.groups {
		seen += g.ksm.Bytes
	}
	believed := shared != snapshot.Unknown && seen <= shared+shared/10+1024*t.page
	for _, g := range t.groups {
		if believed {
			g.g.KSM = g.ksm.Bytes
		} else {
			g.g.Anon.Add(g.ksm)
		}
	}
	return believed
}

func nodeAmounts(n *snapshot.CensusNode) []*int64 {
	return []*int64{&n.Free, &n.Reserved, &n.Offline, &n.Slab, &n.File}
}
