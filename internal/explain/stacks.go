package explain

import (
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/mounts"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Stacks gives each charge of a cgroup for a file as a stack.
func Stacks(s *snapshot.Snapshot) ([]report.Stack, error) {
	if err := hasFiles(s); err != nil {
		return nil, err
	}
	c := s.Census.Value
	n := &namer{c: c, names: mounts.New(s.Mounts)}
	var within []bool
	if len(s.Path) > 0 {
		within = ledger.Within(c, s.Target().Path, !s.Target().Hierarchical())
	}
	swap := false
	if mem, ok := s.Node.Meminfo.Get(); ok {
		left, _ := mem.Get("SwapFree")
		swap = left > 0
	}
	owners := make([][]string, len(c.Groups))
	var stacks []report.Stack
	for i := range c.Files {
		f := &c.Files[i]
		if within != nil && !within[f.Group] {
			continue
		}
		if owners[f.Group] == nil {
			owners[f.Group] = ownerFrames(&c.Groups[f.Group], s.Names)
		}
		one := cached{sum: *f.PageState, charges: []charge{{f.Group, f.Bytes}}}
		if f.Inode >= 0 {
			one.in = &c.Inodes[f.Inode]
		}
		frames, file := n.fileFrames(&one)
		st := report.Stack{Frames: slices.Concat(owners[f.Group], frames), File: file, Bytes: f.Bytes, Dirty: max(0, f.Dirty) + max(0, f.Writeback)}
		if one.account() == ledger.File || swap {
			st.Reclaimable = f.Bytes - max(0, f.Unevictable)
		}
		stacks = append(stacks, st)
	}
	return stacks, nil
}

// ownerFrames are the node, then the pod and container by name or id, else the
// cgroups of the path.
func ownerFrames(g *snapshot.CensusGroup, names *snapshot.Names) []string {
	frames := []string{"node"}
	id := identity.Of(g.Path, names)
	switch {
	case g.Path == "":
		return append(frames, "no cgroup")
	case id.Named != nil:
		frames = append(frames, strings.Split(id.Title, "/")...)
	case id.PodUID != "" || id.ID != "":
		if id.PodUID != "" {
			frames = append(frames, "pod "+id.PodUID)
		}
		if id.ID != "" {
			frames = append(frames, strings.TrimSpace(id.Runtime+" container "+id.ID[:min(12, len(id.ID))]))
		}
	default:
		for part := range strings.SplitSeq(strings.Trim(g.Path, "/"), "/") {
			if part != "" {
				frames = append(frames, part)
			}
		}
	}
	if g.Dying {
		frames[len(frames)-1] += " (removed)"
	}
	return frames
}

// fileFrames are the account, what the file is to the container, and the parts of
// its path.
func (n *namer) fileFrames(f *cached) (frames []string, file string) {
	p := n.place(f)
	kind := string(p.Kind)
	if p.Volume != "" {
		kind += " " + p.Volume
	}
	frames = []string{f.account(), kind}
	file, _ = shown(f, p)
	if !strings.HasPrefix(file, "/") {
		file = label(f, p, file)
		return append(frames, file), file
	}
	if f.in != nil && f.in.Deleted {
		file += " (deleted)"
	}
	parts := strings.SplitAfter(file[1:], "/")
	return append(frames, parts...), file
}

// hasFiles says why there are none.
func hasFiles(s *snapshot.Snapshot) error {
	c, ok := s.Census.Get()
	switch {
	case !ok:
		return words.Errorf("%w: %s", ErrNoFiles, s.Census.Err)
	case c.Engine == snapshot.EngineKpage:
		return words.Errorf("%w: the census by %s knows classes only", ErrNoFiles, c.Engine)
	}
	return nil
}
