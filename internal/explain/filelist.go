package explain

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/mounts"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// FileSort orders files.
type FileSort string

// The orders, the largest first but by path.
const (
	FilesByBytes    FileSort = "bytes"
	FilesByDirty    FileSort = "dirty"
	FilesByActive   FileSort = "active"
	FilesByInactive FileSort = "inactive"
	FilesByMapped   FileSort = "mapped"
	FilesByPath     FileSort = "path"
)

// FileSorts lists the orders, the default first.
func FileSorts() []FileSort {
	return []FileSort{FilesByBytes, FilesByDirty, FilesByActive, FilesByInactive, FilesByMapped, FilesByPath}
}

// FileOptions choose what of the files is listed.
type FileOptions struct {
	Sort  FileSort
	Max   int // rows at most; 0 for all
	Depth int // directories of so many parts instead of files; 0 for files
}

// ErrNoFiles is returned when there is no census that knows files.
var ErrNoFiles = words.Errorf("nothing here can tell what is cached of which file")

// Files lists what a census found cached: of the snapshot's target, or of the node
// when it has none.
func Files(p words.Printer, s *snapshot.Snapshot, opt FileOptions) (*report.Files, error) {
	if err := hasFiles(s); err != nil {
		return nil, err
	}
	c := s.Census.Value
	r := &report.Files{
		Schema: report.FilesSchema, Lang: p.Lang(), Generated: generated(s), Host: host(s), Files: []report.File{}, Directories: []report.Directory{},
		Doubts: append([]string{}, censusDoubts(p, s)...),
		Cost:   report.Cost{WallMs: ms(s.Cost.Wall), CPUMs: ms(s.Cost.CPU), BytesRead: s.Cost.BytesRead, Census: censusCost(s)},
	}
	n := &namer{c: c, names: mounts.New(s.Mounts)}
	if len(s.Path) > 0 {
		t := target(s)
		r.Target = &t
		n.within = ledger.Within(c, s.Target().Path, !s.Target().Hierarchical())
	}
	all := cachedFiles(c, n.within)
	r.Totals = totals(all)
	r.Coverage = coverage(s, all, r.Totals.Bytes)
	if opt.Depth > 0 {
		n.directories(r, all, opt)
	} else {
		n.files(r, s, all, opt)
	}
	r.NotSeen = filesNotSeen(p, s, r)
	return r, nil
}

func totals(all []cached) report.FileTotals {
	var sum snapshot.PageState
	for i := range all {
		sum.Add(all[i].sum)
	}
	return report.FileTotals{Files: len(all), Bytes: sum.Bytes, State: pageStates(&sum)}
}

// coverage holds what was found against the kernel's own counter.
func coverage(s *snapshot.Snapshot, all []cached, found int64) report.Coverage {
	c := s.Census.Value
	v := report.Coverage{
		Engine: string(c.Engine), Complete: c.Complete && !c.Dropped.Any(), FoundBytes: found,
		Processes: len(s.Users.Value), Unasked: s.Unasked, Recalled: c.Recalled, Searched: c.Searched,
	}
	for i := range all {
		if in := all[i].in; in != nil && in.Path != "" {
			v.NamedBytes += all[i].sum.Bytes
		}
	}
	if len(s.Path) > 0 {
		if n, ok := ledger.KeysOf(s.Target()).Get("file"); ok {
			v.CounterBytes = &n
		}
	} else if vm, ok := s.Node.Vmstat.Get(); ok {
		if n, ok := vm.Get("nr_file_pages"); ok {
			v.CounterBytes = ptr(n * s.Host.PageSize)
		}
	}
	return v
}

func rankFile(m *snapshot.PageState, by FileSort) int64 {
	switch by {
	case FilesByDirty:
		return m.Dirty + m.Writeback
	case FilesByActive:
		return m.Active
	case FilesByInactive:
		return m.Inactive
	case FilesByMapped:
		return m.Mapped
	}
	return m.Bytes
}

// files lists the largest files.
func (n *namer) files(r *report.Files, s *snapshot.Snapshot, all []cached, opt FileOptions) {
	if opt.Sort != FilesByBytes && opt.Sort != FilesByPath {
		slices.SortStableFunc(all, func(a, b cached) int { return cmp.Compare(rankFile(&b.sum, opt.Sort), rankFile(&a.sum, opt.Sort)) })
	}
	listed := all
	if opt.Max > 0 && len(all) > opt.Max {
		listed = all[:opt.Max]
		r.Omitted.Count = len(all) - opt.Max
		for i := range all[opt.Max:] {
			r.Omitted.Bytes += all[opt.Max+i].sum.Bytes
		}
	}
	users := n.users(s, listed)
	for i := range listed {
		r.Files = append(r.Files, n.file(&listed[i], users))
	}
	if opt.Sort == FilesByPath {
		slices.SortStableFunc(r.Files, func(a, b report.File) int { return cmp.Compare(a.Path, b.Path) })
	}
}

func (n *namer) file(f *cached, users map[*snapshot.CensusInode][]report.User) report.File {
	p := n.place(f)
	row := report.File{
		Kind: string(p.Kind), Bytes: f.sum.Bytes, AtMost: !n.split(), State: pageStates(&f.sum), SharedBy: p.Shared,
		ChargedTo: charges(n.c, f), UsedBy: []report.User{},
	}
	path, host := shown(f, p)
	row.Path, row.PathBytes = name(path)
	row.HostPath, row.HostPathBytes = name(host)
	row.Volume, _ = name(p.Volume)
	row.Layer, _ = name(p.Layer)
	if f.in == nil {
		return row
	}
	row.FS, _ = name(f.in.Type)
	row.Device = device(f.in.Device)
	row.Inode, row.Generation, row.SizeBytes, row.Links, row.Deleted = f.in.Number, f.in.Generation, f.in.Size, f.in.Links, f.in.Deleted
	row.UsedBy = append(row.UsedBy, users[f.in]...)
	return row
}

// users finds out who has the files open or mapped.
func (n *namer) users(s *snapshot.Snapshot, files []cached) map[*snapshot.CensusInode][]report.User {
	inodes := make([]*snapshot.CensusInode, len(files))
	for i := range files {
		inodes[i] = files[i].in
	}
	users := map[*snapshot.CensusInode][]report.User{}
	n.names.EachUse(inodes, s.Users.Value, func(in *snapshot.CensusInode, u *snapshot.FileUser, how string) { n.use(users, in, u, how) })
	return users
}

func (n *namer) use(users map[*snapshot.CensusInode][]report.User, in *snapshot.CensusInode, u *snapshot.FileUser, how string) {
	list := users[in]
	if len(list) >= report.MaxUsers && !n.all {
		return
	}
	row := report.User{PID: u.PID, How: how}
	row.Cgroup, _ = name(u.Cgroup)
	row.How, _ = name(how)
	users[in] = append(list, row)
}

// directories sums the files by the first parts of their paths.
func (n *namer) directories(r *report.Files, all []cached, opt FileOptions) {
	type sum struct {
		path  string
		files int
		state snapshot.PageState
	}
	sums := map[string]*sum{}
	for i := range all {
		f := &all[i]
		p := n.place(f)
		file, _ := shown(f, p)
		dir := directory(string(p.Kind), file, opt.Depth)
		if sums[dir] == nil {
			sums[dir] = &sum{path: dir}
		}
		sums[dir].files++
		sums[dir].state.Add(f.sum)
	}
	rows := make([]*sum, 0, len(sums))
	for _, d := range sums {
		rows = append(rows, d)
	}
	slices.SortFunc(rows, func(a, b *sum) int {
		if opt.Sort == FilesByPath {
			return cmp.Compare(a.path, b.path)
		}
		return cmp.Or(cmp.Compare(rankFile(&b.state, opt.Sort), rankFile(&a.state, opt.Sort)), cmp.Compare(a.path, b.path))
	})
	if opt.Max > 0 && len(rows) > opt.Max {
		r.Omitted.Count = len(rows) - opt.Max
		for _, d := range rows[opt.Max:] {
			r.Omitted.Bytes += d.state.Bytes
		}
		rows = rows[:opt.Max]
	}
	for _, d := range rows {
		row := report.Directory{Files: d.files, Bytes: d.state.Bytes, State: pageStates(&d.state)}
		row.Path, row.PathBytes = name(d.path)
		r.Directories = append(r.Directories, row)
	}
}

// directory is the beginning of a path; what has no path stands under its kind.
func directory(kind, file string, depth int) string {
	if !strings.HasPrefix(file, "/") {
		return "(" + kind + ")"
	}
	dir := path.Dir(file)
	parts := strings.SplitN(dir, "/", depth+2)
	return cmp.Or(strings.Join(parts[:min(len(parts), depth+1)], "/"), "/")
}

func filesNotSeen(p words.Printer, s *snapshot.Snapshot, r *report.Files) []report.NotSeen {
	l := &missingList{Printer: p, rows: []report.NotSeen{}}
	l.hostNulls(s, r.Generated, r.Host)
	null(l, "target", r.Target == nil, snapshot.Reading[int]{State: snapshot.Absent, Source: "--node", Err: l.Say("the whole node was asked for")}, "", l.Say("whose files these are"))
	if len(s.Path) > 0 {
		null(l, "coverage.counterBytes", r.Coverage.CounterBytes == nil, s.Target().Stat, "", l.Say("how much of the cache was found"))
	} else {
		null(l, "coverage.counterBytes", r.Coverage.CounterBytes == nil, s.Node.Vmstat, "", l.Say("how much of the cache was found"))
	}
	for _, ref := range s.Census.Value.Refused {
		l.add("", "census by "+string(ref.Engine), ref.State, ref.Why, l.Of(snapshot.CensusGain))
	}
	source(l, s.Users, l.Say("other processes that use the files"))
	if s.Unasked > 0 {
		l.add("", "/proc", snapshot.Failed, l.Say("%d more processes than are asked", s.Unasked), l.Say("whether they use the files"))
	}
	refused := map[snapshot.State]int{}
	var example snapshot.Reading[[]string]
	for i := range s.Users.Value {
		u := &s.Users.Value[i]
		if st := u.Mapped.State; st != snapshot.Present && st != snapshot.Absent {
			refused[st]++
			example = u.Mapped
		}
	}
	if n := refused[snapshot.Denied] + refused[snapshot.Failed]; n > 0 {
		l.add("", example.Source, example.State, l.Say("%s (%s)", l.Of(example.Err), l.Count(int64(n), "1 process", "%d processes")), l.Say("whether they use the files"))
	}
	for i := range s.Mounts {
		if m := &s.Mounts[i]; m.Mounts.State == snapshot.Denied || m.Mounts.State == snapshot.Failed {
			source(l, m.Mounts, l.Say("paths of files as that process sees them"))
			break
		}
	}
	return l.rows
}
