package explain

import (
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/diagnose"
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

func ledgerOf(reclaimFile, reclaimSwap int64, accounts ...ledger.Account) *ledger.Whole {
	l := &ledger.Ledger{ReclaimKnown: true, ReclaimableFile: reclaimFile, ReclaimableSwap: reclaimSwap}
	for _, a := range accounts {
		l.Usage += a.Bytes
	}
	l.Accounts = append(accounts, ledger.Account{Path: ledger.Unexplained})
	return &ledger.Whole{Ledger: l}
}

func acc(path string, bytes int64) ledger.Account { return ledger.Account{Path: path, Bytes: bytes} }

func dirty(bytes, unwritten int64) ledger.Account {
	return ledger.Account{Path: ledger.File, Bytes: bytes, State: map[string]int64{"dirty": unwritten}}
}

func TestVerdicts(t *testing.T) {
	for name, c := range map[string]struct {
		w             *ledger.Whole
		class, answer string
		says          string
	}{
		"cache":            {ledgerOf(90, 0, acc("file", 90), acc("anon/other", 10)), "file", "can", "Mostly file cache"},
		"unwritten cache":  {ledgerOf(90, 0, dirty(90, 85)), "file", "can", "once it is written"},
		"partly unwritten": {ledgerOf(90, 0, dirty(90, 20)), "file", "can", "20 B of it once written"},
		"hardly unwritten": {ledgerOf(90, 0, dirty(90, 5)), "file", "can", "take it back."},
		"locked files":     {ledgerOf(0, 0, acc("file", 90), acc("anon/other", 10)), "file", "cannot", "none of it"},
		"half locked":      {ledgerOf(40, 0, acc("file", 90), acc("anon/other", 10)), "file", "partly", "40 B of it"},
		"heap, no swap":    {ledgerOf(0, 0, acc("anon/other", 90)), "anon", "cannot", "no swap"},
		"heap, swap":       {ledgerOf(0, 50, acc("anon/other", 90)), "anon", "partly", "swap out 50 B"},
		"given back":       {ledgerOf(85, 0, acc("anon/lazyfree", 85), acc("anon/other", 5)), "anon", "can", "MADV_FREE"},
		"tmpfs":            {ledgerOf(0, 0, acc("shmem", 60), acc("file", 30)), "shmem", "cannot", "deleted"},
		"slab":             {ledgerOf(0, 0, acc("kernel/slab-reclaimable", 50), acc("kernel/stacks", 10)), "kernel", "partly", "can shrink"},
		"threads":          {ledgerOf(0, 0, acc("kernel/slab-reclaimable", 1), acc("kernel/stacks", 50)), "kernel", "cannot", "hardly"},
		"v1 kernel":        {ledgerOf(0, 0, acc("kernel/undivided", 50)), "kernel", "unknown", "does not say"},
		"sockets":          {ledgerOf(0, 0, acc("sock", 50)), "sock", "cannot", "network buffers"},
		"no class at half": {ledgerOf(40, 0, acc("file", 40), acc("anon/other", 30), acc("shmem", 30)), "file", "can", "The largest part is file cache"},
	} {
		v := verdict(words.Printer{}, c.w, nil)
		if v.Account != c.class || v.Reclaim != c.answer || !strings.Contains(v.Text, c.says) {
			t.Errorf("%s: %+v, want %s, %s, %q", name, v, c.class, c.answer, c.says)
		}
	}
	if v := verdict(words.Printer{}, ledgerOf(0, 0), nil); v.Reclaim != "unknown" || !strings.Contains(v.Text, "Nothing is charged") {
		t.Errorf("empty: %+v", v)
	}
}

// A finding is the verdict where it is sure, and dangerous or half of it all.
func TestVerdictOfAFinding(t *testing.T) {
	w := ledgerOf(90, 0, acc("file", 90), acc("anon/other", 10))
	f := func(code, severity, confidence string, bytes int64) report.Finding {
		return report.Finding{Code: code, Severity: severity, Confidence: confidence, Bytes: &bytes, Title: "it is so"}
	}
	for _, c := range []struct {
		first      report.Finding
		code, says string
	}{
		{f("cache.deleted-open", "info", "high", 80), "cache.deleted-open", "Mostly page cache of deleted files that somebody still holds: 80 B of 100 B (80%); the kernel can take it back."},
		{f("cache.deleted-open", "info", "high", 50), "", "Mostly file cache: 90 B"},
		{f("cache.deleted-open", "info", "medium", 80), "", "Mostly file cache: 90 B"},
		{f("limit.tight", "warning", "high", 1), "limit.tight", "It is so."},
		{f("limit.tight", "notice", "high", 100), "", "Mostly file cache: 90 B"},
		{f("limit.tight", "critical", "low", 1), "", "Mostly file cache: 90 B"},
	} {
		v := verdict(words.Printer{}, w, []report.Finding{c.first, f("limit.tight", "critical", "high", 1)})
		if v.Code != c.code || !strings.HasPrefix(v.Text, c.says) || v.Account != "file" || v.Bytes != 90 || v.Reclaim != "can" {
			t.Errorf("%+v: %+v", c.first, v)
		}
	}
	// What is noted of the node alone does not hide what the bytes are; what has some does.
	node, cause := report.Finding{Code: "cgroup.dying", Severity: "notice", Confidence: "high", Title: "it is so"}, f("cache.deleted-open", "info", "high", 80)
	if v := verdict(words.Printer{}, w, []report.Finding{node, cause}); v.Code != cause.Code {
		t.Errorf("%+v", v)
	}
	if v := verdict(words.Printer{}, w, []report.Finding{f("limit.parent", "notice", "high", 10), cause}); v.Code != "" {
		t.Errorf("%+v", v)
	}
}

func TestLRUEngine(t *testing.T) {
	vm := func(keys ...string) snapshot.Node {
		var s snapshot.Stat
		for _, k := range keys {
			s.Entries = append(s.Entries, snapshot.Entry{Key: k})
		}
		return snapshot.Node{Vmstat: snapshot.Reading[snapshot.Stat]{State: snapshot.Present, Value: s}}
	}
	on := snapshot.Reading[bool]{State: snapshot.Present, Value: true}
	off := snapshot.Reading[bool]{State: snapshot.Present}
	for want, s := range map[string]snapshot.Snapshot{
		"mglru":   {Host: snapshot.Host{MGLRU: on}},
		"classic": {Host: snapshot.Host{MGLRU: off}},
		"unknown": {Node: vm("workingset_refault_anon")},
	} {
		if got := diagnose.LRU(&s); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := diagnose.LRU(&snapshot.Snapshot{Node: vm("nr_free_pages")}); got != "classic" {
		t.Errorf("a kernel older than the file: %s", got)
	}
	if got := diagnose.LRU(&snapshot.Snapshot{}); got != "unknown" {
		t.Errorf("nothing read: %s", got)
	}
}
