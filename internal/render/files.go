package render

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/words"
)

// kinds are short words for what a file is to its container.
var kinds = map[string]string{
	"image-layer": "image", "writable-layer": "layer", "shared-anon": "shared", "block-device": "device", "no-name": "no name", "unmounted": "elsewhere",
}

// Files renders cached files, one line each; wide adds who is charged and who uses
// them.
func Files(r *report.Files, wide bool) []byte {
	p := &page{Printer: words.In(r.Lang)}
	if !wide {
		p.width = Width
	}
	p.fold("  ", 2, p.filesAnswer(r))
	if r.Target != nil {
		p.line("%s", printable.Fit(printable.Text(r.Target.Cgroup), Width))
	}
	const row = "%7s %6s %6s %6s  %-9s %s"
	switch {
	case len(r.Directories) > 0:
		p.line(row, "MIB", "DIRTY", "ACTIVE", "MAPPED", "FILES", "DIRECTORY")
	case len(r.Files) > 0:
		p.line(row, "MIB", "DIRTY", "ACTIVE", "MAPPED", "WHAT", p.Say("PATH (* charged, + used elsewhere)"))
	}
	for _, d := range r.Directories {
		p.line(row, size.MiBs(d.Bytes), states(d.State, "dirty"), states(d.State, "active"), states(d.State, "mapped"), strconv.Itoa(d.Files), place(d.Path, wide))
	}
	for i := range r.Files {
		f := &r.Files[i]
		amount := size.MiBs(f.Bytes)
		if f.AtMost {
			amount = "<=" + amount
		}
		p.line(row, amount, states(f.State, "dirty"), states(f.State, "active"), states(f.State, "mapped"), kind(f.Kind), place(p.fileName(r, f), wide))
		if wide {
			fileDetails(p, f)
		}
	}
	if r.Omitted.Count > 0 {
		p.line("and %d more: %s", r.Omitted.Count, size.Text(r.Omitted.Bytes))
	}
	p.fold("  ", 3, p.covered(r))
	for _, d := range r.Doubts {
		p.fold("  ", 2, "- "+d)
	}
	for _, m := range r.NotSeen {
		if m.State != "absent" {
			p.fold("  ", 2, p.Say("- not seen: %s (%s: %s)", m.WouldShow, m.Source, m.Why))
		}
	}
	return p.Bytes()
}

func kind(k string) string {
	if short, ok := kinds[k]; ok {
		return short
	}
	return k
}

// states is an amount of a state in MiB, empty for none.
func states(m map[string]int64, key string) string {
	if m[key] == 0 {
		return "-"
	}
	return size.MiBs(m[key])
}

func place(path string, wide bool) string {
	const room = Width - 41
	if path = printable.Text(path); wide {
		return path
	}
	return printable.Fit(path, room)
}

// fileName is the path with marks: * for memory of the file that is charged to
// others too, + for a user in another cgroup, (deleted).
func (p *page) fileName(r *report.Files, f *report.File) string {
	marks := ""
	if r.Target != nil && elsewhere(r, f) {
		marks += "*"
	}
	if usedElsewhere(r, f) {
		marks += "+"
	}
	name := f.Path
	if name == "" {
		name = fmt.Sprintf("%s %s inode %d", f.FS, f.Device, f.Inode)
	}
	if f.Deleted {
		name += p.Say(" (deleted)")
	}
	return strings.TrimSpace(marks + " " + name)
}

func elsewhere(r *report.Files, f *report.File) bool {
	for _, c := range f.ChargedTo {
		if !inside(r, c.Cgroup) {
			return true
		}
	}
	return false
}

func usedElsewhere(r *report.Files, f *report.File) bool {
	for _, u := range f.UsedBy {
		if r.Target != nil && !inside(r, u.Cgroup) {
			return true
		}
	}
	return false
}

func inside(r *report.Files, cgroup string) bool {
	t := strings.TrimSuffix(r.Target.Cgroup, "/")
	return cgroup == r.Target.Cgroup || strings.HasPrefix(cgroup, t+"/")
}

func fileDetails(p *page, f *report.File) {
	p.line("            %s %s inode %d, %s long, %s", f.FS, f.Device, f.Inode, size.Text(f.SizeBytes), state(f.State))
	if f.HostPath != "" && f.HostPath != f.Path {
		p.line("            on the node  %s", f.HostPath)
	}
	if f.Volume != "" {
		p.line("            volume       %s", f.Volume)
	}
	if f.Layer != "" {
		p.line("            layer        %s, of %d containers", f.Layer, f.SharedBy)
	}
	for _, c := range f.ChargedTo {
		who := c.Cgroup
		if who == "" {
			who = p.Say("no cgroup")
		}
		if c.Dying {
			who += p.Say(" (removed)")
		}
		p.line("            charged to   %9s  %s", size.MiBs(c.Bytes), who)
	}
	for _, u := range f.UsedBy {
		p.line("            used by      pid %d %s  %s", u.PID, u.How, u.Cgroup)
	}
}

func (p *page) filesAnswer(r *report.Files) string {
	whose := p.Say("of this cgroup")
	if r.Target == nil {
		whose = p.Say("of the node")
	}
	if r.Totals.Files == 0 {
		if c := r.Coverage; !c.Complete && (c.CounterBytes == nil || *c.CounterBytes > 0) {
			return p.Say("None of the file cache %s (%s) could be looked at.", whose, p.optional(c.CounterBytes))
		}
		return p.Say("No file cache %s.", whose)
	}
	var parts []string
	for _, key := range []string{"dirty", "active", "mapped", "unevictable"} {
		if n := r.Totals.State[key]; n > 0 {
			parts = append(parts, size.Text(n)+" "+key)
		}
	}
	s := p.Say("%s %s cached in %s", size.Text(r.Totals.Bytes), whose, p.fileCount(r.Totals.Files))
	if r.Coverage.Engine == "files" {
		s = p.Say("%s cached in %s that its processes reach, whoever is charged", size.Text(r.Totals.Bytes), p.fileCount(r.Totals.Files))
	}
	if len(parts) > 0 {
		s += p.Say(": %s", p.Join(parts))
	}
	return p.Say("%s.", s)
}

func (p *page) fileCount(n int) string { return p.Count(int64(n), "1 file", "%d files") }

// covered says how much of the cache was found, and by what.
func (p *page) covered(r *report.Files) string {
	c := r.Coverage
	s := p.Say("Counted by %s", c.Engine)
	if r.Cost.Census != nil {
		s += p.Say(" in %.0f ms", r.Cost.Census.WallMs)
	}
	if c.CounterBytes != nil {
		s += p.Say("; the kernel's counter says %s", size.Text(*c.CounterBytes))
		if !c.Complete {
			s += p.Say(": at most %s of it was reached", size.Percent(min(c.FoundBytes, *c.CounterBytes), *c.CounterBytes))
		}
	}
	s += p.Say("; %s has a name", size.Percent(c.NamedBytes, c.FoundBytes))
	s += p.Say("; users among %s", p.processes(c.Processes))
	return p.Say("%s.", s)
}
