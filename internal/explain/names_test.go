package explain

import (
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// The kernel knows of OOM kills that a runtime learnt of too late.
func TestKilledByTheLog(t *testing.T) {
	id, other := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	pod := "/kubepods.slice/kubepods-pod11111111_2222_3333_4444_555555555555.slice/cri-containerd-"
	record := func(id, outcome string) snapshot.LogRecord {
		return snapshot.LogRecord{Kind: snapshot.LogMemcgOOM, Outcome: outcome, TaskCgroup: pod + id + ".scope"}
	}
	victim := snapshot.LogRecord{Kind: snapshot.LogGlobalOOM, Outcome: "killed", Victims: []snapshot.LogVictim{{Memcg: "/x"}, {Memcg: pod + id + ".scope/below"}}}
	code := func(n int64) *int64 { return &n }
	for name, c := range map[string]struct {
		last snapshot.Termination
		log  []snapshot.LogRecord
		want bool
	}{
		"killed":              {snapshot.Termination{ID: id, ExitCode: code(137)}, []snapshot.LogRecord{record(other, "killed"), record(id, "killed")}, true},
		"below it":            {snapshot.Termination{ID: id, ExitCode: code(137)}, []snapshot.LogRecord{victim}, true},
		"another one":         {snapshot.Termination{ID: id, ExitCode: code(137)}, []snapshot.LogRecord{record(other, "killed")}, false},
		"it lived on":         {snapshot.Termination{ID: id, ExitCode: code(1)}, []snapshot.LogRecord{record(id, "killed")}, false},
		"nobody was killed":   {snapshot.Termination{ID: id, ExitCode: code(137)}, []snapshot.LogRecord{record(id, "no-victim")}, false},
		"no id of that run":   {snapshot.Termination{ExitCode: code(137)}, []snapshot.LogRecord{record(id, "killed")}, false},
		"nothing in the log":  {snapshot.Termination{ID: id, ExitCode: code(137)}, nil, false},
		"how is not known":    {snapshot.Termination{ID: id}, []snapshot.LogRecord{record(id, "killed")}, false},
		"a beginning of it":   {snapshot.Termination{ID: id[:12], ExitCode: code(137)}, []snapshot.LogRecord{record(id, "killed")}, false},
		"an id that is empty": {snapshot.Termination{ExitCode: code(137)}, []snapshot.LogRecord{{Outcome: "killed", TaskCgroup: "/"}}, false},
	} {
		s := &snapshot.Snapshot{}
		s.Log.Value.Records = c.log
		if got := killed(&c.last, s); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
