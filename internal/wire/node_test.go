package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/render"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
)

// wholes calls check with every recorded node, those of el7 trees too.
func wholes(t *testing.T, check func(t *testing.T, name string, r *report.Node)) {
	t.Helper()
	whole := func(t *testing.T, name string, n *Node) {
		r, err := n.Whole()
		if err != nil {
			t.Fatal(err)
		}
		check(t, name, r)
	}
	everyNode(t, whole)
	for name, a := range el7(t) {
		t.Run("el7/"+name, func(t *testing.T) { whole(t, "el7/"+name, node(a)) })
	}
}

// Both cuts sum to MemTotal, to the byte; what is free is free in both, and what no
// counter has is a small part of the node.
func TestNodesBalance(t *testing.T) {
	withOwners := 0
	wholes(t, func(t *testing.T, name string, r *report.Node) {
		n := &r.Ledger
		if n.TotalBytes == nil {
			t.Fatal("no MemTotal")
		}
		var classes, owners, shares, free int64
		for _, c := range n.Classes {
			classes += c.Bytes
			if strings.HasPrefix(c.Path, "free/") {
				free += c.Bytes
			}
			if c.Bytes < -size.MiB && c.Path != "unexplained" { // Cached and Shmem are two counters
				t.Errorf("%s: %s is %d", name, c.Path, c.Bytes)
			}
		}
		if classes != *n.TotalBytes || *n.UsedBytes != *n.TotalBytes-free || n.Classes[len(n.Classes)-1].Bytes != n.Unexplained.Bytes {
			t.Errorf("%s: classes sum to %d of %d, used %d, free %d", name, classes, *n.TotalBytes, *n.UsedBytes, free)
		}
		// The smallest guests have 1 GiB, of which el7 keeps maps of its own.
		if u := n.Unexplained.Bytes; max(u, -u) > *n.TotalBytes/10 {
			t.Errorf("%s: %s of %s in no counter", name, size.Text(u), size.Text(*n.TotalBytes))
		}
		if len(n.Owners) == 0 {
			return
		}
		withOwners++
		sums := map[string]int64{}
		for _, o := range n.Owners {
			owners += o.Bytes
			sums[o.Owner] = o.Bytes
		}
		for _, s := range n.Shares {
			shares += s.Bytes
		}
		for _, o := range n.Omitted {
			shares += o.Bytes
		}
		if owners != *n.TotalBytes || sums["free"] != free || sums["unowned"] != n.Unowned.Bytes {
			t.Errorf("%s: owners sum to %d of %d: %v", name, owners, *n.TotalBytes, sums)
		}
		if want := sums["containers"] + sums["pods"] + sums["system"] + sums["other"]; shares != want {
			t.Errorf("%s: shares sum to %d, their owners to %d", name, shares, want)
		}
	})
	if withOwners < 20 {
		t.Errorf("%d nodes with owners", withOwners)
	}
}

// Every null of a node has an entry, whatever the recording lacks.
func TestNodeNullsAreExplained(t *testing.T) {
	wholes(t, func(t *testing.T, name string, r *report.Node) {
		b, err := render.JSON(r)
		if err != nil {
			t.Fatal(err)
		}
		var doc any
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, n := range r.NotSeen {
			seen[n.Key] = true
		}
		for _, key := range nulls(doc, "") {
			if i := strings.Index(key, "groups["); i >= 0 {
				key = "dying.groups[]" + key[strings.Index(key, "]")+1:]
			}
			if !seen[key] {
				t.Errorf("%s: %s is null and notSeen does not say why", name, key)
			}
		}
	})
}

// The zones fit the buddy lists: order 0 fits what is free, and no order fits more.
func TestNodeZonesFit(t *testing.T) {
	fragmented := 0
	wholes(t, func(t *testing.T, name string, r *report.Node) {
		for _, z := range r.Watermarks.Zones {
			if z.MinBytes > z.LowBytes || z.LowBytes > z.HighBytes || z.AboveLowBytes != z.FreeBytes-z.ProtectedBytes-z.LowBytes {
				t.Errorf("%s: %+v", name, z)
			}
			for i, o := range z.Orders {
				fragmented++
				if o.Order != i || i > 0 && o.Bytes > z.Orders[i-1].Bytes || o.Fits*(4096<<i) > o.Bytes && !strings.Contains(name, "arm64") {
					t.Errorf("%s: %s order %d: %+v", name, z.Zone, i, o)
				}
			}
			if len(z.Orders) > 0 && max(z.Orders[0].Bytes-z.FreeBytes, z.FreeBytes-z.Orders[0].Bytes) > z.ManagedBytes/10 {
				t.Errorf("%s: %s has %d free, its blocks are %d", name, z.Zone, z.FreeBytes, z.Orders[0].Bytes)
			}
		}
	})
	if fragmented == 0 {
		t.Error("no node has its free blocks")
	}
}

func TestNodeScreensFit(t *testing.T) {
	wholes(t, func(t *testing.T, name string, r *report.Node) {
		checkScreen(t, name, render.Node(r))
		wide := render.NodeWide(r)
		for _, o := range r.Ledger.Owners {
			if !bytes.Contains(wide, fmt.Appendf(nil, "%-28s %15d", o.Owner, o.Bytes)) {
				t.Errorf("%s: -o wide has no %s", name, o.Owner)
			}
		}
	})
}

// The screens of some nodes: el7 of three builds, version 1 and version 2.
func TestNodeGoldens(t *testing.T) {
	var got bytes.Buffer
	show := func(name string, n *Node, wide bool) *report.Node {
		r, err := n.Whole()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "=== %s\n%s\n", name, render.Node(r))
		if wide {
			fmt.Fprintf(&got, "%s\n", render.NodeWide(r))
		}
		return r
	}
	all := el7(t)
	for _, name := range []string{"1062/healthy", "1127/healthy", "1160/healthy", "1062/leak/after", "514/healthy"} {
		if all[name] == nil {
			t.Fatalf("no node %s", name)
		}
		show("el7 "+name, node(all[name]), name == "1062/healthy")
	}
	leak, err := node(all["1062/leak/after"]).Whole()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := render.JSON(leak)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "../report/testdata/node-el7-1062-leak.json", doc)
	for _, name := range []string{"linux-6.18-v1-kinds", "el7-1062-pod"} {
		r := show(name, open(t, "testdata/"+name+".capture"), false)
		doc, err := render.JSON(r)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "../report/testdata/node-"+name+".json", doc)
	}
	for _, file := range machines(t) {
		names, nodes := labs(t, file)
		for _, name := range []string{"tmpfs-file", "pod-tmpfs"} {
			if slices.Contains(names, name) {
				show(filepath.Base(file)+" "+name, nodes[name], strings.HasPrefix(filepath.Base(file), "6.12-v2.") && name == "tmpfs-file")
			}
		}
	}
	golden(t, "testdata/node.golden", got.Bytes())
}
