package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What these tests look at of memwhy.oom/v1.
type oomMessage struct {
	Schema  string
	Records []struct {
		Kind, Summary, LimitOwner, LimitKind, Outcome string
		UsageBytes, LimitBytes                        *int64
		Truncated                                     bool
		Victims                                       []struct{ Comm, Memcg string }
	}
	BytesRead, LinesRead int64
}

// A kill made here is found in this kernel's own log: whose limit it was, and who
// died.
func TestOOMListFindsTheLabsKill(t *testing.T) {
	tr, _, stop := lab(t, "oom-victim")
	defer stop()
	name := filepath.Base(tr.Cgroup)
	r := run(t, "oom", "list", "-o", "json")
	if r.code == 3 {
		t.Skipf("the kernel's log is not readable here: %s", r.err)
	}
	r.want(t, 0)
	var m oomMessage
	if err := json.Unmarshal([]byte(r.out), &m); err != nil || m.Schema != "memwhy.oom/v1" || m.BytesRead == 0 {
		t.Fatalf("%v: %.200s", err, r.out)
	}
	for _, rec := range m.Records {
		if filepath.Base(rec.LimitOwner) != name {
			continue
		}
		if rec.Kind != "memcg" || rec.Outcome != "killed" || rec.Truncated || rec.LimitKind != "memory" || rec.UsageBytes == nil || rec.LimitBytes == nil ||
			len(rec.Victims) == 0 || rec.Victims[0].Comm != "memwhy" || filepath.Base(rec.Victims[0].Memcg) != name {
			t.Errorf("%+v", rec)
		}
		if out := run(t, "oom", "list", "-o", "json", "--redact").want(t, 0).out; strings.Contains(out, name) {
			t.Error("--redact shows the cgroup")
		}
		return
	}
	t.Errorf("no record of %s among %d", name, len(m.Records))
}

func TestOOMWithoutTheRight(t *testing.T) {
	if b, err := os.ReadFile("/proc/sys/kernel/dmesg_restrict"); err != nil || strings.TrimSpace(string(b)) != "1" {
		if st, err := os.Stat("/dev/kmsg"); err != nil || st.Mode().Perm()&0o004 != 0 {
			t.Skip("everybody may read the kernel's log here")
		}
	}
	attr := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	runAs(t, attr, "oom", "list").want(t, 3, "not permitted", "would show", "oom parse FILE")
}

func TestOOMParse(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	if err := os.WriteFile(log, []byte("[1.000000] Out of memory: Killed process 7 (a\x1b[2J) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"text", "wide", "json", "yaml"} {
		if r := run(t, "oom", "parse", log, "-o", format).want(t, 0); strings.Contains(r.out, "\x1b") || !strings.Contains(r.out, "7") {
			t.Errorf("%s: %q", format, r.out)
		}
	}
	run(t, "oom", "parse").want(t, 2)
	run(t, "oom", "parse", log, log).want(t, 2)
	run(t, "oom", "parse", log, "-o", "xml").want(t, 2)
	run(t, "oom", "parse", log, "--page-size", "5000").want(t, 2)
	run(t, "oom", "parse", filepath.Join(dir, "none")).want(t, 2)
	run(t, "oom", "parse", dir).want(t, 2, "directory")
	run(t, "oom", "list", "--host-root", dir).want(t, 3)
	run(t, "oom", "what").want(t, 2)
	start := time.Now()
	if r := run(t, "oom", "parse", "/dev/null").want(t, 0); !strings.Contains(r.out, "No OOM kill") || time.Since(start) > 5*time.Second {
		t.Errorf("%q", r.out)
	}
}
