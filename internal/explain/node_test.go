package explain

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

func keyed(pairs map[string]int64) snapshot.Reading[snapshot.Stat] {
	var s snapshot.Stat
	for k, v := range pairs {
		s.Entries = append(s.Entries, snapshot.Entry{Key: k, Value: v})
	}
	return present(s)
}

// smallNode is one of 1000 MiB with a pod.
func smallNode() *snapshot.Snapshot {
	const m = size.MiB
	const uid, id = "0d9f7a52-4c1e-11e9-a3b5-fa163e2f9b10", "8d2c5b0a7f6e4d3c2b1a09182736455463728190a0b1c2d3e4f5061728394a5b"
	s := &snapshot.Snapshot{}
	s.Host.PageSize, s.Host.CPUs = 4096, present(2)
	s.Node.Meminfo = keyed(map[string]int64{"MemTotal": 1000 * m, "MemFree": 400 * m, "MemAvailable": 500 * m, "AnonPages": 300 * m, "Cached": 100 * m, "Shmem": 20 * m, "Buffers": 0})
	s.Node.Zones = present([]snapshot.Zone{
		{Name: "DMA", Managed: 16 * m, Free: 15 * m, Min: m, Low: 2 * m, High: 3 * m, Protection: []int64{0, 10 * m, 20 * m}},
		{Name: "Normal", Managed: 984 * m, Free: 385 * m, Min: 10 * m, Low: 20 * m, High: 30 * m, Protection: []int64{0, 0, 0}},
		{Name: "Movable"},
	})
	s.Node.Buddy = present([]snapshot.Buddy{{Zone: "Normal", Blocks: []int64{3, 2, 0, 1}}, {Zone: "DMA", Blocks: []int64{-1}}})
	s.Node.Vmstat = keyed(map[string]int64{"pgsteal_kswapd_dma": 3, "pgsteal_kswapd_normal": 4, "pgscan_direct_throttle": 99, "oom_kill": 2})
	s.Kmem.Version = snapshot.V1
	s.Shares = present([]snapshot.Share{
		{Path: "/", Usage: present(400 * m), Stat: keyed(map[string]int64{"total_inactive_file": 30 * m})},
		{Path: "/kubepods", Usage: present(300 * m), Kmem: present(10 * m)},
		{Path: "/system.slice", Usage: present(50 * m), Kmem: present(int64(0))},
		{Path: "/odd\xff", Usage: present(7 * m), Kmem: present(int64(0))},
		{Path: "/kubepods/burstable", Usage: present(300 * m)},
		{Path: "/system.slice/x.service", Usage: present(40 * m)},
		{Path: "/kubepods/burstable/pod" + uid, Usage: present(290 * m)},
		{Path: "/kubepods/burstable/pod" + uid + "/" + id, Usage: present(200 * m)},
	})
	for _, c := range s.Shares.Value {
		s.Kmem.Groups.Value = append(s.Kmem.Groups.Value, c.Path)
	}
	return s
}

func TestNodeByOwner(t *testing.T) {
	r := Node(words.Printer{}, smallNode())
	got := map[string]string{}
	var sum int64
	for _, o := range r.Ledger.Owners {
		got[o.Owner] = fmt.Sprintf("%d in %d", o.Bytes/size.MiB, o.Count)
		sum += o.Bytes
	}
	want := map[string]string{
		"containers": "200 in 1", "pods": "100 in 3", "system": "50 in 2", "other": "7 in 1",
		"root": "53 in 0", "kernel": "-10 in 0", "hugetlb": "0 in 0", "free": "400 in 0", "unowned": "200 in 0",
	}
	if diff := cmp.Diff(want, got); diff != "" || sum != *r.Ledger.TotalBytes {
		t.Errorf("sum %d:\n%s", sum, diff)
	}
	for _, s := range r.Ledger.Shares {
		if strings.HasPrefix(s.Cgroup, "/odd") && (s.Cgroup != `/odd\xff` || s.CgroupBytes == "") {
			t.Errorf("%+v", s)
		}
	}
	if k := r.Available.Kubelet; *k.Bytes != 630*size.MiB || len(k.Terms) != 3 || !r.Available.KubeletSeen || *r.Available.MemAvailableBytes != 500*size.MiB {
		t.Errorf("%+v", r.Available)
	}
}

func TestNodeWatermarks(t *testing.T) {
	const m = size.MiB
	s := smallNode()
	w := Node(words.Printer{}, s).Watermarks
	// DMA is kept from ordinary allocations: 15 - 20 - 2.
	if len(w.Zones) != 2 || w.Zones[0].AboveLowBytes != -7*m || *w.AboveLowBytes != 365*m || *w.AboveMinBytes != 375*m || *w.AboveHighBytes != 355*m {
		t.Errorf("%+v", w)
	}
	want := []report.FreeOrder{{Order: 0, Blocks: 3, Fits: 15, Bytes: 15 * 4096}, {Order: 1, Blocks: 2, Fits: 6, Bytes: 12 * 4096}, {Order: 2, Fits: 2, Bytes: 8 * 4096}, {Order: 3, Blocks: 1, Fits: 1, Bytes: 8 * 4096}}
	if diff := cmp.Diff(want, w.Zones[1].Orders); diff != "" || len(w.Zones[0].Orders) != 0 {
		t.Errorf("%v\n%s", w.Zones[0].Orders, diff)
	}
	s.Node.Zones.Value[1].Free = 5 * m
	if w := Node(words.Printer{}, s).Watermarks; *w.AboveMinBytes != -5*m || *w.AboveLowBytes != -7*m { // the best zone's
		t.Errorf("min %d, low %d", *w.AboveMinBytes, *w.AboveLowBytes)
	}
}

// Counters that old kernels keep by zone are summed; others of a similar name are
// not theirs.
func TestNodeActivity(t *testing.T) {
	got := map[string]int64{}
	for _, a := range Node(words.Printer{}, smallNode()).Activity {
		got[a.Name] = a.Count
	}
	if diff := cmp.Diff(map[string]int64{"pgsteal_kswapd": 7, "oom_kill": 2}, got); diff != "" {
		t.Error(diff)
	}
}

// On version 2 the usage of the root is anon + file; without the root's files, as
// up to 5.4, there is no number.
func TestNodeAvailableOnVersion2(t *testing.T) {
	const m = size.MiB
	s := smallNode()
	s.Kmem.Version = snapshot.V2
	s.Shares.Value[0] = snapshot.Share{Path: "/", Stat: keyed(map[string]int64{"anon": 300 * m, "file": 100 * m, "inactive_file": 60 * m})}
	if k := Node(words.Printer{}, s).Available.Kubelet; k.Bytes == nil || *k.Bytes != 660*m || len(k.Terms) != 4 {
		t.Errorf("%+v", k)
	}
	s.Shares.Value[0].Stat = snapshot.Reading[snapshot.Stat]{State: snapshot.Absent}
	r := Node(words.Printer{}, s)
	if r.Available.Kubelet.Bytes != nil {
		t.Errorf("%+v", r.Available.Kubelet)
	}
	for _, n := range r.NotSeen {
		if n.Key == "available.kubelet.bytes" {
			return
		}
	}
	t.Error("nothing says why the kubelet's number is null")
}

// Huge pages that are set aside are in the capacity, and in no usage: a kubelet that does
// not know of them has them as available.
func TestHugePagesOfAKubelet(t *testing.T) {
	const m = size.MiB
	told := func(s *snapshot.Snapshot) bool {
		return slices.ContainsFunc(Node(words.Printer{}, s).Doubts, func(d string) bool { return strings.Contains(d, "takes 200.0 MiB of huge pages for available") })
	}
	s := smallNode()
	if told(s) {
		t.Error("there are none")
	}
	s.Node.Meminfo.Value.Entries = append(s.Node.Meminfo.Value.Entries, snapshot.Entry{Key: "HugePages_Total", Value: 100}, snapshot.Entry{Key: "Hugepagesize", Value: 2 * m})
	if !told(s) {
		t.Errorf("%q", Node(words.Printer{}, s).Doubts)
	}
	s.Kmem.Groups.Value = []string{"/system.slice"}
	if told(s) {
		t.Error("there is no kubelet")
	}
}

// A node that nothing could be read of has no amount at all, and says of each why.
func TestNodeOfNothing(t *testing.T) {
	r := Node(words.Printer{}, &snapshot.Snapshot{})
	seen := map[string]bool{}
	for _, n := range r.NotSeen {
		seen[n.Key] = true
	}
	for _, key := range []string{
		"ledger.totalBytes", "ledger.usedBytes", "ledger.owners", "ledger.unexplained.boundBytes", "ledger.unowned.boundBytes", "watermarks.aboveMinBytes",
		"watermarks.aboveLowBytes", "watermarks.aboveHighBytes", "swap.totalBytes", "swap.zswap.poolBytes", "available.memAvailableBytes", "available.kubelet.bytes",
	} {
		if !seen[key] {
			t.Errorf("nothing says why %s is null", key)
		}
	}
	if len(r.Ledger.Classes)+len(r.Ledger.Owners)+len(r.Activity)+len(r.Settings) != 0 || r.Swap.Zswap.Enabled != "unknown" {
		t.Errorf("%+v", r)
	}
}

// The list of shares is bounded, and what is left out is summed.
func TestNodeSharesAreBounded(t *testing.T) {
	s := smallNode()
	for i := range 3 * report.MaxShares {
		s.Shares.Value = append(s.Shares.Value, snapshot.Share{Path: fmt.Sprintf("/system.slice/u%d.service", i), Usage: present(int64(i))})
	}
	n := Node(words.Printer{}, s).Ledger
	var sum, want int64
	for _, row := range n.Shares {
		sum += row.Bytes
	}
	for _, o := range n.Omitted {
		sum += o.Bytes
	}
	for _, o := range n.Owners[:4] {
		want += o.Bytes
	}
	if len(n.Shares) != report.MaxShares || sum != want || len(n.Omitted) == 0 {
		t.Errorf("%d shares, %d omitted, sum %d of %d", len(n.Shares), len(n.Omitted), sum, want)
	}
}

// Swap areas, and what is compressed in memory, are told; a device's name is anybody's.
func TestNodeSwap(t *testing.T) {
	const m = size.MiB
	s := smallNode()
	s.Node.Meminfo.Value.Entries = append(s.Node.Meminfo.Value.Entries,
		snapshot.Entry{Key: "SwapTotal", Value: 2000 * m}, snapshot.Entry{Key: "SwapFree", Value: 1500 * m}, snapshot.Entry{Key: "SwapCached", Value: 3 * m},
		snapshot.Entry{Key: "Zswap", Value: 5 * m}, snapshot.Entry{Key: "Zswapped", Value: 20 * m})
	s.Node.Swaps = present([]snapshot.Swap{{Name: "/dev/zram0", Kind: "partition", Bytes: 1000 * m, Used: 400 * m, Priority: 100}, {Name: "/swap\xff\x1b[1m", Kind: "file", Bytes: 1000 * m, Used: 100 * m, Priority: -2}})
	s.Node.Tuning.Zram = present([]snapshot.Zram{{Name: "zram0", Stored: 400 * m, Compressed: 100 * m, Used: 110 * m}})
	s.Node.Tuning.Zswap = present(true)
	w := Node(words.Printer{}, s).Swap
	if *w.TotalBytes != 2000*m || *w.FreeBytes != 1500*m || *w.CachedBytes != 3*m || w.Zswap.Enabled != "yes" || *w.Zswap.PoolBytes != 5*m || *w.Zswap.StoredBytes != 20*m {
		t.Errorf("%+v", w)
	}
	if diff := cmp.Diff([]report.Zram{{Name: "zram0", StoredBytes: 400 * m, CompressedBytes: 100 * m, UsedBytes: 110 * m}}, w.Zram); diff != "" {
		t.Error(diff)
	}
	if len(w.Areas) != 2 || w.Areas[0].UsedBytes != 400*m || w.Areas[0].Priority != 100 || w.Areas[1].Name != `/swap\xff`+"\x1b[1m" || w.Areas[1].NameBytes == "" {
		t.Errorf("%+v", w.Areas)
	}
	for state, want := range map[snapshot.State]string{snapshot.Absent: "no", snapshot.Denied: "unknown"} {
		s.Node.Tuning.Zswap = snapshot.Reading[bool]{State: state}
		if got := Node(words.Printer{}, s).Swap.Zswap.Enabled; got != want {
			t.Errorf("%v: zswap %q, want %q", state, got, want)
		}
	}
}
