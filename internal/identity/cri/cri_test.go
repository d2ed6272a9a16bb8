package cri

import (
	"testing"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/snapshot"
)

const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// The info of a status in full holds the environment: nothing of it is kept but
// a process and a path.
func TestInfoKeepsNoSecrets(t *testing.T) {
	info := `{"pid":7,"config":{"envs":[{"key":"TOKEN","value":"s3cret"}]},"runtimeSpec":{"linux":{"cgroupsPath":"/kubepods/x"},"process":{"env":["TOKEN=s3cret"]}}}`
	entry := append([]byte{0x0a, 4, 'i', 'n', 'f', 'o', 0x12, byte(len(info)&0x7f | 0x80), byte(len(info) >> 7)}, info...)
	answer := append([]byte{0x12, byte(len(entry)&0x7f | 0x80), byte(len(entry) >> 7)}, entry...)
	n := snapshot.Named{Kind: snapshot.NamedContainer, ID: id}
	r := &Runtime{call: func(string, []byte) ([]byte, error) { return answer, nil }}
	if err := r.Detail(&n); err != nil {
		t.Fatal(err)
	}
	if n.PID != 7 || n.Cgroup != "/kubepods/x" || n.Labels != nil || n.Image != "" {
		t.Errorf("%+v", n)
	}
}

// The systemd driver's path is SLICE:PREFIX:ID, which is no path.
func TestCgroupsPathOfSystemd(t *testing.T) {
	n := snapshot.Named{}
	value := `{"runtimeSpec":{"linux":{"cgroupsPath":"kubepods-burstable.slice:cri-containerd:x"}}}`
	entry := append([]byte{0x0a, 4, 'i', 'n', 'f', 'o', 0x12, byte(len(value))}, value...)
	if err := info(&n, entry); err != nil || n.Cgroup != "" {
		t.Errorf("%+v, %v", n, err)
	}
}

// Whatever arrives: no panic, whole ids only.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte("\x0a\x46\x0a\x40" + id + "\x1a\x02\x0a\x00"))
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		call := func(string, []byte) ([]byte, error) { return b, nil }
		r, _ := Greet(call)
		all, _ := r.List()
		for i := range all {
			if !identity.IsID(all[i].ID) {
				t.Errorf("id %q", all[i].ID)
			}
			_ = r.Detail(&all[i])
		}
		n := snapshot.Named{Kind: snapshot.NamedContainer, State: "running", ID: id}
		_ = r.Detail(&n)
		if n.Limit < 0 || n.PID < 0 {
			t.Errorf("%+v", n)
		}
	})
}
