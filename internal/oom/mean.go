package oom

import (
	"strings"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

func whose(l *snapshot.LogRecord) string {
	switch {
	case l.Kind == snapshot.LogGlobalOOM:
		return "node"
	case l.Kind != snapshot.LogMemcgOOM || l.LimitOwner == "" || l.TaskCgroup == "":
		return ""
	case l.LimitOwner == l.TaskCgroup:
		return "self"
	case l.LimitOwner == "/" || strings.HasPrefix(l.TaskCgroup, l.LimitOwner+"/"):
		return "ancestor"
	}
	return ""
}

// limitKind is the first limit that the usage had reached but for 1 %: charges go
// by batches.
func limitKind(l *snapshot.LogRecord) string {
	for _, c := range []struct {
		kind string
		*snapshot.LogCounter
	}{{"memory", l.Memory}, {"memory+swap", l.MemorySwap}, {"kmem", l.Kmem}} {
		if c.LogCounter != nil && c.Usage != nil && c.Limit != nil && *c.Limit != size.Unlimited && *c.Usage >= *c.Limit-*c.Limit/100 {
			return c.kind
		}
	}
	return ""
}

// NoKillFrees says that what filled the limit, or the node, was the kernel's own
// memory or tmpfs: all processes together held at most a tenth of it.
func NoKillFrees(l *snapshot.LogRecord) bool {
	r := report.OOMRecord{Full: full(l)}
	if l.Tasks != nil {
		r.Tasks = &report.OOMTasks{RSSBytes: l.Tasks.RSSBytes}
	}
	for _, b := range []*int64{r.Full.KernelBytes, r.Full.ShmemBytes} {
		if b != nil && *b > 0 && (l.Memory == nil || l.Memory.Usage == nil || *b >= *l.Memory.Usage/3) && small(&r, *b) {
			return true
		}
	}
	return false
}

// stat reads a key: the hierarchical one where a v1 host prints both.
func stat(l *snapshot.LogRecord, keys ...string) *int64 {
	for _, k := range keys {
		for _, k := range []string{"total_" + k, k} {
			if v, ok := l.Stats[k]; ok {
				return &v
			}
		}
	}
	return nil
}

// sum adds what is there; nil when nothing is.
func sum(parts ...*int64) *int64 {
	var total *int64
	for _, p := range parts {
		if p == nil {
			continue
		}
		if total == nil {
			total = new(int64)
		}
		*total += *p
	}
	return total
}

// less subtracts what is known of b; nil when a is not known.
func less(a, b *int64) *int64 {
	if a == nil || b == nil {
		return a
	}
	n := max(0, *a-*b)
	return &n
}

func full(l *snapshot.LogRecord) report.OOMFull {
	switch l.Kind {
	case snapshot.LogMemcgOOM:
		return fullCgroup(l)
	case snapshot.LogGlobalOOM:
		return fullNode(l)
	}
	return report.OOMFull{}
}

func fullCgroup(l *snapshot.LogRecord) report.OOMFull {
	var f report.OOMFull
	f.AnonBytes = stat(l, "anon", "rss")
	f.ShmemBytes = stat(l, "shmem")
	f.FileBytes = less(stat(l, "file", "cache"), f.ShmemBytes)
	f.KernelBytes = stat(l, "kernel")
	if l.Kmem != nil && l.Kmem.Usage != nil {
		f.KernelBytes = l.Kmem.Usage
	}
	reclaimable := stat(l, "slab_reclaimable")
	if f.KernelBytes == nil {
		slab := stat(l, "slab")
		if slab == nil {
			slab = sum(reclaimable, stat(l, "slab_unreclaimable"))
		}
		f.KernelBytes = sum(slab, stat(l, "kernel_stack"), stat(l, "pagetables"), stat(l, "percpu"), stat(l, "vmalloc"))
		f.KernelAtLeast = f.KernelBytes != nil
	}
	active, inactive := stat(l, "active_file"), stat(l, "inactive_file")
	if l.Memory != nil && active != nil && inactive != nil {
		f.UnreclaimableBytes = less(l.Memory.Usage, sum(active, inactive, reclaimable))
	}
	return f
}

// fullNode: the lists of anonymous memory hold tmpfs too.
func fullNode(l *snapshot.LogRecord) report.OOMFull {
	var f report.OOMFull
	f.ShmemBytes = stat(l, "shmem")
	f.AnonBytes = less(sum(stat(l, "active_anon"), stat(l, "inactive_anon")), f.ShmemBytes)
	f.FileBytes = sum(stat(l, "active_file"), stat(l, "inactive_file"))
	f.KernelBytes = sum(stat(l, "slab_reclaimable"), stat(l, "slab_unreclaimable"), stat(l, "pagetables"))
	f.KernelAtLeast = f.KernelBytes != nil
	return f
}

// advisories is where known defects are matched against records. One is plain
// enough to be seen here: on el7 a slab cache of one cgroup that cannot grow, and
// no kill in that cgroup, for then its limit was the reason.
func advisories(p words.Printer, log *snapshot.KernelLog, i int) []report.OOMAdvisory {
	none := []report.OOMAdvisory{}
	l := &log.Records[i]
	if l.Slab == nil || l.Slab.Index == nil || l.Slab.Cgroup == "" {
		return none
	}
	el7 := false
	for j := range log.Records {
		r := &log.Records[j]
		el7 = el7 || strings.Contains(r.Kernel, ".el7")
		if r.Kind == snapshot.LogMemcgOOM && (strings.HasSuffix(r.TaskCgroup, "/"+l.Slab.Cgroup) || strings.HasSuffix(r.LimitOwner, "/"+l.Slab.Cgroup)) {
			return none
		}
	}
	if !el7 {
		return none
	}
	return append(none, report.OOMAdvisory{ID: "el7-kmem-slab-leak", Because: p.Say("a slab cache of one cgroup could not grow, and no kill in it explains that")})
}
