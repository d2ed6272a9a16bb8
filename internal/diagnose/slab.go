package diagnose

import (
	"cmp"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// The kinds of slab caches, by the names that the kernel gives them.
const (
	slabNames   = "names"
	slabInodes  = "inodes"
	slabSockets = "sockets"
	slabTasks   = "tasks"
	slabRest    = ""
)

var slabKinds = map[string]string{
	"dentry": slabNames,

	"xfs_inode": slabInodes, "btrfs_inode": slabInodes, "ovl_inode": slabInodes, "fuse_inode": slabInodes, "xfs_ili": slabInodes,

	"sock_inode_cache": slabSockets, "skbuff_head_cache": slabSockets, "skbuff_fclone_cache": slabSockets, "skbuff_small_head": slabSockets,
	"skbuff_ext_cache": slabSockets, "TCP": slabSockets, "TCPv6": slabSockets, "UDP": slabSockets, "UDPv6": slabSockets, "UDP-Lite": slabSockets,
	"UDPLITEv6": slabSockets, "RAW": slabSockets, "RAWv6": slabSockets, "UNIX": slabSockets, "UNIX-STREAM": slabSockets, "PACKET": slabSockets,
	"request_sock_TCP": slabSockets, "request_sock_TCPv6": slabSockets, "tw_sock_TCP": slabSockets, "tw_sock_TCPv6": slabSockets,

	"task_struct": slabTasks, "thread_stack": slabTasks, "pid": slabTasks, "signal_cache": slabTasks, "sighand_cache": slabTasks, "task_delay_info": slabTasks,
}

// slabKind knows a cache by its name. Of general purpose caches of memory that can
// be taken back (since 4.20) the only ones that are charged to a cgroup are names
// that do not fit into a dentry (linux fs/dcache.c __d_alloc).
func slabKind(cache string) string {
	cache, _, _ = strings.Cut(cache, "(") // a clone of el7
	switch kind, ok := slabKinds[cache]; {
	case ok:
		return kind
	case strings.HasPrefix(cache, "kmalloc-rcl-"):
		return slabNames
	case strings.HasSuffix(cache, "inode_cache"):
		return slabInodes
	}
	return slabRest
}

// slabs are the target's caches of a kind. known is false where no table lists
// them.
func (f *facts) slabs(kind string) (sum int64, list []share, e []report.Evidence, known bool) {
	rows, source, known := f.slabRows()
	for _, r := range rows {
		if slabKind(r.name) == kind && r.bytes > 0 {
			sum += r.bytes
			list = append(list, r)
		}
	}
	if len(list) > 0 {
		ev := f.largest(list, f.Say("slab caches"))
		ev.Source = source
		e = append(e, ev)
	}
	return sum, list, e, known
}

// slabRows is a census, or the table of version 1 where it is the whole of it.
func (f *facts) slabRows() (rows []share, source string, known bool) {
	if c, within, ok := f.census(); ok && len(c.Slabs) > 0 {
		sums := map[string]int64{}
		for i := range c.Slabs {
			if s := &c.Slabs[i]; within[s.Group] {
				sums[s.Cache] += s.Bytes
			}
		}
		for cache, n := range sums {
			rows = append(rows, share{name: cache, bytes: n})
		}
		slices.SortFunc(rows, func(a, b share) int { return cmp.Or(cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.name, b.name)) })
		return rows, snapshot.CensusSource, true
	}
	if _, ok := f.w.Account(ledger.Slab); !ok {
		return nil, "", false
	}
	table := f.target().Slabs
	for _, s := range table.Value {
		if s.Bytes > 0 {
			rows = append(rows, share{name: s.Name, bytes: s.Bytes})
		}
	}
	return rows, table.Source, len(rows) > 0
}

// slabTotal is all slab of the target by its counters.
func (f *facts) slabTotal() int64 {
	return f.account(ledger.SlabReclaimable) + f.account(ledger.SlabPinned) + f.account(ledger.Slab)
}
