package gather

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Bounds of a census of reachable files.
const (
	maxReached  = 512             // processes
	maxAsked    = 8192            // open and mapped files, of all
	maxWalk     = 3 * time.Second // over mounts, of all namespaces
	entryTime   = 50 * time.Microsecond
	leastWalk   = 200 // entries; less is not worth asking
	walkedShare = 3   // of the time left, one part in so many goes into mounts
)

// cacheTypes are the file systems whose files may be opened: those that keep them
// in the page cache and ask nobody else for them. What is served over a network
// or by a process is not touched: it may never answer.
var cacheTypes = []string{
	"bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfsplus", "iso9660", "jfs", "nilfs2", "ntfs3", "overlay",
	"ramfs", "reiserfs", "rootfs", "squashfs", "tmpfs", "udf", "vfat", "xfs",
}

// Reachable takes a census of the files that processes have open or mapped, and
// of those on the mounts of their containers: what of each is cached, whoever is
// charged for it. It knows of no other file and of nothing but files.
func Reachable(ctx context.Context, src kernel.Source, pids []int, opt Options) (*snapshot.Census, error) {
	if len(pids) == 0 {
		return nil, errors.New("the census by files needs processes to look through, and there are none")
	}
	h, err := cgroupfs.Find(src, opt.ForeignRoot)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	r := &reach{
		src: src, h: h, c: &snapshot.Census{Engine: snapshot.EngineFiles, Start: start, PageSize: src.Origin().PageSize},
		groups: map[string]int{}, inodes: map[[2]uint64]int{}, views: map[string]*reachView{},
	}
	r.c.Node = snapshot.CensusNode{
		Free: snapshot.Unknown, Reserved: snapshot.Unknown, Offline: snapshot.Unknown, Slab: snapshot.Unknown, Unowned: snapshot.Unknown, File: snapshot.Unknown,
	}
	r.c.Groups = []snapshot.CensusGroup{unknownGroup(0, "")}
	r.doubt("a file is listed with the cgroup of the process that it was reached through; its cache is whole, whoever is charged for it")
	if len(pids) > maxReached {
		r.doubt("%d of %d processes were looked through", maxReached, len(pids))
		pids = pids[:maxReached]
	}
	for _, pid := range pids {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.process(pid)
	}
	r.walks(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	r.conclude()
	r.c.Wall = time.Since(start)
	return r.c, nil
}

// reach is a census in the making.
type reach struct {
	src    kernel.Source
	h      cgroupfs.Hierarchy
	c      *snapshot.Census
	groups map[string]int
	inodes map[[2]uint64]int // by st_dev and number
	views  map[string]*reachView
	order  []*reachView

	asked                        int
	over                         bool
	refused, mincore, elsewhere  int64
	strange                      map[string]int      // file systems that were not touched
	unsearched                   map[string][]string // mounts, by why
	processes, deniedFD, deniedM int
	why                          string // of the first refusal
}

// reachView is a mount namespace with the process that it is seen through.
type reachView struct {
	pid    int
	group  int
	host   bool
	root   string // as links of its files begin where it has changed its root, else empty
	mounts []snapshot.Mount
	byID   map[int]*snapshot.Mount
	texts  map[string]bool // links that were followed
}

func (r *reach) doubt(format string, args ...any) {
	r.c.Doubts = append(r.c.Doubts, fmt.Sprintf(format, args...))
}

func unknownState() snapshot.PageState {
	const no = snapshot.Unknown
	return snapshot.PageState{
		Bytes: no, Active: no, Inactive: no, Unevictable: no, Isolated: no, Dirty: no, Writeback: no, Mapped: no, Referenced: no, Marks: no, Large: no, Huge: no,
	}
}

// unknownGroup is a cgroup of which a look at files says nothing.
func unknownGroup(id uint64, p string) snapshot.CensusGroup {
	const no = snapshot.Unknown
	return snapshot.CensusGroup{
		ID: id, Path: p, Parent: -1, Usage: no, MemoryID: no, Anon: unknownState(), File: unknownState(),
		KSM: no, Shmem: no, Tables: no, Slab: no, Kernel: no, Hugetlb: no, Other: no, Inherited: no,
	}
}

// group finds or adds a cgroup, and those above it.
func (r *reach) group(p string) int {
	if i, ok := r.groups[p]; ok {
		return i
	}
	up := -1
	if p != "/" {
		up = r.group(path.Dir(p))
	}
	var id uint64
	if dir, ok := r.h.Dir(p); ok {
		for _, line := range r.src.Ask(kernel.Question{Op: kernel.Inodes, Path: dir, Max: maxCgroups}).Names() {
			if n, name, _ := strings.Cut(line, " "); name == "." {
				id, _ = strconv.ParseUint(n, 10, 64)
			}
		}
	}
	g := unknownGroup(id, p)
	g.Parent = up
	r.c.Groups = append(r.c.Groups, g)
	r.groups[p] = len(r.c.Groups) - 1
	return r.groups[p]
}

// process looks at what one process has open and mapped.
func (r *reach) process(pid int) {
	lines, ok := kernel.Value(r.src, procFile(pid, "cgroup"), maxFile, cgroupfs.ParseMembership).Get()
	if !ok {
		return
	}
	p, ok := r.h.Membership(lines)
	if _, in := r.h.Dir(p); !ok || !in {
		return
	}
	r.processes++
	v := r.view(pid, r.group(p))
	v.group = r.group(p)
	r.open(pid, v)
	r.mapped(pid, v)
}

// view is the mount namespace of a process.
func (r *reach) view(pid, group int) *reachView {
	ns := link(r.src, procFile(pid, "ns/mnt"))
	key := ns.Value
	if ns.State != snapshot.Present {
		key = "pid " + strconv.Itoa(pid)
	}
	if v := r.views[key]; v != nil {
		return v
	}
	v := &reachView{pid: pid, group: group, byID: map[int]*snapshot.Mount{}, texts: map[string]bool{}}
	v.mounts, _ = kernel.Value(r.src, procFile(pid, "mountinfo"), maxFile, procfs.ParseMountinfo).Get()
	if r := link(r.src, procFile(pid, "root")); r.State == snapshot.Present && r.Value != "/" {
		v.root = r.Value
	}
	root := ""
	for i := range v.mounts {
		v.byID[v.mounts[i].ID] = &v.mounts[i]
		if v.mounts[i].Point == "/" {
			root = v.mounts[i].Type
		}
	}
	// The node's own mounts hold everybody's files, not the target's.
	if root != "overlay" {
		for _, of := range []string{"/proc/1/ns/mnt", "/proc/self/ns/mnt"} {
			other := link(r.src, of)
			v.host = v.host || other.State == snapshot.Present && ns.State == snapshot.Present && other.Value == ns.Value
		}
	}
	r.views[key] = v
	r.order = append(r.order, v)
	return v
}

// safe reports whether files of a mount may be opened, and notes it when not.
func (r *reach) safe(m *snapshot.Mount) bool {
	if slices.Contains(cacheTypes, m.Type) {
		return true
	}
	if r.strange == nil {
		r.strange = map[string]int{}
	}
	switch m.Type {
	case "proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "devtmpfs", "bpf", "debugfs", "tracefs", "securityfs", "pstore",
		"configfs", "nsfs", "efivarfs", "binfmt_misc", "hugetlbfs", "fusectl", "rpc_pipefs", "selinuxfs": // hold no cache
	default:
		r.strange[m.Type]++
	}
	return false
}

// candidate is a file to ask about.
type candidate struct {
	paths []string // to open it by, the best first
	text  string   // its path as the process sees it
	mount *snapshot.Mount
}

func (r *reach) open(pid int, v *reachView) {
	dir := procFile(pid, "fd")
	a := r.src.Ask(kernel.Question{Op: kernel.Links, Path: dir, Max: maxFDs})
	if a.State != snapshot.Present {
		if a.State != snapshot.Absent {
			r.deniedFD++
			r.because(a.Err)
		}
		return
	}
	var fds []string
	var texts []string
	for _, l := range a.Links() {
		if !strings.HasPrefix(l.Text, "/") || device(l.Text) || v.texts[l.Text] {
			continue
		}
		v.texts[l.Text] = !strings.HasSuffix(l.Text, " (deleted)") // several may have had one name
		fds, texts = append(fds, l.Name), append(texts, l.Text)
	}
	qs := make([]kernel.Question, len(fds))
	for i, fd := range fds {
		qs[i] = kernel.Question{Op: kernel.Read, Path: procFile(pid, "fdinfo/"+fd), Max: 64 << 10}
	}
	var files []candidate
	for i, a := range kernel.AskAll(r.src, qs) {
		var m *snapshot.Mount
		if a.State == snapshot.Present {
			m = v.byID[mountID(a.Data)]
		}
		if m == nil || r.safe(m) {
			files = append(files, candidate{[]string{dir + "/" + fds[i]}, texts[i], m})
		}
	}
	r.ask(v, files)
}

// device reports whether a path is surely none of a file with a cache.
func device(text string) bool {
	return strings.HasPrefix(text, "/dev/") && !strings.HasPrefix(text, "/dev/shm/") && !strings.HasPrefix(text, "/dev/zero") ||
		strings.HasPrefix(text, "/proc/") || strings.HasPrefix(text, "/sys/")
}

// mountID finds the line of /proc/PID/fdinfo/N.
func mountID(b []byte) int {
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			id, err := strconv.Atoi(strings.TrimSpace(n))
			if err == nil {
				return id
			}
		}
	}
	return -1
}

func (r *reach) mapped(pid int, v *reachView) {
	maps := kernel.Value(r.src, procFile(pid, "maps"), maxFile, procfs.ParseMaps)
	if maps.State != snapshot.Present {
		if maps.State != snapshot.Absent {
			r.deniedM++
			r.because(maps.Err)
		}
		return
	}
	var files []candidate
	for _, f := range maps.Value {
		if v.texts[f.Name] || device(f.Name) || !strings.HasPrefix(f.Name, "/") {
			continue
		}
		v.texts[f.Name] = !strings.HasSuffix(f.Name, " (deleted)")
		m := v.holding(f.Device, v.own(f.Name))
		if m != nil && !r.safe(m) {
			continue
		}
		paths := []string{fmt.Sprintf("/proc/%d/map_files/%x-%x", pid, f.Start, f.End)}
		if !strings.HasSuffix(f.Name, " (deleted)") && path.Clean(f.Name) == f.Name {
			paths = append(paths, procFile(pid, "root")+v.own(f.Name))
		}
		files = append(files, candidate{paths, f.Name, m})
	}
	r.ask(v, files)
}

// own is a path as the process itself sees it.
func (v *reachView) own(text string) string {
	if rest, ok := within(text, v.root); ok && v.root != "" && rest != "" {
		return rest
	}
	return text
}

// holding is the mount that a path is on: of those of its device that contain it,
// the innermost.
func (v *reachView) holding(device uint32, name string) (best *snapshot.Mount) {
	for i := range v.mounts {
		m := &v.mounts[i]
		if _, in := within(name, m.Point); in && (m.Device == device || m.Type == "overlay") && (best == nil || len(m.Point) >= len(best.Point)) {
			best = m
		}
	}
	return best
}

// within gives what is below dir of a path in it.
func within(p, dir string) (string, bool) {
	if dir == "/" {
		return p, true
	}
	rest, ok := strings.CutPrefix(p, dir)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// ask asks about files by their best path, then again by the next where that is
// not permitted.
func (r *reach) ask(v *reachView, files []candidate) {
	if left := maxAsked - r.asked; len(files) > left {
		files, r.over = files[:max(0, left)], true
	}
	r.asked += len(files)
	for len(files) > 0 {
		qs := make([]kernel.Question, len(files))
		for i, f := range files {
			qs[i] = kernel.Question{Op: kernel.Cached, Path: f.paths[0], Max: leastWalk}
		}
		var again []candidate
		for i, a := range kernel.AskAll(r.src, qs) {
			f := files[i]
			switch {
			case a.State == snapshot.Present:
				r.answer(v, f, a.Data)
			case a.State == snapshot.Denied && len(f.paths) > 1:
				again = append(again, candidate{f.paths[1:], f.text, f.mount})
			case a.State == snapshot.Denied, a.State == snapshot.Failed && a.Err != "not a regular file":
				r.refused++
				r.because(a.Err)
			}
		}
		files = again
	}
}

func (r *reach) because(why string) {
	if r.why == "" {
		r.why = why
	}
}

func (r *reach) answer(v *reachView, f candidate, data []byte) {
	c, err := kernel.ParseCached(data)
	if err != nil {
		r.refused++
		r.because(err.Error())
		return
	}
	r.mincore += c.Mincore
	for i := range c.Files {
		r.add(v, &c.Files[i], f.mount, v.own(f.text))
	}
}

// add adds a file that was not met before.
func (r *reach) add(v *reachView, f *kernel.CachedFile, m *snapshot.Mount, text string) {
	id := [2]uint64{uint64(f.Device), f.Inode}
	if _, known := r.inodes[id]; known || f.Bytes <= 0 {
		return
	}
	in := snapshot.CensusInode{Magic: uint64(f.Magic), Device: f.Device, Number: f.Inode, Links: f.Links, Size: f.Size, Mode: f.Mode}
	named(&in, m, text)
	r.c.Inodes = append(r.c.Inodes, in)
	r.inodes[id] = len(r.c.Inodes) - 1
	state := unknownState()
	state.Bytes, state.Dirty, state.Writeback = f.Bytes, f.Dirty, f.Writeback
	if in.Magic == snapshot.MagicTmpfs { // has nowhere to be written to
		state.Dirty, state.Writeback = 0, 0
	}
	r.c.Files = append(r.c.Files, snapshot.CensusFile{Group: v.group, Inode: r.inodes[id], PageState: &state})
}

// typeNames are the file systems of linux include/uapi/linux/magic.h that a magic
// number tells.
var typeNames = map[uint64]string{
	snapshot.MagicTmpfs: "tmpfs", 0x794c7630: "overlay", 0x58465342: "xfs", 0x9123683e: "btrfs", 0xf2f52010: "f2fs", 0x858458f6: "ramfs", 0x73717368: "squashfs",
}

// named gives an inode its device and path within its file system.
func named(in *snapshot.CensusInode, m *snapshot.Mount, text string) {
	if in.Links == 0 {
		text = strings.TrimSuffix(text, " (deleted)")
	}
	if m != nil {
		in.Device, in.Type = m.Device, m.Type
		if rest, ok := within(text, m.Point); ok {
			in.Path, in.Deleted = path.Join(m.Root, rest), in.Links == 0
			return
		}
	}
	in.Type = cmp.Or(in.Type, typeNames[in.Magic])
	if in.Magic == snapshot.MagicTmpfs {
		if label, ok := pseudo(text); ok && m == nil {
			in.Path, in.Pseudo = label, true
			return
		}
	}
	in.Path, in.Partial, in.Deleted = text, true, in.Links == 0
}

// pseudo is the label of memory that has no name in any directory.
func pseudo(text string) (string, bool) {
	for _, p := range []string{"/memfd:", "/SYSV"} {
		if strings.HasPrefix(text, p) {
			return text[1:], true
		}
	}
	return "dev/zero", text == "/dev/zero"
}

// walks walks over the mounts of containers, with what time there is.
func (r *reach) walks(ctx context.Context) {
	budget := maxWalk
	if d, ok := ctx.Deadline(); ok {
		budget = min(budget, time.Until(d)/walkedShare)
	}
	until := time.Now().Add(budget)
	hosts := 0
	var all []walk
	for _, v := range r.order {
		if v.host {
			hosts++
			continue
		}
		all = append(all, r.mounts(v)...)
	}
	if hosts > 0 {
		r.doubt("the mounts of the node itself were not searched: of processes outside of containers, only open and mapped files are known")
	}
	// What is likely the target's own comes first, and a root with everything else
	// last.
	slices.SortStableFunc(all, func(a, b walk) int { return cmp.Compare(a.rank(), b.rank()) })
	for i, w := range all {
		left := time.Until(until)
		if last := len(all) - i; last > 1 {
			left /= 2
		}
		r.walk(w, int(left/entryTime))
	}
}

type walk struct {
	v *reachView
	m *snapshot.Mount
}

func (w walk) rank() int {
	switch {
	case w.m.Point == "/":
		return 2
	case w.m.Type == "tmpfs":
		return 0
	}
	return 1
}

// mounts are those of a namespace that are worth a walk.
func (r *reach) mounts(v *reachView) []walk {
	var list []walk
	for i := range v.mounts {
		m := &v.mounts[i]
		if !r.safe(m) || !r.safeWay(v, m) || covered(v, m) {
			continue
		}
		list = append(list, walk{v, m})
	}
	return list
}

// safeWay reports whether nothing above a mount has to be asked for it.
func (r *reach) safeWay(v *reachView, m *snapshot.Mount) bool {
	for depth := 0; depth < 64; depth++ {
		up := v.byID[m.Parent]
		if up == nil || up == m {
			return true
		}
		if m = up; !slices.Contains(cacheTypes, m.Type) && m.Type != "devtmpfs" && m.Type != "sysfs" && m.Type != "proc" {
			return false
		}
	}
	return false
}

// covered reports whether another mount shows all of this one's files, or hides
// it.
func covered(v *reachView, m *snapshot.Mount) bool {
	for i := range v.mounts {
		o := &v.mounts[i]
		if o.ID == m.ID {
			continue
		}
		if o.Parent == m.ID && o.Point == m.Point {
			return true
		}
		if _, in := within(m.Root, o.Root); in && o.Device == m.Device && (o.Root != m.Root || o.ID < m.ID) {
			return true
		}
	}
	return false
}

func (r *reach) walk(w walk, entries int) {
	if entries < leastWalk {
		r.unsearchedFor("no time was left", w.m.Point)
		return
	}
	a := r.src.Ask(kernel.Question{Op: kernel.Cached, Path: path.Join(procFile(w.v.pid, "root"), w.m.Point), Max: entries})
	if a.State != snapshot.Present {
		if a.State != snapshot.Absent && a.Err != "not a regular file" {
			r.unsearchedFor(a.Err, w.m.Point)
		}
		return
	}
	c, err := kernel.ParseCached(a.Data)
	if err != nil {
		r.unsearchedFor(err.Error(), w.m.Point)
		return
	}
	for i := range c.Files {
		r.add(w.v, &c.Files[i], w.m, path.Join(w.m.Point, c.Files[i].Path))
	}
	r.mincore += c.Mincore
	r.refused += c.Refused
	r.elsewhere += c.TooLarge
	if c.Stopped != "" {
		r.unsearchedFor("not to the end, "+c.Stopped, w.m.Point)
	}
}

// unsearchedFor notes a mount of which files may be missing. A node has thousands.
func (r *reach) unsearchedFor(why, point string) {
	if r.unsearched == nil {
		r.unsearched = map[string][]string{}
	}
	r.unsearched[why] = append(r.unsearched[why], point)
}

// conclude says what was left out.
func (r *reach) conclude() {
	if r.over {
		r.doubt("more than %d files are open or mapped: the rest was not looked at", maxAsked)
	}
	if r.deniedFD+r.deniedM > 0 {
		r.doubt("open files of %d and mapped files of %d processes may not be seen: %s", r.deniedFD, r.deniedM, r.why)
	}
	if r.refused > 0 {
		r.doubt("%d files or directories could not be looked at: %s", r.refused, cmp.Or(r.why, "permission denied"))
	}
	if r.elsewhere > 0 {
		r.doubt("%d files are too large for mincore", r.elsewhere)
	}
	if r.mincore > 0 {
		r.doubt("of %d files mincore told, which does not know dirty pages", r.mincore)
	}
	for _, why := range slices.Sorted(maps.Keys(r.unsearched)) {
		points := r.unsearched[why]
		if len(points) == 1 {
			r.doubt("not searched: %s: %s", points[0], why)
		} else {
			r.doubt("%d mounts were not searched, as %s: %s", len(points), slices.Min(points), why)
		}
	}
	for _, t := range sortedKeys(r.strange) {
		r.doubt("files on %s were not touched: their server might not answer", t)
	}
}

func sortedKeys(m map[string]int) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
