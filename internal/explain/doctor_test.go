package explain

import (
	"slices"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

func got[T any](v T) snapshot.Reading[T] {
	return snapshot.Reading[T]{State: snapshot.Present, Value: v}
}

// access is what root on the node itself sees.
func access() *snapshot.Access {
	a := &snapshot.Access{
		Mode: "v2", Own: got(snapshot.Credentials{Effective: 1<<41 - 1, Bounding: 1<<41 - 1}), UIDs: got([]byte("0 0 4294967295\n")),
		User: got(firstUserNS), PID: got(firstPIDNS), Group: got(firstGroupNS), First: got(snapshot.Status{}),
		Lockdown: got([]byte("[none] integrity confidentiality\n")),
	}
	a.Host.Kernel = got("6.12.1")
	for _, s := range doctorSources {
		a.Trials = append(a.Trials, snapshot.Trial{ID: s.id, State: snapshot.Present})
	}
	return a
}

func change(a *snapshot.Access, id string, t snapshot.Trial) {
	t.ID = id
	for i := range a.Trials {
		if a.Trials[i].ID == id {
			a.Trials[i] = t
		}
	}
}

func TestDoctor(t *testing.T) {
	denied := func(why string) snapshot.Trial { return snapshot.Trial{State: snapshot.Denied, Err: why} }
	without := func(a *snapshot.Access, capability int) { a.Own.Value.Effective &^= 1 << capability }
	for name, c := range map[string]struct {
		change  func(*snapshot.Access)
		summary string
		id, how string
	}{
		"all": {func(*snapshot.Access) {}, "Everything can be seen here.", "", ""},
		"no rights": {func(a *snapshot.Access) {
			a.Own.Value.UID, a.Own.Value.Effective = 1000, 0
			change(a, snapshot.TryBPF, denied("capabilities: needs CAP_SYS_ADMIN"))
			change(a, snapshot.TryKpage, denied("/proc/kpageflags"))
		}, "2 of 10 sources refuse: run it as root.", snapshot.TryBPF, "setcap cap_sys_admin+ep"},
		"no new rights": {func(a *snapshot.Access) {
			a.Own.Value.UID, a.Own.Value.Effective, a.Own.Value.NoNewPrivs = 1000, 0, true
			change(a, snapshot.TryKmsg, denied("x"))
		}, "1 of 10 sources refuse: run it as root.", snapshot.TryKmsg, "--cap-add SYSLOG"},
		"two rights": {func(a *snapshot.Access) {
			without(a, snapshot.CapSysAdmin)
			without(a, snapshot.CapSysPtrace)
			change(a, snapshot.TryBPF, denied("capabilities"))
			change(a, snapshot.TryProcesses, denied("9 of 9"))
		}, "2 of 10 sources refuse: run it with CAP_SYS_PTRACE, CAP_SYS_ADMIN.", snapshot.TryProcesses, "capabilities.add: [SYS_PTRACE]"},
		"a right that does not help": {func(a *snapshot.Access) {
			change(a, snapshot.TryProcesses, denied("9 of 9"))
		}, "1 of 10 sources refuse.", snapshot.TryProcesses, "security module"},
		"lockdown": {func(a *snapshot.Access) {
			a.Lockdown.Value = []byte("none integrity [confidentiality]\n")
			change(a, snapshot.TryBPF, denied("lockdown: confidentiality mode"))
		}, "1 of 10 sources refuse: run it on a kernel without", snapshot.TryBPF, "boot without lockdown"},
		"no type information": {func(a *snapshot.Access) {
			change(a, snapshot.TryBPF, snapshot.Trial{State: snapshot.Absent, Err: "type information: needs /sys/kernel/btf/vmlinux"})
		}, "nothing refuses, 1 of 10 sources are absent.", snapshot.TryBPF, "CONFIG_DEBUG_INFO_BTF"},
		"no lifting of limits": {func(a *snapshot.Access) {
			without(a, snapshot.CapSysResource)
			change(a, snapshot.TryBPF, denied("load: lift RLIMIT_MEMLOCK: operation not permitted"))
		}, "run it with CAP_SYS_RESOURCE.", snapshot.TryBPF, "SYS_RESOURCE"},
		"a filter": {func(a *snapshot.Access) {
			a.Own.Value.Seccomp = true
			change(a, snapshot.TryBPF, denied("load: operation not permitted"))
		}, "with a seccomp profile that allows bpf(2).", snapshot.TryBPF, "seccompProfile"},
		"debuggers forbidden": {func(a *snapshot.Access) {
			change(a, snapshot.TryHeaps, denied("none of 9: kernel.yama.ptrace_scope is 3"))
		}, "1 of 10 sources refuse: run it on a node where", snapshot.TryHeaps, "nothing undoes it"},
		"a user namespace": {func(a *snapshot.Access) {
			a.User.Value = "user:[4026532254]"
			change(a, snapshot.TryBPF, denied("load: lift RLIMIT_MEMLOCK"))
		}, "1 of 10 sources refuse: run it in the node's own user namespace.", snapshot.TryBPF, "hostUsers"},
		"a user namespace that does not say so": {func(a *snapshot.Access) {
			a.User, a.UIDs.Value = snapshot.Reading[string]{}, []byte("0 100000 65536\n")
			change(a, snapshot.TryKmsg, denied("x"))
		}, "run it in the node's own user namespace.", snapshot.TryKmsg, "--userns=host"},
		"a pid namespace": {func(a *snapshot.Access) { a.PID.Value = "pid:[1]" }, "Nothing refuses, but a namespace hides a part of the node: see below.", "", ""},
		"a part": {func(a *snapshot.Access) {
			change(a, snapshot.TryProcesses, snapshot.Trial{State: snapshot.Present, Part: true, Notes: []words.Text{words.Later("1 of 9")}})
		}, "Nothing refuses as a whole, but something does in part: see below.", "", ""},
		"no device": {func(a *snapshot.Access) {
			change(a, snapshot.TryKmsg, snapshot.Trial{State: snapshot.Absent, Err: "/dev/kmsg"})
		}, "are absent.", snapshot.TryKmsg, "--device /dev/kmsg"},
		"nothing": {func(a *snapshot.Access) { *a = snapshot.Access{} }, "Nothing could be tried.", "", ""},
	} {
		a := access()
		c.change(a)
		d := Doctor(words.Printer{}, a)
		if name == "nothing" { // no panic, and nobody's rights are made up
			if d.User.UID != nil || len(d.User.Capabilities) != 0 || d.Cgroups != "none" {
				t.Errorf("%+v", d.User)
			}
		}
		if !strings.Contains(d.Summary, c.summary) {
			t.Errorf("%s: %q", name, d.Summary)
		}
		i := slices.IndexFunc(d.Sources, func(s report.DoctorSource) bool { return s.ID == c.id })
		if c.id == "" {
			continue
		}
		if how := strings.Join(d.Sources[i].How, "\n"); !strings.Contains(how, c.how) || d.Sources[i].State == "ok" {
			t.Errorf("%s: %+v", name, d.Sources[i])
		}
		if name == "no new rights" && strings.Contains(strings.Join(d.Sources[i].How, "\n"), "setcap") {
			t.Errorf("%s: %+v", name, d.Sources[i])
		}
	}
}
