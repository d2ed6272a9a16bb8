package explain

import (
	"fmt"
	"strings"

	"github.com/memwhy/memwhy/internal/diagnose"
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
)

// class is the first part of account paths, taken together.
type class struct {
	name  string
	title string
	bytes int64
}

var titles = map[string]string{
	"anon":        "anonymous memory (heaps and stacks)",
	"swapcached":  "swap cache",
	"file":        "file cache",
	"shmem":       "tmpfs and shared memory",
	"kernel":      "the kernel's own memory",
	"sock":        "network buffers",
	"hugetlb":     "huge pages",
	"unexplained": "unexplained",
}

// largest is the class with the most bytes; of equals the first in the ledger.
func largest(l *ledger.Ledger) class {
	var order []string
	sums := map[string]int64{}
	for _, a := range l.Accounts {
		name, _, _ := strings.Cut(a.Path, "/")
		if _, ok := sums[name]; !ok {
			order = append(order, name)
		}
		sums[name] += a.Bytes
	}
	best := order[0]
	for _, name := range order {
		if sums[name] > sums[best] {
			best = name
		}
	}
	return class{best, titles[best], sums[best]}
}

// verdict names the largest class and whether it can be taken back. Its text is
// about the first finding instead where that is sure, and a danger or half of it all.
func verdict(w *ledger.Whole, found []report.Finding) report.Verdict {
	c := largest(w.Ledger)
	v := report.Verdict{Account: c.name, Bytes: c.bytes}
	if w.Usage == 0 {
		v.Reclaim, v.Text = "unknown", "Nothing is charged to this cgroup."
		return v
	}
	var why string
	v.Reclaim, why = canTake(w.Ledger, c)
	how := "The largest part is " + c.title
	if 2*c.bytes > w.Usage {
		how = "Mostly " + c.title
	}
	if len(found) > 0 && found[0].Confidence == "high" && found[0].Title != "" {
		first := found[0]
		rule, _ := diagnose.Of(first.Code)
		switch {
		case first.Severity == "warning" || first.Severity == "critical":
			v.Code = first.Code
			v.Text = strings.ToUpper(first.Title[:1]) + first.Title[1:] + "."
			return v
		case rule.Noun != "" && first.Bytes != nil && 2**first.Bytes > w.Usage:
			v.Code = first.Code
			c.bytes = *first.Bytes
			how = "Mostly " + rule.Noun
		}
	}
	v.Text = fmt.Sprintf("%s: %s of %s (%s); %s.", how, size.Text(c.bytes), size.Text(w.Usage), size.Percent(c.bytes, w.Usage), why)
	return v
}

// canTake answers can, partly, cannot or unknown for a class, in words too.
func canTake(l *ledger.Ledger, c class) (answer, why string) {
	switch c.name {
	case "file":
		switch {
		case !l.ReclaimKnown:
			return "unknown", "whether it can be taken back is not known"
		case 10*l.ReclaimableFile >= 9*c.bytes:
			return "can", "the kernel can take it back" + unwritten(l)
		case l.ReclaimableFile == 0:
			return "cannot", "none of it is on a list that reclaim looks at"
		}
		return "partly", "the kernel can take back " + size.Text(l.ReclaimableFile) + " of it"
	case "anon":
		lazy, _ := l.Account(ledger.AnonLazyFree)
		switch {
		case 10*lazy.Bytes >= 9*c.bytes:
			return "can", "its owners gave it back with MADV_FREE, the kernel takes it when it needs it"
		case l.ReclaimableSwap > 0:
			return "partly", "the kernel can swap out " + size.Text(min(l.ReclaimableSwap, c.bytes)) + " of it"
		case 10*lazy.Bytes >= c.bytes:
			return "partly", size.Text(lazy.Bytes) + " of it was given back with MADV_FREE, the rest stays until its processes free it"
		}
		return "cannot", "no swap to write it to, it stays until its processes free it"
	case "shmem":
		if l.ReclaimableSwap > 0 {
			return "partly", "the kernel can swap out " + size.Text(min(l.ReclaimableSwap, c.bytes)) + " of it"
		}
		return "cannot", "it stays until the files or segments are deleted"
	case "kernel":
		if slab, ok := l.Account(ledger.SlabReclaimable); ok {
			if 10*slab.Bytes >= c.bytes {
				return "partly", "up to " + size.Text(slab.Bytes) + " of it is slab that can shrink"
			}
			return "cannot", "hardly any of it can shrink"
		}
		return "unknown", "cgroup v1 does not say how much of it can shrink"
	case "swapcached":
		return "can", "it has a copy in swap"
	case "sock", "hugetlb":
		return "cannot", "it stays until its owner frees it"
	}
	return "unknown", "no counter of this kernel names it"
}

// unwritten says how much of the file cache has to be written first, where that
// is a tenth or more.
func unwritten(l *ledger.Ledger) string {
	file, _ := l.Account(ledger.File)
	dirty := min(file.State["dirty"]+file.State["writeback"], file.Bytes)
	switch {
	case 10*dirty >= 9*file.Bytes:
		return " once it is written to disk"
	case 10*dirty >= file.Bytes:
		return ", " + size.Text(dirty) + " of it once written to disk"
	}
	return ""
}

func count(n int64, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "s"):
		return fmt.Sprintf("%d %ses", n, what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}
