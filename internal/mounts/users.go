package mounts

import (
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// EachUse finds who has files open or mapped, by path: a path in a process's own root
// leads to a place in a file system, of an overlay to one in each of its layers. How
// is "fd N" or "mapped".
func (n *Names) EachUse(files []*snapshot.CensusInode, users []snapshot.FileUser, use func(in *snapshot.CensusInode, u *snapshot.FileUser, how string)) {
	at := map[Spot]*snapshot.CensusInode{}
	deleted := map[Spot]*snapshot.CensusInode{} // a new file may have its name
	labels := map[string][]*snapshot.CensusInode{}
	for _, in := range files {
		switch {
		case in == nil || in.Path == "":
		case in.Pseudo:
			labels["/"+in.Path] = append(labels["/"+in.Path], in)
		case in.Deleted:
			deleted[Spot{in.Device, in.Path}] = in
		default:
			at[Spot{in.Device, in.Path}] = in
		}
	}
	find := func(u *snapshot.FileUser, text, how string) {
		known := at
		text, gone := strings.CutSuffix(text, " (deleted)")
		if gone {
			known = deleted
			if in := labels[text]; len(in) == 1 { // several of one name cannot be told apart
				use(in[0], u, how)
				return
			}
		}
		for _, spot := range n.Spots(u.Namespace, text) {
			if in := known[spot]; in != nil {
				use(in, u, how)
				return
			}
		}
	}
	for i := range users {
		u := &users[i]
		for _, l := range u.Open.Value {
			find(u, l.Text, "fd "+l.Name)
		}
		for _, file := range u.Mapped.Value {
			find(u, file, Mapped)
		}
	}
}

// Mapped is how a process uses a file that it has mapped.
const Mapped = "mapped"
