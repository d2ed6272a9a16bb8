package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// From how many bytes on a cause is told: a tenth of the usage, or so many.
const (
	fewBytes  = 1 << 20
	manyBytes = 64 << 20
)

// matters says whether so many bytes are worth a finding.
func (f *facts) matters(bytes int64) bool {
	return bytes >= fewBytes && (bytes >= manyBytes || 10*bytes >= f.w.Usage)
}

// cause says what bytes are. By itself it is no danger: limits and kills say what is.
func (f *facts) cause(code string, bytes int64, confidence, title string, e ...report.Evidence) report.Finding {
	return report.Finding{
		Code: code, Severity: info, Confidence: confidence, Bytes: &bytes, Evidence: e,
		Title: f.Say("%s of %s", size.Text(bytes), title),
	}
}

// account is the amount of a leaf of the ledger, 0 where there is none.
func (f *facts) account(path string) int64 {
	a, _ := f.w.Account(path)
	return max(0, a.Bytes)
}

// counters are the target's own, by their names of version 2.
func (f *facts) counters(statement string, names ...string) report.Evidence {
	t, keys := f.target(), ledger.KeysOf(f.target())
	var values []string
	for _, n := range names {
		if v, ok := keys.Get(n); ok {
			values = append(values, fmt.Sprintf("%s %d", keys.Name(n), v))
		}
	}
	return report.Evidence{Statement: statement, Source: t.Stat.Source, Value: strings.Join(values, ", ")}
}

// balanced is an amount that no file has in one line.
func (f *facts) balanced(statement string, paths ...string) report.Evidence {
	var values []string
	source := f.target().Stat.Source
	for _, p := range paths {
		a, ok := f.w.Account(p)
		if !ok {
			continue
		}
		values = append(values, fmt.Sprintf("%s %d", p, a.Bytes))
		if a.Counted {
			source = snapshot.CensusSource
		}
	}
	return report.Evidence{Statement: statement, Source: source, Value: strings.Join(values, ", ")}
}

// census is one that tells each file and whom it is charged to.
func (f *facts) census() (c *snapshot.Census, within []bool, ok bool) {
	c, ok = f.s.Census.Get()
	if !ok || c.Engine != snapshot.EngineBPF && c.Engine != snapshot.EngineKcore {
		return nil, nil, false
	}
	if f.within == nil {
		f.within = ledger.Within(c, f.target().Path, !f.target().Hierarchical())
	}
	return c, f.within, slices.Contains(f.within, true)
}

// share is a part of something with a name.
type share struct {
	name  string
	bytes int64

	inode  *snapshot.CensusInode // of a file that a census found; then that has the name
	cgroup string                // which is charged for it
}

// largest puts the largest first and says what they are.
func (f *facts) largest(list []share, what string) report.Evidence {
	const shown = 3
	slices.SortStableFunc(list, func(a, b share) int { return cmp.Compare(b.bytes, a.bytes) })
	var values []string
	for _, s := range list[:min(len(list), shown)] {
		values = append(values, fmt.Sprintf("%s %d", f.nameOf(s), s.bytes))
	}
	if more := len(list) - shown; more > 0 {
		values = append(values, f.Say("and %d more", more))
	}
	return report.Evidence{Statement: f.Say("the largest: %s", what), Source: snapshot.CensusSource, Value: strings.Join(values, ", ")}
}

// cached is the target's page cache, each byte in one part.
type cached struct {
	deleted, dirty, mapped, rest int64
	foreign                      int64 // neither deleted nor dirty, and used by others alone
	used                         int64 // none of these, and seen to be used while it was watched
	seen                         int64 // the part of foreign that is mapped, or was seen to be used
	gone                         int64 // the part of deleted that is dirty
	counted                      bool  // by a census; without one deleted is not known, mapped is a lower bound
	parts                        map[string][]share
}

// divide divides the file cache. What is dirty is that before it is mapped, or used by
// others, and what was deleted is that before all.
func (f *facts) divide() *cached {
	if f.divided == nil {
		f.divided = ptr(f.divideOnce())
	}
	return f.divided
}

func (f *facts) divideOnce() cached {
	a, ok := f.w.Account(ledger.File)
	if !ok {
		return cached{}
	}
	left := max(0, a.Bytes-a.State["onAnonLists"])
	take := func(n int64) int64 {
		n = max(0, min(n, left))
		left -= n
		return n
	}
	var d cached
	sum, ok := f.countFiles()
	if ok {
		d = sum
		d.deleted = take(sum.deleted)
		if n, ok := a.State["dirty"]; ok { // a reader can see it again; deleted files are in it
			sum.dirty = n + a.State["writeback"] - sum.gone
		}
		d.dirty = take(sum.dirty)
		d.foreign = take(sum.foreign)
		d.mapped = take(sum.mapped)
	} else {
		d.dirty = take(a.State["dirty"] + a.State["writeback"])
		d.mapped = take(a.State["mapped"] - f.account(ledger.Shmem) - a.State["onAnonLists"])
	}
	d.used = take(max(sum.used, f.cameBack()))
	d.rest = left
	return d
}

// countFiles sums the files of a census that are no memory files.
func (f *facts) countFiles() (d cached, ok bool) {
	c, within, ok := f.census()
	if !ok {
		return d, false
	}
	d.counted, d.parts = true, map[string][]share{}
	type sum struct {
		snapshot.PageState
		inode, group int
	}
	at, sums := map[int]int{}, []sum{}
	for i := range c.Files {
		row := &c.Files[i]
		if !within[row.Group] || row.Inode < 0 {
			continue
		}
		k, seen := at[row.Inode]
		if !seen {
			k = len(sums)
			at[row.Inode], sums = k, append(sums, sum{inode: row.Inode, group: row.Group})
		}
		sums[k].Add(*row.PageState)
	}
	for i := range sums {
		st, in, by := &sums[i], &c.Inodes[sums[i].inode], c.Groups[sums[i].group].Path
		if in.Magic == snapshot.MagicTmpfs {
			continue
		}
		dirty := min(st.Bytes, max(0, st.Dirty)+max(0, st.Writeback))
		mapped := min(st.Bytes-dirty, max(0, st.Mapped))
		used := min(st.Bytes-dirty-mapped, f.usedAgain(in))
		if in.Deleted {
			d.deleted += st.Bytes
			d.gone += dirty
			d.note(codeDeleted, in, by, st.Bytes)
			continue
		}
		d.dirty += dirty
		d.note(codeDirty, in, by, dirty)
		if f.foreign()[in] != nil {
			d.foreign += st.Bytes - dirty
			d.seen += mapped + used
			d.note(codeForeign, in, by, st.Bytes-dirty)
			continue
		}
		d.mapped += mapped
		d.used += used
		d.note(codeHot, in, by, mapped+used)
		d.note(codeCold, in, by, st.Bytes-dirty-mapped-used)
	}
	for _, list := range d.parts {
		order(list)
	}
	return d, true
}

func (d *cached) note(code string, in *snapshot.CensusInode, cgroup string, bytes int64) {
	if bytes > 0 {
		d.parts[code] = append(d.parts[code], share{bytes: bytes, inode: in, cgroup: cgroup})
	}
}

// files is the evidence of a census for one part, where there is one.
func (f *facts) files(code string) []report.Evidence {
	list := f.divide().parts[code]
	if len(list) == 0 {
		return nil
	}
	return []report.Evidence{f.largest(list, f.Say("files, as the container sees them"))}
}

// lookAtFiles is the next command for everything that is a file.
func (f *facts) lookAtFiles(sort string) report.Remedy {
	return report.Remedy{Kind: "look", Command: f.Say("memwhy files %s", f.brief()) + sort, Cost: f.Say("none")}
}

// giveBack plans what may go of the page cache, for this cgroup alone.
func (f *facts) giveBack() report.Remedy {
	if path := f.target().Path; identity.Parse(path).Together(path) != "" {
		return report.Remedy{Kind: "look", Command: f.Say("memwhy ps: whose it is; memwhy reclaim asks each of them alone"), Cost: f.Say("none")}
	}
	return report.Remedy{Kind: "reclaim", Command: "memwhy reclaim " + f.typed(), Cost: f.Say("nothing before --yes; what goes and is read again comes from the disk")}
}

// typed is the target as a shell is told it, where it has to be spelled out: by name,
// else id, else path.
func (f *facts) typed() string {
	path := f.target().Path
	switch w := identity.Of(path, f.s.Names); {
	case w.Named != nil && !w.Sandbox() && (w.Kind == identity.Container || w.Kind == identity.Pod):
		return quoted(w.Title)
	case w.Kind == identity.Container && w.ID != "":
		return quoted(w.ID)
	}
	return quoted(path)
}

// brief is the same where a look is all that is asked for: the beginning of an id is enough.
func (f *facts) brief() string {
	const enough = 12
	typed := f.typed()
	if w := identity.Of(f.target().Path, f.s.Names); w.ID == typed && len(typed) > enough {
		return typed[:enough]
	}
	return typed
}

// quoted is a path that a shell takes for one word.
func quoted(p string) string {
	if strings.IndexFunc(p, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._:@-", r))
	}) < 0 && p != "" {
		return p
	}
	return "'" + strings.ReplaceAll(p, "'", `'\''`) + "'"
}

// anonHolder is a process with its anonymous memory, and the file that says so.
type anonHolder struct {
	process *snapshot.Process
	bytes   int64
	how     string
}

// maxSum bounds sums of what processes say of themselves.
const maxSum = 1 << 56

// processName is a process by name and number.
func (f *facts) processName(p *snapshot.Process) string {
	return fmt.Sprintf("%s (pid %d)", cmp.Or(p.Status.Value.Name, f.Say("a process")), p.PID)
}
