package diagnose

import (
	"fmt"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
)

var nodeWatermark = Rule{
	Code:    codeWatermark,
	Title:   "the node itself is short of free pages",
	NoBytes: "it is about the node, not this cgroup's bytes",
	find:    watermark,
	Doc: Doc{
		Means: `The free pages of a whole NUMA node are below the mark where the kernel starts to reclaim (low), or where everybody who asks has to do it himself (min). ` +
			`Caches of all containers shrink then, whatever their own limits say, and the next step is the node's own OOM killer.`,
		Grades: "info: below low: kswapd is at work, as on every node that reads much. notice: below min.",
		Needs:  []string{"/proc/zoneinfo"},
		Verify: []string{"grep -E 'Node|pages free|min|low|high' /proc/zoneinfo", "vmstat 1; grep -E 'allocstall|pgscan_direct' /proc/vmstat", "cat /proc/pressure/memory"},
		Do:     []string{"look who holds the node: memwhy ps, memwhy node", "vm.watermark_scale_factor: kswapd begins earlier", "vm.min_free_kbytes that somebody raised takes memory from everybody"},
		Owner:  "platform", Stories: `Little free memory (free, MemFree) is normal: the page cache has it. Only the marks tell.`,
	},
}

func watermark(f *facts) []report.Finding {
	type sum struct{ free, min, low int64 }
	nodes := map[int]*sum{}
	zones, ok := f.s.Node.Zones.Get()
	if !ok {
		return nil
	}
	last := 0
	for i := range zones {
		z := &zones[i]
		if z.Managed <= 0 {
			continue
		}
		if nodes[z.Node] == nil {
			nodes[z.Node] = &sum{}
		}
		n := nodes[z.Node]
		n.free, n.min, n.low, last = n.free+z.Free, n.min+z.Min, n.low+z.Low, max(last, z.Node)
	}
	for id := range last + 1 {
		n := nodes[id]
		if n == nil || n.low <= 0 || n.free >= n.low {
			continue
		}
		r := report.Finding{
			Code: codeWatermark, Severity: info, Confidence: high,
			Title:    f.Say("the node has few free pages: the kernel takes page cache from everybody"),
			Evidence: []report.Evidence{f.zoneEvidence(f.s.Node.Zones, id, n.free, n.low, "low")},
			Remedies: []report.Remedy{{Kind: "look", Command: "memwhy ps, vmstat 1, cat /proc/pressure/memory", Cost: f.Say("none")}},
		}
		if n.free < n.min {
			r.Severity = notice
			r.Title = f.Say("the node has hardly any free pages: whoever asks for memory has to reclaim it first")
			r.Evidence = append(r.Evidence, f.zoneEvidence(f.s.Node.Zones, id, n.free, n.min, "min"))
		}
		return []report.Finding{r}
	}
	return nil
}

func (f *facts) zoneEvidence(r snapshot.Reading[[]snapshot.Zone], node int, free, mark int64, name string) report.Evidence {
	return report.Evidence{
		Statement: f.Say("free pages of NUMA node %d against the mark %s, in bytes", node, name),
		Source:    r.Source, Value: fmt.Sprintf("free %d, %s %d", free, name, mark),
	}
}
