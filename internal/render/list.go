package render

import (
	"strings"

	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
)

// List renders a ranking, one line a cgroup; wide shows paths and names in full.
func List(l *report.List, wide bool) []byte {
	p := &page{}
	if !wide {
		p.width = Width
	}
	const row = "%8s %8s %9s %8s %-8s %-7s %s"
	p.line(row, "USAGE", "WORKSET", "UNRECLAIM", "LIMIT", "KILL", "LARGEST", "CGROUP, sizes in MiB")
	for _, c := range l.Containers {
		n := c.Numbers
		cannot := "unknown"
		if n.UnreclaimableBytes != nil {
			cannot = size.MiBs(*n.UnreclaimableBytes)
		}
		p.line(row, size.MiBs(n.UsageBytes), mib(n.WorkingSetBytes, "unknown"), cannot,
			mib(n.LimitBytes, "none"), c.Risk.Level, c.Largest.Account, who(c.Target, wide))
	}
	if len(l.Containers) == 0 {
		p.line("no memory cgroup holds a process")
	}
	for _, m := range l.NotSeen {
		if m.State != "absent" || m.Key == "containers" {
			p.line("not seen: %s (%s: %s)", m.WouldShow, m.Source, m.Why)
		}
	}
	return p.Bytes()
}

func mib(n *int64, none string) string {
	if n == nil {
		return none
	}
	return size.MiBs(*n)
}

func who(t report.Target, wide bool) string {
	path := printable.Text(t.Cgroup)
	if wide {
		return path + "  (" + processes(t.PIDCount) + ")"
	}
	if t.ID != "" {
		return strings.TrimSpace(t.Runtime + " " + short(t.ID))
	}
	return tail(path, 25)
}

// tail keeps the end of a path, which tells siblings apart.
func tail(s string, width int) string {
	r := []rune(s)
	if len(r) <= width {
		return s
	}
	return ".." + string(r[len(r)-width+2:])
}
