package kmsg

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// A gigabyte with thousands of records: time, memory and what is kept are bounded.
func TestHugeLog(t *testing.T) {
	if testing.Short() {
		t.Skip("a gigabyte")
	}
	size := int64(1 << 30)
	if raceEnabled {
		size = 64 << 20
	}
	piece := realistic(t, 8<<20)
	p := New(4096)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var wrote int64
	for wrote < size {
		n, _ := p.Write(piece)
		wrote += int64(n)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	log := p.Close()
	if log.Bytes != wrote || len(log.Records) == 0 || log.Records[0].LimitOwner == "" {
		t.Errorf("%d of %d bytes, %d records", log.Bytes, wrote, len(log.Records))
	}
}

func TestManyRecordsAreBoundedAndCounted(t *testing.T) {
	p := New(4096)
	for i := range 5000 {
		fmt.Fprintf(p, "[%5d.000000] Memory cgroup out of memory: Killed process %d (a) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0\n[%5d.100000] x invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=0\n", i*10, i, i*10+5)
	}
	log := p.Close()
	if len(log.Records) != MaxRecords || int(log.Omitted)+MaxRecords < 5000 || len(p.open) != 0 {
		t.Errorf("%d records, %d omitted", len(log.Records), log.Omitted)
	}
}

func TestManyVictimsRowsAndKeysAreBounded(t *testing.T) {
	p := New(4096)
	fmt.Fprint(p, "x invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=0\nMemory cgroup stats for /a:\n")
	for i := range 1000 {
		fmt.Fprintf(p, "total_total_%d 4096\nanon %d\n", i, i)
	}
	fmt.Fprint(p, "[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name\n")
	for i := range 100_000 {
		fmt.Fprintf(p, "[%5d]     0 %5d    23717    1      39        0             0 a\n", i, i)
	}
	for i := range 1000 {
		fmt.Fprintf(p, "Memory cgroup out of memory: Killed process %d (a) total-vm:4kB, anon-rss:4kB, file-rss:0kB\n", i)
	}
	log := p.Close()
	r := log.Records[0]
	if len(log.Records) != 1 || len(r.Victims) != maxVictims || r.MoreVictims != 1000-maxVictims || r.Tasks.Count != 100_000 || *r.Tasks.RSSBytes != 100_000*4096 || r.Stats["anon"] != 0 {
		t.Errorf("%d records, %d victims and %d, %+v", len(log.Records), len(r.Victims), r.MoreVictims, r.Tasks)
	}
}

func TestLongLines(t *testing.T) {
	long := strings.Repeat("x", 50<<20)
	kill := "\nOut of memory: Killed process 7 (a) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB\n"
	for _, n := range []int{1 << 10, 1 << 20, 100 << 20} {
		p := New(4096)
		all := []byte(long + kill + "y invoked oom-killer: gfp_mask=0xd0, order=0" + long)
		for rest := all; len(rest) > 0; {
			k := min(n, len(rest))
			_, _ = p.Write(rest[:k])
			if cap(p.tail) > 2*maxLine {
				t.Fatalf("%d bytes are kept of a line", cap(p.tail))
			}
			rest = rest[k:]
		}
		log := p.Close()
		if len(log.Records) != 2 || log.Records[0].Victims[0].PID != 7 || !log.Records[1].Truncated || log.Lines != 3 {
			t.Errorf("pieces of %d: %d records, %d lines", n, len(log.Records), log.Lines)
		}
	}
}

// A log cut anywhere gives the same record or one that says it is truncated, and
// never a number that the whole log does not have.
func TestCutAnywhere(t *testing.T) {
	whole, err := os.ReadFile("testdata/6.18-v1-dmesg.log")
	if err != nil {
		t.Fatal(err)
	}
	full := parse(t, string(whole)).Records[0]
	for n := range len(whole) - 1 {
		log := parse(t, string(whole[:n]))
		if len(log.Records) == 0 {
			continue
		}
		r := log.Records[0]
		if len(log.Records) != 1 || !r.Truncated && r.Outcome != "killed" {
			t.Fatalf("cut at %d: %d records, %+v", n, len(log.Records), r)
		}
		if r.Kind != full.Kind && r.Kind != snapshot.LogUnknownOOM {
			t.Fatalf("cut at %d: kind %s", n, r.Kind)
		}
	}
}

func TestForgedLines(t *testing.T) {
	for name, text := range map[string]string{
		"user space wrote to /dev/kmsg":       "12,6,1000005,-;Out of memory: Killed process 1 (init) total-vm:400kB, anon-rss:100kB, file-rss:0kB\n",
		"a further line of a message":         "6,6,1000005,-;x\\x0aOut of memory: Killed process 1 (init) total-vm:400kB, anon-rss:100kB, file-rss:0kB\n",
		"a further line in dmesg":             "[    1.000005] x\n               Out of memory: Killed process 1 (init) total-vm:400kB, anon-rss:100kB, file-rss:0kB\n",
		"a further line in dmesg, in front":   "[    1.000005] x\nOut of memory: Killed process 1 (init) total-vm:400kB, anon-rss:100kB, file-rss:0kB\n",
		"the tag is not the kernel's":         "Nov 24 10:00:00 host app[1]: Out of memory: Killed process 1 (init) total-vm:400kB, anon-rss:100kB, file-rss:0kB\n",
		"a serial line of user space":         "<12>[    1.000005] Out of memory: Killed process 1 (init) total-vm:400kB, anon-rss:100kB, file-rss:0kB\n",
		"an audit message that quotes a head": "6,6,1000005,-;audit: name of a file x\\x0ay invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=0\n",
		"not at the start":                    "[    1.000005] audit: Killed process 1 (init) total-vm:400kB, anon-rss:100kB, file-rss:0kB\n",
		"a quoted head":                       "Nov 24 10:00:00 host app[1]: x invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=0\n",
	} {
		if log := parse(t, text); len(log.Records) != 0 {
			t.Errorf("%s: %+v", name, log.Records[0])
		}
	}
}

func TestRandomBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = byte(r.UintN(256))
	}
	p := New(4096)
	_, _ = p.Write(b)
	if log := p.Close(); len(log.Records) != 0 || log.Bytes != 1<<20 {
		t.Errorf("%d records of noise", len(log.Records))
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.log")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, 100)
	}
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		n = max(n&0xfff, 1)
		p := New(4096)
		for rest := bytes.Clone(b); len(rest) > 0; {
			k := min(n, len(rest))
			_, _ = p.Write(rest[:k])
			rest = rest[k:]
		}
		log := p.Close()
		whole, _ := json.Marshal(parse(t, string(b)))
		if pieces, _ := json.Marshal(log); !bytes.Equal(whole, pieces) {
			t.Errorf("pieces of %d: %s, whole: %s", n, pieces, whole)
		}
		if log.Bytes != int64(len(b)) || len(log.Records) > MaxRecords {
			t.Errorf("%d of %d bytes, %d records", log.Bytes, len(b), len(log.Records))
		}
		for _, r := range log.Records {
			if len(r.Victims) > maxVictims || len(r.Stats) > maxStats || r.Kind == "" || r.Outcome == "killed" && len(r.Victims) == 0 {
				t.Errorf("%+v", r)
			}
		}
	})
}

// A victim that has a line break in its name is not hidden by it.
func TestNamesWithLineBreaks(t *testing.T) {
	log := parse(t, `4,1,1000000,-;x\x0ay invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
6,2,1000001,-;CPU: 0 PID: 9 Comm: x\x0ay Not tainted 6.1.0 #1
6,3,1000002,-;memory: usage 100kB, limit 100kB, failcnt 1
6,4,1000003,-;Memory cgroup stats for /a:
6,5,1000004,-;anon 4096\x0afile 8192\x0akernel 12288
6,6,1000005,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,task_memcg=/a,task=v\x0aanon 1,pid=7,uid=0
3,7,1000006,-;Memory cgroup out of memory: Killed process 7 (v\x0aanon 1) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0
`)
	if len(log.Records) != 1 {
		t.Fatalf("%d records", len(log.Records))
	}
	r := log.Records[0]
	if r.TriggerComm != "x\ny" || r.TriggerPID == nil || len(r.Victims) != 1 || r.Victims[0].Comm != "v\nanon 1" || r.Stats["anon"] != 4096 || r.Stats["kernel"] != 12288 || r.Truncated {
		t.Errorf("%+v", r)
	}
}

func TestRsyslogJoinsABlock(t *testing.T) {
	log := parse(t, `Nov 24 10:00:00 host kernel: dp invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
Nov 24 10:00:00 host kernel: memory: usage 100kB, limit 100kB, failcnt 1
Nov 24 10:00:00 host kernel: Memory cgroup stats for /a:
Nov 24 10:00:00 host kernel: anon 4096#012file 8192#012kernel 12288
`)
	if r := log.Records[0]; r.Stats["anon"] != 4096 || r.Stats["file"] != 8192 || r.Stats["kernel"] != 12288 {
		t.Errorf("%+v", r.Stats)
	}
}

// The worst log: every line is of a report.
func BenchmarkNothingButReports(b *testing.B) {
	one, err := os.ReadFile("testdata/6.18-v1-dmesg.log")
	if err != nil {
		b.Fatal(err)
	}
	log := bytes.Repeat(one, 4<<20/len(one))
	b.SetBytes(int64(len(log)))
	b.ReportAllocs()
	for b.Loop() {
		p := New(4096)
		_, _ = p.Write(log)
		p.Close()
	}
}
