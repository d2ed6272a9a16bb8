package explain

import (
	"cmp"

	"github.com/memwhy/memwhy/internal/advisory"
	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Advisories applies the whole catalogue to a node.
func Advisories(p words.Printer, s *snapshot.Snapshot) (*report.Advisories, error) {
	judged, err := advisory.Look(s).Judge(advisory.IDs())
	if err != nil {
		return nil, err
	}
	r := &report.Advisories{
		Schema: report.AdvisoriesSchema, Generated: generated(s), Host: host(s),
		Advisories: advisories(p, judged), NotSeen: []report.NotSeen{},
	}
	r.Host.CgroupMode = cmp.Or(r.Host.CgroupMode, "unknown")
	l := &r.NotSeen
	if r.Host.CPUs == nil {
		missing(l, "host.cpus", s.Host.CPUs.Source, s.Host.CPUs.State, s.Host.CPUs.Err, "how many CPUs are online")
	}
	if r.Host.MemTotalBytes == nil {
		missing(l, "host.memTotalBytes", s.Node.Meminfo.Source, s.Node.Meminfo.State, s.Node.Meminfo.Err, "the memory of the node")
	}
	if r.Generated == nil {
		missing(l, "generated", "the capture", snapshot.Absent, "it does not say when it was taken", "when the node was read")
	}
	unseen(l, s.Host.Kernel, "the kernel's release, and with it every version")
	unseen(l, s.Kmem.Clones, "removed cgroups that still own slab")
	unseen(l, s.Kmem.Groups, "which memory cgroups are live")
	unseen(l, s.Kmem.Root, "how many dying cgroups the kernel keeps")
	unseen(l, s.Node.Controllers, "how many memory cgroups the kernel counts")
	unseen(l, s.Node.Slabs, "the node's slab by cache")
	unseen(l, s.Node.BootArgs, "the options that the kernel was started with")
	for _, b := range s.Kmem.Builds {
		unseen(l, b.Marks, "what "+b.Program+" was built with")
	}
	return r, nil
}

func missing(l *[]report.NotSeen, key, source string, state snapshot.State, why, would string) {
	src, _ := printable.UTF8(source)
	text, _ := printable.UTF8(why)
	*l = append(*l, report.NotSeen{Key: key, Source: src, State: state.String(), Why: text, WouldShow: would})
}

func unseen[T any](l *[]report.NotSeen, r snapshot.Reading[T], would string) {
	if r.State != snapshot.Present {
		missing(l, "", r.Source, r.State, r.Err, would)
	}
}

func advisories(p words.Printer, judged []advisory.Judgement) []report.Advisory {
	rows := make([]report.Advisory, 0, len(judged))
	for _, j := range judged {
		row := report.Advisory{ID: j.ID, Title: p.Of(j.Title), Class: j.Class, Verdict: string(j.Verdict), Evidence: []report.Evidence{}}
		for _, e := range j.Evidence {
			statement, _ := printable.UTF8(e.Statement)
			source, _ := printable.UTF8(e.Source)
			value, _ := printable.UTF8(e.Value)
			row.Evidence = append(row.Evidence, report.Evidence{Statement: statement, Source: source, Value: value})
		}
		rows = append(rows, row)
	}
	return rows
}
