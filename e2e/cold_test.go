package e2e

import (
	"encoding/json"
	"os"
	"testing"
)

// A census tells which file cache is cold where memory.stat can only bound it.
func TestColdCache(t *testing.T) {
	memory(t)
	const mib, planted = 1 << 20, 24 << 20
	type bounds struct{ least, most int64 }
	cold, none := bounds{planted * 9 / 10, planted + 4*mib}, bounds{0, 4 * mib}
	if on, err := os.ReadFile("/sys/kernel/mm/lru_gen/enabled"); err == nil && string(on) != "0x0000\n" {
		cold.least = 0 // what is old by generations is not always what the lists say
	}
	labs := map[string]truth{}
	want := map[string]bounds{"file-once": cold, "file-deleted": cold, "file-mapped": none, "file-dirty": none, "tmpfs-file": none}
	for scenario := range want {
		tr, _, stop := lab(t, scenario, "--bytes", "24M")
		defer stop()
		labs[scenario] = tr
	}
	counted, bounded := coldRows(t, "--census"), coldRows(t)
	for scenario, want := range want {
		cgroup := labs[scenario].Cgroup
		c, b := counted[cgroup], bounded[cgroup]
		if b.max == nil || b.min != nil || *b.max < want.least {
			t.Errorf("%s, without a census: %+v", scenario, b)
		}
		if c.min == nil {
			t.Logf("%s: no census tells of it here", scenario)
			continue
		}
		if *c.min > *c.max || *c.min < want.least || *c.max > want.most {
			t.Errorf("%s: %d to %d bytes are cold, want %d to %d", scenario, *c.min, *c.max, want.least, want.most)
		}
	}
}

type coldBytes struct{ min, max *int64 }

func coldRows(t *testing.T, args ...string) map[string]coldBytes {
	t.Helper()
	var l struct {
		Containers []struct {
			Target                     struct{ Cgroup string }
			ColdMinBytes, ColdMaxBytes *int64
		}
	}
	if err := json.Unmarshal([]byte(run(t, append([]string{"ps", "-A", "-o", "json", "--timeout", "60s"}, args...)...).want(t, 0).out), &l); err != nil {
		t.Fatal(err)
	}
	rows := map[string]coldBytes{}
	for _, c := range l.Containers {
		rows[c.Target.Cgroup] = coldBytes{c.ColdMinBytes, c.ColdMaxBytes}
	}
	return rows
}
