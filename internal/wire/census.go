package wire

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/memwhy/memwhy/internal/gather"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/census"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// How a census may be taken: an engine by name, the best that is permitted, or
// none.
const (
	CensusAuto = "auto"
	CensusOff  = "off"
)

// CensusModes are the values of Options.Census.
func CensusModes() []string {
	modes := []string{CensusAuto}
	for _, e := range engines {
		modes = append(modes, string(e.name))
	}
	return append(modes, CensusOff)
}

// engine takes a census in one way. Its errors say by errors.Is what
// kind they are: those of census, or of fs.
type engine struct {
	name snapshot.Engine
	auto bool // tried without being asked for
	take func(n *counting, pids []int) (*snapshot.Census, error)
}

// engines in the order in which they are tried.
var engines = []engine{
	{snapshot.EngineBPF, true, byBPF},
	{snapshot.EngineKcore, false, byKcore},
	{snapshot.EngineKpage, false, byKpage},
	{snapshot.EngineFiles, true, byFiles},
}

func byBPF(n *counting, _ []int) (*snapshot.Census, error) { return n.keep.scan(n.ctx) }

func byKcore(n *counting, _ []int) (*snapshot.Census, error) { return census.Kcore(n.ctx) }

func byKpage(n *counting, _ []int) (*snapshot.Census, error) {
	return census.Kpage(n.ctx, n.named, n.opt.ForeignRoot)
}

func byFiles(n *counting, pids []int) (*snapshot.Census, error) {
	return gather.Reachable(n.ctx, n.named, pids, n.opt)
}

// Counter keeps what counts pages from one census to the next, and from one node to
// the next: to load it takes as long as to count.
type Counter struct {
	mu sync.Mutex
	e  *census.Engine

	own   bool             // it is one node's
	again bool             // another census of this node is to follow the next
	last  *snapshot.Census // for what files were called
}

// namesKept is of files, whose names are kept for hours: a megabyte or two.
const namesKept = 1 << 13

// Close frees what is kept.
func (k *Counter) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.drop()
}

func (k *Counter) drop() error {
	if k.e == nil {
		return nil
	}
	e := k.e
	k.e = nil
	return e.Close()
}

// expect says whether another census of this node is to follow the next. One that
// is kept for other nodes stays anyway.
func (k *Counter) expect(again bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.again = again
}

// scan opens an engine where there is none. One that failed is not kept.
func (k *Counter) scan(ctx context.Context) (c *snapshot.Census, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.e == nil {
		if k.e, err = census.Open(ctx); err != nil {
			k.e = nil
			return nil, err
		}
	}
	if c, err = k.e.Scan(ctx); err != nil || k.own && !k.again {
		err = errors.Join(err, k.drop())
	}
	return c, err
}

// names recalls what files were called in the census before. When there was none, the
// names of what the kernel forgot are searched for.
func (k *Counter) names(c *snapshot.Census, search func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last != nil {
		c.Recall(k.last)
	} else {
		search()
	}
	switch k.last = nil; {
	case !k.own:
		k.last = c.Names(namesKept)
	case k.again: // which has the census of before at hand anyway
		k.last = c
	}
}

// counting is a running node whose pages can be counted.
type counting struct {
	named
	ctx  context.Context
	opt  gather.Options
	mode string
	keep *Counter

	began time.Time // of a watch

	once sync.Once
	got  snapshot.Reading[*snapshot.Census]
}

// Census implements kernel.Census. It is taken once.
func (n *counting) Census(pids []int) snapshot.Reading[*snapshot.Census] {
	n.once.Do(func() { n.got = n.count(pids) })
	return n.got
}

// anew is the same node, whose pages are counted once more.
func (n *counting) anew() *counting {
	return &counting{named: n.named, ctx: n.ctx, opt: n.opt, mode: n.mode, keep: n.keep}
}

func (n *counting) count(pids []int) snapshot.Reading[*snapshot.Census] {
	r := snapshot.Reading[*snapshot.Census]{State: snapshot.Absent, Source: snapshot.CensusSource, At: time.Now(), Err: snapshot.CensusOff}
	var refused []snapshot.CensusRefusal
	for _, e := range engines {
		if n.mode != string(e.name) && (n.mode != CensusAuto || !e.auto) {
			continue
		}
		c, err := e.take(n, pids)
		if err == nil {
			c.Refused = refused
			n.keep.names(c, func() {
				if c.Complete { // one by files has no others
					gather.Lost(n.ctx, n.named, c)
				}
			})
			return snapshot.Reading[*snapshot.Census]{State: snapshot.Present, Source: snapshot.CensusSource, At: c.Start, Value: c}
		}
		refused = append(refused, snapshot.CensusRefusal{Engine: e.name, State: refusal(err), Why: strings.TrimSuffix(err.Error(), "; it would show "+census.Gain)})
	}
	if len(refused) > 0 { // the best engine's words
		r.State, r.Err = refused[0].State, refused[0].Why
	}
	return r
}

func refusal(err error) snapshot.State {
	switch {
	case errors.Is(err, census.ErrPrivilege):
		return snapshot.Denied
	case errors.Is(err, census.ErrKernel):
		return snapshot.Absent
	}
	state, _ := kernel.Fault(err)
	return state
}
