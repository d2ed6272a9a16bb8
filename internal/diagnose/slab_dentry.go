package diagnose

import (
	"github.com/memwhy/memwhy/internal/report"
)

var slabDentry = Rule{
	Code:    codeDentry,
	Title:   "names of files that the kernel remembers",
	Noun:    "names of files that the kernel remembers (dentries)",
	NoBytes: "no table lists the cgroup's slab caches",
	find:    dentries,
	Doc: Doc{
		Means: `Each name that a program opened, made, or looked for in vain leaves a dentry (some 200 bytes, more with a long name), charged to whoever asked first. ` +
			`Temporary files with ever new names, and searches for files that do not exist, fill a limit with them: heap and RSS stay flat while the container grows. ` +
			`Those of names that do not exist are slab.dentry-negative, where they can be told from the others.`,
		Grades: "info always: the kernel can take them back, though slowly; see limit.tight where it does not.",
		Needs:  []string{"a census, or on el7 memory.kmem.slabinfo"},
		Verify: []string{
			"memwhy explain <cgroup> -o wide   # slab caches among the holders", "cat /proc/sys/fs/dentry-state   # the node's: all, unused, ..., negative (since 5.0)",
			"strace -f -e trace=file -c -p <pid>   # many errors: searches in vain",
		},
		Do: []string{
			"the program: reuse names for temporary files, O_TMPFILE, or a directory of its own that is removed; do not probe for files in a loop",
			"at once: memory.reclaim (v2) or memory.force_empty (v1) of the cgroup",
			"el7: see kmem.accounting; there they are not taken back at a limit",
		},
		Owner: "app",
		Stories: `"The heap is flat, so it is no leak" is right, and yet it grows. kubectl top has dentries in it: the working set subtracts page cache only. ` +
			`curl with old NSS libraries probes thousands of names on purpose (NSS_SDB_USE_CACHE=yes stops it).`,
	},
}

func dentries(f *facts) []report.Finding {
	n, negative := f.names()
	sum := n.bytes - negative
	if !n.known || !f.matters(sum) {
		return nil
	}
	e := n.evidence
	if counted, ok := f.negatives(n); ok {
		e = append(e, counted...)
	}
	title := f.Say("names of files that the kernel remembers (dentries): of temporary files, or of searches in vain")
	switch _, probable := n.without(f.s); {
	case 2*n.inodes >= n.dentries && n.inodes > 0:
		title = f.Say("names of files that the kernel remembers (dentries), most of them probably of files that exist: their inodes are charged here too")
	case negative == 0 && 2*probable >= n.dentries && probable > 0:
		title += f.Say("; most of them probably of files that do not exist: no inode is charged here for them")
	case negative == 0 && n.dentries > 0:
		title += f.Say("; how many of them are of files that do not exist cannot be told")
	}
	r := f.cause(codeDentry, sum, high, title, e...)
	r.Remedies = []report.Remedy{
		{Kind: "look", Command: f.Say("strace -f -e trace=file -c -p PID: which calls name so many files"), Cost: f.Say("the process runs slower while it is watched")},
		{Kind: "app", Command: f.Say("use the same names again, or O_TMPFILE; do not search for files in a loop"), ExpectBytes: ptr(sum), Cost: f.Say("none")},
	}
	return []report.Finding{r}
}
