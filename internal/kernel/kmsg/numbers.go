package kmsg

import (
	"bytes"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// amounts are the keys of memory.stat that are bytes. The others count events,
// and are left out: a record holds amounts.
var amounts = set(`anon file kernel kernel_stack pagetables sec_pagetables percpu sock vmalloc shmem zswap zswapped
	file_mapped file_dirty file_writeback swapcached anon_thp file_thp shmem_thp inactive_anon active_anon inactive_file
	active_file unevictable slab_reclaimable slab_unreclaimable slab hugetlb
	cache rss rss_huge mapped_file dirty writeback swap bounce`)

// pages are the keys of the block below Mem-Info, in pages.
var pages = set(`active_anon inactive_anon isolated_anon active_file inactive_file isolated_file unevictable dirty writeback
	unstable slab_reclaimable slab_unreclaimable mapped shmem pagetables sec_pagetables bounce kernel_misc_reclaimable
	free free_pcp free_cma`)

func set(s string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(s) {
		m[w] = true
	}
	return m
}

// numbers takes lines that only hold numbers; further lines of a message can be
// nothing else.
func (p *Parser) numbers(l line, text []byte) *report {
	if len(p.open) == 0 || len(text) == 0 {
		return nil
	}
	if r := p.newest(l, func(o *report) bool { return o.oom() && o.statMore && o.Tasks == nil && !o.killed() }); r != nil && r.statLine(l, text) {
		return r
	}
	r := p.newest(l, func(o *report) bool {
		return o.body && !o.killed() && o.Tasks == nil && (o.Kind == snapshot.LogGlobalOOM || o.Kind == snapshot.LogPageAlloc)
	})
	if r != nil && p.memInfo(r, text) {
		return r
	}
	return nil
}

func (p *Parser) newest(l line, can func(*report) bool) *report {
	for i := len(p.open) - 1; i >= 0; i-- {
		if o := p.open[i]; can(o) && (len(l.caller) == 0 || o.caller == "" || o.caller == string(l.caller)) {
			return o
		}
	}
	return nil
}

// statLine: "anon 1062739968". A key alone is one whose value was cut off.
func (r *report) statLine(l line, text []byte) bool {
	key, v, ok := bytes.Cut(text, []byte(" "))
	for _, c := range key {
		if c != '_' && !alpha(c) && (c < '0' || c > '9') {
			return false
		}
	}
	n, rest, isNumber := signed(v)
	if ok && (!isNumber || len(rest) > 0) || len(key) == 0 {
		return false
	}
	stamp := string(l.stamp)
	if r.statLast == "" {
		r.statStamp = stamp
	} else if stamp != r.statStamp && stamp != "" {
		r.statMore = true
		r.statBytes = 1 << 20 // lines of their own: nothing is cut
	}
	r.statBytes += len(text) + 1
	if !ok {
		if r.statLast == "" {
			return false
		}
		r.Truncated, r.statLast = true, ""
		return true
	}
	r.statLast = string(key)
	name := r.statLast
	if amounts[strings.TrimPrefix(name, "total_")] || strings.HasPrefix(name, "hierarchical_mem") {
		r.stat(name, scaled(n, 1), false)
	}
	return true
}

// memInfo takes the lines of show_mem. Those of nodes and zones repeat the sums.
func (p *Parser) memInfo(r *report, text []byte) bool {
	switch {
	case bytes.HasPrefix(text, []byte("Node ")), bytes.HasPrefix(text, []byte("lowmem_reserve")), bytes.HasSuffix(text, []byte(" total pagecache pages")):
		return true
	case bytes.HasPrefix(text, []byte("Free swap")):
		return r.kBStat("swap_free", text)
	case bytes.HasPrefix(text, []byte("Total swap")):
		return r.kBStat("swap_total", text)
	}
	if n, rest, ok := number(text); ok && string(rest) == " pages RAM" {
		r.stat("ram", scaled(n, p.pageSize), false)
		return true
	}
	some := false
	for field := range bytes.FieldsSeq(text) {
		k, v, ok := bytes.Cut(field, []byte(":"))
		if n, rest, isNumber := signed(v); ok && isNumber && len(rest) == 0 && pages[string(k)] {
			r.stat(string(k), scaled(n, p.pageSize), false)
			some = true
		}
	}
	return some
}

func (r *report) kBStat(key string, text []byte) bool {
	r.stat(key, kB(bytes.ReplaceAll(text, []byte(" "), nil), "="), false)
	return true
}
