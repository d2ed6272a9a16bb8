package cgroupfs

import (
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestParseBlockIO(t *testing.T) {
	v2 := "8:0 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n253:0 rbytes=1 wbytes=2\n7:0 \n"
	v1 := "8:0 Read 1459200\n8:0 Write 314773504\n8:0 Sync 5\n8:0 Total 316232704\n253:0 Read 1\n253:0 Write 2\nTotal 316232707\n"
	want := snapshot.IO{Read: 1459201, Written: 314773506}
	if got, err := ParseIOStat([]byte(v2)); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := ParseBlkio([]byte(v1)); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, none := range []string{"", "Total 0\n"} {
		if got, err := ParseBlkio([]byte(none)); err != nil || got != (snapshot.IO{}) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if got, err := ParseIOStat([]byte("8:0 rbytes=x")); err == nil {
		t.Errorf("%+v", got)
	}
	if got, err := parseCPUStat([]byte("usage_usec 5\nuser_usec 3\n")); err != nil || got != 5000 {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := parseCPUStat([]byte("user_usec 3\n")); err == nil {
		t.Error("no usage passes for 0")
	}
}

func FuzzParseBlockIO(f *testing.F) {
	f.Add([]byte("8:0 rbytes=1 wbytes=2\n8:0 Read 5\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, parse := range []func([]byte) (snapshot.IO, error){ParseIOStat, ParseBlkio} {
			if got, err := parse(b); err == nil && (got.Read < 0 || got.Written < 0) {
				t.Errorf("%+v", got)
			}
		}
	})
}

// On version 1 another hierarchy counts for a cgroup only where its processes are in
// the cgroup of that path there.
func TestBeside(t *testing.T) {
	mounts := []Mount{{Version: snapshot.V1, Root: "/", Point: "/sys/fs/cgroup/cpu,cpuacct", Controllers: []string{"cpu", "cpuacct"}}}
	in := []Membership{{Controllers: []string{"cpu", "cpuacct"}, Path: "/docker/a"}, {Controllers: []string{"blkio"}, Path: "/docker/a"}}
	for _, c := range [][3]string{{"cpuacct", "/docker/a", "/sys/fs/cgroup/cpu,cpuacct/docker/a"}, {"cpuacct", "/docker/b", ""}, {"blkio", "/docker/a", ""}, {"pids", "/docker/a", ""}} {
		dir, why := beside(mounts, in, c[0], c[1])
		if dir != c[2] || (dir == "") == (why == "") {
			t.Errorf("%q: %q, %q", c, dir, why)
		}
	}
}
