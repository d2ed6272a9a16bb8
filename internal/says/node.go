package says

import (
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Kubelet is the tool whose eviction signal NodeAvailable is.
const Kubelet = "kubelet memory.available"

// NodeAvailable is the kubelet's eviction signal memory.available: the node's
// capacity without the working set of the root cgroup, in which neither slab nor
// page tables nor drivers are. A cache that is active counts as used. Version 2
// has no usage of the root: it is anon + file there.
//
// kubernetes pkg/kubelet/eviction/helpers_others.go
// makeMemoryAvailableSignalObservation; opencontainers/cgroups fs2/memory.go
// rootStatsFromMeminfo.
func NodeAvailable(p words.Printer, s *snapshot.Snapshot) Number {
	n := Number{Tool: Kubelet, Note: p.Say("the root cgroup's files are not all there")}
	total, ok := s.Node.Meminfo.Value.Get("MemTotal")
	if len(s.Shares.Value) == 0 || s.Shares.Value[0].Path != "/" || !ok || !size.Plausible(total) {
		return n
	}
	root := &s.Shares.Value[0]
	used := []Term{{'-', "usage_in_bytes", root.Usage.Value}}
	known, inactive := root.Usage.State == snapshot.Present, "total_inactive_file"
	if s.Kmem.Version == snapshot.V2 {
		anon, ok1 := root.Stat.Value.Get("anon")
		file, ok2 := root.Stat.Value.Get("file")
		used, known, inactive = []Term{{'-', "anon", anon}, {'-', "file", file}}, ok1 && ok2, "inactive_file"
	}
	back, ok := root.Stat.Value.Get(inactive)
	terms := append(append([]Term{{'+', "MemTotal", total}}, used...), Term{'+', inactive, back})
	if !known || !ok {
		return n
	}
	sum := int64(0)
	for _, t := range terms {
		if !size.Plausible(t.Bytes) {
			return n
		}
		if t.Sign == '-' {
			t.Bytes = -t.Bytes
		}
		sum += t.Bytes
	}
	return Number{Tool: Kubelet, Bytes: min(sum, total), Known: true, Terms: terms}
}
