package oom

import (
	"fmt"
	"strings"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

func sentence(r *report.OOMRecord, l *snapshot.LogRecord) string {
	switch l.Kind {
	case snapshot.LogSlub:
		return slabSentence(r)
	case snapshot.LogPageAlloc:
		return allocSentence(r)
	case snapshot.LogMkdir:
		return "The cgroup " + r.Path + " could not be made: " + r.Error
	}
	s := where(r) + ": " + who(r)
	if r.TaskName != "" {
		s += " of " + r.TaskName
	}
	if what := why(r); what != "" {
		s += "; " + what
	}
	return s
}

func where(r *report.OOMRecord) string {
	switch r.Kind {
	case "global":
		return nodeWhere(r)
	case "unknown":
		return "OOM"
	}
	s := "OOM"
	switch {
	case r.LimitKind == "memory+swap" && r.MemorySwap.LimitBytes != nil:
		s += " at the memory+swap limit " + size.Text(*r.MemorySwap.LimitBytes)
	case r.LimitKind == "kmem" && r.Kmem.LimitBytes != nil:
		s += " at the kernel memory limit " + size.Text(*r.Kmem.LimitBytes)
	case r.LimitBytes != nil:
		s += " at the limit " + size.Text(*r.LimitBytes)
	default:
		s += " at the limit"
	}
	if r.LimitOwner == "" {
		return s + " of a cgroup that the log does not name"
	}
	s += " of " + r.LimitOwner
	if r.Whose == "ancestor" {
		if id := identity.Parse(r.LimitOwner); id.Kind == identity.Pod {
			return s + " (the pod" + led(r.LimitOwnerName) + ", not one of its containers)"
		}
		return s + " (above the victim's own cgroup)"
	}
	return s
}

func nodeWhere(r *report.OOMRecord) string {
	s := "OOM of the node"
	switch r.Constraint {
	case "cpuset":
		s = "OOM within a cpuset of the node"
	case "mempolicy":
		s = "OOM within a memory policy of the node"
	}
	if r.GFP == "0x0()" || r.GFP == "0x0" {
		s += " out of a page fault, as when a charge for kernel memory failed"
	}
	ram, ok := r.Stats["ram"]
	free, ok2 := r.Stats["free"]
	if ok && ok2 {
		s += fmt.Sprintf(" with %s free of %s", size.Text(free), size.Text(ram))
	}
	if r.Order != nil && *r.Order == -1 {
		s += ", asked for by hand (sysrq)"
	}
	if r.Order != nil && *r.Order > 0 && *r.Order < 32 {
		s += fmt.Sprintf(" for 2^%d contiguous pages", *r.Order)
	}
	return s
}

func who(r *report.OOMRecord) string {
	switch r.Outcome {
	case "no-victim":
		return "nobody could be killed"
	case "panic":
		return "the kernel panicked, as vm.panic_on_oom says"
	case "already-exiting":
		return "nobody was killed, a process was about to end"
	}
	if len(r.Victims) == 0 {
		return "the log does not say who was killed"
	}
	v := r.Victims[0]
	s := fmt.Sprintf("killed %s (pid %d)", v.Comm, v.PID)
	if more := int64(len(r.Victims)-1) + r.MoreVictims; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	if held := sum(v.AnonRSSBytes, v.FileRSSBytes, v.ShmemRSSBytes); v.AnonRSSBytes != nil {
		s += ", which held " + size.Text(*held)
	}
	return s
}

// why names the largest class, and says so when killing could not help.
func why(r *report.OOMRecord) string {
	f := r.Full
	classes := []struct {
		bytes *int64
		text  string
	}{
		{f.AnonBytes, "anonymous memory of processes was "},
		{f.FileBytes, "page cache was "},
		{f.ShmemBytes, "tmpfs and shared memory was "},
		{f.KernelBytes, "the kernel's own memory was "},
	}
	best := -1
	for i, c := range classes {
		if c.bytes != nil && (best < 0 || *c.bytes > *classes[best].bytes) {
			best = i
		}
	}
	if best < 0 || *classes[best].bytes == 0 || r.UsageBytes != nil && *classes[best].bytes < *r.UsageBytes/3 {
		return "" // what filled it is not among what is printed
	}
	bytes := *classes[best].bytes
	var parts []string
	if best == 3 && f.KernelAtLeast {
		parts = append(parts, classes[best].text+"at least "+size.Text(bytes))
	} else {
		parts = append(parts, classes[best].text+size.Text(bytes))
	}
	if best >= 2 && small(r, bytes) {
		parts = append(parts, "which no kill frees")
	}
	return strings.Join(parts, ", ")
}

// small: what all processes held is at most a tenth of what filled the limit.
func small(r *report.OOMRecord, bytes int64) bool {
	held := r.Full.AnonBytes
	if r.Tasks != nil && r.Tasks.RSSBytes != nil && (held == nil || *r.Tasks.RSSBytes < *held) {
		held = r.Tasks.RSSBytes
	}
	return held != nil && *held <= bytes/10
}

func slabSentence(r *report.OOMRecord) string {
	s := "The slab cache " + r.Slab.Cache
	if r.Slab.Cache == "" {
		s = "A slab cache that the log does not name"
	}
	if r.Slab.Cgroup != "" {
		return s + " of the cgroup " + r.Slab.Cgroup + " could not grow: its limit, or kernel memory accounting, not the node"
	}
	return s + " could not grow"
}

func allocSentence(r *report.OOMRecord) string {
	s := r.Trigger.Comm + " asked the kernel for memory in vain"
	if r.Order != nil && *r.Order >= 0 && *r.Order < 32 {
		s = fmt.Sprintf("%s asked the kernel for 2^%d contiguous pages in vain", r.Trigger.Comm, *r.Order)
		if *r.Order >= 3 {
			s += ": fragmentation, not a limit"
		}
	}
	return s
}

func led(name string) string {
	if name == "" {
		return ""
	}
	return " " + name
}
