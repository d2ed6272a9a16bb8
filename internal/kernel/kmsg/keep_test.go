package kmsg

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func fixtures(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*.log")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d fixtures, %v", len(files), err)
	}
	all := map[string][]byte{}
	for _, file := range files {
		if all[file], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// What is kept of a log gives the same records, and holds nothing else.
func TestKeptLogsReadTheSame(t *testing.T) {
	for file, b := range fixtures(t) {
		var noisy []byte
		i := 0
		for line := range bytes.Lines(b) {
			noisy = append(noisy, line...)
			if bytes.HasSuffix(line, newline) && bytes.Contains(line, []byte("Killed process")) {
				noisy = append(noisy, quiet(i)...)
				i++
			}
		}
		noisy = append(noisy, "\n"+quiet(0)...)
		kept := Keep(noisy)
		if d := cmp.Diff(log(t, noisy), log(t, kept)); d != "" {
			t.Errorf("%s (-whole +kept):\n%s", file, d)
		}
		for _, private := range []string{"SyncLoop", "ADDRCONF", "ignoring event", "Hardware name", "Call Trace"} {
			if bytes.Contains(kept, []byte(private)) {
				t.Errorf("%s: %q was kept", file, private)
			}
		}
		if !bytes.Equal(Keep(kept), kept) {
			t.Errorf("%s: keeping what was kept gives something else", file)
		}
	}
}

// log reads b; how many bytes there were is no matter here.
func log(t *testing.T, b []byte) snapshot.KernelLog {
	t.Helper()
	l, err := Read(b, 4096)
	if err != nil {
		t.Fatal(err)
	}
	l.Bytes = 0
	return l
}

// Hidden records are those of the log but for the names, however often.
func TestHiddenLogs(t *testing.T) {
	path := func(s string) string {
		parts := strings.Split(s, "/")
		for i, p := range parts {
			if p != "" {
				parts[i] = "H"
			}
		}
		return strings.Join(parts, "/")
	}
	name := func(s string) string { return path(s) }
	for file, b := range fixtures(t) {
		doc, err := Hide(b, 4096, path, name)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Hide(doc, 1, path, name)
		if err != nil || !bytes.Equal(doc, again) {
			t.Errorf("%s: hiding it again gives something else: %v", file, err)
		}
		if !bytes.Equal(Keep(doc), doc) {
			t.Errorf("%s: nothing is kept of what was hidden", file)
		}
		was, is := log(t, b), log(t, doc)
		if len(was.Records) != len(is.Records) || was.Lines != is.Lines {
			t.Fatalf("%s: %d records, %d hidden", file, len(was.Records), len(is.Records))
		}
		for i, w := range was.Records {
			got := is.Records[i]
			if w.Kind != got.Kind || w.Outcome != got.Outcome || path(w.LimitOwner) != got.LimitOwner || len(w.Victims) != len(got.Victims) {
				t.Errorf("%s: record %d\n%+v\n%+v", file, i, w, got)
			}
			if d := cmp.Diff(w.Memory, got.Memory); d != "" {
				t.Errorf("%s: record %d: %s", file, i, d)
			}
		}
		for _, secret := range []string{"appserver", "phpsess", "leaky", "8d2c5b0a", "0d9f7a52", "pt_main", "npm start", "memwhy-lab"} {
			if bytes.Contains(doc, []byte(secret)) {
				t.Errorf("%s shows %s", file, secret)
			}
		}
	}
}

func TestRecordsOfNobody(t *testing.T) {
	for _, doc := range []string{"", "[]", "{", `{"Records":[{"Kind":"x"}]}`, `{"Records":[{"Kind":"memcg","Outcome":"x"}]}`, `{"Records":[{"Kind":"memcg","Cgroup":7}]}`} {
		if l, err := Read([]byte(hidden+doc), 4096); err == nil {
			t.Errorf("%q: %+v", doc, l)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(hidden + `{"Records":[{"Kind":"memcg","Victims":[{"PID":1}],"Memory":{}}]}`))
	f.Add([]byte("[1.0] a invoked oom-killer: gfp_mask=0x0, order=0\n\x00\xff"))
	same := func(s string) string { return s }
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Read(b, 4096)
		if err != nil {
			return
		}
		kept, err := Read(Keep(b), 4096)
		if err != nil || len(kept.Records) != len(l.Records) {
			t.Errorf("%d records, %d kept", len(l.Records), len(kept.Records))
		}
		doc, err := Hide(b, 4096, same, same)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Read(doc, 4096); err != nil || len(again.Records) != len(l.Records) {
			t.Errorf("%d records, %d hidden: %v", len(l.Records), len(again.Records), err)
		}
	})
}
