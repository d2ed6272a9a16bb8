// Package mapping owns what the mappings of a process are: which of them are its
// heap, its stacks, the heap of Go, private copies of files, and how much
// anonymous memory each kind holds. It must not know how they were read, nor
// what is charged to whom. It is pure.
//
// Amounts are shares (PSS): a page that several processes map counts for each of
// them with its part only, so that processes which forked can be added up.
package mapping

import (
	"cmp"
	"slices"

	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// The files that Anon and PSS may rest on, the most precise first.
const (
	BySmaps  = "smaps"
	ByRollup = "smaps_rollup"
	ByStatus = "status" // the resident set, shared pages in full
)

// Anon is the anonymous memory of p that is in RAM, and the file that says so.
func Anon(p *snapshot.Process) (bytes int64, how string, ok bool) {
	if s, ok := p.Smaps.Get(); ok && s.Has.All(snapshot.SmapsPss|snapshot.SmapsAnonymous) {
		for i := range s.Maps {
			bytes = sum(bytes, anonShare(&s.Maps[i], s.Has))
		}
		return bytes, BySmaps, size.Plausible(bytes)
	}
	if r, ok := p.Rollup.Get(); ok {
		if n, ok := r.Get("Pss_Anon"); ok && size.Plausible(n) { // since 5.4
			return n, ByRollup, true
		}
		if n, ok := r.Get("Anonymous"); ok && size.Plausible(n) {
			share, _ := r.Get("Pss")
			return min(n, max(share, 0)), ByRollup, true
		}
	}
	st, _ := p.Status.Get()
	bytes, ok = st.Fields.Get("RssAnon")
	return bytes, ByStatus, ok && size.Plausible(bytes)
}

// PSS is the proportional set size of p.
func PSS(p *snapshot.Process) (bytes int64, ok bool) {
	return total(p, snapshot.SmapsPss, "Pss", func(m *snapshot.Mapping) int64 { return m.Pss })
}

// LazyFree is what p gave back with MADV_FREE and the kernel has not taken yet.
// Pages that several processes map count in full.
func LazyFree(p *snapshot.Process) (bytes int64, ok bool) {
	return total(p, snapshot.SmapsLazyFree, "LazyFree", func(m *snapshot.Mapping) int64 { return m.LazyFree })
}

// Huge is the anonymous memory that p maps as huge pages. Those that several
// processes map count in full.
func Huge(p *snapshot.Process) (bytes int64, ok bool) {
	return total(p, snapshot.SmapsAnonHuge, "AnonHugePages", func(m *snapshot.Mapping) int64 { return m.AnonHuge })
}

// total is the sum of one line of smaps, or that line of smaps_rollup.
func total(p *snapshot.Process, bit snapshot.SmapsKeys, line string, of func(*snapshot.Mapping) int64) (bytes int64, ok bool) {
	if s, ok := p.Smaps.Get(); ok && s.Has.All(bit) {
		for i := range s.Maps {
			bytes = sum(bytes, of(&s.Maps[i]))
		}
		return bytes, size.Plausible(bytes)
	}
	r, _ := p.Rollup.Get()
	bytes, ok = r.Get(line)
	return bytes, ok && p.Rollup.State == snapshot.Present && size.Plausible(bytes)
}

// sum stops above what is plausible, so that no sum overflows.
func sum(a, b int64) int64 {
	if !size.Plausible(a) {
		return a
	}
	return a + b
}

// anonShare is the share of m that is anonymous. A mapping of a file may hold
// both: then its private dirty pages are anonymous, and of the shared ones the
// anonymous are taken to be shared as widely as the others.
func anonShare(m *snapshot.Mapping, has snapshot.SmapsKeys) int64 {
	shared := m.SharedClean + m.SharedDirty
	switch {
	case m.Anonymous >= m.Rss:
		return min(m.Pss, m.Anonymous)
	case m.Anonymous == 0:
		return 0
	case shared == 0:
		return m.Anonymous
	}
	own := min(m.Anonymous, m.PrivateDirty)
	wide := float64(max(0, m.Pss-m.PrivateClean-m.PrivateDirty)) / float64(shared)
	return own + int64(float64(m.Anonymous-own)*min(wide, 1))
}

// Part is the mappings of one kind and name in a process.
type Part struct {
	Kind  string
	Name  string
	How   string // how it was recognised, where the kernel does not say
	Bytes int64  // anonymous and resident, as a share
	Count int    // mappings that hold any
	State map[string]int64
}

// The kinds of parts.
const (
	Heap        = "heap"         // what brk(2) grows
	Stack       = "stack"        // of the main thread, or of the others
	Anonymous   = "anon"         // mappings without a name
	GoHeap      = "go-heap"      // the arenas of the Go runtime
	Named       = "named"        // named by the process with PR_SET_VMA_ANON_NAME
	FilePrivate = "file-private" // private copies of pages of a file, such as .data
	Rest        = "rest"         // further parts, together
)

// Parts divides the anonymous memory of p among its mappings, the largest part
// first: they sum to Anon. With more than max parts, the smallest become one.
func Parts(p *snapshot.Process, max int) []Part {
	s, ok := p.Smaps.Get()
	if !ok || !s.Has.All(snapshot.SmapsPss|snapshot.SmapsAnonymous) {
		return nil
	}
	stacks, heap := threadStacks(p, s.Maps), goArenas(p, s.Maps)
	at := map[[2]string]int{}
	var parts []Part
	for i := range s.Maps {
		m := &s.Maps[i]
		if m.Anonymous <= 0 && m.Swap <= 0 {
			continue
		}
		part := kind(m)
		switch {
		case stacks[i]:
			part = Part{Kind: Stack, Name: words.Key("threads"), How: words.Key("behind a guard page, and not more of them than threads")}
		case heap[i]:
			part = Part{Kind: GoHeap, Name: "Go heap, " + p.GoVersion.Value, How: words.Key("Go build information, and whole 64 MiB arenas")}
		}
		k, ok := at[[2]string{part.Kind, part.Name}]
		if !ok {
			k = len(parts)
			at[[2]string{part.Kind, part.Name}] = k
			part.State = map[string]int64{}
			parts = append(parts, part)
		}
		parts[k].add(m, s.Has)
	}
	slices.SortStableFunc(parts, func(a, b Part) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return together(parts, max)
}

func (p *Part) add(m *snapshot.Mapping, has snapshot.SmapsKeys) {
	p.Bytes = sum(p.Bytes, anonShare(m, has))
	p.Count++
	for _, v := range []struct {
		key   string
		bit   snapshot.SmapsKeys
		bytes int64
	}{
		{"rss", snapshot.SmapsRss, m.Rss},
		{"lazyFree", snapshot.SmapsLazyFree, m.LazyFree},
		{"thp", snapshot.SmapsAnonHuge, m.AnonHuge},
		{"swap", snapshot.SmapsSwap, m.Swap},
	} {
		if has.All(v.bit) {
			p.State[v.key] = sum(p.State[v.key], v.bytes)
		}
	}
}

func together(parts []Part, max int) []Part {
	if len(parts) <= max {
		return parts
	}
	rest := Part{Kind: Rest, State: map[string]int64{}}
	for _, p := range parts[max:] {
		rest.Bytes = sum(rest.Bytes, p.Bytes)
		rest.Count += p.Count
		for k, v := range p.State {
			rest.State[k] = sum(rest.State[k], v)
		}
	}
	return append(parts[:max:max], rest)
}
