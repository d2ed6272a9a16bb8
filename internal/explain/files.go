package explain

import (
	"fmt"
	"strings"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Other file systems whose files are memory: linux include/uapi/linux/magic.h, and
// hugetlbfs, whose pages are a matter of their own.
const (
	ramfs     = 0x858458f6
	hugetlbfs = 0x958458f6
)

// fileHolders lists files that no directory has any more and that processes
// keep open, each once, whoever has it open. A file of tmpfs holds what its
// blocks take, in RAM or swap; of a file on disk that is only the most that can
// be cached.
func fileHolders(s *snapshot.Snapshot, l *ledger.Ledger) (files, shmem []report.Holder) {
	_, apart := l.Account(ledger.Shmem)
	at := map[[2]int64]*report.Holder{}
	var order []*report.Holder
	for i := range s.Processes {
		p := &s.Processes[i]
		for _, f := range p.OpenFiles.Value {
			st, ok := f.Stat.Get()
			if !ok {
				continue
			}
			h, id, ok := fileHolder(f, &st)
			if !ok {
				continue
			}
			if at[id] == nil {
				h.PID = p.PID
				at[id] = &h
				order = append(order, &h)
			}
			if h := at[id]; len(h.UsedBy) < report.MaxUsers {
				h.UsedBy = append(h.UsedBy, report.User{PID: p.PID, How: fmt.Sprintf("fd %d", f.FD)})
			}
		}
	}
	for _, h := range order {
		if h.AtMost {
			if a, ok := l.Account(ledger.File); ok {
				h.Bytes = min(h.Bytes, a.Bytes)
			}
			files = append(files, *h)
			continue
		}
		if !apart { // this kernel counts it as file
			h.Account = ledger.File
		}
		if a, ok := l.Account(h.Account); ok && h.Bytes > a.Bytes { // in swap, or charged to another cgroup
			h.Bytes, h.AtMost = a.Bytes, true
		}
		shmem = append(shmem, *h)
	}
	return files, shmem
}

func fileHolder(f snapshot.OpenFile, st *snapshot.Stat) (h report.Holder, id [2]int64, ok bool) {
	links, ok1 := st.Get(snapshot.FileLinks)
	allocated, ok2 := st.Get(snapshot.FileAllocated)
	length, ok3 := st.Get(snapshot.FileBytes)
	fs, _ := st.Get(snapshot.FileSystem)
	id[0], _ = st.Get(snapshot.FileDevice)
	id[1], _ = st.Get(snapshot.FileInode)
	if !ok1 || !ok2 || !ok3 || links != 0 || allocated <= 0 || !size.Plausible(allocated) || fs == hugetlbfs {
		return h, id, false
	}
	path := strings.TrimSuffix(f.Path, " (deleted)")
	h = report.Holder{
		Kind: "file", Account: ledger.Shmem, Bytes: allocated, Deleted: true,
		State: map[string]int64{"length": length, "allocated": allocated},
	}
	h.Path, h.PathBytes = name(path)
	h.Name, _ = name(path[strings.LastIndexByte(path, '/')+1:])
	if fs != snapshot.MagicTmpfs && fs != ramfs {
		h.Account, h.AtMost = ledger.File, true
	}
	return h, id, true
}
