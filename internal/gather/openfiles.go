package gather

import (
	"strconv"
	"strings"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Bounds of the walk over open files. Reading a link costs about 1 us.
const (
	maxFDs       = 4096 // of one process
	maxLinks     = 8192 // of all, the last process may exceed it
	maxOpenFiles = 256  // looked at, of all processes
)

const (
	overLinks = "not asked: more than 8192 files are open in larger processes"
	overFiles = "not asked: 256 open files without a name were looked at already"
)

// readOpenFiles finds the regular files without a name that processes keep open,
// in the order of ps, and what the kernel keeps behind their descriptors.
func readOpenFiles(src kernel.Source, ps []*snapshot.Process, h *behind) {
	links, files := 0, 0
	for _, p := range ps {
		if _, user := p.Status.Value.Fields.Get("VmSize"); !user {
			continue
		}
		dir := procFile(p.PID, "fd")
		r := &p.OpenFiles
		r.Source = dir
		switch {
		case links >= maxLinks:
			r.Err = overLinks
			continue
		case files >= maxOpenFiles:
			r.Err = overFiles
			continue
		}
		a := src.Ask(kernel.Question{Op: kernel.Links, Path: dir, Max: maxFDs})
		r.State, r.At, r.Err = a.State, a.At, a.Err
		if a.State != snapshot.Present {
			continue
		}
		all := a.Links()
		links += len(all)
		h.of(p, all)
		for _, l := range all {
			if fd, err := strconv.Atoi(l.Name); err == nil && nameless(l.Text) {
				r.Value = append(r.Value, snapshot.OpenFile{FD: fd, Path: l.Text})
			}
		}
		if left := maxOpenFiles - files; len(r.Value) > left {
			r.State, r.Err, r.Value = snapshot.Failed, overFiles, r.Value[:left]
		}
		files += len(r.Value)
		look(src, dir, r.Value)
	}
}

// nameless reports whether the link of an open file is that of a file which may
// hold memory though no directory has it. That a name ends like this does not
// make it so: the number of links tells.
func nameless(text string) bool {
	return strings.HasPrefix(text, "/") && strings.HasSuffix(text, " (deleted)")
}

func look(src kernel.Source, dir string, files []snapshot.OpenFile) {
	qs := make([]kernel.Question, len(files))
	for i, f := range files {
		qs[i] = kernel.Question{Op: kernel.Stat, Path: dir + "/" + strconv.Itoa(f.FD), Max: 1 << 10}
	}
	for i, a := range kernel.AskAll(src, qs) {
		files[i].Stat = kernel.Parsed(a, qs[i].Path, func(b []byte) (st snapshot.Stat, err error) {
			err = st.Parse(b)
			return st, err
		})
	}
}
