package procfs

import (
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// As Linux 6.18 prints it, but for the name: a process chooses that.
const statTail = " R 7724 7724 32488 0 -1 4194304 98 0 3 0 12 30 0 0 20 0 1 0 2804095 3133440 382 18446744073709551615 1\n"

func TestParseTimes(t *testing.T) {
	want := snapshot.Times{Start: 2804095, CPU: 420 * time.Millisecond, MinorFaults: 98, MajorFaults: 3}
	for _, name := range []string{"cat", "a b", "a) R 1 1 1", "(((", "\n\x1b[2J", ""} {
		got, err := ParseTimes([]byte("7862 (" + name + ")" + statTail))
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", name, got, err)
		}
	}
	for _, bad := range []string{"", "7862 (cat) R 1", "7862 cat" + statTail, "7862 (cat) R 1 1 1 1 1 1 x 1 1 1 1 1 1 1 1 1 1 1 1 1"} {
		if got, err := ParseTimes([]byte(bad)); err == nil || got != (snapshot.Times{}) {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

func TestParseIO(t *testing.T) {
	got, err := ParseIO([]byte("rchar: 6976\nwchar: 0\nread_bytes: 4096\n"))
	if n, ok := got.Get(snapshot.DiskRead); err != nil || n != 4096 || !ok {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzParseTimes(f *testing.F) {
	f.Add([]byte("7862 (cat)" + statTail))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := ParseTimes(b); err == nil && (got.CPU < 0 || got.Start < 0 || got.MinorFaults < 0 || got.MajorFaults < 0) {
			t.Errorf("%+v", got)
		}
		_, _ = ParseIO(b)
	})
}

func TestParseFDInfo(t *testing.T) {
	for text, want := range map[string]struct {
		offset int64
		writes bool
	}{
		"pos:\t4096\nflags:\t0100000\nmnt_id:\t29\nino:\t7\n": {4096, false},
		"pos:\t0\nflags:\t0102001\nmnt_id:\t29\n":             {0, true},
		"pos:\t9\nflags:\t02\nlock:\t1: POSIX\n":              {9, false},
	} {
		offset, writes, err := ParseFDInfo([]byte(text))
		if err != nil || offset != want.offset || writes != want.writes {
			t.Errorf("%q: %d, %v, %v", text, offset, writes, err)
		}
	}
	for _, bad := range []string{"", "pos:\t1\n", "flags:\t0\n", "pos:\t-1\nflags:\t0\n", "pos:\t1\nflags:\t9\n", "pos: 1\nflags: 0\n"} {
		if _, _, err := ParseFDInfo([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzParseFDInfo(f *testing.F) {
	f.Add([]byte("pos:\t4096\nflags:\t0100000\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if offset, _, err := ParseFDInfo(b); err == nil && offset < 0 {
			t.Error(offset)
		}
	})
}
