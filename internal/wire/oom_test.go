package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/render"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/words"
)

func logs(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("../kernel/kmsg/testdata/*.log")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d logs, %v", len(files), err)
	}
	m := map[string][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		m[strings.TrimSuffix(filepath.Base(f), ".log")] = b
	}
	return m
}

func parseLog(t *testing.T, b []byte, redact bool) *report.OOM {
	t.Helper()
	o, err := ParseLog(context.Background(), bytes.NewReader(b), 4096, redact, "", words.Printer{})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// Every log as message, which the schema is tested against, and as text, which
// keeps to one screen.
func TestLogGoldens(t *testing.T) {
	for name, b := range logs(t) {
		o := parseLog(t, b, false)
		doc, err := render.JSON(o)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "../report/testdata/oom-"+name+".json", doc)
		text, wide := render.OOM(o, false), render.OOM(o, true)
		golden(t, "testdata/oom/"+name+".golden", append(append(text[:len(text):len(text)], "\n"...), wide...))
		if n := bytes.Count(text, []byte("\n")); n > render.Height {
			t.Errorf("%s has %d lines", name, n)
		}
		for l := range bytes.Lines(text) {
			if len(l) > render.Width+1 || bytes.ContainsFunc(bytes.TrimSuffix(l, []byte("\n")), func(r rune) bool { return r < 0x20 || r > 0x7e }) {
				t.Errorf("%s: %q", name, l)
			}
		}
		if bytes.ContainsAny(doc, "\x1b\x7f") {
			t.Errorf("%s: the message can move a cursor", name)
		}
	}
}

func TestRedactedLogsHideNames(t *testing.T) {
	for name, b := range logs(t) {
		doc, err := render.JSON(parseLog(t, b, true))
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"appserver", "phpsess", "leaky", "8d2c5b0a", "0d9f7a52", "awx", "pt_main", "mprime", "ec9ee266", "3a166877", "npm start", "pinned", "memwhy-lab"} {
			if bytes.Contains(doc, []byte(secret)) {
				t.Errorf("%s shows %s", name, secret)
			}
		}
	}
}

func TestLogThatNeverEnds(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := ParseLog(ctx, r, 4096, false, "", words.Printer{}); !errors.Is(err, ErrOutOfTime) {
		t.Errorf("got %v", err)
	}
}

func TestLogThatFails(t *testing.T) {
	in := io.MultiReader(strings.NewReader("x\n"), failing{})
	if _, err := ParseLog(context.Background(), in, 4096, false, "", words.Printer{}); err == nil || !strings.Contains(err.Error(), "input/output") {
		t.Errorf("got %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("input/output error") }

// The log of a recorded node says what it says as a file.
func TestLogOfARecordedNode(t *testing.T) {
	for name, log := range map[string]string{"el7-1062-memcg-oom": "el7-1062-pod-limit", "el7-1062-kmem-limit": "el7-1062-kmem-limit"} {
		got, err := NodeLog(context.Background(), Options{From: "testdata/" + name + ".capture"})
		if err != nil {
			t.Fatal(err)
		}
		want := parseLog(t, logs(t)[log], false)
		if d := cmp.Diff(want.Records, got.Records); d != "" || got.Suppressed != want.Suppressed {
			t.Errorf("%s: %d suppressed; (-file +capture):\n%s", name, got.Suppressed, d)
		}
		hidden, err := NodeLog(context.Background(), Options{From: "testdata/" + name + ".capture", Redact: true})
		if err != nil {
			t.Fatal(err)
		}
		if doc, _ := render.JSON(hidden); bytes.Contains(doc, []byte(app)) || len(hidden.Records) != len(want.Records) {
			t.Errorf("%s: %s", name, doc)
		}
	}
	var none *NoLog
	if _, err := NodeLog(context.Background(), Options{From: "testdata/linux-6.18-v1-kinds.capture"}); !errors.As(err, &none) {
		t.Errorf("a capture without a log: %v", err)
	}
}
