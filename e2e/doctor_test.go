package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// lessen takes away what the environment names before memwhy runs: capabilities
// from the bounding set, and files, by mounting something else over them.
func lessen() {
	runtime.LockOSThread()
	for _, c := range strings.Fields(os.Getenv("MEMWHY_E2E_DROP")) {
		const prCapBsetDrop = 24
		if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prCapBsetDrop, uintptr(number(c)), 0); errno != 0 {
			panic(errno)
		}
	}
	if os.Getenv("MEMWHY_E2E_NO_NEW") != "" {
		const prSetNoNewPrivs = 38
		if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, prSetNoNewPrivs, 1, 0, 0, 0, 0); errno != 0 {
			panic(errno)
		}
	}
	masks := strings.Fields(os.Getenv("MEMWHY_E2E_MASK"))
	if len(masks) > 0 {
		must(syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	}
	for _, m := range masks {
		over, with, _ := strings.Cut(m, "=")
		if st, err := os.Stat(over); err == nil && st.IsDir() {
			must(syscall.Mount("none", over, "tmpfs", 0, ""))
			if name, text, ok := strings.Cut(with, ":"); ok {
				must(os.WriteFile(filepath.Join(over, name), []byte(text+"\n"), 0o644))
			}
			continue
		} else if err != nil {
			continue // it is not there anyway
		}
		must(syscall.Mount("/dev/null", over, "", syscall.MS_BIND, ""))
	}
	if uid := os.Getenv("MEMWHY_E2E_UID"); uid != "" {
		must(syscall.Setgroups(nil))
		must(syscall.Setgid(number(uid)))
		must(syscall.Setuid(number(uid)))
	}
}

type doctor struct {
	Schema, Summary string
	User            struct {
		UID                 *int
		Capabilities, Lacks []string
	}
	Sources []struct {
		ID, State, Why, Shows string
		How                   []string
	}
	Facts []struct{ ID, Value, Means string }
}

func (d doctor) state(id string) string {
	for _, s := range d.Sources {
		if s.ID == id {
			return s.State
		}
	}
	return "not there"
}

func (d doctor) words(id string) string {
	for _, s := range d.Sources {
		if s.ID == id {
			return s.Why + "\n" + strings.Join(s.How, "\n")
		}
	}
	return ""
}

func (d doctor) means(id string) string {
	for _, f := range d.Facts {
		if f.ID == id {
			return f.Value + "\n" + f.Means
		}
	}
	return ""
}

// less runs memwhy with less than it has here. env is NAME=VALUE of lessen.
func less(t *testing.T, flags uintptr, env []string, args ...string) result {
	t.Helper()
	public(t)
	for _, e := range append(env, "LESS="+binary) {
		name, value, _ := strings.Cut(e, "=")
		t.Setenv("MEMWHY_E2E_"+name, value)
	}
	real := binary
	binary = os.Args[0]
	defer func() { binary = real }()
	attr := &syscall.SysProcAttr{Cloneflags: flags}
	if flags&syscall.CLONE_NEWUSER != 0 {
		ids := []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		attr.UidMappings, attr.GidMappings = ids, ids
	}
	return runAs(t, attr, args...)
}

// Whatever is taken away, a doctor says so, names what would bring it back, and
// explains what is left; nothing hangs or crashes.
func TestDoctor(t *testing.T) {
	h := memory(t)
	cgroup, dir := h.group(t, unique("doctor"))
	h.join(t, dir, actor(t, "sleeper").Process.Pid)
	const admin, ptrace, perfmon, bpf = "21", "19", "38", "39"
	var all []string
	for c := range 41 {
		all = append(all, strconv.Itoa(c))
	}
	for name, c := range map[string]struct {
		flags   uintptr
		env     []string
		refused string // sources, and a word of why or how
		ok      string
		fact    string // and a word of it
		needs   string // a path
	}{
		"root":                   {ok: "cgroup files slabinfo heaps"},
		"without CAP_SYS_ADMIN":  {env: []string{"DROP=" + admin}, refused: "bpf=CAP_SYS_ADMIN", ok: "cgroup slabinfo"},
		"without BPF, PERFMON":   {env: []string{"DROP=" + bpf + " " + perfmon}, ok: "cgroup files"},
		"without ADMIN or BPF":   {env: []string{"DROP=" + admin + " " + bpf + " " + perfmon}, refused: "bpf=SYS_ADMIN"},
		"without CAP_SYS_PTRACE": {env: []string{"DROP=" + ptrace}, refused: "heaps=CAP_SYS_PTRACE", ok: "cgroup bpf kpage"},
		"without any right":      {env: []string{"DROP=" + strings.Join(all, " ")}, refused: "bpf=SYS_ADMIN", ok: "cgroup"},
		"nobody":                 {env: []string{"UID=65534"}, refused: "bpf=as_root kpage=as_root processes=setcap heaps=setcap slabinfo=as_root", ok: "cgroup"},
		"nobody, for ever":       {env: []string{"UID=65534", "NO_NEW=1"}, refused: "bpf=docker", ok: "cgroup"},
		"a user namespace":       {flags: syscall.CLONE_NEWUSER, refused: "bpf=hostUsers", ok: "cgroup", fact: "user namespace=another"},
		"a pid namespace":        {flags: syscall.CLONE_NEWPID, ok: "cgroup", fact: "pid namespace=hostPID"},
		"a cgroup namespace":     {flags: 0x02000000, ok: "cgroup", fact: "cgroup namespace=cgroupns"},
		"a masked /proc": {
			flags: syscall.CLONE_NEWNS, env: []string{"MASK=/proc/kpageflags /proc/kcore /proc/iomem /proc/slabinfo /proc/pressure"}, ok: "cgroup",
		},
		"masked type information": {flags: syscall.CLONE_NEWNS, env: []string{"MASK=/sys/kernel/btf"}, ok: "cgroup kpage"},
		"lockdown": {
			flags: syscall.CLONE_NEWNS, env: []string{"MASK=/sys/kernel/security=lockdown:[confidentiality]"},
			refused: "bpf=lockdown", ok: "kpage", fact: "lockdown=confidentiality", needs: "/sys/kernel/security",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(c.needs); c.needs != "" && err != nil {
				t.Skipf("nothing to mount something over: %v", err)
			}
			r := less(t, c.flags, c.env, "doctor", "-o", "json").want(t, 0)
			var d doctor
			if err := json.Unmarshal([]byte(r.out), &d); err != nil {
				t.Fatal(err)
			}
			t.Log(d.Summary)
			for _, s := range d.Sources {
				if s.State != "ok" {
					t.Logf("%s %s: %s", s.ID, s.State, s.Why)
				}
			}
			if d.Schema != "memwhy.doctor/v1" || len(d.Sources) < 8 || d.Summary == "" || d.User.UID == nil {
				t.Errorf("%s", r.out)
			}
			for _, pair := range strings.Fields(c.refused) {
				id, word, _ := strings.Cut(pair, "=")
				if d.state(id) != "refused" || !strings.Contains(d.words(id), strings.ReplaceAll(word, "_root", " root")) {
					t.Errorf("%s: %s, %s", id, d.state(id), d.words(id))
				}
				if strings.HasPrefix(d.Summary, "Everything") {
					t.Errorf("%q", d.Summary)
				}
			}
			for id := range strings.FieldsSeq(c.ok) {
				if d.state(id) != "ok" {
					t.Errorf("%s: %s, %s", id, d.state(id), d.words(id))
				}
			}
			if id, word, ok := strings.Cut(c.fact, "="); ok && !strings.Contains(d.means(id), word) {
				t.Errorf("%s: %s", id, d.means(id))
			}
			if strings.Contains(name, "masked type") && d.state("bpf") != "absent" {
				t.Errorf("bpf: %s", d.state("bpf"))
			}
			if strings.Contains(name, "masked /proc") && (d.state("kpage") == "ok" || d.state("slabinfo") == "ok" || d.state("psi") == "ok") {
				t.Errorf("%s", r.out)
			}
			if strings.Contains(c.refused, "bpf=") { // an answer without it is quick
				text := less(t, c.flags, c.env, "doctor").want(t, 0).out
				checkScreen(t, text)
				// On a slow machine another source may have failed for want of time.
				if first, _, _ := strings.Cut(text, "\n"); !strings.Contains(first, "sources refuse: run it") {
					t.Errorf("the first line is no answer: %q", first)
				}
				// An explanation is there all the same, and says what a right would add.
				r = less(t, c.flags, c.env, "explain", cgroup, "-o", "json").want(t, 0)
				if !strings.Contains(r.out, `"page census`) {
					t.Errorf("the census that was refused is not among what was not seen: %.3000s", r.out)
				}
			}
		})
	}
	checkScreen(t, run(t, "doctor").want(t, 0).out)
	run(t, "doctor", "--from", "x").want(t, 2)
	run(t, "doctor", "x").want(t, 2)
}
