package diagnose

import (
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
)

var slabOther = Rule{
	Code:    codeSlab,
	Title:   "other small objects of the kernel",
	Noun:    "small objects of the kernel (slab)",
	NoBytes: "the cgroup's counters could not be read",
	find:    otherSlab,
	Doc: Doc{
		Means: `Slab that is neither names nor inodes nor sockets nor threads: the tree of the page cache (radix_tree_node), locks, timers, epoll items, buffers of drivers. ` +
			`Where nothing lists the caches of this cgroup, all of its slab stands here.`,
		Grades:  "info always.",
		Needs:   []string{"memory.stat: slab_reclaimable, slab_unreclaimable; for the names of the caches a census"},
		Verify:  []string{"grep slab /sys/fs/cgroup/<cgroup>/memory.stat", "memwhy explain <cgroup> -o wide", "slabtop -o   # of the node"},
		Do:      []string{"look which cache it is; a general purpose one (kmalloc) that only grows is a leak of the kernel: perf record -e kmem:kmalloc shows who asks", "a census names the caches: memwhy doctor"},
		Owner:   "kernel, app",
		Stories: `slab_unreclaimable that grows with the number of open files or connections is no leak: it goes with them.`,
	},
}

func otherSlab(f *facts) []report.Finding {
	rows, list, e, known := f.slabs(slabRest)
	counters := f.balanced(f.Say("slab by the counters"), ledger.SlabReclaimable, ledger.SlabPinned, ledger.Slab)
	if !known {
		sum := f.slabTotal()
		if !f.matters(sum) {
			return nil
		}
		r := f.cause(codeSlab, sum, low, f.Say("slab, of which nothing here lists the caches: %s", able(f)), counters)
		r.Remedies = []report.Remedy{{Kind: "look", Command: f.Say("memwhy doctor: what a census needs, which names the caches"), Cost: f.Say("none")}}
		return []report.Finding{r}
	}
	if !f.matters(rows) {
		return nil
	}
	title := f.Say("other slab")
	if 2*list[0].bytes > rows {
		title += f.Say(", most of it %s", list[0].name)
	}
	r := f.cause(codeSlab, rows, medium, title, append(e, counters)...)
	r.Remedies = []report.Remedy{{Kind: "look", Command: f.Say("memwhy explain %s -o wide: the slab caches among the holders", f.brief()), Cost: f.Say("none")}}
	return []report.Finding{r}
}

// able says what kind of slab it must be for the most part.
func able(f *facts) string {
	if a, ok := f.w.Account(ledger.SlabReclaimable); ok && 2*a.Bytes > f.slabTotal() {
		return f.Say("most of it can shrink, as names and inodes of files do")
	}
	return f.Say("most of it cannot shrink, or is not known to")
}
