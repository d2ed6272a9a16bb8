package diagnose

import (
	"fmt"
	"strings"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/mounts"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
)

var cacheForeign = Rule{
	Code:    codeForeign,
	Title:   "page cache that others use",
	Noun:    "page cache that others use",
	NoBytes: "the cgroup's counters could not be read",
	find:    foreignCache,
	Doc: Doc{
		Means: `Files that this cgroup read or wrote first, for which it is charged, and that none of its processes has open or mapped any more, while processes of other cgroups have: a shared volume that one container writes and another serves, files that a backup or an image pull brought in, layers of an image that many containers share. ` +
			`The charge stays with who came first until the pages go; who uses them pays nothing.`,
		Grades: "info always: it can be taken back, at the price of others.",
		Needs:  []string{"a census", "/proc/PID/fd and /proc/PID/maps of all processes, and their mount tables", "for use by reads alone: --watch"},
		Verify: []string{"memwhy files <cgroup>   # charged to it, used by whom", "grep <file> /proc/*/maps", "lsof <file>"},
		Do: []string{
			"nothing, where no limit is near: nobody loses anything",
			"a limit that its own use fits in: what it does not use goes first, and who needs it reads it again and pays then",
			"memwhy reclaim of this cgroup: the charge moves to the next reader; until then its reads come from the disk",
			"who writes for others: posix_fadvise(POSIX_FADV_DONTNEED) after fsync, or RWF_DONTCACHE (since 6.14)",
		},
		Owner: "platform; app that writes for others",
		Stories: `"Who reads the file pays for it" is wrong: who touched it first does, and for as long as it stays. "containerd leaks" often is this: the layers that it unpacked, which containers run from. ` +
			`A restart of the container that is charged changes nothing for the better: the pages stay with its removed cgroup, or its parent.`,
	},
}

// stranger is who uses a file that the target is charged for and does not use.
type stranger struct {
	user   *snapshot.FileUser
	how    string
	others int // further processes
}

// foreign are the files that others use alone, as far as everybody of the target could
// be asked.
func (f *facts) foreign() map[*snapshot.CensusInode]*stranger {
	if f.strange == nil {
		f.strange = map[*snapshot.CensusInode]*stranger{}
		f.findForeign()
	}
	return f.strange
}

func (f *facts) findForeign() {
	c, within, ok := f.census()
	if !ok || len(f.s.Users.Value) == 0 {
		return
	}
	pids := map[int]bool{}
	for _, pid := range f.s.PIDs {
		pids[pid] = true
	}
	if !f.askedAll(pids) {
		return
	}
	// It takes thousands of smaller files to matter, and each costs a look-up.
	least := f.w.Usage / 20_000
	var files []*snapshot.CensusInode
	listed := map[int]bool{}
	for i := range c.Files {
		if row := &c.Files[i]; row.Bytes > least && within[row.Group] && row.Inode >= 0 && !listed[row.Inode] && c.Inodes[row.Inode].Magic != snapshot.MagicTmpfs {
			listed[row.Inode] = true
			files = append(files, &c.Inodes[row.Inode])
		}
	}
	if f.places == nil {
		f.places = mounts.New(f.s.Mounts)
	}
	own := map[*snapshot.CensusInode]bool{}
	f.places.EachUse(files, f.s.Users.Value, func(in *snapshot.CensusInode, u *snapshot.FileUser, how string) {
		switch s := f.strange[in]; {
		case f.mine(pids, u):
			own[in] = true
		case s == nil:
			f.strange[in] = &stranger{user: u, how: how}
		case s.user.PID != u.PID:
			s.others++
			if how == mounts.Mapped && s.how != how {
				s.user, s.how = u, how
			}
		case how == mounts.Mapped:
			s.how = how
		}
	})
	for in := range own {
		delete(f.strange, in)
	}
}

// askedAll reports that nobody of the target may have a file in use unseen.
func (f *facts) askedAll(pids map[int]bool) bool {
	asked := 0
	for i := range f.s.Users.Value {
		u := &f.s.Users.Value[i]
		if !pids[u.PID] {
			continue
		}
		if asked++; refused(u.Mapped.State) || refused(u.Open.State) {
			return false
		}
	}
	return asked == len(pids) && f.s.Outside == 0
}

func refused(st snapshot.State) bool { return st != snapshot.Present && st != snapshot.Absent }

// mine reports a process of the target, or one of which that is not known.
func (f *facts) mine(pids map[int]bool, u *snapshot.FileUser) bool {
	t := f.target()
	return pids[u.PID] || u.Cgroup == "" || u.Cgroup == t.Path || t.Hierarchical() && strings.HasPrefix(u.Cgroup, strings.TrimSuffix(t.Path, "/")+"/")
}

func foreignCache(f *facts) []report.Finding {
	d := f.divide()
	if !f.matters(d.foreign) {
		return nil
	}
	// What is mapped, and not by its own, is mapped by others. What they only have open
	// they may have read long ago.
	confidence := medium
	if 2*d.seen >= d.foreign {
		confidence = high
	}
	list := d.parts[codeForeign]
	first := f.foreign()[list[0].inode]
	title := f.Say("page cache of files that others use and this cgroup does not%s; used by %s", f.where(list, d.foreign), f.strangerName(first))
	var e []report.Evidence
	for _, s := range list[:min(len(list), 3)] {
		who, dir := f.foreign()[s.inode], "fd"
		if who.how == mounts.Mapped {
			dir = "maps"
		}
		e = append(e, report.Evidence{Statement: f.Say("%s is charged here, and %s has it: %s", f.nameOf(s), f.strangerName(who), who.how), Source: descriptorsOf(who.user.PID, dir), Value: fmt.Sprint(s.bytes)})
	}
	r := f.cause(codeForeign, d.foreign, confidence, title, append(e, f.files(codeForeign)...)...)
	r.Remedies = []report.Remedy{
		f.lookAtFiles(""),
		{Kind: "reclaim", Command: "memwhy reclaim " + f.typed(), ExpectBytes: ptr(d.foreign), Cost: f.Say("nothing before --yes; others read it again from the disk, and are charged then")},
		{Kind: "app", Command: f.Say("who writes for others: posix_fadvise(POSIX_FADV_DONTNEED) after fsync, or RWF_DONTCACHE"), ExpectBytes: ptr(d.foreign), Cost: f.Say("the first read of the others goes to the disk")},
	}
	return []report.Finding{r}
}

// strangerName is the container of who uses it, and how many more there are.
func (f *facts) strangerName(s *stranger) string {
	who := s.user.Cgroup
	if w := identity.Of(who, f.s.Names); w.Title != "" {
		who = w.Title
	}
	text := f.Say("pid %d of %s", s.user.PID, who)
	if s.others > 0 {
		text = f.Say("%s and %s", text, f.Count(int64(s.others), "1 more", "%d more"))
	}
	return text
}

func descriptorsOf(pid int, file string) string { return fmt.Sprintf("/proc/%d/%s", pid, file) }
