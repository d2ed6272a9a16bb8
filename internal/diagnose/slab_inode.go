package diagnose

import (
	"github.com/memwhy/memwhy/internal/report"
)

var slabInode = Rule{
	Code:    codeInode,
	Title:   "inodes of many files",
	Noun:    "inodes of many files",
	NoBytes: "no table lists the cgroup's slab caches",
	find:    inodes,
	Doc: Doc{
		Means: `Each file that was opened or made has an inode in memory, 600 to 1200 bytes, charged to whoever came first: backups, indexers, find, du and package managers go through millions. ` +
			`Those of a disk go when memory is needed; those of tmpfs live as long as the file, empty or not.`,
		Grades:  "info always.",
		Needs:   []string{"a census, or on el7 memory.kmem.slabinfo"},
		Verify:  []string{"memwhy explain <cgroup> -o wide   # slab caches among the holders", "df -i -t tmpfs   # inodes of tmpfs", "slabtop -o | grep inode   # of the node"},
		Do:      []string{"tmpfs: delete the files, mount with nr_inodes", "disks: memory.reclaim (v2) takes them; vm.vfs_cache_pressure above 100 on nodes that only scan"},
		Owner:   "app",
		Stories: `"Empty files cost nothing": a million of them on tmpfs hold a gigabyte.`,
	},
}

func inodes(f *facts) []report.Finding {
	sum, list, e, known := f.slabs(slabInodes)
	if !known || !f.matters(sum) {
		return nil
	}
	title := f.Say("inodes: of many files that were opened or made")
	cure := report.Remedy{Kind: "app", Command: f.Say("go through fewer files, or by O_PATH and readdir alone; memory.reclaim (v2) gives them back"), ExpectBytes: ptr(sum), Cost: f.Say("opening them again is slower")}
	if list[0].name == "shmem_inode_cache" && 2*list[0].bytes > sum {
		title = f.Say("inodes of files on tmpfs, which stay as long as the files")
		cure = report.Remedy{Kind: "app", Command: f.Say("delete files on tmpfs that nobody needs"), ExpectBytes: ptr(sum), Cost: f.Say("the files are gone")}
	}
	r := f.cause(codeInode, sum, high, title, e...)
	r.Remedies = []report.Remedy{
		{Kind: "look", Command: f.Say("df -i, and which program goes through so many files"), Cost: f.Say("none")},
		cure,
	}
	return []report.Finding{r}
}
