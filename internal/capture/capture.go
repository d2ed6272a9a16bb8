// Package capture owns the answers of a node on disk: the recorder that keeps
// them while they are given, the archive format, redaction, and the two sources
// that give them again, from an archive or from a plain directory tree.
//
// It must not know what the answers mean. It reads and writes nothing of the
// kernel.
//
// # The archive, memwhy.capture/v1
//
// A text file of sections. Each has one header line, then exactly as many bytes
// as the header says, then a newline; nothing in the bytes is ever looked for.
//
//	memwhy-capture v1
//	section meta present 211 0 "" ""
//	{"schema":"memwhy.capture/v1", ...}
//	section read present 750 1795440000000000000 "/sys/fs/cgroup/memory/a/memory.stat" ""
//	cache 32829440 ...
//	section read absent 0 1795440000000000000 "/sys/kernel/mm/lru_gen/enabled" "no such file"
//
//	end 3
//
// The fields of a header: operation (meta, or an Op of package kernel), state,
// length in bytes, Unix time in nanoseconds, path on the node and error, both as
// quoted Go strings. `end` counts the sections, so a truncated file is seen.
//
// A capture of a watch has the answers of its last look first, as any other, then
// those of the earlier ones: `section look` with the path /0, /1, ... begins each.
package capture

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Schema names the archive format.
const Schema = "memwhy.capture/v1"

const (
	magic       = "memwhy-capture v1\n"
	maxArchive  = 256 << 20 // bytes; a node of 10 000 cgroups needs about 30 MiB
	maxSections = 1 << 20
)

// Meta is the first section of an archive.
type Meta struct {
	Schema    string        `json:"schema"`
	Memwhy    string        `json:"memwhy"`
	Generated time.Time     `json:"generated"`
	Target    string        `json:"target"` // cgroup path
	PageSize  int64         `json:"pageSize"`
	Redacted  bool          `json:"redacted"`
	Cost      snapshot.Cost `json:"cost"` // of the explanation that was recorded
}

type key struct {
	op   kernel.Op
	path string
}

// Recorder passes questions on to a source and remembers every answer. A
// question asked twice gets the first answer again, so that all readers of one
// recording see one node.
type Recorder struct {
	src kernel.Source

	mu      sync.Mutex
	answers map[key]kernel.Answer
	looks   []*Recorder
}

// NewRecorder starts a recording of src.
func NewRecorder(src kernel.Source) *Recorder {
	return &Recorder{src: src, answers: map[key]kernel.Answer{}}
}

// Origin implements kernel.Source.
func (r *Recorder) Origin() kernel.Origin { return r.src.Origin() }

// Ask implements kernel.Source.
func (r *Recorder) Ask(q kernel.Question) kernel.Answer {
	k := key{q.Op, q.Path}
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.answers[k]
	if !ok {
		a = r.src.Ask(q)
		r.answers[k] = a
	}
	a.Data = bytes.Clone(a.Data)
	return a
}

// AskAll implements kernel.AskAll.
func (r *Recorder) AskAll(qs []kernel.Question) []kernel.Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	var unknown []kernel.Question
	for _, q := range qs {
		if _, ok := r.answers[key{q.Op, q.Path}]; !ok {
			unknown = append(unknown, q)
		}
	}
	for i, a := range kernel.AskAll(r.src, unknown) {
		r.answers[key{unknown[i].Op, unknown[i].Path}] = a
	}
	answers := make([]kernel.Answer, len(qs))
	for i, q := range qs {
		answers[i] = r.answers[key{q.Op, q.Path}]
		answers[i].Data = bytes.Clone(answers[i].Data)
	}
	return answers
}

// Archive returns what was recorded so far.
func (r *Recorder) Archive(m Meta) *Archive {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.Schema = Schema
	a := &Archive{Meta: m, answers: make(map[key]kernel.Answer, len(r.answers))}
	for k, v := range r.answers {
		a.answers[k] = v
	}
	for _, look := range r.looks {
		earlier := look.Archive(m)
		earlier.Meta.Generated = earlier.at()
		a.looks = append(a.looks, earlier)
	}
	return a
}

// Archive is a recorded node. It implements kernel.Source.
type Archive struct {
	Meta    Meta
	answers map[key]kernel.Answer
	looks   []*Archive // earlier ones, oldest first
}

// Origin implements kernel.Source.
func (a *Archive) Origin() kernel.Origin {
	m := a.Meta
	return kernel.Origin{Replay: true, Generated: m.Generated, PageSize: m.PageSize, Target: m.Target, Cost: m.Cost, Looks: len(a.looks)}
}

// Ask implements kernel.Source. What was not asked when the capture was taken
// is Failed, not Absent: nobody knows.
func (a *Archive) Ask(q kernel.Question) kernel.Answer {
	ans, ok := a.answers[key{q.Op, q.Path}]
	if !ok {
		return kernel.Answer{State: snapshot.Failed, Err: "not in this capture", At: a.Meta.Generated}
	}
	if ans.State == snapshot.Present && q.Op == kernel.Read && len(ans.Data) > q.Max {
		return kernel.Answer{State: snapshot.Failed, Err: fmt.Sprintf("longer than %d bytes", q.Max), At: ans.At}
	}
	ans.Data = bytes.Clone(ans.Data)
	return ans
}

// Write writes the archive, sections in the order of their paths, so that equal
// recordings are equal files.
func (a *Archive) Write(w io.Writer) error {
	meta, err := json.Marshal(a.Meta)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.WriteString(magic)
	section(&b, key{"meta", ""}, kernel.Answer{Data: meta, State: snapshot.Present})
	n := 1
	for i, part := range append([]*Archive{a}, a.looks...) {
		if i > 0 {
			section(&b, key{lookOp, "/" + strconv.Itoa(i-1)}, kernel.Answer{State: snapshot.Present, At: part.Meta.Generated})
			n++
		}
		if err := part.write(&b, w); err != nil {
			return err
		}
		n += len(part.answers)
	}
	fmt.Fprintf(&b, "end %d\n", n)
	_, err = b.WriteTo(w)
	return err
}

// write writes the answers of one look.
func (a *Archive) write(b *bytes.Buffer, w io.Writer) error {
	keys := make([]key, 0, len(a.answers))
	for k := range a.answers {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y key) int {
		return cmp.Or(cmp.Compare(x.path, y.path), cmp.Compare(x.op, y.op))
	})
	for _, k := range keys {
		section(b, k, a.answers[k])
		if b.Len() > 1<<20 {
			if _, err := b.WriteTo(w); err != nil {
				return err
			}
		}
	}
	return nil
}

func section(b *bytes.Buffer, k key, a kernel.Answer) {
	var at int64
	if !a.At.IsZero() {
		at = a.At.UnixNano()
	}
	fmt.Fprintf(b, "section %s %s %d %d %s %s\n", k.op, a.State, len(a.Data), at,
		strconv.QuoteToASCII(k.path), strconv.QuoteToASCII(a.Err))
	b.Write(a.Data)
	b.WriteByte('\n')
}

// WriteFile writes the archive to a file that only its owner may read. A file
// that is already there is replaced in one step.
func (a *Archive) WriteFile(name string) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".memwhy-capture-*") // mode 0600
	if err != nil {
		return err
	}
	err = errors.Join(a.Write(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// Open opens an archive, or a directory tree laid out as on a node.
func Open(name string) (kernel.Source, error) {
	st, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case st.IsDir():
		return OpenTree(name)
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a regular file", name)
	case st.Size() > maxArchive:
		return nil, fmt.Errorf("%s: %d MiB is too large for a capture (at most %d)", name, st.Size()>>20, maxArchive>>20)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	a, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return a, nil
}

// Parse decodes an archive. Answers keep pointing into b.
func Parse(b []byte) (*Archive, error) {
	rest, ok := bytes.CutPrefix(b, []byte(magic))
	if !ok {
		return nil, errors.New("not a memwhy capture")
	}
	a := &Archive{answers: map[key]kernel.Answer{}}
	look := a
	for n := 0; n <= maxSections; n++ {
		at := len(b) - len(rest)
		line, tail, ok := bytes.Cut(rest, []byte("\n"))
		if !ok {
			return nil, fmt.Errorf("truncated: no end after byte %d", at)
		}
		if string(line) == fmt.Sprintf("end %d", n) {
			if len(tail) > 0 {
				return nil, fmt.Errorf("%d bytes after the end", len(tail))
			}
			if n == 0 {
				return nil, errors.New("no meta section")
			}
			return a, nil
		}
		k, ans, size, err := parseHeader(line)
		if err != nil {
			return nil, fmt.Errorf("section header at byte %d: %w", at, err)
		}
		if size >= len(tail) {
			return nil, fmt.Errorf("truncated: the section at byte %d should have %d bytes", at, size)
		}
		if tail[size] != '\n' {
			return nil, fmt.Errorf("section at byte %d: no newline after its %d bytes", at, size)
		}
		ans.Data, rest = tail[:size:size], tail[size+1:]
		switch {
		case n > 0 && k.op == lookOp && k.path == "/"+strconv.Itoa(len(a.looks)) && len(a.looks) < maxLooks && size == 0:
			look = a.begin(ans.At)
			continue
		case n > 0 && k.op == lookOp:
			return nil, fmt.Errorf("section at byte %d: look %q out of turn", at, k.path)
		}
		if err := look.add(n, k, ans); err != nil {
			return nil, fmt.Errorf("section at byte %d: %w", at, err)
		}
	}
	return nil, fmt.Errorf("more than %d sections", maxSections)
}

func (a *Archive) add(n int, k key, ans kernel.Answer) error {
	if n == 0 {
		if k.op != "meta" {
			return errors.New("the first section must be meta")
		}
		if err := json.Unmarshal(ans.Data, &a.Meta); err != nil {
			return fmt.Errorf("meta: %w", err)
		}
		if a.Meta.Schema != Schema {
			return fmt.Errorf("schema %q, this memwhy reads %q", a.Meta.Schema, Schema)
		}
		if a.Meta.PageSize <= 0 || a.Meta.PageSize > 1<<20 {
			return fmt.Errorf("page size %d", a.Meta.PageSize)
		}
		return nil
	}
	if path.Clean(k.path) != k.path || k.path[0] != '/' {
		return fmt.Errorf("path %q is not a clean absolute path", k.path)
	}
	if _, dup := a.answers[k]; dup {
		return fmt.Errorf("%s %q a second time", k.op, k.path)
	}
	a.answers[k] = ans
	return nil
}

func parseHeader(line []byte) (k key, a kernel.Answer, size int, err error) {
	var op, state string
	var at int64
	n, err := fmt.Sscanf(string(line), "section %s %s %d %d %q %q", &op, &state, &size, &at, &k.path, &a.Err)
	if err != nil || n != 6 || size < 0 {
		return k, a, 0, fmt.Errorf("%.80q is not one", line)
	}
	switch k.op = kernel.Op(op); k.op {
	case "meta", censusKey.op, lookOp, kernel.Read, kernel.List, kernel.Inodes, kernel.Link, kernel.Links, kernel.Stat, kernel.BuildInfo, kernel.Names, kernel.Marks, kernel.Log, kernel.Containers, kernel.Environ, kernel.Heaps, kernel.Pipes:
	default:
		return k, a, 0, fmt.Errorf("unknown operation %q", op)
	}
	if a.State = snapshot.ParseState(state); a.State.String() != state {
		return k, a, 0, fmt.Errorf("unknown state %q", state)
	}
	if at != 0 {
		a.At = time.Unix(0, at).UTC()
	}
	return k, a, size, nil
}
