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
	judged, err := advisory.Look(p, s).Judge(advisory.IDs())
	if err != nil {
		return nil, err
	}
	r := &report.Advisories{
		Schema: report.AdvisoriesSchema, Lang: p.Lang(), Generated: generated(s), Host: host(s),
		Advisories: advisories(p, judged), NotSeen: []report.NotSeen{},
	}
	r.Host.CgroupMode = cmp.Or(r.Host.CgroupMode, "unknown")
	l := &missingList{Printer: p, rows: r.NotSeen}
	if r.Host.CPUs == nil {
		l.add("host.cpus", s.Host.CPUs.Source, s.Host.CPUs.State, s.Host.CPUs.Err, p.Say("how many CPUs are online"))
	}
	if r.Host.MemTotalBytes == nil {
		l.add("host.memTotalBytes", s.Node.Meminfo.Source, s.Node.Meminfo.State, s.Node.Meminfo.Err, p.Say("the memory of the node"))
	}
	if r.Generated == nil {
		l.add("generated", "the capture", snapshot.Absent, p.Say("it does not say when it was taken"), p.Say("when the node was read"))
	}
	unread(l, s.Host.Kernel, p.Say("the kernel's release, and with it every version"))
	unread(l, s.Kmem.Clones, p.Say("removed cgroups that still own slab"))
	unread(l, s.Kmem.Groups, p.Say("which memory cgroups are live"))
	unread(l, s.Kmem.Root, p.Say("how many dying cgroups the kernel keeps"))
	unread(l, s.Node.Controllers, p.Say("how many memory cgroups the kernel counts"))
	unread(l, s.Node.Slabs, p.Say("the node's slab by cache"))
	unread(l, s.Node.BootArgs, p.Say("the options that the kernel was started with"))
	for _, b := range s.Kmem.Builds {
		unread(l, b.Marks, p.Say("what %s was built with", b.Program))
	}
	r.NotSeen = l.rows
	return r, nil
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
