package diagnose

import (
	"cmp"
	"fmt"
	"path"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

const (
	defaultOn      = "runc-kmem-default-on"
	nokmemIgnored  = "el7-nokmem-param-ignored"
	nokmemEffects  = "nokmem-side-effects"
	notReclaimable = "el7-kmem-not-reclaimable"
)

var kmemAccounting = Rule{
	Code:    codeKmem,
	Title:   "kernel memory accounting of containers on an old kernel",
	NoBytes: "the cgroup's kernel memory could not be read",
	find:    accounting,
	Doc: Doc{
		Means: `On el7 (3.10) the kernel charges slab to a container only after somebody wrote to memory.kmem.limit_in_bytes; kubelet and runc did so for every container for years, as a side effect of setting no limit at all. ` +
			`From then on every slab cache is cloned for the container, the clones keep it alive after its end, and its limit counts slab that it cannot reclaim.`,
		Grades: `info: it is on, and nothing is seen of what it can do: a risk, not a cause; or it is proved to be off. ` +
			`notice: it is on, and removed cgroups stay, ids are going, kernel memory fills a third of a limit, or the boot option that should switch it off is ignored. ` +
			`warning: a limit of kernel memory refuses charges. Accounting by itself is never above info: a healthy el7 node is on, and alerting on all of them would help nobody; it matters at the next reboot, and this code says so.`,
		Needs: []string{"memory.kmem.slabinfo of containers: a table when on, Input/output error when off", "/proc/cmdline", "without a container: the executables of kubelet and runc"},
		Verify: []string{
			"cat /sys/fs/cgroup/memory/<container>/memory.kmem.slabinfo   # EIO in every container: off",
			"cat /sys/fs/cgroup/memory/<container>/memory.kmem.{usage_in_bytes,limit_in_bytes,failcnt}",
			"grep -o 'cgroup.memory=[^ ]*' /proc/cmdline   # an intention, no proof",
		},
		Do: []string{
			"boot with cgroup.memory=nokmem on a kernel that obeys it (3.10.0-1062 does, 3.10.0-514 does not), and prove it by the EIO",
			"or use kubelet and runc both built with the tag nokmem: either one switches accounting on for what is below it",
			"or a kernel from 5.3 on (el8: 4.18.0-147), which gives slab of removed cgroups to their parents",
			"remove memory.kmem limits (docker --kernel-memory): at such a limit programs get ENOMEM, fork and open fail",
		},
		Owner: "platform",
		Stories: `memory.kmem.limit_in_bytes reads as unlimited whether accounting is on or off, and with nokmem writes to it succeed silently: it proves nothing. ` +
			`An update to 3.10.0-1127 makes the leak slower, not gone. The boot option alone is no proof either.`,
	},
}

func accounting(f *facts) []report.Finding {
	r := report.Finding{Code: codeKmem, Severity: info, Confidence: high}
	if n, ok := f.target().KmemUsage.Get(); ok && size.Plausible(n) {
		r.Bytes = &n
	}
	given, option := f.node.BootOption()
	on, off, e := f.node.Accounting()
	r.Evidence = evidence(e)
	limited := f.kmemLimit(&r)
	switch {
	case limited:
		return []report.Finding{r}
	case !f.node.Old() || !on && !off:
		return nil
	case off:
		r.Title = f.Say("kernel memory accounting is off: slab is not charged to containers and keeps none of them")
		if given {
			r.Title = f.Say("cgroup.memory=nokmem is in effect: slab is not charged to containers and keeps none of them")
			r.Evidence = append(r.Evidence, report.Evidence{Statement: option.Statement, Source: option.Source, Value: option.Value})
		}
		r.Bytes = ptr(int64(0))
		return []report.Finding{r}
	}
	var seen []string
	if f.node.Removed().Leak {
		seen = append(seen, f.Say("removed cgroups stay"))
	}
	if f.bites(idExhaustion) && !f.node.Removed().Leak {
		seen, r.PartOf = append(seen, f.Say("ids are going")), codeIDs
	}
	if j, ok := f.biting(notReclaimable); ok && f.about(j) {
		seen = append(seen, f.Say("slab fills a limit"))
	}
	if f.bites(nokmemIgnored) {
		seen = append(seen, f.Say("the boot option nokmem is ignored"))
		r.Evidence = append(r.Evidence, report.Evidence{Statement: option.Statement, Source: option.Source, Value: option.Value})
	}
	r.Title = f.Say("kernel memory accounting is on: a risk on this kernel, of which nothing is seen yet")
	if len(seen) > 0 {
		r.Severity, r.PartOf = notice, cmp.Or(f.leakPart(), r.PartOf)
		if r.PartOf == "" && len(seen) == 1 && f.bites(notReclaimable) {
			r.PartOf = advisoryCode + notReclaimable
		}
		r.Title = f.Say("kernel memory accounting is on, and %s", f.Join(seen))
	}
	r.Remedies = []report.Remedy{
		{Kind: "configure", Command: f.Say("boot with cgroup.memory=nokmem, on a kernel that obeys it"), Cost: f.Say("a reboot; slab is then the node's, no limit bounds it")},
		{Kind: "upgrade", Command: f.Say("kubelet and runc built with the tag nokmem, both"), Cost: f.Say("running containers keep accounting until they are made anew")},
		{Kind: "upgrade", Command: f.Say("a kernel from 5.3 on, or el8 from 4.18.0-147 on"), Cost: f.Say("a reboot")},
	}
	return []report.Finding{r}
}

// kmemLimit reports a limit of kernel memory of the target that refuses charges.
func (f *facts) kmemLimit(r *report.Finding) bool {
	if !f.kmemRefused() {
		return false
	}
	t := f.target()
	limit, failed := t.KmemLimit.Value, t.KmemFailcnt.Value
	r.Severity = warning
	r.Title = f.Say("the kernel memory limit of %s refused %s: programs get ENOMEM, nobody is killed", size.Text(limit), f.Count(failed, "1 charge", "%d charges"))
	r.Evidence = append(r.Evidence,
		report.Evidence{Statement: f.Say("a limit of kernel memory is set"), Source: t.KmemLimit.Source, Value: fmt.Sprint(limit)},
		report.Evidence{Statement: f.Say("charges that it refused"), Source: t.KmemFailcnt.Source, Value: fmt.Sprint(failed)})
	if kills, ok := t.Failcnt.Get(); ok && kills == 0 {
		r.Evidence = append(r.Evidence, report.Evidence{Statement: f.Say("the memory limit itself was never reached"), Source: t.Failcnt.Source, Value: "0"})
	}
	r.Evidence = append(r.Evidence, f.slabFailures()...)
	r.Remedies = []report.Remedy{
		{Kind: "limit", Command: f.Say("remove the kernel memory limit (docker --kernel-memory), or raise it"), Cost: f.Say("a new container: it cannot be lifted while tasks run")},
		{Kind: "look", Command: f.Say("memwhy explain -o wide: the slab caches among the holders"), Cost: f.Say("none")},
	}
	return true
}

func (f *facts) kmemRefused() bool {
	limit, ok1 := f.target().KmemLimit.Get()
	failed, ok2 := f.target().KmemFailcnt.Get()
	return ok1 && ok2 && limit >= 0 && limit < size.Unlimited && failed > 0
}

// slabFailures are slab caches of the target that could not grow. The log has only
// the last part of the path, so the caches count only while no other cgroup that is
// known has the same name.
func (f *facts) slabFailures() []report.Evidence {
	name, n, first := path.Base(f.target().Path), int64(0), ""
	for _, g := range f.s.Kmem.Groups.Value {
		if g != f.target().Path && path.Base(g) == name {
			return nil
		}
	}
	for _, l := range f.s.Log.Value.Records {
		if l.Kind == snapshot.LogSlub && l.Slab != nil && l.Slab.Cgroup == name && name != "/" {
			if n++; n == 1 {
				first = l.Slab.Cache
			}
		}
	}
	if n == 0 {
		return nil
	}
	return []report.Evidence{{Statement: f.Say("%s a slab cache of this cgroup could not grow", f.Count(n, "1 time", "%d times")), Source: f.s.Log.Source, Value: first}}
}
