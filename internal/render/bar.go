package render

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

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
			legend = append(legend, fmt.Sprintf("? unexplained %s", unexplained(r)))
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
	for _, h := range top[:min(len(top), 3)] {
		if 50*h.Bytes < r.Numbers.UsageBytes {
			break
		}
		name := h.Name
		if h.PID != 0 {
			name = fmt.Sprintf("%s (pid %d)", h.Name, h.PID)
		}
		class, _, _ := strings.Cut(h.Account, "/")
		names = append(names, name+" "+class+" "+size.Text(h.Bytes))
	}
	if len(names) > 0 {
		p.line("  held by %s", strings.Join(names, ", "))
	}
}

func classSum(r *report.Report, class string) (sum int64, found bool) {
	for _, a := range r.Accounts {
		if c, _, _ := strings.Cut(a.Path, "/"); c == class {
			sum, found = sum+a.Bytes, true
		}
	}
	return sum, found
}
