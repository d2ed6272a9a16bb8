package gather

import (
	"strconv"
	"strings"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Bounds of the search for what the kernel keeps behind descriptors.
const (
	maxBPFMaps = 512
	leastHeld  = 1 << 20 // less is not worth a question
)

const overMaps = "not asked: 512 BPF maps were looked at already"

// behind asks what is in the pipes of processes, and how large their BPF maps are.
type behind struct {
	src  kernel.Source
	left int // maps
}

// holding prepares the questions; nil when so little of the target's kernel memory is
// without a name that there is nothing to find.
func holding(src kernel.Source, c *snapshot.Cgroup) *behind {
	n, known := c.KmemUsage.Get()
	if c.Version == snapshot.V2 {
		n, known = c.Stat.Value.Get("kernel")
		for _, key := range []string{"slab", "kernel_stack", "pagetables"} {
			part, _ := c.Stat.Value.Get(key)
			n -= part
		}
	}
	if known && n < leastHeld {
		return nil
	}
	return &behind{src: src, left: maxBPFMaps}
}

// of looks at one process, whose descriptors have been listed.
func (h *behind) of(p *snapshot.Process, links []snapshot.LinkText) {
	if h == nil {
		return
	}
	p.Pipes = snapshot.Reading[[]snapshot.Pipe]{State: snapshot.Present, Source: procFile(p.PID, "fd")}
	p.BPF = snapshot.Reading[[]snapshot.BPFMap]{State: snapshot.Present, Source: procFile(p.PID, "fdinfo")}
	pipes := false
	var maps []kernel.Question
	for _, l := range links {
		pipes = pipes || strings.HasPrefix(l.Text, "pipe:[")
		if _, err := strconv.Atoi(l.Name); err == nil && l.Text == "anon_inode:bpf-map" {
			maps = append(maps, kernel.Question{Op: kernel.Read, Path: procFile(p.PID, "fdinfo/"+l.Name), Max: 4 << 10})
		}
	}
	if pipes {
		p.Pipes = kernel.Parsed(h.src.Ask(kernel.Question{Op: kernel.Pipes, Path: p.Pipes.Source, Max: maxFDs}), p.Pipes.Source, procfs.ParsePipes)
	}
	if len(maps) > h.left {
		p.BPF.State, p.BPF.Err, maps = snapshot.Failed, overMaps, maps[:h.left]
	}
	h.left -= len(maps)
	for i, a := range kernel.AskAll(h.src, maps) {
		m := kernel.Parsed(a, maps[i].Path, procfs.ParseMapInfo)
		switch {
		case m.State == snapshot.Present:
			p.BPF.Value = append(p.BPF.Value, m.Value)
		case !m.Gone() && m.State != snapshot.Absent:
			p.BPF.State, p.BPF.Err = m.State, m.Err
		}
	}
}
