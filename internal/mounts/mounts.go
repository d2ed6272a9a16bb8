// Package mounts owns the names of cached files: under which path a container
// and the node see a file that the census knows by device and path within its
// file system, and what it is to the container: a file of an image layer, of the
// writable layer, of a volume, of a tmpfs. The same tables lead back from the path
// under which a process has a file open or mapped.
//
// It must not know how mount tables are read, nor how much memory a file holds.
// It is pure, and bounded by the tables that it is given. Paths are the kernel's
// bytes. A name is a statement about the tables, not about the file: it may have
// been renamed since.
package mounts

import (
	"path"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// Kind says what a file is to the container that is charged for it.
type Kind string

// The kinds.
const (
	ImageLayer    Kind = "image-layer"    // a lower directory of an overlay
	WritableLayer Kind = "writable-layer" // its upper directory
	Volume        Kind = "volume"         // a mount of something from outside the container's root
	Tmpfs         Kind = "tmpfs"
	Root          Kind = "root" // the file system of a container that is no overlay
	Host          Kind = "host" // of the node, as the node sees it
	Memfd         Kind = "memfd"
	SharedAnon    Kind = "shared-anon" // shared anonymous memory: mmap, without a file
	SysV          Kind = "sysv"        // shared memory of shmget
	BlockDevice   Kind = "block-device"
	NoName        Kind = "no-name"   // the kernel has forgotten its name
	NotInView     Kind = "unmounted" // no mount table at hand shows its file system
)

// Place is where a file is.
type Place struct {
	Kind   Kind
	Path   string // as the container sees it, or the label of what has no path; empty when it does not see it
	Host   string // as the node sees it; empty when it does not see it
	PID    int    // below whose /proc/PID/root Path can be opened; 0 for the node
	Volume string // the name of a volume of Kubernetes, docker or podman
	Layer  string // of a layer, its directory on the node
	Shared int    // of a layer, how many of the overlays at hand use it
}

// Names finds places.
type Names struct {
	views  []*view
	host   *view // may be nil
	layers map[Spot][]use
	byView map[string]*view // the view of a cgroup, as far as asked

	byNamespace map[string]*view
}

// Spot is a file or directory of a file system.
type Spot struct {
	Device uint32 // the kernel's s_dev
	Path   string // within the file system
}

// use is an overlay that a directory is a layer of.
type use struct {
	in    *view
	over  *mount
	dir   string // on the node
	upper bool
}

type view struct {
	table    *snapshot.MountTable
	mounts   []mount
	byDevice map[uint32][]*mount
}

type mount struct {
	*snapshot.Mount
	hidden bool            // another mount stands before it
	below  map[string]bool // where others are mounted on it
	layers []Spot          // of an overlay, the top one first
}

// New prepares the tables.
func New(tables []snapshot.MountTable) *Names {
	n := &Names{layers: map[Spot][]use{}, byView: map[string]*view{}, byNamespace: map[string]*view{}}
	for i := range tables {
		if tables[i].Mounts.State != snapshot.Present {
			continue
		}
		v := newView(&tables[i])
		n.views = append(n.views, v)
		if ns := v.table.Namespace; ns != "" && n.byNamespace[ns] == nil {
			n.byNamespace[ns] = v
		}
		if v.table.Host && n.host == nil {
			n.host = v
		}
	}
	for _, v := range n.views {
		for i := range v.mounts {
			n.addLayers(v, &v.mounts[i])
		}
	}
	return n
}

func newView(t *snapshot.MountTable) *view {
	v := &view{table: t, mounts: make([]mount, len(t.Mounts.Value)), byDevice: map[uint32][]*mount{}}
	byID := make(map[int]*mount, len(v.mounts))
	for i := range v.mounts {
		m := &v.mounts[i]
		m.Mount = &t.Mounts.Value[i]
		byID[m.ID] = m
		v.byDevice[m.Device] = append(v.byDevice[m.Device], m)
	}
	for i := range v.mounts {
		m := &v.mounts[i]
		if p := byID[m.Parent]; p != nil && p != m {
			if p.below == nil {
				p.below = map[string]bool{}
			}
			p.below[m.Point] = true
		}
	}
	for i := range v.mounts {
		v.mounts[i].hidden = hidden(&v.mounts[i], byID)
	}
	return v
}

// hidden reports whether a mount, or one that it stands on, is covered by another
// that stands nearer to the root.
func hidden(m *mount, byID map[int]*mount) bool {
	for range 64 { // a table that lies must not make a loop endless
		p := byID[m.Parent]
		if p == nil || p == m {
			return false
		}
		if m.Point != "/" && p.covered(path.Dir(m.Point)) {
			return true
		}
		m = p
	}
	return true
}

// covered reports whether another mount on m stands at p or above.
func (m *mount) covered(p string) bool {
	if len(m.below) == 0 {
		return false
	}
	for ; ; p = path.Dir(p) {
		if m.below[p] {
			return true
		}
		if len(p) <= len(m.Point) || p == "/" {
			return false
		}
	}
}

// under reports whether p is dir or below it, and what follows.
func under(p, dir string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(p, strings.TrimSuffix(dir, "/"))
	return rest, ok && (rest == "" || rest[0] == '/')
}

// at is the path of what m mounts, where it is at file, a path within its file
// system.
func (m *mount) at(file string) (p string, ok bool) {
	rest, ok := under(file, m.Root)
	if !ok || m.hidden {
		return "", false
	}
	p = join(m.Point, rest)
	return p, !m.covered(p)
}

func join(dir, rest string) string {
	if rest == "" {
		return dir
	}
	return strings.TrimSuffix(dir, "/") + rest
}

// find is the path of a file in the view: through the mount of the most of its
// file system.
func (v *view) find(s Spot) (string, *mount) {
	var best *mount
	var found string
	for _, m := range v.byDevice[s.Device] {
		if p, ok := m.at(s.Path); ok && (best == nil || len(m.Root) < len(best.Root)) {
			best, found = m, p
		}
	}
	return found, best
}

// covering is the mount that shows a path.
func (v *view) covering(p string) (best *mount) {
	for i := range v.mounts {
		m := &v.mounts[i]
		if _, ok := under(p, m.Point); ok && !m.hidden && !m.below[m.Point] && (best == nil || len(m.Point) > len(best.Point)) {
			best = m
		}
	}
	return best
}

// addLayers notes the directories of an overlay. They are paths of whoever
// mounted it, which is taken to be the node.
func (n *Names) addLayers(v *view, m *mount) {
	if n.host == nil || m.Upper == "" && len(m.Lower) == 0 {
		return
	}
	add := func(dir string, upper bool) {
		dir = path.Clean(dir)
		if on := n.host.covering(dir); on != nil {
			rest, _ := under(dir, on.Point)
			s := Spot{on.Device, join(on.Root, rest)}
			n.layers[s] = append(n.layers[s], use{v, m, dir, upper})
			m.layers = append(m.layers, s)
		}
	}
	if m.Upper != "" {
		add(m.Upper, true)
	}
	for _, dir := range m.Lower {
		add(dir, false)
	}
}

// Locate finds the place of a file that a cgroup is charged for.
func (n *Names) Locate(in *snapshot.CensusInode, cgroup string) Place {
	if p, ok := label(in); ok {
		return p
	}
	s := Spot{in.Device, in.Path}
	var p Place
	if n.host != nil {
		p.Host, _ = n.host.find(s)
	}
	mine := n.view(cgroup)
	if mine != nil && n.layer(&p, s, mine) {
		return p
	}
	if mine == nil || !p.seen(mine, s) {
		for _, v := range n.views {
			if v != mine && p.seen(v, s) {
				break
			}
		}
	}
	if p.Kind == "" || p.Kind == Host {
		n.layer(&p, s, nil)
	}
	if p.Kind == "" {
		p.Kind = NotInView
	}
	return p
}

// Spots are the places within file systems that a path may be, as a process of the
// namespace sees it: of an overlay, in each of its layers, the top one first.
func (n *Names) Spots(namespace, p string) []Spot {
	v := n.byNamespace[namespace]
	if v == nil {
		return nil
	}
	m := v.covering(p)
	if m == nil {
		return nil
	}
	rest, _ := under(p, m.Point)
	if len(m.layers) == 0 {
		return []Spot{{m.Device, join(m.Root, rest)}}
	}
	spots := make([]Spot, len(m.layers))
	for i, layer := range m.layers {
		spots[i] = Spot{layer.Device, join(layer.Path, rest)}
	}
	return spots
}

// seen fills in what the view says of a file.
func (p *Place) seen(v *view, s Spot) bool {
	found, m := v.find(s)
	if m == nil {
		return false
	}
	p.Path = found
	switch {
	case m.Type == "tmpfs":
		p.Kind = Tmpfs
	case v.table.Host || m.Point == "/" && found == p.Host: // a unit with a table of its own
		p.Kind = Host
	case m.Point == "/":
		p.Kind = Root
	default:
		p.Kind = Volume
	}
	if !v.table.Host {
		p.PID = v.table.PID
	}
	p.Volume = volume(p.Host)
	return true
}

// layer finds the layer of an overlay that a file is in: of the view's own, or of
// any when there is no view.
func (n *Names) layer(p *Place, s Spot, v *view) bool {
	for dir := s.Path; ; dir = path.Dir(dir) {
		uses := n.layers[Spot{s.Device, dir}]
		for _, u := range uses {
			if v != nil && u.in != v || u.over.hidden {
				continue
			}
			rest, _ := under(s.Path, dir)
			p.Path, p.Layer, p.Shared, p.Kind = join(u.over.Point, rest), u.dir, distinct(uses), ImageLayer
			if u.upper {
				p.Kind = WritableLayer
			}
			if !u.in.table.Host {
				p.PID = u.in.table.PID
			}
			return true
		}
		if len(dir) <= 1 {
			return false
		}
	}
}

// distinct counts overlays: one is seen in the table of its container and in that
// of the node.
func distinct(uses []use) int {
	seen := map[uint32]bool{}
	for _, u := range uses {
		seen[u.over.Device] = true
	}
	return len(seen)
}

// view is the table of a process in the cgroup, or of the nearest above it.
func (n *Names) view(cgroup string) *view {
	v, known := n.byView[cgroup]
	if known {
		return v
	}
	for c := cgroup; v == nil && len(c) > 1; c = path.Dir(c) {
		for _, w := range n.views {
			if w.table.Cgroup == c {
				v = w
				break
			}
		}
	}
	n.byView[cgroup] = v
	return v
}

// label is the place of what is no file of any directory.
func label(in *snapshot.CensusInode) (p Place, ok bool) {
	p.Path = in.Path
	switch {
	case in.Type == "bdev":
		p.Kind = BlockDevice
	case in.Path == "":
		p.Kind = NoName
	case !in.Pseudo:
		return p, false
	case strings.HasPrefix(in.Path, "memfd:"):
		p.Kind = Memfd
	case strings.HasPrefix(in.Path, "SYSV"):
		p.Kind = SysV
	case strings.TrimPrefix(in.Path, "/") == "dev/zero":
		p.Kind = SharedAnon
	default:
		p.Kind = NoName
	}
	return p, true
}

// volume is the name of the volume that a path of the node is in, as the kubelet,
// docker and podman lay theirs out.
func volume(p string) string {
	parts := strings.Split(p, "/")
	for i := range parts {
		rest := parts[i+1:]
		switch {
		case parts[i] == "pods" && len(rest) > 3 && rest[1] == "volumes":
			plugin := strings.TrimPrefix(rest[2], "kubernetes.io~")
			if plugin == "empty-dir" {
				plugin = "emptyDir"
			}
			return plugin + " " + rest[3]
		case parts[i] == "volumes" && len(rest) > 1 && rest[1] == "_data":
			return rest[0]
		}
	}
	return ""
}
