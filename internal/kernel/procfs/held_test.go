package procfs

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestParseHeld(t *testing.T) {
	pipes, err := ParsePipes([]byte("77 65536 65536\n18446744073709551615 0 4096\n"))
	if err != nil || !cmp.Equal(pipes, []snapshot.Pipe{{Inode: 77, Bytes: 65536, Room: 65536}, {Inode: 1<<64 - 1, Room: 4096}}) {
		t.Errorf("%+v, %v", pipes, err)
	}
	for _, text := range []string{"77\n", "a 1 2\n", "77 -1 2\n", "77 1 99999999999\n", "77 1 2 3\n"} {
		if got, err := ParsePipes([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
	const info = "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t2066\nmap_type:\t1\nkey_size:\t4\nvalue_size:\t4096\nmax_entries:\t100\n" +
		"map_flags:\t0x1\nmap_extra:\t0x0\nmemlock:\t413696\nmap_id:\t12\nfrozen:\t0\nowner_prog_type:\t3\n"
	m, err := ParseMapInfo([]byte(info))
	if want := (snapshot.BPFMap{ID: 12, Kind: 1, Flags: snapshot.BPFNoPrealloc, Bytes: 413696}); err != nil || m != want {
		t.Errorf("%+v, %v", m, err)
	}
	for _, text := range []string{"", "map_id:\t3\n", "memlock:\t-4\n", "memlock:\tx\n", "memlock:\t1\nmap_flags:\t-1\n", "memlock:\t99999999999999999\n"} {
		if got, err := ParseMapInfo([]byte(text)); err == nil || got != (snapshot.BPFMap{}) {
			t.Errorf("%q: %+v", text, got)
		}
	}
	for text, want := range map[string]snapshot.Dentries{
		"857726\t856118\t45\t0\t91671\t0\n": {All: 857726, Unused: 856118, Negative: 91671},
		"10\t5\t45\t0\t0\t0\n":              {All: 10, Unused: 5},
		"10 5 45 0 -3 0":                    {All: 10, Unused: 5},
	} {
		if got, err := ParseDentries([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "1 2 3 4\n", "1 2 3 4 x 0\n"} {
		if got, err := ParseDentries([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func FuzzParseHeld(f *testing.F) {
	f.Add([]byte("77 65536 65536\n"))
	f.Add([]byte("memlock:\t413696\nmap_flags:\t0x1\n"))
	f.Add([]byte("857726\t856118\t45\t0\t91671\t0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := ParseDentries(b); err == nil && (d.All < 0 || d.Unused < 0 || d.Negative < 0) {
			t.Errorf("%+v", d)
		}
		if m, err := ParseMapInfo(b); err == nil && (m.Bytes < 0 || m.Flags < 0 || m.ID < 0) {
			t.Errorf("%+v", m)
		}
		pipes, err := ParsePipes(b)
		for _, p := range pipes {
			if err != nil || p.Bytes < 0 || p.Room < 0 {
				t.Errorf("%+v %v", p, err)
			}
		}
	})
}
