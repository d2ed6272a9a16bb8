package diagnose

import (
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/advisory"
	"github.com/memwhy/memwhy/internal/report"
)

// advisoryCode begins the codes of known faults; their id follows.
const advisoryCode = "kernel.advisory/"

var kernelAdvisory = Rule{
	Code:    advisoryCode,
	Title:   "a known fault of kernel, kubelet or runtime, with its signs",
	NoBytes: "no file tells how many bytes are due to this fault",
	find:    advisories,
	Doc: Doc{
		Means: `A fault of the catalogue (memwhy advisories) is seen at work on this node: its signs are there, whether or not the version should have it. The part after the slash is its id. A version alone never makes a finding.`,
		Grades: `info: accounting and numbers that mislead. notice: what costs time, and signs that have several causes. warning: leaks and reclaim that fails. ` +
			`The leak of el7 is a notice from 10 removed cgroups on, a warning from 100 or when they are more than the live ones, critical from 10000.`,
		Needs:   []string{"what the advisory's signs need: memwhy advisories show ID"},
		Verify:  []string{"memwhy advisories", "memwhy advisories show <id>   # how to see it, and when it is something else"},
		Do:      []string{"what the page of the fault says: workaround, then fix"},
		Owner:   "kernel, platform",
		Stories: `A list of kernels that "have the bug" is no diagnosis: most nodes with an affected kernel never show it, and patched ones can.`,
	},
}

// advisoryID is the part of a code after the slash, where it is one.
func advisoryID(code string) string {
	id, ok := strings.CutPrefix(code, advisoryCode)
	if !ok || !slices.Contains(advisory.IDs(), id) {
		return ""
	}
	return id
}

// parts are advisories that say more about what another code finds.
var parts = map[string]string{
	defaultOn:                    codeKmem,
	nokmemIgnored:                codeKmem,
	nokmemEffects:                codeKmem,
	idExhaustion:                 codeIDs,
	"pagecache-pins-dying-memcg": codeDying,
	"slab-pins-dying-memcg":      codeDying,
}

func advisories(f *facts) []report.Finding {
	var all []report.Finding
	for _, j := range f.judged {
		if j.Bites() {
			all = append(all, f.known(j))
		}
	}
	return all
}

func (f *facts) known(j advisory.Judgement) report.Finding {
	r := report.Finding{
		Code: advisoryCode + j.ID, Severity: advisorySeverity(j), Confidence: high, PartOf: parts[j.ID],
		Title: f.Of(j.Title), Evidence: evidence(j.Evidence),
		Remedies: []report.Remedy{{Kind: "look", Command: f.Say("memwhy advisories show ") + j.ID, Cost: f.Say("none")}},
	}
	if j.Verdict == advisory.EvidenceDespiteVersion || r.PartOf == codeDying {
		r.Confidence = medium
	}
	if len(j.Evidence) > 1 { // the first is the version
		r.Title = f.Say("%s: %s", r.Title, j.Evidence[1].Statement)
	}
	switch j.ID {
	case slabLeak:
		f.leak(&r)
	case "el7-proc-cgroups-hides-leak":
		r.Severity, r.PartOf = info, f.leakPart()
	case nokmemIgnored:
		r.Severity = notice
	case defaultOn, nokmemEffects:
		r.Severity = info
	case idExhaustion:
		_, used := takenIDs(f.node.IDs())
		r.Severity = idsSeverity(used)
	case notReclaimable:
		if !f.about(j) {
			r.Severity = info
		} else if f.kmemRefused() {
			r.PartOf = codeKmem
		}
	}
	for _, w := range j.Fix { // workarounds are on the fault's page, with what they do to others
		r.Remedies = append(r.Remedies, report.Remedy{Kind: "upgrade", Command: f.Of(w), Cost: f.Say("see the page of the fault")})
	}
	return r
}

// about reports that signs of a fault are the target's own, not a neighbour's.
func (f *facts) about(j advisory.Judgement) bool {
	return slices.ContainsFunc(j.Evidence, func(e advisory.Evidence) bool { return strings.HasPrefix(e.Source, f.target().Dir+"/") })
}

// leak says the origin of it all: how many are dead, and what they hold.
func (f *facts) leak(r *report.Finding) {
	removed := f.node.Removed()
	held, e := f.pinned()
	r.Severity, r.Bytes = f.leakSeverity(removed), held
	r.Evidence = append(r.Evidence, e...)
	if !removed.Exact {
		r.Confidence = medium
	}
	r.Title = f.Say("kernel memory leak of el7: %s never go away%s; until a reboot", f.removedText(removed), f.holding(held))
	r.Remedies = append(r.Remedies, report.Remedy{
		Kind: "reboot", Command: f.Say("drain and reboot the node: nothing else gives removed cgroups and their ids back"), ExpectBytes: held, Cost: f.Say("all its containers"),
	})
}

func advisorySeverity(j advisory.Judgement) string {
	switch j.Class {
	case "kernel-leak", "kernel-id-exhaustion", "reclaim", "runtime":
		if parts[j.ID] == codeDying {
			return notice
		}
		return warning
	case "perf":
		return notice
	}
	return info
}
