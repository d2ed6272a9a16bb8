package render

import (
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/advisory"
	"github.com/memwhy/memwhy/internal/report"
)

// Advisories renders the judgement of a node, one line an advisory, whatever its
// length; those that do not apply only with all. The evidence of what was seen to
// be wrong follows.
func Advisories(r *report.Advisories, all bool) []byte {
	p, table := &page{width: Width}, &page{}
	p.line("kernel %s, cgroup %s", orUnknown(r.Host.Kernel), r.Host.CgroupMode)
	rows := 0
	for _, a := range r.Advisories {
		if a.Verdict == string(advisory.NotAffected) && !all {
			continue
		}
		rows++
		table.line("%-31s %-24s %s", a.ID, a.Verdict, a.Title)
	}
	p.Write(table.Bytes())
	for _, a := range r.Advisories {
		if !bites(a) {
			continue
		}
		p.line("%s", "WHY "+a.ID)
		p.evidence(a)
	}
	if rows == 0 {
		p.line("no known fault applies")
	} else {
		p.line("memwhy advisories show ID says all that is known of one")
	}
	for _, m := range r.NotSeen {
		if m.State != "absent" {
			p.fold("  ", 3, "not seen: "+m.WouldShow+" ("+m.Source+": "+m.Why+")")
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

// known names the first advisory that bites, where it can hold memory or end a
// container: one line of an explanation.
func known(p *page, r *report.Report) {
	for _, a := range r.Advisories {
		if bites(a) && slices.Contains([]string{"kernel-leak", "kernel-id-exhaustion", "reclaim"}, a.Class) {
			why := "see memwhy advisories"
			if len(a.Evidence) > 1 { // the first is the version
				why = a.Evidence[1].Statement
			}
			p.line("KNOWN FAULT %s: %s", a.ID, why)
			return
		}
	}
}

// Advisory is the page about one fault.
func Advisory(a *advisory.Advisory) []byte {
	p := &page{width: Width}
	p.fold("  ", 20, a.ID+": "+a.Title)
	p.line("%s, %s", a.Class, a.Component)
	p.fold("", 60, a.Summary)
	section := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		p.line("%s", title)
		for _, l := range lines {
			p.fold("    ", 20, "  - "+l)
		}
	}
	section("AFFECTED", a.Affected)
	section("MATCHED BY", matched(a))
	section("NEEDS", a.Preconditions)
	section("FIXED", a.Fixed)
	section("HOW TO SEE IT", signs(a.Signs))
	section("IT IS SOMETHING ELSE WHEN", signs(a.Otherwise))
	section("IN THE KERNEL'S LOG", a.Log)
	section("WORKAROUND", a.Workaround)
	section("FIX", a.Fix)
	section("REFERENCES", a.Refs)
	section("NOT VERIFIED", a.NotVerified)
	return p.Bytes()
}

func matched(a *advisory.Advisory) []string {
	var out []string
	if n := strings.TrimSpace(a.Needs.Cgroup + " " + a.Needs.LRU); n != "" {
		out = append(out, "only with: "+n)
	}
	for _, r := range a.Ranges {
		effect := r.Effect
		if effect == "" {
			effect = "affected"
		}
		line := r.String() + ": " + effect
		if r.Because != "" {
			line += " (" + r.Because + ")"
		}
		out = append(out, line)
	}
	if a.Unmatched != "" {
		out = append(out, "no version of the kernel: "+a.Unmatched)
	}
	return out
}

func signs(list []advisory.Sign) []string {
	var out []string
	for _, s := range list {
		out = append(out, s.Read+": "+s.Test)
	}
	return out
}
