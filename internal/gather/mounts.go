package gather

import (
	"path"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Bounds of the mount tables that name the files of a census.
const (
	maxTables = 256
	maxLayers = 4096
)

// mountTables reads the mount table of the node and, of each cgroup that is
// given, that of its first process: each namespace once.
func mountTables(src kernel.Source, firsts []member) []snapshot.MountTable {
	l := layers{src: src, known: map[string]string{}}
	tables := []snapshot.MountTable{l.table(member{pid: 1, namespace: namespace(src, 1)})}
	tables[0].Host = true
	seen := map[string]bool{tables[0].Namespace: true, "": true}
	for _, m := range firsts {
		if len(tables) == maxTables {
			break
		}
		if m.namespace == "" {
			m.namespace = namespace(src, m.pid)
		}
		if seen[m.namespace] {
			continue
		}
		seen[m.namespace] = true
		tables = append(tables, l.table(m))
	}
	return tables
}

// member is a process of a cgroup.
type member struct {
	pid       int
	cgroup    string
	namespace string // of mounts; empty when it has not been asked
}

func namespace(src kernel.Source, pid int) string { return link(src, procFile(pid, "ns/mnt")).Value }

// firsts is one process of each cgroup that has any.
func firsts(ps []snapshot.Process) []member {
	var list []member
	seen := map[string]bool{}
	for i := range ps {
		if c := ps[i].Cgroup; !seen[c] {
			seen[c] = true
			list = append(list, member{pid: ps[i].PID, cgroup: c})
		}
	}
	return list
}

// layers follows the short links that docker mounts overlays by, each once.
type layers struct {
	src   kernel.Source
	known map[string]string
}

func (l *layers) table(m member) snapshot.MountTable {
	t := snapshot.MountTable{PID: m.pid, Cgroup: m.cgroup, Namespace: m.namespace}
	t.Mounts = kernel.Value(l.src, procFile(m.pid, "mountinfo"), maxFile, procfs.ParseMountinfo)
	for i := range t.Mounts.Value {
		m := &t.Mounts.Value[i]
		for j, dir := range m.Lower {
			m.Lower[j] = l.real(dir)
		}
	}
	return t
}

// real is the directory that a link leads to. One step is what docker makes.
func (l *layers) real(dir string) string {
	if to, ok := l.known[dir]; ok {
		return to
	}
	if len(l.known) == maxLayers || path.Base(path.Dir(dir)) != "l" {
		return dir
	}
	to := dir
	if r := link(l.src, path.Clean("/"+dir)); r.State == snapshot.Present && r.Value != "" {
		if to = r.Value; !path.IsAbs(to) {
			to = path.Join(path.Dir(dir), to)
		}
	}
	l.known[dir] = to
	return to
}
