package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// wholeNode is what these tests look at of memwhy.node/v1.
type wholeNode struct {
	Ledger struct {
		TotalBytes, UsedBytes int64
		Classes               []struct {
			Path  string
			Bytes int64
		}
		Unexplained, Unowned struct {
			Bytes      int64
			BoundBytes *int64
		}
		Owners []struct {
			Owner string
			Bytes int64
		}
		Shares []struct {
			Owner, Cgroup string
			Bytes         int64
		}
	}
	Watermarks struct {
		AboveLowBytes int64
		Zones         []struct {
			Node                          int
			Zone                          string
			FreeBytes, MinBytes, LowBytes int64
			Orders                        []struct{ Fits int64 }
		}
	}
	Activity []struct {
		Name  string
		Count int64
	}
	Settings  []struct{ Name, Value, Source string }
	Available struct {
		MemAvailableBytes int64
		Kubelet           struct{ Bytes *int64 }
	}
	NotSeen []struct{ Key, State, Source string }
}

func seeNode(t *testing.T, args ...string) (n wholeNode) {
	t.Helper()
	if err := json.Unmarshal([]byte(run(t, append([]string{"node", "-o", "json"}, args...)...).want(t, 0).out), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Both cuts sum to MemTotal, and what no counter has is a small part of it.
func TestNodeSumsToMemTotal(t *testing.T) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	total, _ := strconv.ParseInt(string(regexp.MustCompile(`(?m)^MemTotal: +(\d+) kB`).FindSubmatch(b)[1]), 10, 64)
	for _, census := range []string{"off", "auto"} {
		n := seeNode(t, "--census", census)
		var classes, owners, lists int64
		for _, c := range n.Ledger.Classes {
			classes += c.Bytes
			if c.Path == "free/cpu-lists" {
				lists++
			}
		}
		for _, o := range n.Ledger.Owners {
			owners += o.Bytes
		}
		if n.Ledger.TotalBytes != total*1024 || classes != n.Ledger.TotalBytes || owners != n.Ledger.TotalBytes || lists != 1 {
			t.Errorf("MemTotal %d kB: total %d, classes %d, owners %d", total, n.Ledger.TotalBytes, classes, owners)
		}
		// Test machines have few drivers, and memory that nobody counts is rare.
		if u := n.Ledger.Unexplained.Bytes; max(u, -u) > n.Ledger.TotalBytes/20 || n.Ledger.Unexplained.BoundBytes == nil {
			t.Errorf("%d unexplained: %+v", u, n.Ledger.Classes)
		}
	}
}

// What a lab holds is its cgroup's, or that of the owner that it is in, and leaves
// when the lab does.
func TestNodeSeesALab(t *testing.T) {
	tr, _, stop := lab(t, "tmpfs-file", "--limit", "256M")
	share := func() (owner string, bytes int64) {
		for _, s := range seeNode(t, "--census", "off").Ledger.Shares {
			if strings.HasPrefix(tr.Cgroup+"/", s.Cgroup+"/") && len(s.Cgroup) > len(owner) {
				owner, bytes = s.Cgroup, s.Bytes
			}
		}
		return owner, bytes
	}
	held := tr.Accounts[0].Bytes
	owner, during := share()
	stop()
	left, after := share()
	if left != owner {
		after = 0
	}
	if owner == "" || during-after < held-4<<20 || during-after > held+32<<20 {
		t.Errorf("%s went from %d to %d (%s) when a lab with %d ended", owner, during, after, left, held)
	}
}

// Watermarks, counters and settings are those of the kernel's files.
func TestNodeReadsTheKernelsFiles(t *testing.T) {
	n := seeNode(t, "--census", "off")
	b, err := os.ReadFile("/proc/zoneinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, z := range n.Watermarks.Zones {
		_, text, _ := strings.Cut(string(b), fmt.Sprintf("Node %d, zone %8s\n", z.Node, z.Zone))
		low := regexp.MustCompile(`(?m)^ +low +(\d+)$`).FindStringSubmatch(text)
		if low == nil {
			t.Fatalf("no zone %s of node %d in zoneinfo", z.Zone, z.Node)
		}
		if pages, _ := strconv.ParseInt(low[1], 10, 64); pages*int64(os.Getpagesize()) != z.LowBytes || len(z.Orders) == 0 {
			t.Errorf("%+v, zoneinfo has low %s", z, low[1])
		}
	}
	if len(n.Watermarks.Zones) == 0 || len(n.Activity) < 5 || n.Available.MemAvailableBytes == 0 || n.Available.Kubelet.Bytes == nil && !missingRoot(n) {
		t.Errorf("%+v", n)
	}
	for _, s := range n.Settings {
		if !strings.HasPrefix(s.Source, "/proc/sys/") {
			continue
		}
		if b, err := os.ReadFile(s.Source); err != nil || strings.TrimSpace(string(b)) != s.Value {
			t.Errorf("%+v: the file says %q, %v", s, b, err)
		}
	}
	if len(n.Settings) < 6 {
		t.Errorf("%+v", n.Settings)
	}
	screen := run(t, "node").want(t, 0).out
	checkScreen(t, screen)
	t.Log("\n" + screen)
	run(t, "node", "x").want(t, 2)
}

// missingRoot: before 5.8 version 2 has no statistics of the root.
func missingRoot(n wholeNode) bool {
	for _, m := range n.NotSeen {
		if m.Key == "available.kubelet.bytes" {
			return m.State == "absent"
		}
	}
	return false
}
