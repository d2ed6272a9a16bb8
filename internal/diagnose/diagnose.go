// Package diagnose owns the causes: one rule a code, with its documentation, from
// what was read, the ledger, the judged advisories and the kernel's log to findings
// with severity, confidence, bytes, evidence and remedies, the most dangerous
// first. It is pure. It must not know how anything was read or how it will look.
//
// A rule rests on what the user can read again, never on names or sizes of anybody's
// programs. What is missing lowers the confidence or keeps the rule silent; a
// version alone is no cause. High confidence needs evidence that excludes the
// rivals. Amounts are bytes.
package diagnose

import (
	"cmp"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/advisory"
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/mounts"
	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/trend"
	"github.com/memwhy/memwhy/internal/words"
)

// Rule is one code. Each has a file of its own.
type Rule struct {
	Code    string
	Title   string // what it is about, in a few words
	Doc     Doc
	Noun    string // of a cause: what its bytes are; the verdict names them so
	NoBytes string // why a finding of it may have no bytes
	find    func(*facts) []report.Finding
}

// Class is the class of accounts that a cause is part of; empty for codes that are not
// about a part of the usage.
func Class(code string) string {
	family, rest, _ := strings.Cut(code, ".")
	switch {
	case code == codeSock:
		return "sock"
	case strings.HasPrefix(rest, "advisory/"):
		return ""
	}
	return map[string]string{"alloc": "anon", "anon": "anon", "cache": "file", "tmpfs": "shmem", "slab": "kernel", "kernel": "kernel"}[family]
}

// Doc is all that a reader should know of a code.
type Doc struct {
	Means   string   // what is the case when it is found
	Grades  string   // what makes it info, notice, warning, critical
	Needs   []string // what has to be readable
	Verify  []string // by hand
	Do      []string
	Owner   string // who has the cure: app, platform, kernel
	Stories string // where what people tell is wrong
}

// The codes.
const (
	codeLazy       = "alloc.lazyfree"
	codeRetained   = "alloc.retained"
	codeTHP        = "alloc.thp"
	codeChurn      = "anon.churn"
	codeLeak       = "anon.leak"
	codeAnon       = "anon.live"
	codeCold       = "cache.cold"
	codeDeleted    = "cache.deleted-open"
	codeDirty      = "cache.dirty"
	codeFilling    = "cache.filling"
	codeForeign    = "cache.foreign"
	codeHot        = "cache.hot"
	codeIdle       = "cache.idle-held"
	codeDying      = "cgroup.dying"
	codeIDs        = "cgroup.ids"
	codeBPF        = "kernel.bpf"
	codeKernel     = "kernel.other"
	codeTables     = "kernel.pagetables"
	codePipe       = "kernel.pipe"
	codeSock       = "kernel.sock"
	codeStacks     = "kernel.stacks"
	codeKmem       = "kmem.accounting"
	codeParent     = "limit.parent"
	codeTight      = "limit.tight"
	codeMisread    = "metric.misread"
	codeFragmented = "node.fragmented"
	codeUnowned    = "node.unowned"
	codeWatermark  = "node.watermark"
	codeAncestor   = "oom.ancestor"
	codeContainer  = "oom.container"
	codeNoVictim   = "oom.no-victim"
	codeNode       = "oom.node"
	codeDentry     = "slab.dentry"
	codeNegative   = "slab.dentry-negative"
	codeInode      = "slab.inode"
	codeSlab       = "slab.other"
	codeKept       = "swap.cache-kept"
	codeThrottle   = "throttle.high"
	codeTmpfs      = "tmpfs.held"
)

// The severities, in order.
const (
	info     = "info"
	notice   = "notice"
	warning  = "warning"
	critical = "critical"
)

// The confidences, in order.
const (
	low    = "low"
	medium = "medium"
	high   = "high"
)

var (
	severities  = []string{info, notice, warning, critical}
	confidences = []string{low, medium, high}
)

// Rules are all of them, in the order of their codes.
func Rules() []Rule {
	return []Rule{
		allocLazyfree, allocRetained, allocTHP, anonChurn, anonLeak, anonLive,
		cacheCold, cacheDeletedOpen, cacheDirty, cacheFilling, cacheForeign, cacheHot, cacheIdleHeld, cgroupDying, cgroupIDs,
		kernelAdvisory, kernelBPF, kernelOther, kernelPagetables, kernelPipe, kernelSock, kernelStacks, kmemAccounting,
		limitParent, limitTight, metricMisread, nodeFragmented, nodeUnowned, nodeWatermark, oomAncestor, oomContainer, oomNoVictim, oomNode,
		slabDentry, slabDentryNegative, slabInode, slabOther, swapCacheKept, throttleHigh, tmpfsHeld,
	}
}

// Of finds the rule that a finding's code is from.
func Of(code string) (Rule, bool) {
	for _, r := range Rules() {
		if r.Code == code || r.Code == advisoryCode && advisoryID(code) != "" {
			return r, true
		}
	}
	return Rule{}, false
}

// facts are what rules look at.
type facts struct {
	words.Printer

	s      *snapshot.Snapshot
	w      *ledger.Whole
	node   *advisory.Facts
	judged []advisory.Judgement
	kills  kills

	divided *cached                             // see divide, once asked for
	held    *behind                             // see behind, once asked for
	strange map[*snapshot.CensusInode]*stranger // see foreign, once asked for
	within  []bool                              // of the census's groups, see census
	kept    []keeper                            // see keepers, once asked for
	trend   *trend.Trend
	moves   map[snapshot.FileID]*trend.FileMove // see moved, once asked for
	places  *mounts.Names                       // see fileName, once asked for
}

func (f *facts) target() *snapshot.Cgroup { return f.s.Target() }

// whole reports that it is about the node, not about one of its cgroups.
func (f *facts) whole() bool { return len(f.s.Path) == 0 || f.target().Root() }

// Find applies all rules.
func Find(p words.Printer, s *snapshot.Snapshot, w *ledger.Whole, node *advisory.Facts, judged []advisory.Judgement) []report.Finding {
	f := &facts{Printer: p, s: s, w: w, node: node, judged: judged, trend: trend.Of(s, w.Bound)}
	f.kills = f.link()
	all := []report.Finding{}
	for _, r := range Rules() {
		all = append(all, r.find(f)...)
	}
	for i := range all { // of what was not found nothing is a part
		if !slices.ContainsFunc(all, func(r report.Finding) bool { return r.Code == all[i].PartOf }) {
			all[i].PartOf = ""
		}
	}
	slices.SortStableFunc(all, func(a, b report.Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(severities, b.Severity), slices.Index(severities, a.Severity)),
			cmp.Compare(min(len(a.PartOf), 1), min(len(b.PartOf), 1)), // causes before their signs
			cmp.Compare(bytes(b), bytes(a)),
			cmp.Compare(slices.Index(confidences, b.Confidence), slices.Index(confidences, a.Confidence)),
		)
	})
	for i := range all {
		safe(&all[i])
	}
	return all
}

// OfNode applies the rules about a node alone, to a reading of a node as a whole.
func OfNode(p words.Printer, s *snapshot.Snapshot) []report.Finding {
	f := &facts{Printer: p, s: s}
	all := []report.Finding{}
	for _, r := range []Rule{nodeWatermark, nodeFragmented, nodeUnowned} {
		all = append(all, r.find(f)...)
	}
	slices.SortStableFunc(all, func(a, b report.Finding) int {
		return cmp.Compare(slices.Index(severities, b.Severity), slices.Index(severities, a.Severity))
	})
	for i := range all {
		safe(&all[i])
	}
	return all
}

func bytes(f report.Finding) int64 {
	if f.Bytes == nil {
		return 0
	}
	return *f.Bytes
}

// safe makes every string fit for JSON, and no list null. Counters that this kernel
// does not have are no evidence.
func safe(f *report.Finding) {
	f.Title, _ = printable.UTF8(f.Title)
	f.Evidence = slices.DeleteFunc(f.Evidence, func(e report.Evidence) bool { return e.Value == "" })
	if f.Evidence == nil {
		f.Evidence = []report.Evidence{}
	}
	for i := range f.Evidence {
		e := &f.Evidence[i]
		for _, text := range []*string{&e.Statement, &e.Source, &e.Value} {
			*text, _ = printable.UTF8(*text)
		}
	}
	if f.Remedies == nil {
		f.Remedies = []report.Remedy{}
	}
	for i := range f.Remedies {
		f.Remedies[i].Command, _ = printable.UTF8(f.Remedies[i].Command)
	}
}

// evidence takes over what an advisory rests on.
func evidence(list []advisory.Evidence) []report.Evidence {
	out := make([]report.Evidence, 0, len(list))
	for _, e := range list {
		out = append(out, report.Evidence{Statement: e.Statement, Source: e.Source, Value: e.Value})
	}
	return out
}

// worse is the graver of two severities.
func worse(a, b string) string {
	return severities[max(slices.Index(severities, a), slices.Index(severities, b))]
}

func ptr[T any](v T) *T { return &v }
