package capture

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// counted is a source with a census.
type counted struct {
	fake
	census snapshot.Reading[*snapshot.Census]
}

func (c counted) Census([]int) snapshot.Reading[*snapshot.Census] { return c.census }

func census() *snapshot.Census {
	state := func(n int64) *snapshot.PageState {
		return &snapshot.PageState{Bytes: n, Active: snapshot.Unknown, Dirty: n / 2, Mapped: n, Marks: snapshot.Unknown, Large: 4096, Huge: 1}
	}
	c := &snapshot.Census{
		Engine: snapshot.EngineBPF, Complete: true, Walked: true, Start: time.Unix(7, 0).UTC(), Wall: time.Second, PageSize: 4096, Frames: 9,
		Doubts: []string{"a \"b\"\n"}, Refused: []snapshot.CensusRefusal{{Engine: snapshot.EngineKcore, State: snapshot.Denied, Why: "no"}},
		Groups: []snapshot.CensusGroup{
			{Parent: -1, File: *state(8192)},
			{ID: 1, Path: "/", Parent: -1, Usage: 5},
			{ID: 1 << 63, Path: "/acme\xff\n\x1b[31m", Parent: 1, Dying: true, Usage: snapshot.Unknown, Anon: *state(4096), Slab: 3, Inherited: 2},
		},
		Inodes: []snapshot.CensusInode{
			{Type: "ext4", Magic: 0xef53, Device: 8<<20 | 1, Number: 12, Generation: 3, Links: 1, Size: 1<<63 - 1, Mode: 0o100644, Path: "/home/acme/\xfe\n<script>"},
			{Type: "tmpfs", Path: "memfd:acme", Pseudo: true},
			{Type: "xfs", Deleted: true, Partial: true},
		},
		Files: []snapshot.CensusFile{{Group: 2, Inode: 0, PageState: state(4096)}, {Group: 0, Inode: -1, PageState: state(0)}},
		Slabs: []snapshot.CensusSlab{{Group: 2, Cache: "dentry", Objects: 3, Bytes: 600, Reclaimable: true}, {Cache: "kmalloc-8"}},
	}
	for i := range c.Groups { // marks are not kept
		c.Groups[i].Anon.Marks, c.Groups[i].File.Marks = snapshot.Unknown, snapshot.Unknown
	}
	return c
}

// recorded is that census as it comes back from an archive.
func recorded(t *testing.T, redact bool) (*Archive, snapshot.Reading[*snapshot.Census]) {
	t.Helper()
	src := counted{private(), snapshot.Reading[*snapshot.Census]{State: snapshot.Present, Value: census(), At: time.Unix(7, 0).UTC()}}
	r := NewRecorder(src)
	kernel.Census(r, nil)
	for _, q := range []kernel.Question{{Op: kernel.Read, Path: "/proc/self/mountinfo", Max: 1 << 20}, {Op: kernel.Link, Path: "/var/lib/docker/overlay2/l/ACME", Max: 1 << 10}} {
		r.Ask(q)
	}
	a, err := r.Archive(Meta{PageSize: 4096}).Prepare(redact, false)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse(encode(t, a))
	if err != nil {
		t.Fatal(err)
	}
	return back, kernel.Census(back, nil)
}

func TestCensusIsKept(t *testing.T) {
	a, got := recorded(t, false)
	if diff := cmp.Diff(census(), got.Value); got.State != snapshot.Present || diff != "" {
		t.Errorf("%v %s (-want +got):\n%s", got.State, got.Err, diff)
	}
	if b := encode(t, a); !bytes.Contains(b, []byte("/home/acme rw")) && !bytes.Contains(b, []byte("/home/acme -")) {
		t.Errorf("no mount of the files:\n%s", b)
	}
	refused := counted{private(), snapshot.Reading[*snapshot.Census]{State: snapshot.Denied, Err: "no right"}}
	r := NewRecorder(refused)
	kernel.Census(r, nil)
	if got := kernel.Census(r.Archive(Meta{PageSize: 4096}), nil); got.State != snapshot.Denied || got.Err != "no right" || got.Value != nil {
		t.Errorf("%+v", got)
	}
	if got := kernel.Census(record(t, node()), nil); got.State != snapshot.Failed {
		t.Errorf("a capture without a census: %+v", got)
	}
	if got := kernel.Census(node(), nil); got.State != snapshot.Absent {
		t.Errorf("a source without a census: %+v", got)
	}
}

func TestCensusIsRedacted(t *testing.T) {
	a, got := recorded(t, true)
	if b := encode(t, a); bytes.Contains(bytes.ToLower(b), []byte("acme")) || bytes.Contains(b, []byte("script")) {
		t.Errorf("it holds a name:\n%s", b)
	}
	c := got.Value
	if got.State != snapshot.Present || len(c.Inodes) != 3 || !strings.HasPrefix(c.Inodes[0].Path, "/home/x") || !strings.HasPrefix(c.Inodes[1].Path, "memfd:x") || c.Slabs[0].Cache != "dentry" {
		t.Errorf("%+v", got)
	}
}

func TestDecodeCensusRefuses(t *testing.T) {
	good := string(encodeCensus(census()))
	lines := strings.Split(good, "\n")
	for name, bad := range map[string]string{
		"empty":            "",
		"no groups":        lines[0] + "\n",
		"lists in head":    `{"PageSize":4096,"Groups":[{}]}` + "\n",
		"no page size":     "{}\n" + lines[1],
		"an error too far": good + "e 3 1 \"\"\n",
		"kind":             good + "x 1\n",
		"short":            good + "s 0 1 \"a\"\n",
		"cut":              good[:len(good)-2],
		"a parent too far": strings.Replace(good, "g 1 0 0", "g 1 9 0", 1),
		"a ring":           strings.Replace(good, "g 1 0 0", "g 1 3 0", 1),
		"a group too far":  good + "s 3 0 1 1 \"a\"\n",
		"an inode too far": strings.Replace(good, "f 2 1 ", "f 2 4 ", 1),
		"negative":         strings.Replace(good, "s 2 1 3 600", "s 2 1 3 -2", 1),
		"too much":         strings.Replace(good, "s 2 1 3 600", "s 2 1 1152921504606846976 1152921504606846976", 1),
	} {
		if c, err := decodeCensus([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func FuzzDecodeCensus(f *testing.F) {
	f.Add(encodeCensus(census()))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCensus(b)
		if err != nil {
			return
		}
		again, err := decodeCensus(encodeCensus(c))
		if diff := cmp.Diff(c, again); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	})
}
