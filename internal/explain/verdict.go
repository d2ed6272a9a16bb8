package explain

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/memwhy/memwhy/internal/diagnose"
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/words"
)

// class is the first part of account paths, taken together.
type class struct {
	name  string
	title string
	bytes int64
}

var titles = map[string]string{
	"anon":        words.Key("anonymous memory (heaps and stacks)"),
	"swapcached":  words.Key("swap cache"),
	"file":        words.Key("file cache"),
	"shmem":       words.Key("tmpfs and shared memory"),
	"kernel":      words.Key("the kernel's own memory"),
	"sock":        words.Key("network buffers"),
	"hugetlb":     words.Key("huge pages"),
	"unexplained": words.Key("unexplained"),
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
func verdict(p words.Printer, w *ledger.Whole, found []report.Finding) report.Verdict {
	c := largest(w.Ledger)
	v := report.Verdict{Account: c.name, Bytes: c.bytes}
	if w.Usage == 0 {
		v.Reclaim, v.Text = "unknown", p.Say("Nothing is charged to this cgroup.")
		return v
	}
	var why string
	v.Reclaim, why = canTake(p, w.Ledger, c)
	how := p.Say("The largest part is %s", p.Of(c.title))
	if 2*c.bytes > w.Usage {
		how = p.Say("Mostly %s", p.Of(c.title))
	}
	if len(found) > 0 && found[0].Confidence == "high" && found[0].Title != "" && (found[0].Severity == "warning" || found[0].Severity == "critical") {
		v.Code = found[0].Code
		v.Text = p.Say("%s.", upper(found[0].Title))
		return v
	}
	if first, noun := firstCause(found); first != nil && first.Confidence == "high" && first.Title != "" && 2**first.Bytes > w.Usage {
		v.Code = first.Code
		c.bytes = *first.Bytes
		how = p.Say("Mostly %s", p.Of(noun))
	}
	v.Text = p.Say("%s: %s of %s (%s); %s.", how, size.Text(c.bytes), size.Text(w.Usage), size.Percent(c.bytes, w.Usage), why)
	return v
}

// firstCause is the first finding with bytes of its own, where it says what they are.
// What is noted of the node alone stands before it and says nothing of them.
func firstCause(found []report.Finding) (first *report.Finding, noun string) {
	for i := range found {
		if found[i].Bytes == nil || found[i].PartOf != "" {
			continue
		}
		if rule, _ := diagnose.Of(found[i].Code); rule.Noun != "" {
			return &found[i], rule.Noun
		}
		break
	}
	return nil, ""
}

// canTake answers can, partly, cannot or unknown for a class, in words too.
func canTake(p words.Printer, l *ledger.Ledger, c class) (answer, why string) {
	switch c.name {
	case "file":
		switch {
		case !l.ReclaimKnown:
			return "unknown", p.Say("whether it can be taken back is not known")
		case 10*l.ReclaimableFile >= 9*c.bytes:
			return "can", p.Say("the kernel can take it back%s", unwritten(p, l))
		case l.ReclaimableFile == 0:
			return "cannot", p.Say("none of it is on a list that reclaim looks at")
		}
		return "partly", p.Say("the kernel can take back %s of it", size.Text(l.ReclaimableFile))
	case "anon":
		lazy, _ := l.Account(ledger.AnonLazyFree)
		switch {
		case 10*lazy.Bytes >= 9*c.bytes:
			return "can", p.Say("its owners gave it back with MADV_FREE, the kernel takes it when it needs it")
		case l.ReclaimableSwap > 0:
			return "partly", p.Say("the kernel can swap out %s of it", size.Text(min(l.ReclaimableSwap, c.bytes)))
		case 10*lazy.Bytes >= c.bytes:
			return "partly", p.Say("%s of it was given back with MADV_FREE, the rest stays until its processes free it", size.Text(lazy.Bytes))
		}
		return "cannot", p.Say("no swap to write it to, it stays until its processes free it")
	case "shmem":
		if l.ReclaimableSwap > 0 {
			return "partly", p.Say("the kernel can swap out %s of it", size.Text(min(l.ReclaimableSwap, c.bytes)))
		}
		return "cannot", p.Say("it stays until the files or segments are deleted")
	case "kernel":
		if slab, ok := l.Account(ledger.SlabReclaimable); ok {
			if 10*slab.Bytes >= c.bytes {
				return "partly", p.Say("up to %s of it is slab that can shrink", size.Text(slab.Bytes))
			}
			return "cannot", p.Say("hardly any of it can shrink")
		}
		return "unknown", p.Say("cgroup v1 does not say how much of it can shrink")
	case "swapcached":
		return "can", p.Say("it has a copy in swap")
	case "sock", "hugetlb":
		return "cannot", p.Say("it stays until its owner frees it")
	}
	return "unknown", p.Say("no counter of this kernel names it")
}

// unwritten says how much of the file cache has to be written first, where that
// is a tenth or more.
func unwritten(p words.Printer, l *ledger.Ledger) string {
	file, _ := l.Account(ledger.File)
	dirty := min(file.State["dirty"]+file.State["writeback"], file.Bytes)
	switch {
	case 10*dirty >= 9*file.Bytes:
		return p.Say(" once it is written to disk")
	case 10*dirty >= file.Bytes:
		return p.Say(", %s of it once written to disk", size.Text(dirty))
	}
	return ""
}

// upper begins a sentence.
func upper(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}
