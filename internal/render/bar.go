package render

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
)

// segments are the classes of the bar: the first part of an account's path.
var segments = []struct {
	class string
	mark  byte
}{
	{"anon", 'a'}, {"swapcached", 'w'}, {"file", 'f'}, {"shmem", 't'}, {"kernel", 'k'}, {"sock", 's'}, {"hugetlb", 'h'}, {"unexplained", '?'},
}

// bar draws the ledger to scale: 76 cells are the usage. A class may be too
// small for a cell; the legend names all that hold anything.
func bar(p *page, r *report.Report) {
	const cells = 76
	var drawn strings.Builder
	var legend []string
	done, at := int64(0), 0
	for _, s := range segments {
		sum, found := classSum(r, s.class)
		if !found {
			continue
		}
		if sum > 0 && r.Numbers.UsageBytes > 0 {
			done += sum
			to := min(cells, int(float64(done)/float64(r.Numbers.UsageBytes)*cells+0.5))
			drawn.WriteString(strings.Repeat(string(s.mark), max(0, to-at)))
			at = max(at, to)
		}
		label := s.class
		switch s.class {
		case "shmem":
			label = "shmem/tmpfs"
		case "unexplained":
			legend = append(legend, p.Say("? unexplained %s", p.unexplained(r)))
			continue
		}
		if sum == 0 {
			continue
		}
		legend = append(legend, fmt.Sprintf("%c %s %s", s.mark, label, size.Text(sum)))
	}
	p.line("  [%s%s]", drawn.String(), strings.Repeat(".", cells-at))
	p.fold("  ", 2, "  "+strings.Join(legend, "  "))
}

// heldBy names in one line the largest holders, of at least 2 % of the usage.
func heldBy(p *page, r *report.Report) {
	top := slices.Clone(r.Holders)
	slices.SortStableFunc(top, func(a, b report.Holder) int { return cmp.Compare(b.Bytes, a.Bytes) })
	var names []string
	parted := false
	for _, h := range top[:min(len(top), 3)] {
		if 50*h.Bytes < r.Numbers.UsageBytes {
			break
		}
		text := p.held(h)
		if part := p.largestPart(h); part != "" && !parted {
			text, parted = p.Join([]string{text, part}), true
		}
		if line := p.Say("  held by %s", p.Join(append(names, text))); len(names) > 0 && p.width > 0 && columns(line) > p.width {
			break
		}
		names = append(names, text)
	}
	if len(names) > 0 {
		p.line("  held by %s", p.Join(names))
	}
}

// parts tells what a pod consists of, as far as it matters and in two lines.
func parts(p *page, r *report.Report) {
	var all []string
	small := 0
	for _, c := range r.Children {
		if 100*max(c.UsageBytes, -c.UsageBytes) < r.Numbers.UsageBytes {
			small++
			continue
		}
		name := c.Name
		if name == c.ID {
			name = short(name)
		}
		all = append(all, fmt.Sprintf("%s %s %s", printable.Fit(printable.Text(name), 24), c.Largest.Account, size.Text(c.UsageBytes)))
	}
	if small > 0 && len(all) > 0 {
		all = append(all, p.Say("%d below 1%%", small))
	}
	if len(all) > 0 {
		p.fold("  ", 2, p.Say("  consists of %s", p.Join(all)))
	}
}

func (p *page) held(h report.Holder) string {
	class, _, _ := strings.Cut(h.Account, "/")
	name := printable.Fit(printable.Text(h.Name), 24)
	switch {
	case h.Kind == "directory":
		name = p.Say("%d files in %s", h.State["files"], printable.Fit(printable.Text(h.Path), 30))
	case h.Deleted:
		name += p.Say(" (deleted)")
	case h.PID != 0:
		name += p.Say(" (pid %s)", strconv.Itoa(h.PID))
	}
	if h.AtMost {
		class += " <="
	}
	return name + " " + class + " " + size.Text(h.Bytes)
}

// largestPart names the kind that most of a process is, in few words.
func (p *page) largestPart(h report.Holder) string {
	if text := p.largestHeap(h); text != "" {
		return text
	}
	if len(h.Parts) == 0 || 2*h.Parts[0].Bytes < h.Bytes {
		return ""
	}
	x := h.Parts[0]
	word := x.Kind
	switch x.Kind {
	case "go-heap":
		word = p.Say("Go heap")
	case "anon":
		word = "mmap"
	case "named", "file-private":
		word = printable.Fit(printable.Text(x.Name), 20)
	}
	text := p.Say("of it %s %s", word, size.Text(x.Bytes))
	if who := unseen(h); who != "" && x.Kind == "anon" {
		text += p.Say(" (%s, not looked into)", who)
	}
	return text
}

// unseen is the runtime or allocator that nobody can look into from outside.
func unseen(h report.Holder) string {
	titles := map[string]string{"node": "V8", "v8": "V8", "ruby": "Ruby", "dotnet": ".NET", "musl-malloc": "musl"}
	for _, x := range h.Runtimes {
		switch x.Name {
		case "jemalloc", "tcmalloc", "mimalloc":
			return x.Name
		}
		if title, ok := titles[x.Name]; ok {
			return title
		}
	}
	return ""
}

// largestHeap names the runtime that keeps half of a process and does not use it, or
// has half of it as its heap.
func (p *page) largestHeap(h report.Holder) string {
	titles := map[string]string{"go": "Go", "jvm": "JVM", "glibc-malloc": "malloc"}
	for _, x := range h.Runtimes {
		idle, known := x.Heap["idleBytes"]
		title, ok := titles[x.Name]
		switch resident := idle + x.Heap["usedBytes"]; {
		case !known || !ok:
		case 2*idle >= h.Bytes:
			return p.Say("of it free in %s %s", title, size.Text(min(idle, h.Bytes)))
		case 2*resident >= h.Bytes && x.Name == "jvm":
			return p.Say("of it JVM heap %s", size.Text(min(resident, h.Bytes)))
		}
	}
	return ""
}

func classSum(r *report.Report, class string) (sum int64, found bool) {
	for _, a := range r.Accounts {
		if c, _, _ := strings.Cut(a.Path, "/"); c == class {
			sum, found = sum+a.Bytes, true
		}
	}
	return sum, found
}
