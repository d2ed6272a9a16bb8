package diagnose

import (
	"fmt"
	"strings"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
)

var slabDentryNegative = Rule{
	Code:    codeNegative,
	Title:   "names of files that do not exist",
	Noun:    "names of files that do not exist (negative dentries)",
	NoBytes: "no census counted the cgroup's dentries",
	find:    negativeDentries,
	Doc: Doc{
		Means: `The kernel remembers also that a name does not exist: of files that were deleted, as each temporary file with a name of its own leaves one, and of those that were looked for in vain. They are charged to whoever asked first. ` +
			`No file says of which cgroup they are, and the node alone counts them: what the container has more than there are names of files on the whole node is of nothing for certain, and that has to be half of it. ` +
			`Elsewhere the finding is slab.dentry, and says what is probable: a name that exists has an inode, which is mostly charged to the same cgroup.`,
		Grades: "info always: the kernel can take them back, though slowly; see limit.tight where it does not.",
		Needs:  []string{"a census", "/proc/sys/fs/dentry-state: the fifth number (since 5.0)"},
		Verify: []string{
			"cat /proc/sys/fs/dentry-state   # all, unused, ..., the fifth: negative",
			"memwhy explain <cgroup> -o wide   # slab caches among the holders",
			"strace -f -e trace=file -Z -c -p <pid>   # calls that failed",
			"bpftrace -e 'kprobe:d_alloc { @[comm] = count(); }'   # who makes them",
		},
		Do: []string{
			"the program: the same name again for a temporary file, or O_TMPFILE, which has none; ask for a file once and remember that it is missing; do not probe search paths in a loop",
			"at once: memory.reclaim (v2) or memory.force_empty (v1) of the cgroup",
			"el7: see kmem.accounting; there they are not taken back at a limit",
		},
		Owner: "app",
		Stories: `"The file is deleted, so it costs nothing" is wrong: its name stays. curl with old NSS libraries probes thousands of names on purpose (NSS_SDB_USE_CACHE=yes stops it). ` +
			`Directories with millions of them make a search slow, and the end of their file system slower.`,
	},
}

// nameSum is what a census counted of names.
type nameSum struct {
	bytes            int64 // with names that do not fit into a dentry
	dentries, inodes int64 // counts
	evidence         []report.Evidence
	known            bool
}

// names are the target's dentries, and how many bytes of them are of names that do
// not exist.
func (f *facts) names() (n nameSum, negative int64) {
	n.bytes, _, n.evidence, n.known = f.slabs(slabNames)
	c, within, ok := f.census()
	if !ok {
		return n, 0
	}
	for i := range c.Slabs {
		s := &c.Slabs[i]
		cache, _, _ := strings.Cut(s.Cache, "(")
		switch {
		case !within[s.Group] || s.Objects <= 0:
		case cache == "dentry":
			n.dentries += s.Objects
		case slabKind(cache) == slabInodes:
			n.inodes += s.Objects
		}
	}
	certain, probable := n.without(f.s)
	if 2*certain < n.dentries || n.dentries == 0 {
		return n, 0
	}
	return n, int64(float64(n.bytes) * float64(probable) / float64(n.dentries))
}

// without is how many of the dentries are of nothing: for certain, because there are
// more than names that exist on the node, and probably, because no inode is charged.
func (n *nameSum) without(s *snapshot.Snapshot) (certain, probable int64) {
	d, ok := s.Node.Dentries.Get()
	if !ok || d.Negative <= 0 { // nobody counts them before 5.0
		return 0, 0
	}
	certain = min(n.dentries, max(0, n.dentries-max(0, d.All-d.Negative)))
	return certain, max(certain, min(n.dentries-n.inodes, d.Negative))
}

// negatives is the evidence of what is of nothing and what is not.
func (f *facts) negatives(n nameSum) ([]report.Evidence, bool) {
	d, ok := f.s.Node.Dentries.Get()
	if !ok || n.dentries == 0 {
		return nil, false
	}
	e := []report.Evidence{{Statement: f.Say("dentries that are charged here, and inodes"), Source: snapshot.CensusSource, Value: fmt.Sprintf("%d, %d", n.dentries, n.inodes)}}
	if d.Negative > 0 {
		e = append(e, report.Evidence{Statement: f.Say("names of the whole node, and those of them that do not exist"), Source: f.s.Node.Dentries.Source, Value: fmt.Sprintf("%d, %d", d.All, d.Negative)})
	}
	return e, true
}

func negativeDentries(f *facts) []report.Finding {
	n, bytes := f.names()
	if !n.known || !f.matters(bytes) {
		return nil
	}
	// At least half of them is of nothing. The rest is too, where there is next to no
	// inode that it could be of.
	confidence := medium
	if certain, probable := n.without(f.s); 10*certain >= 9*probable || 10*probable >= 9*n.dentries {
		confidence = high
	}
	counted, _ := f.negatives(n)
	r := f.cause(codeNegative, bytes, confidence, f.Say("names of files that do not exist (negative dentries): of files that were deleted, or looked for in vain"), append(n.evidence, counted...)...)
	r.Remedies = []report.Remedy{
		{Kind: "look", Command: f.Say("strace -f -e trace=file -c -p PID: which calls name so many files"), Cost: f.Say("the process runs slower while it is watched")},
		{Kind: "app", Command: f.Say("use the same names again, or O_TMPFILE; do not search for files in a loop"), ExpectBytes: ptr(bytes), Cost: f.Say("none")},
		f.giveBack(),
	}
	return []report.Finding{r}
}
