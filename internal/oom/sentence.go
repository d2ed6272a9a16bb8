package oom

import (
	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

func sentence(p words.Printer, r *report.OOMRecord, l *snapshot.LogRecord) string {
	switch l.Kind {
	case snapshot.LogSlub:
		return slabSentence(p, r)
	case snapshot.LogPageAlloc:
		return allocSentence(p, r)
	case snapshot.LogMkdir:
		return p.Say("The cgroup %s could not be made: %s", r.Path, r.Error)
	}
	s := p.Say("%s: %s", where(p, r), who(p, r))
	if r.TaskName != "" {
		s += p.Say(" of %s", r.TaskName)
	}
	if what := why(p, r); what != "" {
		s = p.Say("%s; %s", s, what)
	}
	return s
}

func where(p words.Printer, r *report.OOMRecord) string {
	switch r.Kind {
	case "global":
		return nodeWhere(p, r)
	case "unknown":
		return "OOM"
	}
	s := "OOM"
	switch {
	case r.LimitKind == "memory+swap" && r.MemorySwap.LimitBytes != nil:
		s += p.Say(" at the memory+swap limit %s", size.Text(*r.MemorySwap.LimitBytes))
	case r.LimitKind == "kmem" && r.Kmem.LimitBytes != nil:
		s += p.Say(" at the kernel memory limit %s", size.Text(*r.Kmem.LimitBytes))
	case r.LimitBytes != nil:
		s += p.Say(" at the limit %s", size.Text(*r.LimitBytes))
	default:
		s += p.Say(" at the limit")
	}
	if r.LimitOwner == "" {
		return p.Say("%s of a cgroup that the log does not name", s)
	}
	s += p.Say(" of %s", r.LimitOwner)
	if r.Whose == "ancestor" {
		if id := identity.Parse(r.LimitOwner); id.Kind == identity.Pod {
			return s + p.Say(" (the pod%s, not one of its containers)", led(r.LimitOwnerName))
		}
		return s + p.Say(" (above the victim's own cgroup)")
	}
	return s
}

func nodeWhere(p words.Printer, r *report.OOMRecord) string {
	s := p.Say("OOM of the node")
	switch r.Constraint {
	case "cpuset":
		s = p.Say("OOM within a cpuset of the node")
	case "mempolicy":
		s = p.Say("OOM within a memory policy of the node")
	}
	if r.GFP == "0x0()" || r.GFP == "0x0" {
		s += p.Say(" out of a page fault, as when a charge for kernel memory failed")
	}
	ram, ok := r.Stats["ram"]
	free, ok2 := r.Stats["free"]
	if ok && ok2 {
		s += p.Say(" with %s free of %s", size.Text(free), size.Text(ram))
	}
	if r.Order != nil && *r.Order == -1 {
		s += p.Say(", asked for by hand (sysrq)")
	}
	if r.Order != nil && *r.Order > 0 && *r.Order < 32 {
		s += p.Say(" for 2^%d contiguous pages", *r.Order)
	}
	return s
}

func who(p words.Printer, r *report.OOMRecord) string {
	switch r.Outcome {
	case "no-victim":
		return p.Say("nobody could be killed")
	case "panic":
		return p.Say("the kernel panicked, as vm.panic_on_oom says")
	case "already-exiting":
		return p.Say("nobody was killed, a process was about to end")
	}
	if len(r.Victims) == 0 {
		return p.Say("the log does not say who was killed")
	}
	v := r.Victims[0]
	s := p.Say("killed %s (pid %d)", v.Comm, v.PID)
	if more := int64(len(r.Victims)-1) + r.MoreVictims; more > 0 {
		s += p.Say(" and %d more", more)
	}
	if held := sum(v.AnonRSSBytes, v.FileRSSBytes, v.ShmemRSSBytes); v.AnonRSSBytes != nil {
		s += p.Say(", which held %s", size.Text(*held))
	}
	return s
}

// why names the largest class, and says so when killing could not help.
func why(p words.Printer, r *report.OOMRecord) string {
	f := r.Full
	classes := []struct {
		bytes *int64
		text  string
	}{
		{f.AnonBytes, p.Say("anonymous memory of processes was ")},
		{f.FileBytes, p.Say("page cache was ")},
		{f.ShmemBytes, p.Say("tmpfs and shared memory was ")},
		{f.KernelBytes, p.Say("the kernel's own memory was ")},
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
		parts = append(parts, p.Say("%sat least %s", classes[best].text, size.Text(bytes)))
	} else {
		parts = append(parts, classes[best].text+size.Text(bytes))
	}
	if best >= 2 && small(r, bytes) {
		parts = append(parts, p.Say("which no kill frees"))
	}
	return p.Join(parts)
}

// small: what all processes held is at most a tenth of what filled the limit.
func small(r *report.OOMRecord, bytes int64) bool {
	held := r.Full.AnonBytes
	if r.Tasks != nil && r.Tasks.RSSBytes != nil && (held == nil || *r.Tasks.RSSBytes < *held) {
		held = r.Tasks.RSSBytes
	}
	return held != nil && *held <= bytes/10
}

func slabSentence(p words.Printer, r *report.OOMRecord) string {
	s := p.Say("The slab cache %s", r.Slab.Cache)
	if r.Slab.Cache == "" {
		s = p.Say("A slab cache that the log does not name")
	}
	if r.Slab.Cgroup != "" {
		return p.Say("%s of the cgroup %s could not grow: its limit, or kernel memory accounting, not the node", s, r.Slab.Cgroup)
	}
	return p.Say("%s could not grow", s)
}

func allocSentence(p words.Printer, r *report.OOMRecord) string {
	s := p.Say("%s asked the kernel for memory in vain", r.Trigger.Comm)
	if r.Order != nil && *r.Order >= 0 && *r.Order < 32 {
		s = p.Say("%s asked the kernel for 2^%d contiguous pages in vain", r.Trigger.Comm, *r.Order)
		if *r.Order >= 3 {
			s += p.Say(": fragmentation, not a limit")
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
