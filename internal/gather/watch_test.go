package gather

import (
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// Two captures of a cgroup that was made anew compare as a restart; of two boots they
// do not compare.
func TestCapturesOfACgroupMadeAnew(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	captured := func(boot string, inode uint64) *snapshot.Snapshot {
		s := &snapshot.Snapshot{Path: []snapshot.Cgroup{{Path: "/x", Inode: snapshot.Reading[uint64]{Value: inode, State: snapshot.Present}}}}
		s.Host.Boot = snapshot.Reading[string]{Value: boot, State: snapshot.Present}
		return s
	}
	for name, c := range map[string]struct {
		boot   string
		inode  uint64
		remade bool
		fails  bool
	}{
		"the same":        {"b", 7, false, false},
		"made anew":       {"b", 8, true, false},
		"of another boot": {"c", 8, false, true},
	} {
		s := captured("b", 7)
		s.Watch = &snapshot.Watch{First: captured(c.boot, c.inode), Since: true, Looks: []snapshot.Look{{At: at}, {At: at.Add(time.Hour)}}}
		if err := comparable(s); (err != nil) != c.fails || s.Watch.Remade != c.remade {
			t.Errorf("%s: %v, %v", name, s.Watch.Remade, err)
		}
	}
}

// Positions are asked of regular files that can have cache, and what does not tell is
// left out.
func TestOnDisk(t *testing.T) {
	for text, want := range map[string]bool{
		"/var/log/x": true, "/var/log/x (deleted)": true, "/dev/shm/x": true, "/dev/null": false, "/proc/1/maps": false, "/sys/x": false,
		"socket:[1]": false, "anon_inode:[eventpoll]": false, "": false,
	} {
		if got := onDisk(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
