package gather

import (
	"path"
	"slices"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

const maxChildren = 1000 // of a pod; a larger one is not opened, and said not to be

// children reads the cgroups right below a pod: its containers, its sandbox. Of
// other targets what is below them is part of them.
func children(src kernel.Source, h cgroupfs.Hierarchy, s *snapshot.Snapshot) {
	t := s.Target()
	if id := identity.Parse(t.Path); id.Kind != identity.Pod || id.Dir != t.Path {
		return
	}
	a := src.Ask(kernel.Question{Op: kernel.List, Path: t.Dir, Max: maxChildren})
	s.Children = snapshot.Reading[[]snapshot.Cgroup]{State: a.State, Source: t.Dir, At: a.At, Err: a.Err}
	names := a.Names()
	slices.Sort(names)
	for _, name := range names {
		c := cgroupfs.ReadCore(src, h, path.Join(t.Path, name))
		if c.Usage.Gone() || c.Usage.State == snapshot.Absent {
			continue // it vanished meanwhile
		}
		c.Procs = cgroupfs.ReadProcs(src, c.Dir)
		s.Children.Value = append(s.Children.Value, c)
	}
}
