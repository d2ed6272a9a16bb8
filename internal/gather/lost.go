package gather

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
	"github.com/memwhy/memwhy/internal/mounts"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Bounds of the search for the names of files that the kernel has forgotten.
const (
	maxLost     = 256 // files, the largest
	leastLost   = size.MiB
	maxSearch   = 200 * time.Millisecond
	searchDirs  = 1024
	searchAtOne = 16
	searchNames = 1 << 14 // in a directory; a larger one is left out
)

// numberedTypes are local file systems whose directories have the numbers of their
// files, those that the kernel itself goes by: with subvolumes it does not.
var numberedTypes = []string{"ext2", "ext3", "ext4", "f2fs", "xfs"}

// Lost finds names of files that have cache and that the kernel has no name for any
// more, by reading directories: first those of the named files with the nearest
// numbers, for file systems number the files of a directory one after the other where
// they can, then what is below these and below the root. Of files and directories
// nothing is read but the names in directories.
func Lost(ctx context.Context, src kernel.Source, c *snapshot.Census) {
	lost, bytes := lostFiles(c)
	if bytes < leastLost {
		return
	}
	s := newSearch(src)
	if s == nil {
		return
	}
	for device, files := range lost {
		s.on(c, device, files)
	}
	until := time.Now().Add(maxSearch)
	for len(s.queue) > 0 && s.left > 0 && s.asked < searchDirs && time.Now().Before(until) && ctx.Err() == nil {
		s.step()
	}
	c.Searched = s.found
}

// lostFiles are the largest nameless files, by device, and their bytes.
func lostFiles(c *snapshot.Census) (lost map[uint32][]*snapshot.CensusInode, bytes int64) {
	sums := map[int]int64{}
	for i := range c.Files {
		f := &c.Files[i]
		if f.Inode < 0 {
			continue
		}
		const regular = 0o10
		in := &c.Inodes[f.Inode]
		if in.Path == "" && in.Number != 0 && in.Links > 0 && in.Mode>>12 == regular && slices.Contains(numberedTypes, in.Type) {
			sums[f.Inode] += f.Bytes
		}
	}
	inodes := make([]int, 0, len(sums))
	for i := range sums {
		inodes = append(inodes, i)
	}
	slices.SortFunc(inodes, func(a, b int) int { return cmp.Or(cmp.Compare(sums[b], sums[a]), a-b) })
	lost = map[uint32][]*snapshot.CensusInode{}
	for _, i := range inodes[:min(len(inodes), maxLost)] {
		bytes += sums[i]
		lost[c.Inodes[i].Device] = append(lost[c.Inodes[i].Device], &c.Inodes[i])
	}
	return lost, bytes
}

// search goes through directories, the likeliest first.
type search struct {
	src    kernel.Source
	root   string // /proc/PID/root
	mounts []snapshot.Mount
	places *mounts.Names

	lost  map[uint32]map[uint64]*snapshot.CensusInode
	near  map[uint32][]uint64 // the numbers of those, sorted
	known map[mounts.Spot]bool
	queue []likely

	left, asked, found int
}

type likely struct {
	mounts.Spot
	far uint64 // from the nearest number that is looked for
}

// newSearch looks through the mounts of the node, or else of this process.
func newSearch(src kernel.Source) *search {
	pids := []string{"1"}
	if self := link(src, "/proc/self"); self.State == snapshot.Present {
		pids = append(pids, path.Base(self.Value))
	}
	for _, pid := range pids {
		n, err := strconv.Atoi(pid)
		if err != nil || link(src, procFile(n, "root")).State != snapshot.Present {
			continue
		}
		table := kernel.Value(src, procFile(n, "mountinfo"), maxFile, procfs.ParseMountinfo)
		if table.State != snapshot.Present {
			continue
		}
		return &search{
			src: src, root: procFile(n, "root"), mounts: table.Value, places: mounts.New([]snapshot.MountTable{{PID: n, Host: true, Mounts: table}}),
			lost: map[uint32]map[uint64]*snapshot.CensusInode{}, near: map[uint32][]uint64{}, known: map[mounts.Spot]bool{},
		}
	}
	return nil
}

// on says what is looked for on a file system that is mounted here, and where to begin.
func (s *search) on(c *snapshot.Census, device uint32, files []*snapshot.CensusInode) {
	i := slices.IndexFunc(s.mounts, func(m snapshot.Mount) bool { return m.Device == device && slices.Contains(numberedTypes, m.Type) })
	if i < 0 {
		return
	}
	s.lost[device] = map[uint64]*snapshot.CensusInode{}
	for _, in := range files {
		s.lost[device][in.Number] = in
		s.near[device] = append(s.near[device], in.Number)
	}
	s.left += len(s.lost[device])
	slices.Sort(s.near[device])
	for _, m := range s.mounts {
		if m.Device == device {
			s.add(mounts.Spot{Device: device, Path: m.Root}, 1<<63)
		}
	}
	s.neighbours(c, device)
}

// neighbours adds the directories of the two named files on each side of each number.
func (s *search) neighbours(c *snapshot.Census, device uint32) {
	var named []*snapshot.CensusInode
	for i := range c.Inodes {
		if in := &c.Inodes[i]; in.Device == device && in.Path != "" && !in.Pseudo && !in.Partial && !in.Deleted {
			named = append(named, in)
		}
	}
	slices.SortFunc(named, func(a, b *snapshot.CensusInode) int { return cmp.Compare(a.Number, b.Number) })
	for _, n := range s.near[device] {
		at, _ := slices.BinarySearchFunc(named, n, func(in *snapshot.CensusInode, n uint64) int { return cmp.Compare(in.Number, n) })
		for _, in := range named[max(0, at-2):min(len(named), at+2)] {
			s.add(mounts.Spot{Device: device, Path: path.Dir(in.Path)}, apart(in.Number, n))
		}
	}
}

func apart(a, b uint64) uint64 { return max(a, b) - min(a, b) }

func (s *search) add(at mounts.Spot, far uint64) {
	if s.known[at] {
		if i := slices.IndexFunc(s.queue, func(l likely) bool { return l.Spot == at }); i >= 0 {
			s.queue[i].far = min(s.queue[i].far, far)
		}
		return
	}
	if len(s.known) < 16*searchDirs {
		s.known[at] = true
		s.queue = append(s.queue, likely{at, far})
	}
}

// step reads the likeliest directories.
func (s *search) step() {
	slices.SortStableFunc(s.queue, func(a, b likely) int { return cmp.Compare(a.far, b.far) })
	next := slices.Clone(s.queue[:min(len(s.queue), searchAtOne)])
	s.queue = s.queue[len(next):]
	var qs []kernel.Question
	var of []mounts.Spot
	for _, l := range next {
		if p := s.places.Locate(&snapshot.CensusInode{Device: l.Device, Path: l.Path}, ""); p.Host != "" {
			qs = append(qs, kernel.Question{Op: kernel.Numbered, Path: path.Join(s.root, p.Host), Max: searchNames})
			of = append(of, l.Spot)
		}
	}
	s.asked += len(qs)
	for i, a := range kernel.AskAll(s.src, qs) {
		if a.State != snapshot.Present {
			continue
		}
		for _, line := range a.Names() {
			s.entry(of[i], line)
		}
	}
}

func (s *search) entry(dir mounts.Spot, line string) {
	text, name, ok := strings.Cut(line, " ")
	if !ok || text == "" || name == "" {
		return
	}
	n, err := strconv.ParseUint(text[1:], 10, 64)
	if err != nil {
		return
	}
	below := path.Join(dir.Path, name)
	if text[0] == 'd' {
		near := s.near[dir.Device]
		at, _ := slices.BinarySearch(near, n)
		far := apart(near[min(at, len(near)-1)], n)
		s.add(mounts.Spot{Device: dir.Device, Path: below}, min(far, apart(near[max(0, at-1)], n)))
		return
	}
	if in := s.lost[dir.Device][n]; in != nil && in.Path == "" {
		in.Path = below
		s.left--
		s.found++
	}
}
