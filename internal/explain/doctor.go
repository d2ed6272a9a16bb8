package explain

import (
	"cmp"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// doctorSources are the sources that a doctor names, in their order, and what
// each tells.
var doctorSources = []struct{ id, shows string }{
	{snapshot.TryCgroup, words.Key("usage, limits and accounts of every container")},
	{snapshot.TryProcesses, words.Key("who holds memory: mappings, open and deleted files")},
	{snapshot.TryHeaps, words.Key("what the heaps of Go, the JVM and glibc hold and do not use")},
	{snapshot.TryBPF, words.Key("every cached file, slab cache and removed cgroup, by page")},
	{snapshot.TryKcore, words.Key("the same as bpf, where that is refused: --census kcore")},
	{snapshot.TryKpage, words.Key("memory by class and live cgroup, no files: --census kpage")},
	{snapshot.TryFiles, words.Key("what is cached of the files that processes reach")},
	{snapshot.TrySlabinfo, words.Key("the node's slab by cache")},
	{snapshot.TryPSI, words.Key("how long tasks waited for memory")},
	{snapshot.TryKmsg, words.Key("OOM kills of the past: memwhy oom list")},
}

// capabilities are those that a source may need.
var capabilities = []struct {
	bit  int
	name string
}{
	{snapshot.CapSysAdmin, "SYS_ADMIN"},
	{snapshot.CapSysPtrace, "SYS_PTRACE"},
	{snapshot.CapSyslog, "SYSLOG"},
	{snapshot.CapSysRawIO, "SYS_RAWIO"},
	{snapshot.CapSysResource, "SYS_RESOURCE"},
	{snapshot.CapDACOverride, "DAC_OVERRIDE"},
	{snapshot.CapFowner, "FOWNER"},
	{snapshot.CapCheckpointRestore, "CHECKPOINT_RESTORE"},
	{snapshot.CapBPF, "BPF"},
	{snapshot.CapPerfmon, "PERFMON"},
}

// The numbers of the first namespaces (linux include/linux/proc_ns.h).
const (
	firstGroupNS = "cgroup:[4026531835]"
	firstPIDNS   = "pid:[4026531836]"
	firstUserNS  = "user:[4026531837]"
)

// Doctor says what may be seen here, what not, and what would change that.
func Doctor(p words.Printer, a *snapshot.Access) *report.Doctor {
	d := &doctor{Printer: p, a: a, r: &report.Doctor{
		Schema: report.DoctorSchema, Lang: p.Lang(), Cgroups: cmp.Or(a.Mode, "none"), Sources: []report.DoctorSource{}, Facts: []report.DoctorFact{},
		User: report.DoctorUser{Capabilities: []string{}, Lacks: []string{}},
	}}
	d.r.Kernel, _ = name(a.Host.Kernel.Value)
	if own, ok := a.Own.Get(); ok {
		d.r.User.UID = &own.UID
		for _, c := range capabilities {
			if own.Has(c.bit) {
				d.r.User.Capabilities = append(d.r.User.Capabilities, "CAP_"+c.name)
			} else {
				d.r.User.Lacks = append(d.r.User.Lacks, "CAP_"+c.name)
			}
		}
	}
	for _, s := range doctorSources {
		i := slices.IndexFunc(a.Trials, func(t snapshot.Trial) bool { return t.ID == s.id })
		if i >= 0 {
			d.source(a.Trials[i], s.shows)
		}
	}
	d.facts()
	d.r.Summary = d.summary()
	return d.r
}

type doctor struct {
	words.Printer
	a *snapshot.Access
	r *report.Doctor

	remedies []string // for the summary, each once
	lacks    []string // capabilities, for the summary
	part     bool     // a source tells a part only
}

func (d *doctor) source(t snapshot.Trial, shows string) {
	s := report.DoctorSource{ID: t.ID, State: "ok", Shows: d.Of(shows), How: []string{}}
	s.Why, _ = name(cmp.Or(d.Of(t.Err), strings.Join(told(d.Printer, t.Notes), "; ")))
	switch t.State {
	case snapshot.Denied:
		s.State = "refused"
	case snapshot.Absent:
		s.State = "absent"
	case snapshot.Failed:
		s.State = "failed"
	}
	if s.State != "ok" {
		s.How = append(s.How, d.how(t)...)
	}
	d.part = d.part || t.Part
	d.r.Sources = append(d.r.Sources, s)
}

// how is what makes a source answer.
func (d *doctor) how(t snapshot.Trial) []string {
	denied := t.State == snapshot.Denied
	switch {
	case t.ID == snapshot.TryBPF && strings.Contains(t.Err, "lockdown"):
		return d.only(d.Say("on a kernel without lockdown=confidentiality"), d.Say("boot without lockdown=confidentiality"))
	case strings.Contains(t.Err, "/sys/kernel/btf"):
		return []string{d.Say("a kernel with CONFIG_DEBUG_INFO_BTF=y, and /sys not hidden")}
	case denied && d.inner():
		return d.only(d.Say("in the node's own user namespace"),
			d.Say("run it in the node's own user namespace"), d.Say("docker run --userns=host; podman as root"), "kubernetes: hostUsers: true")
	case denied && t.ID == snapshot.TryHeaps && strings.Contains(t.Err, "ptrace_scope is 3"):
		return d.only(d.Say("on a node where kernel.yama.ptrace_scope was not set to 3"), d.Say("boot without kernel.yama.ptrace_scope=3: nothing undoes it"))
	case denied && (t.ID == snapshot.TryProcesses || t.ID == snapshot.TryHeaps):
		return d.need(snapshot.CapSysPtrace)
	case denied && t.ID == snapshot.TryKmsg:
		return append(d.need(snapshot.CapSyslog), d.Say("or: sysctl kernel.dmesg_restrict=0"))
	case denied && t.ID == snapshot.TryBPF && !d.has(snapshot.CapSysAdmin):
		return d.need(snapshot.CapSysAdmin)
	case denied && t.ID == snapshot.TryBPF && strings.Contains(t.Err, "MEMLOCK"):
		return d.need(snapshot.CapSysResource)
	case denied && t.ID == snapshot.TryBPF && d.a.Own.Value.Seccomp:
		return d.only(d.Say("with a seccomp profile that allows bpf(2)"),
			d.Say("allow bpf(2) in the seccomp profile"), "docker run --security-opt seccomp=unconfined", "kubernetes: securityContext.seccompProfile.type: Unconfined")
	case denied && t.ID == snapshot.TryKcore && !d.has(snapshot.CapSysRawIO):
		return d.need(snapshot.CapSysRawIO)
	case denied && t.ID == snapshot.TryKcore && !d.has(snapshot.CapSysAdmin):
		return d.need(snapshot.CapSysAdmin)
	case denied && t.ID == snapshot.TryKcore:
		return []string{d.Say("boot without lockdown, or do not mask /proc: docker run --security-opt systempaths=unconfined"), "kubernetes: securityContext.procMount: Unmasked"}
	case denied && t.ID == snapshot.TryFiles:
		return d.need(snapshot.CapFowner)
	case denied:
		return d.need(snapshot.CapDACOverride)
	case t.ID == snapshot.TryKmsg && t.State == snapshot.Absent:
		return []string{d.Say("show it the device"), "docker run --device /dev/kmsg", d.Say("kubernetes: a hostPath volume of /dev/kmsg")}
	case t.ID == snapshot.TryPSI:
		return []string{d.Say("boot with psi=1, on a kernel with CONFIG_PSI=y")}
	case t.ID == snapshot.TryCgroup:
		return []string{d.Say("mount the memory controller, or name the node's root with --host-root")}
	}
	return nil
}

func (d *doctor) remedy(s string) {
	if !slices.Contains(d.remedies, s) {
		d.remedies = append(d.remedies, s)
	}
}

func (d *doctor) only(short string, how ...string) []string {
	d.remedy(short)
	return how
}

func (d *doctor) has(capability int) bool { return d.a.Own.Value.Has(capability) }

// inner reports whether this process is in another user namespace than the
// node's own, where its rights are its own affair.
func (d *doctor) inner() bool {
	if u, ok := d.a.User.Get(); ok {
		return u != firstUserNS
	}
	uids, ok := d.a.UIDs.Get()
	f := strings.Fields(string(uids))
	return ok && (len(f) != 3 || f[2] != "4294967295")
}

// need is how to get a capability.
func (d *doctor) need(capability int) []string {
	if d.has(capability) {
		return []string{d.Say("the right is there: a security module, a device cgroup or a seccomp filter refuses")}
	}
	i := slices.IndexFunc(capabilities, func(c struct {
		bit  int
		name string
	},
	) bool {
		return c.bit == capability
	})
	c := capabilities[i].name
	own := d.a.Own.Value
	var how []string
	if own.UID != 0 && own.Effective == 0 {
		d.remedy(d.Say("as root"))
		how = append(how, d.Say("run it as root"))
	} else {
		if !slices.Contains(d.lacks, "CAP_"+c) {
			d.lacks = append(d.lacks, "CAP_"+c)
		}
		how = append(how, d.Say("run it with %s", "CAP_"+c))
	}
	if own.UID != 0 && own.Bounding>>capability&1 == 1 && !own.NoNewPrivs {
		how = append(how, "sudo setcap cap_"+strings.ToLower(c)+"+ep memwhy")
	}
	return append(how, "docker run --cap-add "+c, "kubernetes: securityContext.capabilities.add: ["+c+"]")
}

func (d *doctor) summary() string {
	refused, absent := 0, 0
	for _, s := range d.r.Sources {
		switch s.State {
		case "refused", "failed":
			refused++
		case "absent":
			absent++
		}
	}
	all := len(d.r.Sources)
	switch {
	case all == 0:
		return d.Say("Nothing could be tried.")
	case refused == 0 && d.narrow():
		return d.Say("Nothing refuses, but a namespace hides a part of the node: see below.")
	case refused == 0 && d.part:
		return d.Say("Nothing refuses as a whole, but something does in part: see below.")
	case refused == 0 && absent == 0:
		return d.Say("Everything can be seen here.")
	case refused == 0:
		return d.Say("Everything that is here can be seen: nothing refuses, %d of %d sources are absent.", absent, all)
	case len(d.remedies)+len(d.lacks) == 0:
		return d.Say("%d of %d sources refuse.", refused, all)
	}
	how := slices.Clone(d.remedies)
	if len(d.lacks) > 0 {
		how = append(how, d.Say("with %s", d.Join(d.lacks)))
	}
	return d.Say("%d of %d sources refuse: run it %s.", refused, all, d.Join(how))
}

// narrow reports whether a namespace hides a part of the node.
func (d *doctor) narrow() bool {
	return slices.ContainsFunc(d.r.Facts, func(f report.DoctorFact) bool { return f.Means != "" && strings.HasSuffix(f.ID, "namespace") })
}

func (d *doctor) facts() {
	fact := func(id, value, means string) {
		value, _ = name(value)
		d.r.Facts = append(d.r.Facts, report.DoctorFact{ID: id, Value: value, Means: means})
	}
	for _, n := range []struct {
		id    string
		r     snapshot.Reading[string]
		first string
		means string
	}{
		{"user namespace", d.a.User, firstUserNS, d.Say("rights here count for nothing that belongs to the node")},
		{"pid namespace", d.a.PID, firstPIDNS, d.Say("only its own processes are seen: docker run --pid=host, kubernetes hostPID: true")},
		{"cgroup namespace", d.a.Group, firstGroupNS, d.Say("only the cgroups below its own are seen: docker run --cgroupns=host")},
	} {
		ns, ok := n.r.Get()
		switch {
		case !ok:
			fact(n.id, d.Say("unknown: %s", d.Of(n.r.Err)), "")
		case ns == n.first:
			fact(n.id, d.Say("the node's own"), "")
		default:
			fact(n.id, d.Say("another: %s", ns), n.means)
		}
	}
	switch d.a.First.State {
	case snapshot.Denied, snapshot.Absent:
		fact("hidepid", d.Say("process 1 is hidden"), d.Say("/proc is mounted with hidepid: processes of others are not seen"))
	default:
		fact("hidepid", d.Say("no"), "")
	}
	switch b, ok := d.a.Lockdown.Get(); {
	case !ok:
		fact("lockdown", d.Say("none: %s", d.Of(d.a.Lockdown.Err)), "")
	case strings.Contains(string(b), "[confidentiality]"):
		fact("lockdown", "confidentiality", d.Say("no kernel memory may be read: no page census by BPF"))
	default:
		fact("lockdown", strings.TrimSpace(string(b)), "")
	}
	if d.a.Own.Value.Seccomp {
		fact("seccomp", d.Say("a filter"), d.Say("system calls may be refused that rights alone would allow"))
	}
	if len(d.a.Kdamonds) > 0 {
		fact("damon", d.Join(d.a.Kdamonds), d.Say("this thread may evict cold cache while memory is free"))
	} else {
		fact("damon", d.Say("no kdamond is seen"), "")
	}
}
