package render

import (
	"fmt"
	"strings"

	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/words"
)

// snapshotCensus is the source of what only a census tells.
const snapshotCensus = "page census"

// screenDying is how many removed cgroups fit on a screen.
const screenDying = 9

// Dying renders the removed cgroups of a node; wide all of them with all that holds
// them.
func Dying(r *report.Node, wide bool) []byte {
	p := &page{Printer: words.In(r.Lang)}
	if !wide {
		p.width = Width
	}
	d := &r.Dying
	p.fold("  ", 3, p.dyingAnswer(d))
	dyingTable(p, d.Groups, d.Omitted.Count, wide)
	for _, c := range d.Inherited {
		p.line("%8s  inherited from removed children by %s", size.MiBs(c.Bytes), printable.Text(c.Cgroup))
	}
	for _, e := range d.Evidence {
		p.fold("  ", 2, fmt.Sprintf("- %s [%s: %s]", e.Statement, e.Source, e.Value))
	}
	for _, text := range r.Doubts {
		p.fold("  ", 2, "- "+text)
	}
	said := map[string]bool{}
	for _, m := range r.NotSeen {
		about := strings.HasPrefix(m.Key, "dying.") || m.Source == snapshotCensus
		if !about || said[m.WouldShow] || strings.HasPrefix(m.Key, "dying.groups[]") {
			continue
		}
		said[m.WouldShow] = true
		p.fold("  ", 2, p.Say("- not seen: %s (%s: %s)", m.WouldShow, m.Source, m.Why))
	}
	if c := r.Cost.Census; c != nil {
		p.line("Counted by %s in %.0f ms.", c.Engine, c.WallMs)
	}
	return p.Bytes()
}

// dyingTable lists removed cgroups with what holds each: on a screen the largest.
func dyingTable(p *page, groups []report.DyingGroup, omitted int, wide bool) {
	const row = "%10s %7s %7s %7s %6s  %s"
	if len(groups) > 0 {
		p.line(row, "HOLDS", "FILE", "SHMEM", "KERNEL", "ID", p.Say("REMOVED CGROUP, and what holds it"))
	}
	rest, empty := omitted, 0
	for i := range groups {
		g := &groups[i]
		switch {
		case wide:
		case g.Bytes == 0:
			empty++
			continue
		case i >= screenDying:
			rest++
			continue
		}
		p.line(row, size.Text(g.Bytes), states(g.Accounts, "file"), states(g.Accounts, "shmem"), kernelOf(g), memoryID(g), removed(g, wide))
		pins(p, g, wide)
	}
	if rest > 0 {
		p.line("and %d more: see -o wide", rest)
	}
	if empty > 0 {
		p.line("and %d without a page of their own: see -o wide", empty)
	}
}

func (p *page) dyingAnswer(d *report.Dying) string {
	s := p.Say("How many removed memory cgroups the kernel keeps is not known here.")
	switch {
	case d.Count != nil && *d.Count == 0:
		s = p.Say("No removed memory cgroup is kept.")
	case d.Count != nil && d.Bytes != nil:
		s = p.Say("%s still held, with %s.", p.removedCount(d), size.Text(*d.Bytes))
	case d.Count != nil:
		s = p.Say("%s still held.", p.removedCount(d))
	}
	i := d.IDs
	if i.Taken == nil {
		return s
	}
	atLeast := ""
	if i.How == "at-least" {
		atLeast = p.Say("at least ")
	}
	s += p.Say(" Of %d ids %s%d are taken (%s)", i.Max, atLeast, *i.Taken, size.Percent(*i.Taken, i.Max))
	if i.Dead != nil {
		s += p.Say(", %d by removed ones", *i.Dead)
	}
	return p.Say("%s.", s)
}

func (p *page) removedCount(d *report.Dying) string {
	n := p.Count(*d.Count, "1 removed memory cgroup is", "%d removed memory cgroups are")
	switch d.How {
	case "at-least":
		return p.Say("At least %s", n)
	case "about":
		return p.Say("About %s", n)
	}
	return n
}

func kernelOf(g *report.DyingGroup) string {
	var sum int64
	for key, n := range g.Accounts {
		if strings.HasPrefix(key, "kernel/") {
			sum += n
		}
	}
	return states(map[string]int64{"": sum}, "")
}

func memoryID(g *report.DyingGroup) string {
	switch {
	case g.MemoryID == nil:
		return "?"
	case *g.MemoryID == 0:
		return "-"
	}
	return fmt.Sprint(*g.MemoryID)
}

func removed(g *report.DyingGroup, wide bool) string {
	path := printable.Text(g.Cgroup)
	if g.Name != "" {
		path = printable.Text(g.Name) + "  " + path
	}
	if wide {
		return path
	}
	return printable.Fit(path, Width-44)
}

// pins names what holds a removed cgroup: on a screen in one line.
func pins(p *page, g *report.DyingGroup, wide bool) {
	var names []string
	for _, pin := range g.PinnedBy {
		text := pin.Path
		if text == "" {
			text = pin.Name
		}
		text = printable.Text(text)
		if pin.Deleted {
			text += p.Say(" (deleted)")
		}
		if wide {
			p.line("%44s %s %s", size.MiBs(pin.Bytes), pin.Kind, text)
			continue
		}
		names = append(names, printable.Fit(text, 30)+" "+size.Text(pin.Bytes))
	}
	if len(names) > 0 {
		p.line("           by %s", p.Join(names))
	}
}
