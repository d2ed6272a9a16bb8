package cgroupfs

import (
	"testing"

	"github.com/memwhy/memwhy/internal/kernel"
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
	for _, other := range []string{"anon 4096\nfile 0\n", "8:0 rbytes=-5\n", "8:0 rbytes=9223372036854775807\n8:1 rbytes=1\n"} {
		if got, err := ParseIOStat([]byte(other)); err == nil {
			t.Errorf("%q: %+v", other, got)
		}
	}
	if got, err := ParseBlkio([]byte("anon 4096\nfile 0\n")); err == nil {
		t.Errorf("%+v", got)
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
	mounts := []Mount{
		{Version: snapshot.V1, Root: "/", Point: "/sys/fs/cgroup/cpu,cpuacct", Controllers: []string{"cpu", "cpuacct"}},
		{Version: snapshot.V2, Root: "/", Point: "/sys/fs/cgroup/unified"},
	}
	in := []Membership{
		{Hierarchy: 3, Controllers: []string{"cpu", "cpuacct"}, Path: "/docker/a"}, {Hierarchy: 4, Controllers: []string{"blkio"}, Path: "/docker/a"}, {Path: "/docker/a"},
	}
	for _, c := range [][3]string{
		{"cpuacct", "/docker/a", "/sys/fs/cgroup/cpu,cpuacct/docker/a"},
		{"cpuacct", "/docker/b", ""},
		{"blkio", "/docker/a", ""},
		{"pids", "/docker/a", ""},
		{unified, "/docker/a", "/sys/fs/cgroup/unified/docker/a"},
		{unified, "/docker/b", ""},
	} {
		at, _ := beside(mounts, in, c[0], c[1])
		if at.dir != c[2] || (at.dir == "") == (at.why == "") {
			t.Errorf("%q: %+v", c, at)
		}
	}
}

// answers is a node of some files.
type answers map[string]string

func (a answers) Ask(q kernel.Question) kernel.Answer {
	text, ok := a[q.Path]
	if !ok {
		return kernel.Answer{State: snapshot.Absent, Err: "no such file"}
	}
	return kernel.Answer{State: snapshot.Present, Data: []byte(text)}
}

func (answers) Origin() kernel.Origin { return kernel.Origin{} }

// A counter of version 1 that says 0 is one only where the kernel counts at all.
func TestBlkioThatNeverMoves(t *testing.T) {
	const top, own = "/sys/fs/cgroup/blkio/", "/sys/fs/cgroup/blkio/c/"
	for name, c := range map[string]struct {
		files answers
		state snapshot.State
		read  int64
	}{
		"it counts":                          {answers{own + blkio: "8:0 Read 5\n8:0 Write 1\nTotal 6\n"}, snapshot.Present, 5},
		"it counts for others":               {answers{own + blkio: "Total 0\n", top + blkio: "8:0 Read 5\nTotal 5\n"}, snapshot.Present, 0},
		"it counts for nobody":               {answers{own + blkio: "8:0 Read 0\nTotal 0\n", top + blkio: "8:0 Read 0\nTotal 0\n"}, snapshot.Absent, 0},
		"whether it counts was not recorded": {answers{own + blkio: "Total 0\n"}, snapshot.Absent, 0},
		"before 4.13":                        {answers{own + blkioFlat: "8:0 Read 7\nTotal 7\n"}, snapshot.Present, 7},
		"before 4.13, nothing":               {answers{own + blkioFlat: "Total 0\n", top + blkioFlat: "8:0 Read 7\nTotal 7\n"}, snapshot.Present, 0},
		"no file":                            {answers{}, snapshot.Absent, 0},
	} {
		c.files["/proc/7/cgroup"] = "5:blkio:/c\n4:memory:/c\n"
		c.files["/proc/self/mountinfo"] = "30 20 0:30 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n"
		a := FindActivity(c.files, snapshot.V1, "/sys/fs/cgroup/memory/c", "/c", false, 7)
		if io := a.IO(c.files); io.State != c.state || io.Value.Read != c.read || c.state != snapshot.Present && io.Err == "" {
			t.Errorf("%s: %+v", name, io)
		}
		if p := a.Pressure(c.files); p.State != snapshot.Absent || p.Err == "" {
			t.Errorf("%s: pressure %+v", name, p)
		}
	}
	files := answers{"/c/io.stat": "8:0 rbytes=0 wbytes=0\n", "/c/memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=3\n"}
	a := FindActivity(files, snapshot.V2, "/c", "/c", false, 0)
	if io := a.IO(files); io.State != snapshot.Present || io.Value.Read != 0 {
		t.Errorf("a zero of version 2: %+v", io)
	}
	if p := a.Pressure(files); p.State != snapshot.Present || p.Value.Some.Total != 3000 {
		t.Errorf("%+v", p)
	}
}
