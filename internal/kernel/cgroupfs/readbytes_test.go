package cgroupfs

import "testing"

func TestParseReadBytes(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       int64
		wrong      bool
	}{
		{"nothing read", "", 0, false},
		{"version 2", "253:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=100 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n", 4196, false},
		{"device without numbers", "253:0 \n8:0 rbytes=7 wbytes=0\n", 7, false},
		{"with latency", "8:0 rbytes=5 wbytes=1 use_delay=0 delay_nsec=0\n", 5, false},
		{"version 1", "8:0 Read 12\n8:0 Write 5\n8:0 Sync 17\n8:0 Async 0\n8:0 Discard 0\n8:0 Total 17\n8:16 Read 30\nTotal 47\n", 42, false},
		{"version 1, nothing", "Total 0\n", 0, false},
		{"negative", "8:0 rbytes=-5\n", 0, false},
		{"overflow", "8:0 rbytes=9223372036854775807\n8:1 rbytes=9223372036854775807\n", 0, true},
		{"other file", "anon 4096\nfile 0\n", 0, true},
	} {
		got, err := ParseReadBytes([]byte(c.text))
		if got != c.want || (err != nil) != c.wrong {
			t.Errorf("%s: %d, %v", c.name, got, err)
		}
	}
}

func FuzzParseReadBytes(f *testing.F) {
	f.Add([]byte("253:0 rbytes=4096 wbytes=8192\n"))
	f.Add([]byte("8:0 Read 12\nTotal 12\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := ParseReadBytes(b); n < 0 || err != nil && n != 0 {
			t.Errorf("%d, %v", n, err)
		}
	})
}
