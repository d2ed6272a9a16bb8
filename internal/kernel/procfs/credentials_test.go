package procfs

import (
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestCredentials(t *testing.T) {
	const text = "Name:\tx\nUid:\t1000\t65534\t1000\t1000\nCapEff:\t0000010000200000\nCapBnd:\t00000000ffffffff\nNoNewPrivs:\t1\nSeccomp:\t2\n"
	c, err := ParseCredentials([]byte(text))
	want := snapshot.Credentials{UID: 65534, Effective: 1<<40 | 1<<21, Bounding: 1<<32 - 1, NoNewPrivs: true, Seccomp: true}
	if err != nil || c != want {
		t.Errorf("%+v, %v", c, err)
	}
	if !c.Has(snapshot.CapSysAdmin) || !c.Has(snapshot.CapCheckpointRestore) || c.Has(snapshot.CapBPF) {
		t.Errorf("%+v", c)
	}
	for _, bad := range []string{"", "Uid:\t1\n", "Uid:\t0\t0\t0\t0\nCapEff:\tx\n", "CapEff:\t0\n"} {
		if c, err := ParseCredentials([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, c)
		}
	}
}

func FuzzCredentials(f *testing.F) {
	f.Add([]byte("Uid:\t0\t0\t0\t0\nCapEff:\t1\n"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = ParseCredentials(b) })
}
