package snapshot

import (
	"slices"
	"testing"
)

func TestRecall(t *testing.T) {
	file := func(number uint64, generation uint32, path string) CensusInode {
		return CensusInode{Type: "ext4", Magic: 0xef53, Device: 8, Number: number, Generation: generation, Mode: 0o100644, Path: path}
	}
	partial := file(5, 1, "/tail")
	partial.Partial = true
	deleted := file(6, 1, "/gone")
	deleted.Deleted = true
	other := file(7, 1, "/other")
	other.Magic = 1
	earlier := &Census{Inodes: []CensusInode{
		file(1, 1, "/a"), file(2, 1, "/b"), file(3, 1, ""), file(4, 1, "/d"), partial, deleted, other, file(0, 0, "/nothing"), file(8, 1, "/first"), file(8, 1, "/second"),
	}}
	c := &Census{Inodes: []CensusInode{
		file(1, 1, ""), file(2, 2, ""), file(3, 1, ""), file(4, 1, "/renamed"), file(5, 1, ""), file(6, 1, ""), file(7, 1, ""), file(0, 0, ""), file(8, 1, ""), file(9, 1, ""),
	}}
	c.Recall(earlier)
	var got []string
	for _, in := range c.Inodes {
		got = append(got, in.Path)
	}
	// The second is another file of the same number; the fourth has a name.
	if want := []string{"/a", "", "", "/renamed", "/tail", "", "", "", "/first", ""}; !slices.Equal(got, want) || c.Recalled != 3 || !c.Inodes[4].Partial {
		t.Errorf("%q, %d", got, c.Recalled)
	}
}

func TestNamesAreThoseOfTheLargest(t *testing.T) {
	c := &Census{}
	add := func(path string, bytes int64) {
		c.Files = append(c.Files, CensusFile{Inode: len(c.Inodes), PageState: &PageState{Bytes: bytes}})
		c.Inodes = append(c.Inodes, CensusInode{Type: "ext4", Number: uint64(len(c.Inodes) + 1), Path: path})
	}
	add("/small", 4096)
	add("/large", 1<<30)
	add("", 1<<31)
	add("/middle", 1<<20)
	add("/middle2", 1<<20+1)
	add("/gone", 1<<30)
	c.Inodes[5].Deleted = true
	c.Files = append(c.Files, CensusFile{Inode: -1, PageState: &PageState{Bytes: 1 << 40}})
	for limit, want := range [][]string{{}, {"/large"}, {"/large", "/middle"}, {"/large", "/middle", "/middle2"}, {"/small", "/large", "/middle", "/middle2"}} {
		got := []string{}
		for _, in := range c.Names(limit).Inodes {
			got = append(got, in.Path)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d: %q", limit, got)
		}
	}
	if n := len(c.Names(1000).Inodes); n != 4 {
		t.Errorf("%d of 4", n)
	}
	if n := len((&Census{}).Names(10).Inodes); n != 0 {
		t.Errorf("%d of none", n)
	}
	later := &Census{Inodes: []CensusInode{{Number: 2}}}
	later.Recall(c.Names(2))
	if later.Inodes[0].Path != "/large" {
		t.Errorf("%+v", later.Inodes)
	}
}
