package diagnose

import (
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
)

var cacheCold = Rule{
	Code:    codeCold,
	Title:   "page cache that nobody is seen to use",
	Noun:    "page cache that nobody is seen to use",
	NoBytes: "the cgroup's counters could not be read",
	find:    cold,
	Doc: Doc{
		Means: `Files were read or written, and the kernel keeps their contents: it gives them back when somebody needs the memory, never because time passes. ` +
			`None of it is mapped, waits to be written, or is of a deleted file; who will read it again, one look cannot tell. ` +
			`It is charged to whoever brought it in first and stays when that process ends.`,
		Grades: "info always: cache alone kills nothing. What it does to an alert is metric.misread, to a node that evicts by working set a matter of active_file.",
		Needs:  []string{"memory.stat: file (cache), active_file, inactive_file", "for the names a census, see memwhy doctor"},
		Verify: []string{
			"grep -E '^(total_)?(cache|file|active_file|inactive_file)' /sys/fs/cgroup/<cgroup>/memory.stat",
			"memwhy files <cgroup>   # which files",
			"cat /sys/kernel/mm/lru_gen/enabled   # odd: with the multi-generational LRU, active and inactive mean little",
		},
		Do: []string{
			"nothing, where no limit or eviction is near: it makes the next read fast",
			"the program: posix_fadvise(POSIX_FADV_DONTNEED) after writing, RWF_DONTCACHE (since 6.14), O_DIRECT for what is read once",
			"double buffering: what reads whole files into its heap holds them twice, in the cache and in anon, and both grow together: posix_fadvise(POSIX_FADV_DONTNEED) behind what was read, O_DIRECT, or mmap instead of a copy",
			"the platform: memwhy reclaim gives back what was not used while it was watched, of this container alone; a limit near the request bounds it",
		},
		Owner: "app for what it reads and writes; platform for alerts and limits",
		Stories: `"The cache is a leak" is wrong: a leak cannot be taken back. "active means in use" is wrong too: a page that was read twice stays active for months when nothing presses, and with the multi-generational LRU the lists have another meaning. ` +
			`Dropping the caches of the whole node hits every container on it.`,
	},
}

func cold(f *facts) []report.Finding {
	d := f.divide()
	if _, _, idle := f.idle(); idle || !f.matters(d.rest) {
		return nil
	}
	confidence, seen := f.coldness()
	title := f.Say("page cache: files that were read or written, and that nobody is seen to use%s", f.most(codeCold, d.rest))
	perhaps, e := f.busy(d.rest)
	if perhaps != "" {
		confidence, title = low, perhaps+f.most(codeCold, d.rest)
	}
	r := f.cause(codeCold, d.rest, confidence, title,
		f.counters(seen, "file", "active_file", "inactive_file", "file_mapped", "file_dirty", "file_writeback"))
	r.Evidence = append(append(r.Evidence, e...), f.files(codeCold)...)
	r.Remedies = []report.Remedy{
		f.giveBack(),
		f.lookAtFiles(""),
		{Kind: "app", Command: f.Say("posix_fadvise(POSIX_FADV_DONTNEED) after use, RWF_DONTCACHE or O_DIRECT for what is read once"), ExpectBytes: ptr(d.rest), Cost: f.Say("reading it again goes to the disk")},
	}
	return []report.Finding{r}
}

// coldness is what the lists prove. They never prove that nobody will read it.
func (f *facts) coldness() (confidence, seen string) {
	a, _ := f.w.Account(ledger.File)
	switch lru := LRU(f.s); {
	case lru == "mglru":
		return low, f.Say("the multi-generational LRU is on: inactive does not mean cold; one look sees no reads")
	case lru == "unknown":
		return low, f.Say("which LRU this kernel has is not known; one look sees no reads")
	case 10*a.State["inactive"] >= 9*a.Bytes:
		return medium, f.Say("nearly all of it is on the inactive list: touched once and never again since")
	}
	return low, f.Say("some of it is active: touched twice at some time, and nothing makes it inactive without pressure; one look sees no reads")
}

// most names the file that is most of a part, or the directory whose files are.
func (f *facts) most(code string, of int64) string { return f.where(f.divide().parts[code], of) }

// LRU names the page reclaim engine: mglru, classic or unknown. A kernel that does
// not count refaults of anonymous pages (before 5.9) is older than the
// multi-generational one (6.1).
func LRU(s *snapshot.Snapshot) string {
	on, ok := s.Host.MGLRU.Get()
	switch {
	case ok && on:
		return "mglru"
	case ok || s.Host.MGLRU.State == snapshot.Absent:
		return "classic"
	}
	if vm, ok := s.Node.Vmstat.Get(); ok {
		if _, ok := vm.Get("workingset_refault_anon"); !ok {
			return "classic"
		}
	}
	return "unknown"
}
