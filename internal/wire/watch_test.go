package wire

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/capture"
	"github.com/memwhy/memwhy/internal/gather"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/render"
)

// again is a node that stands still and can be looked at often.
type again struct {
	kernel.Source
	looks int
}

func (a *again) Origin() kernel.Origin {
	o := a.Source.Origin()
	o.Replay = false
	return o
}

func (a *again) Look(n int, _ time.Duration) (kernel.Source, bool) {
	a.looks++
	return a.Source, n < 4
}

// A watch is recorded with all its looks, and its recording says the same; redacted
// it has the same numbers and none of the names.
func TestAWatchIsReplayed(t *testing.T) {
	src := &again{Source: open(t, "testdata/linux-6.18-v1-kinds.capture").Source}
	rec := capture.NewRecorder(src)
	s, err := gather.Explain(rec, "", gather.Options{Watch: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if s.Watch == nil || len(s.Watch.Looks) != 5 || s.Watch.First == nil || src.looks != 6 {
		t.Fatalf("%d looks: %+v", src.looks, s.Watch)
	}
	whole := rec.Archive(meta(s))
	var b bytes.Buffer
	if err := whole.Write(&b); err != nil {
		t.Fatal(err)
	}
	read, err := capture.Parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if n := read.Origin().Looks; n != 4 {
		t.Fatalf("%d earlier looks", n)
	}
	sameReports(t, "watch", &Node{Source: whole, ctx: context.Background()}, &Node{Source: read, ctx: context.Background()}, "")
	hidden, err := read.Prepare(true, false)
	if err != nil {
		t.Fatal(err)
	}
	b.Reset()
	if err := hidden.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, p := range s.Processes {
		if name := p.Status.Value.Name; name != "" && strings.Contains(b.String(), "("+name+")") {
			t.Errorf("%q is not hidden", name)
		}
	}
	if hidden.Origin().Looks != 4 {
		t.Error("looks are lost in redaction")
	}
	for _, bad := range []string{"/1", "/x"} { // out of turn
		broken := bytes.Replace(b.Bytes(), []byte(`"/0" ""`), []byte(`"`+bad+`" ""`), 1)
		if _, err := capture.Parse(broken); err == nil {
			t.Errorf("look %s is taken", bad)
		}
	}
}

// Two captures compare when they may be of one cgroup, the earlier one first.
func TestSince(t *testing.T) {
	const file = "testdata/linux-6.18-v1-kinds.capture"
	for earlier, want := range map[string]string{
		file:                                "not before",
		"testdata/el7-1062-healthy.capture": "the earlier capture has no cgroup",
	} {
		n, err := Open(context.Background(), Options{From: file, Since: earlier})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = n.Explain(""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", earlier, err, want)
		}
		n.Close()
	}
}

// With one look nothing of time is said.
func TestOneLookHasNoTrend(t *testing.T) {
	r, err := open(t, "testdata/linux-6.18-v1-kinds.capture").Explain("")
	if err != nil || r.Trend != nil {
		t.Errorf("%+v, %v", r.Trend, err)
	}
	if d := cmp.Diff(false, strings.Contains(string(render.Wide(r)), "OVER TIME")); d != "" {
		t.Error(d)
	}
}
