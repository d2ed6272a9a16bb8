package capture

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// A census is kept as text in a section of its own: a line of JSON with what is
// said once, then a line for each group, inode, file and cache, of numbers and one
// quoted name.
var censusKey = key{"census", "/"}

// Census implements kernel.Census.
func (r *Recorder) Census(pids []int) snapshot.Reading[*snapshot.Census] {
	c := kernel.Census(r.src, pids)
	a := kernel.Answer{State: c.State, Err: c.Err, At: c.At}
	if c.State == snapshot.Present {
		a.Data = encodeCensus(c.Value)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[censusKey] = a
	return c
}

// Census implements kernel.Census.
func (a *Archive) Census([]int) snapshot.Reading[*snapshot.Census] {
	ans, ok := a.answers[censusKey]
	if !ok {
		ans = kernel.Answer{State: snapshot.Failed, Err: "not in this capture", At: a.Meta.Generated}
	}
	return kernel.Parsed(ans, snapshot.CensusSource, decodeCensus)
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// The numbers of each kind of line, in their order. Marks are for who looks twice, and
// not kept.

func stateNumbers(m *snapshot.PageState) []*int64 {
	return []*int64{
		&m.Bytes, &m.Active, &m.Inactive, &m.Unevictable, &m.Isolated, &m.Dirty, &m.Writeback, &m.Mapped, &m.Referenced, &m.Large, &m.Huge,
	}
}

func groupNumbers(g *snapshot.CensusGroup) []*int64 {
	n := append(stateNumbers(&g.Anon), stateNumbers(&g.File)...)
	return append(n, &g.Usage, &g.MemoryID, &g.KSM, &g.Shmem, &g.Tables, &g.Slab, &g.Kernel, &g.Hugetlb, &g.Other, &g.Inherited)
}

type writer struct{ b []byte }

func (w *writer) line(kind byte, name string, ids []uint64, amounts []*int64) {
	w.b = append(w.b, kind)
	for _, n := range ids {
		w.b = strconv.AppendUint(append(w.b, ' '), n, 10)
	}
	for _, n := range amounts {
		w.b = strconv.AppendInt(append(w.b, ' '), *n, 10)
	}
	w.b = strconv.AppendQuoteToASCII(append(w.b, ' '), name)
	w.b = append(w.b, '\n')
}

func encodeCensus(c *snapshot.Census) []byte {
	head := *c
	head.Groups, head.Inodes, head.Files, head.Slabs = nil, nil, nil, nil
	text, err := json.Marshal(&head)
	if err != nil { // plain values
		panic(err)
	}
	w := &writer{append(text, '\n')}
	for i := range c.Groups {
		g := &c.Groups[i]
		w.line('g', g.Path, []uint64{g.ID, uint64(g.Parent + 1), uint64(flag(g.Dying))}, groupNumbers(g))
		if g.Error != 0 {
			w.line('e', "", []uint64{uint64(i)}, []*int64{&g.Error})
		}
	}
	for i := range c.Inodes {
		in := &c.Inodes[i]
		flags := flag(in.Deleted) | flag(in.Pseudo)<<1 | flag(in.Partial)<<2
		w.line('i', in.Type+"\x00"+in.Path, []uint64{
			in.Magic, uint64(in.Device), in.Number, uint64(in.Generation), uint64(in.Links), uint64(in.Mode), uint64(flags), uint64(in.Size),
		}, nil)
	}
	for i := range c.Files {
		f := &c.Files[i]
		w.line('f', "", []uint64{uint64(f.Group), uint64(f.Inode + 1)}, stateNumbers(f.PageState))
	}
	for i := range c.Slabs {
		s := &c.Slabs[i]
		w.line('s', s.Cache, []uint64{uint64(s.Group), uint64(flag(s.Reclaimable))}, []*int64{&s.Objects, &s.Bytes})
	}
	return w.b
}

// redactCensus hides the names. Labels stay: memfd:x12ab.
func (p *preparer) redactCensus(b []byte) ([]byte, error) {
	c, err := decodeCensus(b)
	if err != nil {
		return nil, err
	}
	for i := range c.Groups {
		c.Groups[i].Path = p.r.Path(c.Groups[i].Path)
	}
	for i := range c.Inodes {
		in := &c.Inodes[i]
		if label, name, ok := strings.Cut(in.Path, ":"); ok && in.Pseudo {
			in.Path = label + ":" + p.r.Path(name)
		} else if !in.Pseudo && in.Path != "" {
			in.Path = p.file(in.Path)
		}
	}
	return encodeCensus(c), nil
}

// maxSum bounds what the amounts of one census can sum to, so that no sum of them
// overflows.
const maxSum = 1 << 60

type censusReader struct {
	rest string
	bad  error
}

func decodeCensus(b []byte) (*snapshot.Census, error) {
	head, rest, ok := bytes.Cut(b, []byte("\n"))
	c := &snapshot.Census{}
	if err := json.Unmarshal(head, c); err != nil || !ok {
		return nil, errors.Join(errors.New("no census"), err)
	}
	if c.Groups != nil || c.Inodes != nil || c.Files != nil || c.Slabs != nil || c.PageSize <= 0 || c.Wall < 0 || c.Wall > 24*time.Hour {
		return nil, errors.New("the head of the census is none")
	}
	line := 1
	for text := range strings.Lines(string(rest)) {
		line++
		r := &censusReader{rest: strings.TrimSuffix(text, "\n")}
		r.line(c)
		if r.bad != nil {
			return nil, fmt.Errorf("line %d of the census: %w", line, r.bad)
		}
	}
	return c, valid(c)
}

func (r *censusReader) line(c *snapshot.Census) {
	kind, rest, _ := strings.Cut(r.rest, " ")
	r.rest = rest
	switch kind {
	case "g":
		g := snapshot.CensusGroup{ID: r.id(64), Parent: int(r.id(31)) - 1, Dying: r.id(1) == 1}
		r.amounts(groupNumbers(&g))
		g.Anon.Marks, g.File.Marks = snapshot.Unknown, snapshot.Unknown
		g.Path = r.name()
		c.Groups = append(c.Groups, g)
	case "e":
		i, n := int(r.id(31)), int64(0)
		r.amounts([]*int64{&n})
		r.name()
		if i >= len(c.Groups) {
			r.bad = errors.Join(r.bad, errors.New("an error of nobody"))
			return
		}
		c.Groups[i].Error = n
	case "i":
		in := snapshot.CensusInode{
			Magic: r.id(64), Device: uint32(r.id(32)), Number: r.id(64), Generation: uint32(r.id(32)), Links: uint32(r.id(32)), Mode: uint16(r.id(16)),
		}
		flags := r.id(3)
		in.Deleted, in.Pseudo, in.Partial = flags&1 != 0, flags&2 != 0, flags&4 != 0
		in.Size = int64(r.id(64))
		in.Type, in.Path, _ = strings.Cut(r.name(), "\x00")
		c.Inodes = append(c.Inodes, in)
	case "f":
		f := snapshot.CensusFile{Group: int(r.id(31)), Inode: int(r.id(31)) - 1, PageState: &snapshot.PageState{Marks: snapshot.Unknown}}
		r.amounts(stateNumbers(f.PageState))
		r.name()
		c.Files = append(c.Files, f)
	case "s":
		s := snapshot.CensusSlab{Group: int(r.id(31)), Reclaimable: r.id(1) == 1}
		r.amounts([]*int64{&s.Objects, &s.Bytes})
		s.Cache = r.name()
		c.Slabs = append(c.Slabs, s)
	default:
		r.bad = fmt.Errorf("of no known kind: %.20q", kind)
	}
}

func (r *censusReader) word() string {
	word, rest, _ := strings.Cut(r.rest, " ")
	r.rest = rest
	return word
}

func (r *censusReader) id(bits int) uint64 {
	n, err := strconv.ParseUint(r.word(), 10, bits)
	r.bad = errors.Join(r.bad, err)
	return n
}

func (r *censusReader) amounts(into []*int64) {
	for _, n := range into {
		var err error
		if *n, err = strconv.ParseInt(r.word(), 10, 64); err != nil || *n < snapshot.Unknown || *n > maxSum {
			r.bad = errors.Join(r.bad, err, errors.New("an amount that cannot be one"))
		}
	}
}

func (r *censusReader) name() string {
	s, err := strconv.Unquote(r.rest)
	r.bad = errors.Join(r.bad, err)
	return s
}

// valid holds what readers of a census rely on: indices that lead somewhere,
// parents that lead to a root, sums that fit.
func valid(c *snapshot.Census) error {
	if len(c.Groups) == 0 || c.Groups[0].Parent != -1 {
		return errors.New("the census has no group for what nobody is charged for")
	}
	var sum int64
	add := func(numbers []*int64) {
		for _, n := range numbers {
			if sum <= maxSum {
				sum += max(0, *n)
			}
		}
	}
	for i := range c.Groups {
		add(groupNumbers(&c.Groups[i]))
		at := i
		for depth := 0; at >= 0; depth++ {
			if at = c.Groups[at].Parent; at >= len(c.Groups) || depth > len(c.Groups) || depth > 1<<10 {
				return fmt.Errorf("group %d of the census has no root", i)
			}
		}
	}
	for i := range c.Files {
		f := &c.Files[i]
		if f.Group >= len(c.Groups) || f.Inode >= len(c.Inodes) {
			return fmt.Errorf("file %d of the census is of nobody", i)
		}
		add(stateNumbers(f.PageState))
	}
	for i := range c.Slabs {
		if c.Slabs[i].Group >= len(c.Groups) {
			return fmt.Errorf("cache %d of the census is of nobody", i)
		}
		add([]*int64{&c.Slabs[i].Bytes, &c.Slabs[i].Objects})
	}
	if sum > maxSum {
		return errors.New("the amounts of the census are too large to be memory")
	}
	return nil
}
