package render

import (
	"strings"

	"github.com/memwhy/memwhy/internal/advisory"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/words"
)

// Advisories renders the judgement of a node: first what was seen to be wrong,
// one line an advisory, whatever its length, and what keeps one from it. Of the
// others, which would bury that, only the number; with all each of them.
// The evidence follows.
func Advisories(r *report.Advisories, all bool) []byte {
	p, table := &page{Printer: words.In(r.Lang), width: Width}, &page{}
	seen, others := 0, map[string]int{}
	for _, a := range r.Advisories {
		if bites(a) {
			seen++
		} else if others[a.Verdict]++; !all && a.Verdict != string(advisory.Mitigated) {
			continue
		}
		table.line("%-31s %-24s %s", a.ID, a.Verdict, a.Title)
	}
	p.fold("  ", 3, p.Say("%d of %d known faults are seen on this node; %d by its version only, %d mitigated, %d cannot be told, %d not here.",
		seen, len(r.Advisories), others[string(advisory.VersionOnly)], others[string(advisory.Mitigated)],
		others[string(advisory.Unknown)], others[string(advisory.NotAffected)]))
	p.line("kernel %s, cgroup %s", p.orUnknown(r.Host.Kernel), r.Host.CgroupMode)
	p.Write(table.Bytes())
	for _, a := range r.Advisories {
		if !bites(a) && a.Verdict != string(advisory.Mitigated) {
			continue
		}
		p.line("WHY %s", a.ID)
		p.evidence(a)
	}
	if !all {
		p.line("--all lists the others; memwhy advisories show ID says all about one")
	}
	for _, m := range r.NotSeen {
		if m.State != "absent" {
			p.fold("  ", 3, p.Say("not seen: %s (%s: %s)", m.WouldShow, m.Source, m.Why))
		}
	}
	return p.Bytes()
}

func (p *page) evidence(a report.Advisory) {
	for _, e := range a.Evidence {
		p.fold("    ", 6, "  - "+e.Statement+" ["+e.Source+": "+e.Value+"]")
	}
}

func bites(a report.Advisory) bool {
	return a.Verdict == string(advisory.VersionAndEvidence) || a.Verdict == string(advisory.EvidenceDespiteVersion)
}

// Advisory is the page about one fault. Versions, signs and messages of the kernel are
// as they are searched for.
func Advisory(say words.Printer, a *advisory.Advisory) []byte {
	p := &page{Printer: say, width: Width}
	p.fold("  ", 20, a.ID+": "+p.Of(a.Title))
	p.line("%s, %s", a.Class, a.Component)
	p.fold("", 60, p.Of(a.Summary))
	section := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		p.line("%s", title)
		for _, l := range lines {
			p.fold("    ", 20, "  - "+p.Of(l))
		}
	}
	section(p.Say("AFFECTED"), a.Affected)
	section(p.Say("MATCHED BY"), p.matched(a))
	section(p.Say("NEEDS"), a.Preconditions)
	section(p.Say("FIXED"), a.Fixed)
	section(p.Say("HOW TO SEE IT"), p.signs(a.Signs))
	section(p.Say("IT IS SOMETHING ELSE WHEN"), p.signs(a.Otherwise))
	section(p.Say("IN THE KERNEL'S LOG"), a.Log)
	section(p.Say("WORKAROUND"), a.Workaround)
	section(p.Say("FIX"), a.Fix)
	section(p.Say("REFERENCES"), a.Refs)
	section(p.Say("NOT VERIFIED"), a.NotVerified)
	return p.Bytes()
}

func (p *page) matched(a *advisory.Advisory) []string {
	var out []string
	if n := strings.TrimSpace(a.Needs.Cgroup + " " + a.Needs.LRU); n != "" {
		out = append(out, p.Say("only with: %s", n))
	}
	for _, r := range a.Ranges {
		out = append(out, strings.Replace(r.Text(), r.Because, p.Of(r.Because), 1))
	}
	if a.Unmatched != "" {
		out = append(out, p.Say("no version of the kernel: %s", p.Of(a.Unmatched)))
	}
	return out
}

func (p *page) signs(list []advisory.Sign) []string {
	var out []string
	for _, s := range list {
		out = append(out, s.Read+": "+p.Of(s.Test))
	}
	return out
}
