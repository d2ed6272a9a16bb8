package procfs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestCountClones(t *testing.T) {
	got := CountClones([]string{
		"dentry", ":t-0000192", ":at-0000040-00000004", "dentry(4:a)", "anon_vma(4:a)", "dentry(4:b)", "dentry(12:x)y(1:z)",
		"dentry(5:)", "(7:)", // a name may be empty
		"dentry(x:a)", "dentry(-1:a)", "dentry(99999999999:a)", "dentry(4)", "dentry(4:a", "", // not clones
	})
	want := snapshot.SlabClones{Roots: 8, Clones: 6, Merged: 1, Owners: []snapshot.CloneOwner{
		{Index: 4, Name: "a", Count: 2},
		{Index: 4, Name: "b", Count: 1},
		{Index: 5, Name: "", Count: 1},
		{Index: 7, Name: "", Count: 1},
		{Index: 12, Name: "x)y(1:z", Count: 1},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestParseMarks(t *testing.T) {
	got, err := ParseMarks([]byte("go go1.13.5\nsettings\ntext a b\nother\n"))
	want := snapshot.Marks{Texts: []string{"a b"}, Go: "go1.13.5", Tags: true}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Error(d, err)
	}
}

func FuzzCountClones(f *testing.F) {
	f.Add("dentry\x00anon_vma(101:1d14593b)\x00:at-0000040-00000004")
	f.Fuzz(func(t *testing.T, s string) {
		names := strings.Split(s, "\x00")
		c := CountClones(names)
		sum := 0
		for _, o := range c.Owners {
			sum += o.Count
		}
		if c.Roots+c.Clones+c.Merged != len(names) || sum != c.Clones {
			t.Errorf("%+v of %d names", c, len(names))
		}
	})
}
