package ledger

import "github.com/memwhy/memwhy/internal/snapshot"

// Keys reads memory.stat of either version by the names of version 2.
type Keys struct {
	stat   *snapshot.Stat
	v1     bool
	prefix string
}

// v1Names are the keys that version 1 spells differently. An empty name is a
// number that version 1 does not have.
//
// linux mm/memcontrol-v1.c memcg1_stat_names; memory_stats in mm/memcontrol.c.
var v1Names = map[string]string{
	"anon":           "rss",
	"anon_thp":       "rss_huge",
	"file":           "cache",
	"file_mapped":    "mapped_file",
	"file_dirty":     "dirty",
	"file_writeback": "writeback",
}

// KeysOf returns the view of c's memory.stat that covers the same cgroups as
// its usage: the subtree, but on a version 1 cgroup without hierarchy itself.
func KeysOf(c *snapshot.Cgroup) Keys {
	k := Keys{v1: c.Version == snapshot.V1}
	if c.Stat.State == snapshot.Present {
		k.stat = &c.Stat.Value
	}
	if k.v1 && c.Hierarchical() {
		k.prefix = "total_"
	}
	return k
}

// Name returns the key as the file spells it.
func (k Keys) Name(key string) string {
	if k.v1 {
		if n, ok := v1Names[key]; ok {
			key = n
		}
	}
	return k.prefix + key
}

// Get returns the counter as the kernel printed it, sign included.
func (k Keys) Get(key string) (int64, bool) {
	if k.stat == nil {
		return 0, false
	}
	return k.stat.Get(k.Name(key))
}
