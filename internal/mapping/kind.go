package mapping

import (
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// kind is what the name of a mapping says.
func kind(m *snapshot.Mapping) Part {
	name, isAnon := inside(m.Name, "[anon:")
	shmem, isShmem := inside(m.Name, "[anon_shmem:")
	switch {
	case m.Name == "[heap]":
		return Part{Kind: Heap, Name: "heap"}
	case m.Name == "[stack]":
		return Part{Kind: Stack, Name: words.Key("main thread")}
	case strings.HasPrefix(m.Name, "[stack:"), // up to 4.4
		strings.HasPrefix(name, "glibc: pthread stack:"): // glibc.mem.decorate_maps=1
		return Part{Kind: Stack, Name: "threads"}
	case name == "Go: heap":
		return Part{Kind: GoHeap, Name: words.Key("Go heap")}
	case isAnon:
		return Part{Kind: Named, Name: name}
	case isShmem:
		return Part{Kind: Named, Name: shmem}
	case m.Name == "":
		return Part{Kind: Anonymous, Name: words.Key("mappings without a name")}
	case m.Inode == 0 && m.Name[0] == '[':
		return Part{Kind: Named, Name: m.Name}
	}
	return Part{Kind: FilePrivate, Name: m.Name}
}

// inside is the name in `[anon:NAME]`. Go's begin with a blank.
func inside(s, before string) (string, bool) {
	s, ok := strings.CutPrefix(s, before)
	return strings.TrimSpace(strings.TrimSuffix(s, "]")), ok
}

// plain reports a private mapping without a name or a file.
func plain(m *snapshot.Mapping) bool { return m.Name == "" && m.Inode == 0 && m.Perms[3] == 'p' }

var (
	readWrite = [4]byte([]byte("rw-p"))
	reserved  = [4]byte([]byte("---p"))
)

// Bounds of a stack as pthread_create makes it: a guard, then the stack. musl's
// guard has two pages; some programs want more.
const (
	maxGuard = 64 << 10
	minStack = 16 << 10
)

// threadStacks finds the stacks of threads, which nothing names: what is behind
// a guard and is not the rest of an arena of glibc. More of them than the
// process has threads are no stacks. A C library that makes guards within the
// mapping (MADV_GUARD_INSTALL, glibc 2.42) leaves none to be found.
func threadStacks(p *snapshot.Process, maps []snapshot.Mapping) map[int]bool {
	st, _ := p.Status.Get()
	threads, _ := st.Fields.Get("Threads")
	if threads < 2 {
		return nil
	}
	found := map[int]bool{}
	for i := 1; i < len(maps); i++ {
		guard, m := &maps[i-1], &maps[i]
		if !plain(guard) || guard.Perms != reserved || guard.End-guard.Start > maxGuard || guard.End != m.Start ||
			!plain(m) || m.Perms != readWrite || m.End-m.Start < minStack {
			continue
		}
		arena := i > 1 && maps[i-2].End == guard.Start && plain(&maps[i-2]) && maps[i-2].Perms == readWrite && guard.End%arenaBytes == 0
		if !arena {
			found[i] = true
		}
	}
	if int64(len(found)) > threads-1 {
		return nil
	}
	return found
}

// arenaBytes is the size and the alignment of an arena of the Go heap on 64-bit
// Linux (go src/runtime/malloc.go heapArenaBytes), and of those of glibc
// (malloc/arena.c HEAP_MAX_SIZE).
const arenaBytes = 64 << 20

// libraries is how near to the C library glibc's arenas may be: both are where
// mmap puts things. Go asks for addresses far from there.
const libraries = 64 << 30

// goArenas finds the heap of a Go program where the kernel does not name it:
// neighbouring mappings, in use or reserved, that together are whole arenas. The
// heap begins anywhere in its first arena and, since Go 1.26, at a random one.
func goArenas(p *snapshot.Process, maps []snapshot.Mapping) map[int]bool {
	if p.GoVersion.State != snapshot.Present {
		return nil
	}
	var libc uint64
	for i := range maps {
		if strings.Contains(maps[i].Name, "/libc.") || strings.Contains(maps[i].Name, "/libc-") || strings.Contains(maps[i].Name, "/ld-") {
			libc = maps[i].Start
		}
	}
	found := map[int]bool{}
	for i := 0; i < len(maps); {
		j := i
		for j < len(maps) && inArena(&maps[j]) && (j == i || maps[j-1].End == maps[j].Start) {
			j++
		}
		if j == i {
			i++
			continue
		}
		start, end := maps[i].Start, maps[j-1].End
		near := libc != 0 && start < libc+libraries && libc < end+libraries
		if start%arenaBytes == 0 && end%arenaBytes == 0 && start >= 1<<32 && !near {
			for ; i < j; i++ {
				found[i] = true
			}
		}
		i = j
	}
	return found
}

func inArena(m *snapshot.Mapping) bool {
	return plain(m) && (m.Perms == readWrite || m.Perms == reserved)
}
