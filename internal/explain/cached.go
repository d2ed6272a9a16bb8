package explain

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/mounts"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// cached is what a census found of one file.
type cached struct {
	in      *snapshot.CensusInode
	sum     snapshot.PageState // charged to the groups that were asked about
	charges []charge           // to whom all of it is charged
}

type charge struct {
	group int
	bytes int64
}

// cachedFiles sums a census by file over the groups within, the largest first.
// What could not be read of a file (inode -1) is summed under nil.
func cachedFiles(c *snapshot.Census, within []bool) []cached {
	files := make([]cached, len(c.Inodes)+1)
	for i := range c.Files {
		f := &c.Files[i]
		at := &files[f.Inode+1]
		at.charges = append(at.charges, charge{f.Group, f.Bytes})
		if within == nil || within[f.Group] {
			at.sum.Add(*f.PageState)
		}
	}
	for i := range c.Inodes {
		files[i+1].in = &c.Inodes[i]
	}
	files = slices.DeleteFunc(files, func(f cached) bool { return f.sum.Bytes <= 0 })
	slices.SortStableFunc(files, func(a, b cached) int { return cmp.Compare(b.sum.Bytes, a.sum.Bytes) })
	for i := range files {
		slices.SortStableFunc(files[i].charges, func(a, b charge) int { return cmp.Compare(b.bytes, a.bytes) })
	}
	return files
}

// namer gives files their names.
type namer struct {
	c      *snapshot.Census
	names  *mounts.Names
	within []bool
	all    bool // every user of a file, not only the first
}

// place locates a file as the one who is charged most for it sees it, of those
// that were asked about.
func (n *namer) place(f *cached) mounts.Place {
	if f.in == nil {
		return mounts.Place{Kind: mounts.NoName}
	}
	cgroup := ""
	for _, ch := range f.charges {
		if n.within == nil || n.within[ch.group] {
			cgroup = n.c.Groups[ch.group].Path
			break
		}
	}
	return n.names.Locate(f.in, cgroup)
}

// shown is the path to print of a file, and the one to open on the node.
func shown(f *cached, p mounts.Place) (file, host string) {
	file, host = p.Path, p.Host
	if f.in == nil {
		return "", ""
	}
	if host == "" && p.PID != 0 && p.Path != "" && !f.in.Deleted {
		host = fmt.Sprintf("/proc/%d/root%s", p.PID, p.Path)
	}
	switch {
	case p.Kind == mounts.BlockDevice:
		file = "block device " + device(uint32(f.in.Number))
	case file == "":
		file = cmp.Or(host, f.in.Path)
	}
	return file, host
}

func charges(c *snapshot.Census, f *cached) []report.Charge {
	rows := []report.Charge{}
	for _, ch := range f.charges[:min(len(f.charges), report.MaxUsers)] {
		g := &c.Groups[ch.group]
		row := report.Charge{Dying: g.Dying, Bytes: ch.bytes}
		row.Cgroup, _ = name(g.Path)
		rows = append(rows, row)
	}
	return rows
}

// pageStates are the states that are known and not 0.
func pageStates(m *snapshot.PageState) map[string]int64 {
	st := map[string]int64{}
	for key, n := range map[string]int64{
		"active": m.Active, "inactive": m.Inactive, "unevictable": m.Unevictable, "isolated": m.Isolated, "dirty": m.Dirty,
		"writeback": m.Writeback, "mapped": m.Mapped, "referenced": m.Referenced, "large": m.Large, "huge": m.Huge,
	} {
		if n > 0 {
			st[key] = n
		}
	}
	return st
}

// account is the one that the pages of a file are in.
func (f *cached) account() string {
	if f.in != nil && f.in.Magic == snapshot.MagicTmpfs {
		return ledger.Shmem
	}
	return ledger.File
}

// censusFiles are the holders of page cache and shared memory that a census
// found.
func censusFiles(s *snapshot.Snapshot, l *ledger.Ledger) (directories, files, shmem []report.Holder) {
	c := s.Census.Value
	t := s.Target()
	n := &namer{c: c, names: mounts.New(s.Mounts), within: ledger.Within(c, t.Path, !t.Hierarchical())}
	_, apart := l.Account(ledger.Shmem)
	open := openFiles(s)
	all := cachedFiles(c, n.within)
	directories = n.crowded(all, l)
	used := n.users(s, all[:min(len(all), 4*report.MaxHolders)])
	for _, f := range all {
		account := f.account()
		if account == ledger.Shmem && !apart {
			account = ledger.File
		}
		list := &files
		if f.account() == ledger.Shmem {
			list = &shmem
		}
		if len(*list) > report.MaxHolders { // further ones are only counted: names cost
			*list = append(*list, report.Holder{Account: account, Bytes: f.sum.Bytes})
			continue
		}
		h := n.holder(&f, account, open)
		if list := used[f.in]; len(list) > len(h.UsedBy) {
			h.UsedBy = list
		}
		*list = append(*list, h)
	}
	return directories, files, shmem
}

// Bounds of the search for directories: names cost about a microsecond.
const (
	maxNamed    = 5000 // files, the largest
	leastFiles  = 5    // in a directory that is worth a line
	leastCrowd  = 10   // percent of the account
	maxCrowded  = 5
	crowdedKind = "directory"
)

// crowded are directories whose files hold much together, where each alone holds
// little.
func (n *namer) crowded(all []cached, l *ledger.Ledger) []report.Holder {
	account, ok := l.Account(ledger.File)
	if !ok {
		return nil
	}
	sums := map[string]*report.Holder{}
	for i := range all[:min(len(all), maxNamed)] {
		f := &all[i]
		if f.account() != ledger.File || f.in == nil {
			continue
		}
		p := n.place(f)
		file, host := shown(f, p)
		if !strings.HasPrefix(file, "/") {
			continue
		}
		dir := path.Dir(file)
		h := sums[dir]
		if h == nil {
			h = &report.Holder{Kind: crowdedKind, Account: ledger.File, AtMost: !n.split(), State: map[string]int64{}, Where: string(p.Kind)}
			h.Path, h.PathBytes = name(dir)
			h.Name = h.Path
			h.HostPath, _ = name(path.Dir(cmp.Or(host, file)))
			h.Volume, _ = name(p.Volume)
			sums[dir] = h
		}
		h.Bytes += f.sum.Bytes
		h.State["files"]++
	}
	var list []report.Holder
	for _, h := range sums {
		if h.State["files"] >= leastFiles && 100*h.Bytes >= leastCrowd*account.Bytes {
			list = append(list, *h)
		}
	}
	slices.SortFunc(list, func(a, b report.Holder) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Path, b.Path))
	})
	return list[:min(len(list), maxCrowded)]
}

func (n *namer) holder(f *cached, account string, open map[uint64][]openFile) report.Holder {
	p := n.place(f)
	h := report.Holder{
		Kind: "file", Account: account, Bytes: f.sum.Bytes, State: pageStates(&f.sum), Where: string(p.Kind),
		AtMost: !n.split(), ChargedTo: charges(n.c, f),
	}
	file, host := shown(f, p)
	h.Path, h.PathBytes = name(file)
	h.HostPath, _ = name(host)
	h.Volume, _ = name(p.Volume)
	h.Name, _ = name(label(f, p, file))
	if f.in != nil {
		h.Deleted = f.in.Deleted
		h.UsedBy = usersOf(f.in, open)
	}
	return h
}

// split says whether the census tells who is charged for which part of a file.
func (n *namer) split() bool { return n.c.Engine != snapshot.EngineFiles }

// label is a short name of a file.
func label(f *cached, p mounts.Place, file string) string {
	switch {
	case f.in == nil:
		return "files that could not be read"
	case p.Kind == mounts.SharedAnon:
		return "shared anonymous memory"
	case p.Kind == mounts.NoName:
		return fmt.Sprintf("%s inode %d, name forgotten", f.in.Type, f.in.Number)
	}
	return file[strings.LastIndexByte(file, '/')+1:]
}

func device(d uint32) string { return fmt.Sprintf("%d:%d", d>>20, d&(1<<20-1)) }

// openFiles are the files without a name that the target's processes have open, by
// inode number.
func openFiles(s *snapshot.Snapshot) map[uint64][]openFile {
	files := map[uint64][]openFile{}
	for i := range s.Processes {
		p := &s.Processes[i]
		for _, f := range p.OpenFiles.Value {
			st, ok := f.Stat.Get()
			if !ok {
				continue
			}
			number, ok1 := st.Get(snapshot.FileInode)
			dev, ok2 := st.Get(snapshot.FileDevice)
			if ok1 && ok2 {
				files[uint64(number)] = append(files[uint64(number)], openFile{
					snapshot.KernelDevice(uint64(dev)), path.Base(strings.TrimSuffix(f.Path, " (deleted)")), report.User{PID: p.PID, How: fmt.Sprintf("fd %d", f.FD)},
				})
			}
		}
	}
	return files
}

type openFile struct {
	device uint32
	name   string
	user   report.User
}

// usersOf finds who has the file open: by device, or, of an overlay and of btrfs,
// which show another one, by name.
func usersOf(in *snapshot.CensusInode, open map[uint64][]openFile) []report.User {
	var users []report.User
	for _, f := range open[in.Number] {
		if (f.device == in.Device || f.name == path.Base(in.Path)) && len(users) < report.MaxUsers {
			users = append(users, f.user)
		}
	}
	return users
}

// censusSlabs are the slab caches that the target is charged for.
func censusSlabs(s *snapshot.Snapshot, l *ledger.Ledger) []report.Holder {
	c := s.Census.Value
	t := s.Target()
	within := ledger.Within(c, t.Path, !t.Hierarchical())
	sums := map[string]*report.Holder{}
	var order []*report.Holder
	for i := range c.Slabs {
		row := &c.Slabs[i]
		if !within[row.Group] || row.Bytes <= 0 {
			continue
		}
		h := sums[row.Cache]
		if h == nil {
			account := ledger.SlabPinned
			if row.Reclaimable {
				account = ledger.SlabReclaimable
			}
			if _, ok := l.Account(account); !ok {
				account = ledger.Slab
			}
			h = &report.Holder{Kind: "slab-cache", Account: account, State: map[string]int64{}}
			h.Name, _ = name(row.Cache)
			sums[row.Cache] = h
			order = append(order, h)
		}
		h.Bytes += row.Bytes
		h.State["objects"] += row.Objects
	}
	list := make([]report.Holder, 0, len(order))
	for _, h := range order {
		list = append(list, *h)
	}
	return list
}

// dyingHolders are removed cgroups below the target that still hold memory.
func dyingHolders(s *snapshot.Snapshot) []report.Holder {
	c := s.Census.Value
	t := s.Target()
	within := ledger.Within(c, t.Path, !t.Hierarchical())
	var list []report.Holder
	for i := range c.Groups {
		g := &c.Groups[i]
		if !within[i] || !g.Dying {
			continue
		}
		h := report.Holder{Kind: "cgroup", Account: ledger.File, Bytes: ledger.Held(g), State: heldAccounts(g)}
		h.Path, h.PathBytes = name(g.Path)
		h.Name, _ = name(path.Base(g.Path))
		h.Deleted = true
		if h.Bytes > 0 {
			list = append(list, h)
		}
	}
	return list
}

// agreement holds what was counted against the counters.
func agreement(s *snapshot.Snapshot) *report.Census {
	c, ok := s.Census.Get()
	if !ok {
		return nil
	}
	t := s.Target()
	out := &report.Census{Engine: string(c.Engine), Complete: c.Complete && !c.Dropped.Any(), Differences: []report.Difference{}}
	n, known := ledger.Count(c, t.Path, !t.Hierarchical())
	if !known {
		return out
	}
	keys := ledger.KeysOf(t)
	file, haveFile := keys.Get("file")
	shmem, haveShmem := keys.Get("shmem")
	counters := []struct {
		account string
		counted int64
		counter int64
		ok      bool
	}{
		{"anon", n.Anon, 0, false},
		{ledger.File, n.File, file - shmem, haveFile && haveShmem},
		{ledger.Shmem, n.Shmem, shmem, haveShmem},
		{ledger.PageTables, n.PageTables, 0, false},
		{"kernel/slab", slabOf(n), 0, false},
	}
	counters[0].counter, counters[0].ok = keys.Get("anon")
	counters[3].counter, counters[3].ok = keys.Get("pagetables")
	counters[4].counter, counters[4].ok = keys.Get("slab")
	for _, x := range counters {
		if x.ok && x.counted != snapshot.Unknown && c.Engine != snapshot.EngineFiles {
			out.Differences = append(out.Differences, report.Difference{Account: x.account, CensusBytes: x.counted, CounterBytes: x.counter})
		}
	}
	return out
}

func slabOf(n ledger.Counted) int64 {
	if n.SlabReclaimable == snapshot.Unknown {
		return n.SlabPinned
	}
	return n.SlabReclaimable + n.SlabPinned
}

func censusCost(s *snapshot.Snapshot) *report.CensusCost {
	c, ok := s.Census.Get()
	if !ok {
		return nil
	}
	return &report.CensusCost{Engine: string(c.Engine), Frames: c.Frames, WallMs: ms(c.Wall)}
}

// censusDoubts are what the census itself doubts, and what it had no room for.
func censusDoubts(p words.Printer, s *snapshot.Snapshot) []string {
	c, ok := s.Census.Get()
	if !ok {
		return nil
	}
	var doubts []string
	for _, d := range c.Doubts {
		text, _ := name(d)
		doubts = append(doubts, p.Say("census: %s", text))
	}
	if d := c.Dropped; d.Any() {
		doubts = append(doubts, p.Say("census: no room for %d groups, %d files, %d inodes, %d names, %s: its lists are not complete", d.Groups, d.Files, d.Inodes, d.Names, size.Text(d.Bytes)))
	}
	return doubts
}
