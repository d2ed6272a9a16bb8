package render

import (
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/diagnose"
	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/words"
)

// findings names what is above info and no part of another: the gravest in two
// lines, three when it is the only one, the next in one, of the rest the number.
func findings(p *page, r *report.Report) {
	list := slices.DeleteFunc(slices.Clone(r.Findings), func(f report.Finding) bool {
		return f.Severity == "info" || f.PartOf != "" || f.Code == r.Verdict.Code // that is the first line
	})
	for i, f := range list[:min(len(list), 2)] {
		more := ""
		if i == 1 && len(list) > 2 {
			more = p.Say(" (and %d more: -o wide)", len(list)-2)
		}
		lines := 2 - i
		if len(list) == 1 {
			lines = 3
		}
		p.fold("  ", lines, strings.ToUpper(f.Severity)+" "+f.Code+more+": "+f.Title)
	}
}

// verdict is the first line. Where it is about a danger, it begins with how grave
// that is.
func verdict(r *report.Report) string {
	if i := slices.IndexFunc(r.Findings, func(f report.Finding) bool { return f.Code == r.Verdict.Code && f.Severity != "info" }); i >= 0 {
		return strings.ToUpper(r.Findings[i].Severity) + " " + r.Verdict.Code + ": " + r.Findings[i].Title
	}
	return r.Verdict.Text
}

// next is what to do now: the first remedy of what the first line is about, or of the
// first cause in the class that it names.
func next(p *page, r *report.Report) {
	i := slices.IndexFunc(r.Findings, func(f report.Finding) bool {
		if r.Verdict.Code != "" {
			return f.Code == r.Verdict.Code
		}
		class := diagnose.Class(f.Code)
		return f.Bytes != nil && 2**f.Bytes > r.Verdict.Bytes && (class == "" || class == r.Verdict.Account)
	})
	if i >= 0 && len(r.Findings[i].Remedies) > 0 {
		p.command(r.Findings[i].Remedies[0].Command)
	}
}

// command prints what to do next. What is typed stands in one line, whole: one that is
// too long for the page has a line of its own, after what it is for, which a terminal
// folds so that it can be copied in one piece.
func (p *page) command(command string) {
	typed, why := command, ""
	if i := strings.IndexAny(command, ":\uff1a"); strings.HasPrefix(command, ours) && i > 0 {
		typed, why = command[:i], command[i:]
	}
	next := p.Say("Next: %s", typed)
	if !strings.HasPrefix(command, ours) || p.width == 0 || columns(printable.Text(next)) < p.width {
		p.fold("  ", 4, next+why)
		return
	}
	p.fold("  ", 2, strings.TrimSpace(p.Say("Next: %s", strings.TrimLeft(why, ":\uff1a "))))
	p.WriteString(" " + printable.Text(typed) + "\n")
}

// ours is how the commands of this program begin.
const ours = "memwhy "

// rows are the lines of a screen that the page takes.
func (p *page) rows() (n int) {
	for line := range strings.Lines(p.String()) {
		n += max(1, (columns(strings.TrimSuffix(line, "\n"))+Width-1)/Width)
	}
	return n
}

// allFindings is all of them with what they rest on and what to do.
func allFindings(p *page, list []report.Finding) {
	if len(list) == 0 {
		return
	}
	p.line("FINDINGS")
	for _, f := range list {
		about := p.Say("%s confidence", f.Confidence)
		if f.Bytes != nil {
			about = p.Join([]string{about, size.Text(*f.Bytes)})
		}
		if f.PartOf != "" {
			about += p.Say(", part of %s", f.PartOf)
		}
		p.line("  %-8s %s (%s): %s", f.Severity, f.Code, about, f.Title)
		for _, e := range f.Evidence {
			p.line("    - %s [%s: %s]", e.Statement, e.Source, e.Value)
		}
		for _, d := range f.Remedies {
			back := ""
			if d.ExpectBytes != nil {
				back = p.Say(", gives back %s", size.Text(*d.ExpectBytes))
			}
			p.line("    > %s: %s (costs %s%s)", d.Kind, d.Command, d.Cost, back)
		}
	}
}

// suspicions answers what everybody suspects first.
func suspicions(p *page, r *report.Report) {
	if len(r.Suspicions) == 0 {
		return
	}
	p.line("SUSPICIONS")
	for _, s := range r.Suspicions {
		p.line("  %-10s %-12s %s", s.ID, strings.ReplaceAll(s.Answer, "-", " "), s.Because)
	}
}

// Codes lists what findings there are.
func Codes(say words.Printer, rules []diagnose.Rule) []byte {
	p := &page{Printer: say, width: Width}
	for _, r := range rules {
		code := r.Code
		if strings.HasSuffix(code, "/") {
			code += "ID"
		}
		p.line("%-20s %s", code, p.Of(r.Title))
	}
	return p.Bytes()
}

// Code is the page about one.
func Code(say words.Printer, r diagnose.Rule) []byte {
	p := &page{Printer: say, width: Width}
	p.fold("  ", 20, r.Code+": "+p.Of(r.Title))
	p.fold("", 60, p.Of(r.Doc.Means))
	section := func(title string, lines ...string) {
		p.line("%s", title)
		for _, l := range lines {
			p.fold("    ", 20, "  - "+p.Of(l))
		}
	}
	section(p.Say("GRADES"), r.Doc.Grades)
	section(p.Say("NEEDS"), r.Doc.Needs...)
	section(p.Say("HOW TO SEE IT BY HAND"), r.Doc.Verify...)
	section(p.Say("WHAT TO DO"), r.Doc.Do...)
	section(p.Say("WHOSE CURE"), r.Doc.Owner)
	section(p.Say("WHERE THE STORY IS WRONG"), r.Doc.Stories)
	return p.Bytes()
}
