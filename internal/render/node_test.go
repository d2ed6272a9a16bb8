package render

import (
	"fmt"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/report"
)

// A node of many zones, owners, doubts and names that others chose is still one
// screen, and nothing in it moves a cursor.
func TestNodeFitsAScreen(t *testing.T) {
	big, low := int64(1)<<52, int64(-1)<<40
	const evil = "a\x1b[2J\nb\u202e" + "<script>"
	r := &report.Node{}
	r.Ledger.TotalBytes, r.Ledger.UsedBytes = &big, &big
	for _, o := range []string{"containers", "pods", "system", "other", "root", "dying", "kernel", "hugetlb", "free", "unowned"} {
		r.Ledger.Owners = append(r.Ledger.Owners, report.NodeOwner{Owner: o, Bytes: low, Count: 70000})
	}
	for _, c := range []string{"free/blocks", "anon", "swapcached", "file/cache", "shmem", "kernel/slab-reclaimable", "kernel/stacks", "hugetlb", "unexplained"} {
		r.Ledger.Classes = append(r.Ledger.Classes, report.NodeClass{Path: c, Bytes: big})
	}
	for i := range 40 {
		text := fmt.Sprint(i) + strings.Repeat(evil, 20)
		r.Ledger.Shares = append(r.Ledger.Shares, report.NodeShare{Owner: "other", Kind: "other", Name: text, Cgroup: text, Bytes: big})
		r.Watermarks.Zones = append(r.Watermarks.Zones, report.NodeZone{Node: i, Zone: text, ManagedBytes: big, FreeBytes: big, AboveLowBytes: low})
		r.Doubts = append(r.Doubts, text)
		r.NotSeen = append(r.NotSeen, report.NotSeen{Source: text, State: "failed", Why: text, WouldShow: text})
		r.Settings = append(r.Settings, report.Setting{Name: "transparent_hugepage", Value: text})
		r.Swap.Zram = append(r.Swap.Zram, report.Zram{Name: text, UsedBytes: big})
	}
	r.Watermarks.AboveLowBytes = &low
	for name, r := range map[string]*report.Node{"full": r, "empty": {}} {
		screen := string(Node(r))
		if n := strings.Count(screen, "\n"); n > Height {
			t.Errorf("%s: %d lines:\n%s", name, n, screen)
		}
		for _, text := range []string{screen, string(NodeWide(r))} {
			for line := range strings.Lines(text) {
				line = strings.TrimSuffix(line, "\n")
				if line == "" || strings.ContainsFunc(line, acts) || strings.ContainsFunc(line, func(c rune) bool { return c < 0x20 }) || text == screen && len([]rune(line)) > Width {
					t.Errorf("%s: line %q", name, line)
				}
			}
		}
	}
}
