package gather

import (
	"fmt"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// lostNode has two file systems, one of them mounted twice, and one that may not answer.
func lostNode() *fakeNode {
	n := fake()
	n.files["/proc/self"] = "77"
	n.files["/proc/77/root"] = "/"
	n.faults["/proc/1/root"] = kernel.Answer{State: snapshot.Denied, Err: "permission denied"}
	n.files["/proc/77/mountinfo"] = strings.Join([]string{
		"1 0 8:1 / / rw - ext4 /dev/a rw", "2 1 8:2 / /data rw - xfs /dev/b rw", "3 2 0:9 / /data/net rw - nfs4 s:/ rw", "4 1 8:1 /srv /srv rw - ext4 /dev/a rw",
	}, "\n") + "\n"
	list := func(dir string, entries ...string) {
		n.files[strings.TrimSuffix("/proc/77/root"+dir, "/")] = strings.Join(entries, "\x00") + "\x00"
	}
	list("/", "d2 data", "d50 srv", "d900 var", "f4 etc")
	list("/srv", "f51 named", "f52 a\nb\x1b[31m\xff", "d60 sub")
	list("/srv/sub", "f61 deep", "nonsense", "x", "", "fx y", "f99999999999999999999 z")
	list("/var", "f901 far")
	list("/data", "f51 other", "d7 net", "d8 big")
	return n
}

func lostCensus() *snapshot.Census {
	c := &snapshot.Census{Complete: true}
	add := func(device uint32, number uint64, kind, path string, bytes int64) {
		c.Inodes = append(c.Inodes, snapshot.CensusInode{Device: device, Number: number, Type: kind, Path: path, Mode: 0o100644, Links: 1})
		c.Files = append(c.Files, snapshot.CensusFile{Inode: len(c.Inodes) - 1, PageState: &snapshot.PageState{Bytes: bytes}})
	}
	const root, data = 8<<20 | 1, 8<<20 | 2
	add(root, 51, "ext4", "/srv/named", 1<<20)
	add(root, 52, "ext4", "", 4<<20)
	add(root, 61, "ext4", "", 1<<20)
	add(root, 901, "ext4", "", 1<<20)
	add(data, 51, "xfs", "", 1<<20)
	add(data, 12, "xfs", "", 1<<20) // nowhere
	add(9, 5, "nfs4", "", 1<<20)
	add(root, 53, "ext4", "", 1<<20)
	c.Inodes[7].Links = 0 // deleted
	return c
}

// Files that the kernel forgot the names of are found where the files next to them are,
// and below, each on its own file system; what may not answer is not asked.
func TestLostFiles(t *testing.T) {
	n, c := lostNode(), lostCensus()
	Lost(t.Context(), n, c)
	want := []string{"/srv/named", "/srv/a\nb\x1b[31m\xff", "/srv/sub/deep", "/var/far", "/other", "", "", ""}
	for i, w := range want {
		if got := c.Inodes[i].Path; got != w {
			t.Errorf("inode %d on %#x: %q, want %q", c.Inodes[i].Number, c.Inodes[i].Device, got, w)
		}
	}
	if c.Searched != 4 {
		t.Errorf("%d found", c.Searched)
	}
	for _, p := range n.asked {
		if strings.Contains(p, "net") {
			t.Errorf("%s was asked", p)
		}
	}
	// The directory of the named neighbour is the first that is read.
	for _, p := range n.asked {
		if strings.HasPrefix(p, "/proc/77/root/") {
			if p != "/proc/77/root/srv" {
				t.Errorf("%s was the first", p)
			}
			break
		}
	}
}

// Little is not worth a search, and a tree without end is not searched to its end.
func TestLostFilesAreSoughtWithinBounds(t *testing.T) {
	n, c := lostNode(), lostCensus()
	for i := range c.Files {
		c.Files[i].PageState = &snapshot.PageState{Bytes: 4096}
	}
	Lost(t.Context(), n, c)
	if len(n.asked) != 0 || c.Searched != 0 {
		t.Errorf("for 20 KiB %q were asked", n.asked)
	}
	endless := &endless{lostNode(), 0}
	Lost(t.Context(), endless, lostCensus())
	if endless.dirs == 0 || endless.dirs > searchDirs+searchAtOne {
		t.Errorf("%d directories were read", endless.dirs)
	}
}

// endless is a node whose directories have directories, and so on.
type endless struct {
	*fakeNode
	dirs int
}

func (n *endless) Ask(q kernel.Question) kernel.Answer {
	if q.Op != kernel.Numbered {
		return n.fakeNode.Ask(q)
	}
	n.dirs++
	var b []byte
	for i := range 64 {
		b = fmt.Appendf(b, "d%d sub%d\x00", 100+i, i)
	}
	return kernel.Answer{State: snapshot.Present, Data: b}
}

// Whatever a directory says, names stay below it and with the numbers that were asked for.
func FuzzLost(f *testing.F) {
	f.Add("f52 a\x00d60 sub\x00")
	f.Add("f52 ../../x\x00f61 \x00d\x00")
	f.Fuzz(func(t *testing.T, answer string) {
		n, c := lostNode(), lostCensus()
		n.files["/proc/77/root/srv"] = answer
		before := lostCensus()
		Lost(t.Context(), n, c)
		for i, in := range c.Inodes {
			if was := before.Inodes[i]; in.Path != "" && (in.Path[0] != '/' || was.Links == 0 || was.Path != "" && in.Path != was.Path) {
				t.Errorf("%+v", in)
			}
		}
	})
}
